"""The C library's allocator, told to keep one stock of free memory: what is held then is close to what the budgets say."""

import ctypes
import sys
from typing import Final

_M_ARENA_MAX: Final = -8
_ARENAS: Final = 1
"""By default each of the threads that read and write objects gets an arena of its own, which keeps what was freed in it.
Under a load whose budgets were 384 MiB the process was seen to peak at 477 MiB so, at 451 with two arenas, at 425 to 431 with
one, for the same CPU time. Giving large blocks back to the system at once (M_MMAP_THRESHOLD) came to 407 MiB, but made a GB
read from S3 cost the broker 1.5 s of CPU instead of 0.8: every GET then waits for fresh pages."""


def use_one_arena() -> bool:
    """Whether the allocator took it: glibc does, others (musl, macOS) are left as they are. Before any thread starts."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, _ARENAS))


__all__ = ["use_one_arena"]
