"""One line per step, with the time: what somebody reads who waits for a build or a start."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """A line on standard error, at once."""
    print(f"{time.strftime('%H:%M:%S')} e2e: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what begins, and how many seconds it took when it ended well."""
    say(f"{text} …")
    began = time.monotonic()
    yield
    say(f"{text}: {time.monotonic() - began:.1f} s")
