"""Where batches lie in the WAL whose bytes were evicted but which are not in the bucket yet.

Kept in columns of machine integers: such a batch costs 36 bytes instead of several hundred, which matters when a
ring full of small batches waits for its upload (1.5 million batches of 170 bytes are 54 MB here).
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from automq_broker.cache.entry import Entry
from automq_broker.kernel.ids import Lsn, Offset

COLD_ENTRY_BYTES = 40
"""36 bytes in six columns; arrays grow in steps of 1/16, rounded up here."""


class ColdEntries:
    """Batches of one stream without their bytes, in offset order: append at the end, drop from the front."""

    __slots__ = ("base", "count", "delta", "lsn", "size", "timestamp")

    def __init__(self) -> None:
        self.base = array("q")
        self.delta = array("i")
        self.lsn = array("q")
        self.size = array("i")
        self.timestamp = array("q")
        self.count = array("i")

    def __len__(self) -> int:
        return len(self.base)

    def append(self, entry: Entry) -> None:
        """Note where the entry lies; its segments are not kept."""
        self.base.append(entry.base_offset)
        self.delta.append(entry.last_offset - entry.base_offset)
        self.lsn.append(entry.lsn)
        self.size.append(entry.size_bytes)
        self.timestamp.append(entry.max_timestamp)
        self.count.append(entry.records_count)

    def entry(self, i: int) -> Entry:
        """The i-th entry, without segments."""
        base = self.base[i]
        return Entry(
            Offset(base),
            Offset(base + self.delta[i]),
            Lsn(self.lsn[i]),
            self.size[i],
            self.timestamp[i],
            self.count[i],
            None,
        )

    def position(self, offset: int) -> int:
        """The index of the first entry that ends at or above `offset`, entries being contiguous; len() if none."""
        i = bisect_right(self.base, offset) - 1
        if i < 0:
            return 0
        return i if self.base[i] + self.delta[i] >= offset else i + 1

    def size_between(self, start: int, end: int) -> int:
        """Bytes of the batches with indexes start .. end-1."""
        return sum(self.size[start:end])

    def summaries(self, start: int) -> Iterator[tuple[int, int, int]]:
        """(first offset, last offset, max timestamp) from index `start` on."""
        for i in range(start, len(self.base)):
            base = self.base[i]
            yield base, base + self.delta[i], self.timestamp[i]

    def drop_front(self, count: int) -> None:
        """Forget the first `count` entries."""
        for column in (self.base, self.delta, self.lsn, self.size, self.timestamp, self.count):
            del column[:count]


__all__ = ["ColdEntries"]
