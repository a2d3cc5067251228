"""Which committed ranges a stream may forget, by age and by size.

Kafka's rules, with our ranges in the place of its segments: whole ranges only, oldest first, each partition by itself,
-1 switches a rule off. Retention proposes a new start offset; the metadata's commit applies it, and deletion follows
after the grace period. Source: UnifiedLog.deleteRetentionMsBreachedSegments, deleteRetentionSizeBreachedSegments.
"""

from collections.abc import Callable, Sequence

from automq_broker.kernel.ids import Offset
from automq_broker.lake.views import RangeView, StreamView

OFF = -1


def start_after_retention(
    stream: StreamView,
    *,
    retention_ms: int,
    retention_bytes: int,
    now_ms: int,
    created_ms: Callable[[RangeView], int],
    uncommitted_bytes: int = 0,
) -> Offset:
    """The offset at which the stream may start from now on; its present start when nothing is due.

    Never above the committed end. `created_ms` tells when a range was written; it dates ranges whose records carry no
    timestamp, as Kafka falls back on the file's. `uncommitted_bytes` count towards the size and are never cut.
    """
    ranges = stream.ranges
    expired = max(
        _expired_by_time(ranges, retention_ms, now_ms, created_ms),
        _expired_by_size(ranges, retention_bytes, uncommitted_bytes),
    )
    if expired == 0:
        return stream.start_offset
    return max(stream.start_offset, min(ranges[expired - 1].end, stream.committed_end))


def _expired_by_time(
    ranges: Sequence[RangeView], retention_ms: int, now_ms: int, created_ms: Callable[[RangeView], int]
) -> int:
    """How many ranges from the oldest on have their newest record past the limit; stops at the first that has not.

    A timestamp in the future keeps its range and all behind it, as in Kafka.
    """
    if retention_ms == OFF:
        return 0
    for place, piece in enumerate(ranges):
        newest_ms = piece.max_timestamp if piece.max_timestamp >= 0 else created_ms(piece)
        if now_ms - newest_ms <= retention_ms:
            return place
    return len(ranges)


def _expired_by_size(ranges: Sequence[RangeView], retention_bytes: int, uncommitted_bytes: int) -> int:
    """How many ranges from the oldest on can go while at least `retention_bytes` remain."""
    if retention_bytes == OFF:
        return 0
    excess = sum(piece.length for piece in ranges) + uncommitted_bytes - retention_bytes
    for place, piece in enumerate(ranges):
        if excess < piece.length:
            return place
        excess -= piece.length
    return len(ranges)


__all__ = ["OFF", "start_after_retention"]
