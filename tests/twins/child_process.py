"""A server as a child process: started in its own process group, logged to a file, ended by its own pid only.

The two servers of the client suites and benchmarks (`broker_process`, `kafka_peer`) are built on it.
"""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PORTS = (12_000, 32_000)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ServerFailed(AssertionError):
    """The server ended or was not ready in time; the message carries the end of its log."""


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports of 127.0.0.1 that were free a moment ago (all are held open until the last is known).

    They lie below the kernel's ephemeral range: a client that reconnects to a dead broker's port inside that range
    may connect to itself and keep the port from the broker's restart.
    """
    holders: list[socket.socket] = []
    try:
        while len(holders) < count:
            holder = socket.socket()
            try:
                holder.bind(("127.0.0.1", random.randrange(*_PORTS)))
                holders.append(holder)
            except OSError:
                holder.close()
        return [int(holder.getsockname()[1]) for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str, *, every_s: float = 0.02) -> None:
    """Poll `condition` until it is true; fails with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(every_s)


def cpu_seconds_of(pid: int) -> float:
    """User plus system time of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS_PER_SECOND


class ChildProcess:
    """One run of a program. Standard output and error are appended to `log_path`; standard input is empty."""

    def __init__(self, command: Sequence[str], *, log_path: Path, environment: Mapping[str, str] | None = None) -> None:
        self.command = list(command)
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        self.started_at = time.monotonic()
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_die_with_parent(), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**_inherited(), **(environment or {})},
                start_new_session=True,
            )
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """The process id, also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative signal number if a signal ended it."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.exit_code is None

    def log(self) -> str:
        """What this run has printed so far."""
        with self.log_path.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode(errors="replace")

    def wait_ready(self, is_ready: Callable[[], bool], timeout_s: float) -> float:
        """Poll `is_ready`; returns the seconds since exec. Raises ServerFailed if the process ends or time is up."""
        deadline = self.started_at + timeout_s
        while not is_ready():
            if not self.is_running:
                raise ServerFailed(
                    f"{self._title()} ended with {self.exit_code} before it was ready:\n{self._log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self._title()} was not ready after {timeout_s:g} s:\n{self._log_tail()}")
            time.sleep(0.01)
        return time.monotonic() - self.started_at

    def terminate(self, timeout_s: float = 30) -> int:
        """SIGTERM and wait; returns the exit code. A process that outlives `timeout_s` is killed and reported."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(f"{self._title()} outlived SIGTERM by {timeout_s:g} s:\n{self._log_tail()}") from None
        atexit.unregister(self.kill)
        return code

    def kill(self) -> None:
        """SIGKILL the process group at once and reap the child; no error if it has ended already."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        atexit.unregister(self.kill)

    def cpu_seconds(self) -> float:
        """User plus system time of all threads so far."""
        return cpu_seconds_of(self.pid)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES

    def rss_peak_bytes(self) -> int:
        """The highest resident memory of the process's life."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise ServerFailed(f"no VmHWM for process {self.pid}")

    def _title(self) -> str:
        return Path(self.command[0]).name

    def _log_tail(self) -> str:
        return self.log()[-4000:]


def _inherited() -> dict[str, str]:
    """Our environment without AUTOMQ_...: those are settings of a broker, and a test states its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTOMQ_")}


def _die_with_parent() -> list[str]:
    """A prefix that lets the kernel end the server if the test run is killed; setpriv execs, so the pid stays."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []
