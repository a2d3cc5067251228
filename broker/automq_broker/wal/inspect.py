"""What `automq wal inspect` shows, as plain values: both superblocks, what the ring holds, and whether it is whole."""

from collections.abc import Generator
from dataclasses import dataclass

from automq_broker.kernel.errors import Refused
from automq_broker.kernel.ids import Lsn, Offset, StreamEpoch, StreamId
from automq_broker.wal.blocks import RecoveredRecord
from automq_broker.wal.damage import TornTail, WalDamaged
from automq_broker.wal.format import RecordKind
from automq_broker.wal.recovery import Deliver, recover
from automq_broker.wal.ring import ReadAt
from automq_broker.wal.superblock import (
    SUPERBLOCK_BYTES,
    SUPERBLOCK_POSITIONS,
    Superblock,
    decode_superblock,
    newest_superblock,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTail:
    """What the ring holds of one stream; `gaps` counts places where offsets do not follow each other."""

    stream_id: StreamId
    first_offset: Offset
    end_offset: Offset
    stream_epoch: StreamEpoch
    records: int
    size_bytes: int
    first_lsn: Lsn
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WalReport:
    """A WAL as it lies on the device. `newest` is the superblock that a start would use.

    With `damage` set the streams are what lies before it, and `end_lsn` is where it begins.
    """

    copies: tuple[Superblock | None, Superblock | None]
    newest: Superblock
    end_lsn: Lsn
    blocks: int | None
    """Unknown when the ring is damaged."""
    records: int
    raw_records: int
    streams: tuple[StreamTail, ...]
    torn: TornTail | None
    damage: WalDamaged | None

    @property
    def used_bytes(self) -> int:
        """Bytes between the trim point and the end of what could be read."""
        return self.end_lsn - self.newest.trim_lsn


def inspect(see: Deliver | None = None) -> Generator[ReadAt, memoryview, WalReport]:
    """Reads like a recovery and writes nothing; `see` gets every record as it is found.

    Beside a running writer the ring moves while it is read: what looks like damage is damage only if a second
    inspection meets it at the same LSN. Raises Refused for a device never formatted, or of a newer format.
    """
    pages = []
    for position in SUPERBLOCK_POSITIONS:
        pages.append((yield ReadAt(position, SUPERBLOCK_BYTES)))
    newest = newest_superblock(pages[0], pages[1])
    if newest is None:
        raise Refused("this WAL was never formatted")
    found = _Tally(see)
    torn, damage, blocks = None, None, None
    try:
        recovered = yield from recover(newest, found.add)
        end_lsn, torn, blocks = recovered.end_lsn, recovered.torn, recovered.ring.blocks
    except WalDamaged as error:
        end_lsn, damage = error.lsn, error
    return WalReport(
        copies=(decode_superblock(pages[0]), decode_superblock(pages[1])),
        newest=newest,
        end_lsn=end_lsn,
        blocks=blocks,
        records=found.records,
        raw_records=found.raw_records,
        streams=tuple(found.streams[stream_id].frozen() for stream_id in sorted(found.streams)),
        torn=torn,
        damage=damage,
    )


class _Growing:
    """A StreamTail that still grows."""

    __slots__ = ("end_offset", "first", "gaps", "records", "size_bytes", "stream_epoch")

    def __init__(self, first: RecoveredRecord) -> None:
        self.first = first
        self.end_offset = first.header.base_offset
        self.stream_epoch = first.header.stream_epoch
        self.records = self.size_bytes = self.gaps = 0

    def add(self, record: RecoveredRecord) -> None:
        about = record.header
        self.gaps += about.base_offset != self.end_offset
        self.end_offset = Offset(about.base_offset + about.count)
        self.stream_epoch = about.stream_epoch
        self.records += 1
        self.size_bytes += sum(map(len, record.segments))

    def frozen(self) -> StreamTail:
        about = self.first.header
        return StreamTail(
            stream_id=about.stream_id,
            first_offset=about.base_offset,
            end_offset=self.end_offset,
            stream_epoch=self.stream_epoch,
            records=self.records,
            size_bytes=self.size_bytes,
            first_lsn=self.first.lsn,
            gaps=self.gaps,
        )


class _Tally:
    """Counts what a scan hands out."""

    def __init__(self, see: Deliver | None) -> None:
        self._see = see
        self.records = 0
        self.raw_records = 0
        self.streams: dict[StreamId, _Growing] = {}

    def add(self, records: list[RecoveredRecord]) -> None:
        if self._see is not None:
            self._see(records)
        for record in records:
            self.records += 1
            if record.header.kind is not RecordKind.BATCH:
                self.raw_records += 1
                continue
            stream = self.streams.get(record.header.stream_id)
            if stream is None:
                stream = self.streams[record.header.stream_id] = _Growing(record)
            stream.add(record)


__all__ = ["StreamTail", "WalReport", "inspect"]
