"""One stream's batches in the tail: where each lies, in columns of machine integers.

COST: such a batch costs 40 bytes and no object that the garbage collector would have to visit. A million small batches
wait in a ring now and then; as objects they would take half a gigabyte, and each full collection a tenth of a second.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from automq_broker.kernel.ids import Offset, StreamId

ENTRY_BYTES: Final = 40
"""36 bytes in six columns; arrays grow in steps of 1/16, rounded up here."""

_HEAD_SLACK: Final = 512
"""The columns are moved together when more than this many of their leading places, and a quarter of all, are empty."""


class TailStream:
    """Batches [head:] of the columns; `end` is the next offset, below `committed_end` all is in the bucket."""

    __slots__ = (
        "base",
        "committed_end",
        "count",
        "delta",
        "end",
        "head",
        "lsn",
        "size",
        "stream_id",
        "timestamp",
        "uncommitted_bytes",
    )

    def __init__(self, stream_id: StreamId, base_offset: Offset) -> None:
        self.stream_id = stream_id
        self.base = array("q")
        self.delta = array("i")
        self.lsn = array("q")
        self.size = array("i")
        self.timestamp = array("q")
        self.count = array("i")
        self.head = 0
        self.end: int = base_offset
        self.committed_end: int = base_offset
        self.uncommitted_bytes = 0

    def __len__(self) -> int:
        return len(self.base) - self.head

    def position(self, offset: int) -> int:
        """The index of the batch that contains `offset`, or of the first one above it; len(base) if none."""
        base = self.base
        i = bisect_right(base, offset, self.head) - 1
        if i < self.head:
            return self.head
        return i if base[i] + self.delta[i] >= offset else i + 1

    def evicted(self, held_from: int) -> int:
        """The index of the first batch at or above this LSN: those before it have lost their bytes."""
        return bisect_left(self.lsn, held_from, self.head)

    def size_between(self, start: int, end: int) -> int:
        """Bytes of the batches with indexes start .. end-1."""
        return sum(self.size[start:end])

    def summaries(self, start: int) -> Iterator[tuple[int, int, int]]:
        """(first offset, last offset, max timestamp) from index `start` on."""
        for i in range(start, len(self.base)):
            base = self.base[i]
            yield base, base + self.delta[i], self.timestamp[i]

    def drop_to(self, index: int) -> int:
        """Forget the batches before `index`; returns how many these were."""
        dropped = index - self.head
        if dropped <= 0:
            return 0
        self.head = head = index
        if head == len(self.base) or (head > _HEAD_SLACK and head * 4 > len(self.base)):
            for column in (self.base, self.delta, self.lsn, self.size, self.timestamp, self.count):
                del column[:head]
            self.head = 0
        return dropped


__all__ = ["ENTRY_BYTES", "TailStream"]
