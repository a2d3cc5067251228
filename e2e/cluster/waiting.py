"""Waiting for the real world, which has no virtual time: poll, with a limit, and say what was waited for."""

import time
from collections.abc import Callable


class TooLate(AssertionError):
    """What was waited for did not come in its time."""


def until(is_true: Callable[[], object], what: str, *, seconds: float, every_seconds: float = 0.1) -> float:
    """Poll until it holds; how many seconds it took. Raises TooLate."""
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > seconds:
            raise TooLate(f"not after {seconds:.0f} s: {what}")
        time.sleep(every_seconds)
    return time.monotonic() - began
