"""A child process that is recognised by a lock, never by its name: the file's lock belongs to it from its first moment.

The lock is taken on a descriptor that only the child keeps, so the kernel frees it when the child ends, however it does.
A free lock is therefore proof of its end, also for whoever comes later; a held one proves nothing about its health.
"""

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

QUICK_END_S = 10.0
"""A process that ends sooner than this after its start did not really run."""

_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the lock file says of its holder. `about` is the caller's."""

    pid: int
    started_at: float
    about: dict[str, Any]


class LockedProcess:
    """One program whose life is a lock. Made by `spawn`, or by `find` for one that an earlier `automq up` started."""

    def __init__(self, lock: Path, log: Path, mark: Mark, child: asyncio.subprocess.Process | None) -> None:
        self.lock = lock
        self.log = log
        self.mark = mark
        self._child = child
        self._ended_at: float | None = None

    @property
    def uid(self) -> str:
        """Tells this process from every other that had or gets its pid."""
        return f"{self.mark.pid}-{self.mark.started_at:.6f}"

    def is_alive(self) -> bool:
        """Whether it has not ended; False is proof."""
        if self._ended_at is not None:
            return False
        if self._child is not None and self._child.returncode is None:
            return True
        if self._child is None and _is_held(self.lock):
            return True
        self._ended_at = time.time()
        return False

    @property
    def ended_at(self) -> float:
        """When its end was seen."""
        return self._ended_at if self._ended_at is not None else time.time()

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or if its end was not waited for."""
        return None if self._child is None else self._child.returncode

    def how_it_ended(self) -> str:
        """For people: the signal or code, and what it said last."""
        code = self.exit_code
        if code is None:
            return "ended; how is not known, since an earlier automq up had started it"
        end = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return f"{end}: {self.last_line()}" if code > 0 and self.last_line() else end

    def last_line(self) -> str:
        """The last line of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def signal(self, which: signal.Signals) -> None:
        """Send a signal to exactly this process, if it still is one."""
        if self.is_alive():
            os.kill(self.mark.pid, which)

    async def wait(self) -> None:
        """Until it has ended."""
        if self._child is not None:
            await self._child.wait()
        while self.is_alive():
            await asyncio.sleep(0.2)


async def spawn(command: Sequence[str], *, lock: Path, log: Path, about: dict[str, Any]) -> LockedProcess:
    """Start a program under this lock. Raises BlockingIOError if a process lives under it already."""
    with lock.open("a+") as file, log.open("ab") as output:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(file.fileno(),),
            start_new_session=True,
        )
        mark = Mark(pid=child.pid, started_at=time.time(), about=about)
        _write_mark(file, mark)
    return LockedProcess(lock, log, mark, child)


def find(lock: Path, log: Path) -> LockedProcess | None:
    """The process that was started last under this lock, alive or ended; None if there never was one."""
    try:
        found = json.loads(lock.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return LockedProcess(lock, log, Mark(**found), None)


def _write_mark(file: IO[str], mark: Mark) -> None:
    file.seek(0)
    file.truncate()
    json.dump({"pid": mark.pid, "started_at": mark.started_at, "about": mark.about}, file)
    file.flush()


def _is_held(lock: Path) -> bool:
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


__all__ = ["QUICK_END_S", "LockedProcess", "Mark", "find", "spawn"]
