"""One durable batch as the tail cache knows it."""

from dataclasses import dataclass

from automq_broker.kernel.ids import Lsn, Offset


@dataclass(slots=True)
class Entry:
    """A batch: its offsets, its place in the WAL, and views of its bytes there, or None once those were evicted.

    Treat it as frozen: an entry that was handed out never changes, eviction replaces it. COST: it is not declared
    frozen because one is made per batch, and a frozen dataclass takes three times as long to make.
    """

    base_offset: Offset
    last_offset: Offset
    lsn: Lsn
    size_bytes: int
    max_timestamp: int
    records_count: int
    segments: tuple[memoryview, ...] | None


__all__ = ["Entry"]
