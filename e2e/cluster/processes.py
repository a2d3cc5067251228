"""Long-running programs of the cluster, known by id and start time: only what was started here is ever ended."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from e2e.paths import LOGS, PIDS


def start(
    name: str,
    command: Sequence[str | Path],
    *,
    network: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Start it unless it runs already, detached from the terminal, its output in log/<name>.log.

    `network` is the network namespace that it lives in.
    """
    if is_running(name):
        return
    LOGS.mkdir(parents=True, exist_ok=True)
    # Not `ip netns exec`: its /sys would be a new one, without the control groups by which nodes are frozen.
    inside = ["nsenter", f"--net=/run/netns/{network}", "--"] if network else []
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*inside, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    remember(name, process.pid)


def remember(name: str, pid: int) -> None:
    """Write down that `name` is this process."""
    PIDS.mkdir(parents=True, exist_ok=True)
    (PIDS / name).write_text(f"{pid} {_start_time(pid)}\n")


def pid_of(name: str) -> int | None:
    """Its process id while it lives; None when it was never started, has ended, or the id is somebody else's by now."""
    with suppress(FileNotFoundError, ValueError):
        pid, started = (PIDS / name).read_text().split()
        if _start_time(int(pid)) == started:
            return int(pid)
    return None


def is_running(name: str) -> bool:
    """Whether the process that was started under this name lives."""
    return pid_of(name) is not None


def kill(name: str) -> None:
    """SIGKILL, without waiting: a frozen process dies only when it thaws."""
    pid = pid_of(name)
    if pid is not None:
        _signal(pid, signal.SIGKILL)


def pause(name: str, *, is_paused: bool) -> None:
    """Let it stand still, or go on; nothing when it does not run."""
    pid = pid_of(name)
    if pid is not None:
        _signal(pid, signal.SIGSTOP if is_paused else signal.SIGCONT)


def stop(name: str, *, grace_seconds: float = 0.0) -> None:
    """End it, the hard way after the grace, and wait until it is gone. Nothing happens when it does not run."""
    pid = pid_of(name)
    if pid is not None:
        if grace_seconds:
            _signal(pid, signal.SIGTERM)
            _wait_gone(name, grace_seconds)
        kill(name)
        _wait_gone(name, 10.0)
    (PIDS / name).unlink(missing_ok=True)


def names() -> list[str]:
    """Everything that was started and not stopped, whether it still lives or not."""
    return sorted(path.name for path in PIDS.iterdir()) if PIDS.exists() else []


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _wait_gone(name: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while is_running(name) and time.monotonic() < end:
        time.sleep(0.02)


def _start_time(pid: int) -> str:
    """Clock ticks between boot and its start; '' for one that is no more, or a zombie. Source: proc(5), stat, 22nd field."""
    try:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
