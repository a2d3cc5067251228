"""Which bulk holds which part of the ring: what an LSN is read from, and which bulks nobody needs any more."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from automq_broker.kernel.ids import BrokerEpoch, Lsn
from automq_broker.wal.bulks import Bulk, Log


class Piece(NamedTuple):
    """`length` bytes that lie in a bulk behind `skip` bytes of its blocks; nowhere if there is no bulk."""

    bulk: Bulk | None
    skip: int
    length: int


class BulkIndex:
    """The bulks of all logs that still count, in the order of the ring."""

    def __init__(self) -> None:
        self._bulks: list[tuple[int, int, Bulk]] = []
        """(LSN, end of what counts of it, bulk), ascending and disjoint."""

    def __len__(self) -> int:
        return len(self._bulks)

    def __iter__(self) -> Iterator[Bulk]:
        return (bulk for _, _, bulk in self._bulks)

    def add(self, bulk: Bulk) -> None:
        """One more at the end. What earlier bulks hold from its LSN on was truncated by a recovery."""
        while self._bulks and self._bulks[-1][0] >= bulk.lsn:
            self._bulks.pop()
        if self._bulks and self._bulks[-1][1] > bulk.lsn:
            start, _, before = self._bulks.pop()
            self._bulks.append((start, bulk.lsn, before))
        self._bulks.append((bulk.lsn, bulk.end_lsn, bulk))

    def trim(self, lsn: Lsn | None) -> list[Bulk]:
        """Forget the bulks that lie whole below `lsn` (None: all of them), and return them."""
        count = len(self._bulks) if lsn is None else bisect_right(self._bulks, int(lsn), key=lambda each: each[1])
        dropped = [bulk for _, _, bulk in self._bulks[:count]]
        del self._bulks[:count]
        return dropped

    def logs(
        self, trim_lsn: Lsn | None, *, epoch: BrokerEpoch, next_number: int, unended: Iterable[Log]
    ) -> tuple[Log, ...]:
        """What a claim by `epoch` names once everything below `trim_lsn` (None: everything) is let go.

        Logs that are not ended stay as they were named. The owner's own, empty, begins at `next_number`.
        """
        first = {log.epoch: log.first for log in unended}
        for _, end, bulk in self._bulks:
            if trim_lsn is not None and end > trim_lsn:
                first.setdefault(bulk.epoch, bulk.number)
        first.setdefault(epoch, next_number)
        return tuple(Log(epoch=each, first=first[each]) for each in sorted(first))

    def pieces(self, lsn: int, length: int) -> list[Piece]:
        """From where to read [lsn, lsn + length), in order and without gaps."""
        found: list[Piece] = []
        at, end = lsn, lsn + length
        index = max(0, bisect_right(self._bulks, at, key=lambda each: each[0]) - 1)
        while at < end and index < len(self._bulks):
            start, behind, bulk = self._bulks[index]
            index += 1
            if behind <= at:
                continue
            if start > at:
                found.append(Piece(None, 0, min(start, end) - at))
                at = min(start, end)
            if at < end:
                size = min(behind, end) - at
                found.append(Piece(bulk, at - start, size))
                at += size
        if at < end:
            found.append(Piece(None, 0, end - at))
        return found


__all__ = ["BulkIndex", "Piece"]
