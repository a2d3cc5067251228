"""Memory for the WAL's writes: page-aligned, and used again only when no cache and no socket looks at it any more."""

import mmap
import sys
from collections import deque

_PAGE = mmap.PAGESIZE


class SlabPool:
    """Hands out aligned slabs of `size_bytes`; keeps up to `max_bytes` of them for reuse.

    A slab is free when every view cut from it is gone: a memoryview, and all slices of it, hold one reference to the
    mapping between them, so the mapping's reference count tells. When the pool is full and no slab is free, `take` maps
    memory that goes back to the system with its last view: the bound on those is the budget of the caches that hold the
    views, not this pool. Not thread-safe: it belongs to the loop.
    """

    def __init__(self, size_bytes: int = 4 << 20, max_bytes: int = 64 << 20) -> None:
        self.size_bytes = -(-size_bytes // _PAGE) * _PAGE
        self._slabs_max = max(1, max_bytes // self.size_bytes)
        self._slabs: deque[mmap.mmap] = deque()
        self.unpooled_total = 0
        self.reused_total = 0

    def take(self, min_bytes: int = 0) -> memoryview:
        """A writable slab of at least `min_bytes`; what an earlier user left in it is still there."""
        if min_bytes > self.size_bytes:
            self.unpooled_total += 1
            return memoryview(mmap.mmap(-1, -(-min_bytes // _PAGE) * _PAGE))
        for _ in range(len(self._slabs)):
            slab = self._slabs[0]
            self._slabs.rotate(-1)
            if _is_free(slab):
                self.reused_total += 1
                return memoryview(slab)
        slab = mmap.mmap(-1, self.size_bytes)
        if len(self._slabs) < self._slabs_max:
            self._slabs.append(slab)
        else:
            self.unpooled_total += 1
        return memoryview(slab)

    @property
    def pooled_bytes(self) -> int:
        """Memory that the pool keeps, in use or not."""
        return len(self._slabs) * self.size_bytes


def _is_free(slab: mmap.mmap) -> bool:
    """Whether only the pool knows this mapping: the deque, this frame's two names and getrefcount's argument."""
    return sys.getrefcount(slab) <= _REFERENCES_WHEN_FREE


def _references_when_free() -> int:
    """What `getrefcount` says inside `_is_free` of a mapping without views, measured instead of assumed."""
    slabs = deque([mmap.mmap(-1, _PAGE)])
    slab = slabs[0]

    def count(slab: mmap.mmap) -> int:
        return sys.getrefcount(slab)

    return count(slab)


_REFERENCES_WHEN_FREE = _references_when_free()

__all__ = ["SlabPool"]
