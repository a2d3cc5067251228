"""The newest blocks of the WAL as they were written: the memory that the tail cache serves from."""

from array import array
from bisect import bisect_right
from typing import Final

from automq_broker.cache.tail_stream import TailStream
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn

BLOCK_BYTES: Final = 520
"""Counted per block beside its bytes: the view, the set of its streams, their places. Measured with tracemalloc."""

NOTHING_HELD: Final = 1 << 63
_HEAD_SLACK: Final = 512


class TailBlocks:
    """Blocks in LSN order, oldest first. `held_from` is the LSN of the oldest one."""

    def __init__(self, record_header_bytes: int, block_header_bytes: int) -> None:
        """How far a record's body lies behind its LSN, and behind the start of a block into which it goes on."""
        self._record_header_bytes = record_header_bytes
        self._block_header_bytes = block_header_bytes
        self._lsns = array("q")
        self._views: list[memoryview | None] = []
        self._streams: list[set[TailStream]] = []
        self._head = 0
        self.held_from: int = NOTHING_HELD
        self.cost_bytes = 0
        """Of all blocks: their bytes, and BLOCK_BYTES for each."""

    def __len__(self) -> int:
        return len(self._lsns) - self._head

    def push(self, lsn: Lsn, view: memoryview) -> None:
        """Take the next block."""
        if len(self):
            if lsn <= self._lsns[-1]:
                raise Bug(f"the block at LSN {lsn} follows the one at {self._lsns[-1]}")
        else:
            self.held_from = lsn
        self._lsns.append(lsn)
        self._views.append(view)
        self._streams.append(set())
        self.cost_bytes += len(view) + BLOCK_BYTES

    def note(self, lsn: int, stream: TailStream) -> None:
        """A batch of `stream` begins at `lsn`: when the block that holds it goes, `pop` names the stream."""
        if lsn >= self.held_from:
            at = -1 if lsn >= self._lsns[-1] else bisect_right(self._lsns, lsn, self._head) - 1
            self._streams[at].add(stream)

    def pop(self) -> set[TailStream]:
        """Let go of the oldest block; returns the streams that were noted in it."""
        head = self._head
        view, streams = self._views[head], self._streams[head]
        assert view is not None
        self.cost_bytes -= len(view) + BLOCK_BYTES
        self._views[head] = None
        self._streams[head] = set()
        self._head = head = head + 1
        self.held_from = self._lsns[head] if head < len(self._lsns) else NOTHING_HELD
        if head == len(self._lsns) or (head > _HEAD_SLACK and head * 2 > len(self._lsns)):
            del self._lsns[:head], self._views[:head], self._streams[:head]
            self._head = 0
        return streams

    def body(self, lsn: int, size: int) -> tuple[memoryview, ...] | None:
        """Views of the `size` bytes of the record at `lsn`, one per block; None if its block went."""
        if lsn < self.held_from:
            return None
        i = bisect_right(self._lsns, lsn, self._head) - 1
        start = lsn - self._lsns[i] + self._record_header_bytes
        pieces = []
        while True:
            view = self._views[i]
            assert view is not None
            piece = view[start : start + size]
            pieces.append(piece)
            size -= len(piece)
            if not size:
                return tuple(pieces)
            start = self._block_header_bytes
            i += 1


__all__ = ["BLOCK_BYTES", "TailBlocks"]
