"""What a recovery says about damage: which LSNs, and which offsets of which streams cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass

from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import Lsn, Offset, StreamId


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedRange:
    """Offsets [start, end) of one stream that were acknowledged and cannot be read."""

    stream_id: StreamId
    start_offset: Offset | None
    """None: the damage begins somewhere before `end_offset`; the records before it are already trimmed."""
    end_offset: Offset

    def __str__(self) -> str:
        start = "?" if self.start_offset is None else str(self.start_offset)
        return f"stream {self.stream_id} offsets [{start}, {self.end_offset})"


class WalDamaged(Corrupt):
    """Acknowledged bytes of the WAL are broken: [lsn, end_lsn) cannot be read although a later block proves it durable.

    `ranges` is empty when the records that lay there left no trace in what can still be read.
    """

    def __init__(
        self, *, lsn: Lsn, end_lsn: Lsn, position: int, proven_lsn: Lsn, reason: str, ranges: Sequence[DamagedRange]
    ) -> None:
        what = "; ".join(map(str, ranges)) or "no later record tells which streams"
        super().__init__(
            f"the WAL is damaged at LSN [{lsn}, {end_lsn}) (device position {position}): {reason}; "
            f"it was durable up to LSN {proven_lsn}; not readable: {what}"
        )
        self.lsn = lsn
        self.end_lsn = end_lsn
        self.position = position
        self.proven_lsn = proven_lsn
        self.reason = reason
        self.ranges = tuple(ranges)


@dataclass(frozen=True, slots=True, kw_only=True)
class TornTail:
    """Unacknowledged bytes behind the last whole block, left by a crash; they are truncated."""

    lsn: Lsn
    reason: str
    later_blocks: int
    """Whole blocks behind the break, never acknowledged because writes are acknowledged in order."""


__all__ = ["DamagedRange", "TornTail", "WalDamaged"]
