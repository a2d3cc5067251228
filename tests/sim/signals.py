"""SIGSTOP, SIGCONT and SIGKILL for simulated processes."""

import asyncio

from sim.loop import SeededLoop
from sim.process import Process


def is_frozen(process: Process) -> bool:
    """Whether it is stopped by SIGSTOP."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    return loop.is_frozen(process)


def thaw(process: Process) -> None:
    """SIGCONT."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    loop.thaw(process)


def freeze(process: Process) -> None:
    """SIGSTOP."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SeededLoop)
    loop.freeze(process)


def kill(process: Process) -> None:
    """SIGKILL, which a stopped process dies of as well."""
    process.die()
    thaw(process)


__all__ = ["freeze", "is_frozen", "kill", "thaw"]
