"""ListOffsets by time: which range, then which batch, then which record. Pure lookups over summaries.

A summary is (first offset, last offset, max timestamp) of a range, an object's index entry or a batch. Timestamps need
not rise with offsets, so the first candidate in offset order is the answer, never a binary search over time.
Source: Kafka's UnifiedLog.fetchOffsetByTimestamp, LogSegment.findOffsetByTimestamp, KIP-734.
"""

from collections.abc import Iterable
from typing import NamedTuple

from automq_broker.wire.records import Record

Summary = tuple[int, int, int]


class TimedOffset(NamedTuple):
    """A record's timestamp and offset, as ListOffsets answers them."""

    timestamp: int
    offset: int


def first_at_or_after(summaries: Iterable[Summary], timestamp: int, log_start: int = 0) -> Summary | None:
    """The first candidate, in offset order, that may hold a record at or after `timestamp` and `log_start`.

    A range that the log's start cuts may disappoint: its max timestamp can belong to a record below the start. Then
    the engine asks again for what follows. None: no record is that young, ListOffsets answers (-1, -1).
    """
    for summary in summaries:
        if summary[2] >= timestamp and summary[1] >= log_start:
            return summary
    return None


def largest_timestamp(summaries: Iterable[Summary], log_start: int = 0) -> Summary | None:
    """The candidate with the largest timestamp, the first of equals (ListOffsets -3); None for an empty log."""
    best: Summary | None = None
    for summary in summaries:
        if summary[1] >= log_start and summary[2] >= 0 and (best is None or summary[2] > best[2]):
            best = summary
    return best


def first_record_at_or_after(records: Iterable[Record], timestamp: int, log_start: int = 0) -> TimedOffset | None:
    """The first record of a decoded batch at or after `timestamp`, at or above `log_start`."""
    for record in records:
        if record.timestamp >= timestamp and record.offset >= log_start:
            return TimedOffset(record.timestamp, record.offset)
    return None


def record_with_timestamp(records: Iterable[Record], max_timestamp: int, log_start: int = 0) -> TimedOffset | None:
    """The first record of a decoded batch that carries the batch's max timestamp (ListOffsets -3).

    Where none does (a client lied in the header), the record with the largest timestamp.
    """
    best: TimedOffset | None = None
    for record in records:
        if record.offset < log_start:
            continue
        if record.timestamp == max_timestamp:
            return TimedOffset(record.timestamp, record.offset)
        if best is None or record.timestamp > best.timestamp:
            best = TimedOffset(record.timestamp, record.offset)
    return best


__all__ = [
    "Summary",
    "TimedOffset",
    "first_at_or_after",
    "first_record_at_or_after",
    "largest_timestamp",
    "record_with_timestamp",
]
