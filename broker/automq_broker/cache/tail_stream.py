"""One stream's part of the tail cache: cold batches first, then hot ones, contiguous in offsets."""

from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from automq_broker.cache.entry import Entry
from automq_broker.cache.tail_index import ColdEntries
from automq_broker.kernel.ids import Lsn, Offset, StreamId

HEAD_SLACK: Final = 512
"""A stream's list is moved together when this many of its leading places, and half of them, are empty."""

_base_offset = attrgetter("base_offset")
_NOTHING: Final = Entry(Offset(-1), Offset(-1), Lsn(-1), 0, -1, 0, None)
"""Stands in the emptied places of a list, so that no view is held by them."""


class TailStream:
    """`cold` batches, then hot[head:]; `end` is the next offset, below `committed_end` all is in the bucket."""

    __slots__ = ("cold", "committed_end", "end", "head", "hot", "stale", "stream_id", "uncommitted_bytes")

    def __init__(self, stream_id: StreamId, base_offset: Offset) -> None:
        self.stream_id = stream_id
        self.cold: ColdEntries | None = None
        self.hot: list[Entry] = []
        self.head = 0
        self.end: int = base_offset
        self.committed_end: int = base_offset
        self.uncommitted_bytes = 0
        self.stale = 0
        """Tokens in the eviction order whose batches were dropped; they are older than those of the batches left."""

    def start(self) -> int:
        """The first offset held; the stream must not be empty."""
        if self.cold:
            return self.cold.base[0]
        return self.hot[self.head].base_offset

    def position(self, offset: int) -> int:
        """The index in `hot` of the entry that contains `offset`, or of the first one above it."""
        hot = self.hot
        if hot and offset >= hot[-1].base_offset:
            return len(hot) - 1 if offset <= hot[-1].last_offset else len(hot)
        return max(self.head, bisect_right(hot, offset, self.head, key=_base_offset) - 1)

    def is_empty(self) -> bool:
        """Nothing is held."""
        return not self.cold and self.head == len(self.hot)

    def entries_from(self, offset: int) -> Iterator[Entry]:
        """The entries that end at or above `offset`, in order."""
        cold = self.cold
        if cold:
            for i in range(cold.position(offset), len(cold)):
                yield cold.entry(i)
        hot = self.hot
        for i in range(self.position(offset), len(hot)):
            yield hot[i]

    def take_hot(self) -> Entry:
        """Remove the first hot entry; the list is moved together once many of its leading places are empty."""
        entry = self.hot[self.head]
        self.hot[self.head] = _NOTHING
        self.head += 1
        if self.head > HEAD_SLACK and self.head * 2 > len(self.hot):
            del self.hot[: self.head]
            self.head = 0
        return entry


__all__ = ["TailStream"]
