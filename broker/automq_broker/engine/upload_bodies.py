"""The batches of an object on its way to the bucket: in memory that belongs to the upload and to nobody else.

Views of the tail cache would not do: each keeps a whole WAL buffer alive, with the batches of all other streams in it, so
an upload would hold a second cache beside the cache.
"""

import asyncio
from collections.abc import Callable, Sequence

from automq_broker.cache.tail import Entry, TailCache
from automq_broker.engine.ring_reads import RingReads
from automq_broker.kernel.ids import Lsn

_SLAB_BYTES = 4 << 20
_TURN_BYTES = 1 << 20
"""Copied in one turn of the loop: about 0.1 ms."""

Body = tuple[memoryview, ...]


class UploadBodies:
    """Copies out of the tail cache what it still has, and reads the rest from the ring."""

    def __init__(self, *, cache: TailCache, ring: RingReads, allocate: Callable[[int], memoryview]) -> None:
        self._cache = cache
        self._ring = ring
        self._allocate = allocate

    async def gather(self, entries: Sequence[Entry]) -> dict[Lsn, Body]:
        """The bytes of these entries, which ascend in LSN, by LSN: exactly their size, in slabs filled to the end.

        Raises as RingReads.batches does.
        """
        copies = _Copies(self._allocate, sum(entry.size_bytes for entry in entries))
        found: dict[Lsn, Body] = {}
        evicted: list[Entry] = []
        copied = 0
        for entry in entries:
            body = self._cache.body(entry.lsn, entry.size_bytes)
            if body is None:
                copies.expect_less(entry.size_bytes)
                evicted.append(entry)
                continue
            found[entry.lsn] = copies.copy(body)
            copied += entry.size_bytes
            if copied >= _TURN_BYTES:
                copied = 0
                await asyncio.sleep(0)  # the next ones may be evicted meanwhile: each is looked up when its turn comes
        for entry, batch in zip(evicted, await self._ring.batches(evicted), strict=True):
            found[entry.lsn] = (batch,)
        return found


class _Copies:
    """Bytes one behind the other, over as many slabs as they need."""

    def __init__(self, allocate: Callable[[int], memoryview], expected_bytes: int) -> None:
        self._allocate = allocate
        self._expected_bytes = expected_bytes
        self._room = memoryview(b"")

    def expect_less(self, size: int) -> None:
        """`size` bytes will not come after all."""
        self._expected_bytes -= size

    def copy(self, body: Body) -> Body:
        """The same bytes here; a batch may lie in several slabs."""
        pieces = []
        for segment in body:
            rest = segment
            while len(rest):
                if not len(self._room):
                    self._room = self._allocate(min(_SLAB_BYTES, self._expected_bytes))
                size = min(len(rest), len(self._room))
                target = self._room[:size]
                target[:] = rest[:size]
                pieces.append(target)
                self._room, rest = self._room[size:], rest[size:]
                self._expected_bytes -= size
        return tuple(pieces)


__all__ = ["Body", "UploadBodies"]
