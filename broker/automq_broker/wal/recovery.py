"""The recovery scan: from the trim point along the chain of blocks to the last whole one, and what to make of the rest.

Sans-I/O: the generator yields what it wants to read and is sent the bytes. Records are handed out block by block as
views of those bytes. At the first block that does not fit, everything that can have been in flight is searched for a
proof that the break lies below what was durable: then it is damage, else a torn tail that nobody was told about.
"""

from array import array
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

from automq_broker.kernel.ids import Lsn, Offset, StreamId
from automq_broker.wal.blocks import Continuation, RecoveredRecord, read_block, readable_records
from automq_broker.wal.damage import DamagedRange, TornTail, WalDamaged
from automq_broker.wal.format import (
    BLOCK_ALIGNMENT,
    BLOCK_BYTES_MAX,
    FLAG_RESTART,
    BlockHeader,
    RecordHeader,
    decode_block_header,
)
from automq_broker.wal.ring import ReadAt, Ring
from automq_broker.wal.superblock import SUPERBLOCK_BYTES, SUPERBLOCK_POSITIONS, Superblock, newest_superblock

Deliver = Callable[[list[RecoveredRecord]], None]
"""Gets the records that end in one block, in LSN order."""

CHUNK_BYTES = 8 << 20
_EMPTY = memoryview(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """Everything up to `end_lsn` was read and handed out; `ring` is ready for a writer."""

    superblock: Superblock
    ring: Ring
    end_lsn: Lsn
    records: int
    torn: TornTail | None


class _Break(NamedTuple):
    """Why the walk ended; `is_ours` if the bytes there look like a block of this WAL that is not whole."""

    reason: str
    is_ours: bool


def read_superblocks() -> Generator[ReadAt, memoryview, Superblock | None]:
    """Reads both superblocks; returns the newest, None for a WAL never formatted. Raises Corrupt or Refused."""
    a = yield ReadAt(SUPERBLOCK_POSITIONS[0], SUPERBLOCK_BYTES)
    b = yield ReadAt(SUPERBLOCK_POSITIONS[1], SUPERBLOCK_BYTES)
    return newest_superblock(a, b)


def recover(
    superblock: Superblock, deliver: Deliver, *, chunk_bytes: int = CHUNK_BYTES
) -> Generator[ReadAt, memoryview, Recovered]:
    """Scan from the trim point; the device must have been synced before.

    `deliver` is called while the scan goes on, so what it got counts only once this returns. Memory: one chunk and the
    views that `deliver` keeps. Raises WalDamaged (a Corrupt) with the exact LSN and offsets.
    """
    return _Scan(superblock, deliver, max(chunk_bytes, 2 * BLOCK_BYTES_MAX)).run()


class _Scan:
    def __init__(self, superblock: Superblock, deliver: Deliver, chunk_bytes: int) -> None:
        self._superblock = superblock
        self._deliver = deliver
        self._chunk_bytes = chunk_bytes
        self._places = Ring(superblock, end_lsn=superblock.trim_lsn, chain=0)
        self._limit_lsn = superblock.trim_lsn + superblock.capacity_bytes
        self._chunk = _EMPTY
        self._chunk_lsn = 0
        self._lsn: int = superblock.trim_lsn
        self._chain: int | None = None
        self._epoch = 0
        self._open: Continuation | None = None
        self._starts = array("Q")
        self._records = 0
        self._ends: dict[StreamId, Offset] = {}

    def run(self) -> Generator[ReadAt, memoryview, Recovered]:
        broken = yield from self._walk()
        torn = None
        if not (self._superblock.is_clean and self._lsn == self._superblock.durable_lsn):
            torn = yield from self._judge(broken)
        end_lsn = Lsn(self._lsn)
        ring = Ring(self._superblock, end_lsn=end_lsn, chain=self._chain or 0, starts=self._starts)
        return Recovered(superblock=self._superblock, ring=ring, end_lsn=end_lsn, records=self._records, torn=torn)

    def _walk(self) -> Generator[ReadAt, memoryview, _Break]:
        """Along the chain to the first block that does not fit."""
        while self._lsn < self._limit_lsn:
            header = decode_block_header((yield from self._bytes(self._lsn, BLOCK_ALIGNMENT)))
            broken = self._check_header(header)
            if broken is not None or header is None:
                return broken or _Break("no block", False)
            block = yield from self._bytes(self._lsn, header.size_bytes)
            is_restart = bool(header.flags & FLAG_RESTART)
            outcome = read_block(header, block, None if is_restart else self._open)
            if isinstance(outcome, str):
                return _Break(outcome, True)
            self._accept(header, *outcome)
        return _Break("the ring is full", False)

    def _accept(self, header: BlockHeader, records: list[RecoveredRecord], unfinished: Continuation | None) -> None:
        self._open = unfinished
        self._starts.append(self._lsn)
        self._lsn += header.size_bytes
        self._chain = header.crc
        self._epoch = header.epoch
        self._records += len(records)
        ends = self._ends
        for record in records:
            about = record.header
            ends[about.stream_id] = Offset(about.base_offset + about.count)
        if records:
            self._deliver(records)

    def _check_header(self, header: BlockHeader | None) -> _Break | None:
        """Whether this header is the next one of the chain."""
        if header is None:
            return _Break("no block header with a valid CRC", False)
        if not self._is_ours(header, self._lsn):
            return _Break("a block of an earlier lap or another generation", False)
        if header.size_bytes > min(self._limit_lsn - self._lsn, self._places.bytes_to_end(self._lsn)):
            return _Break("a block that reaches over the end of the ring", True)
        truncated_below = self._superblock.append_epoch if self._lsn >= self._superblock.append_lsn else 0
        if header.epoch < max(self._epoch, truncated_below):
            return _Break(f"a block of epoch {header.epoch} that an earlier recovery truncated", False)
        if self._chain is not None and header.previous_crc != self._chain:
            return _Break("a block that does not follow the one before it", True)
        return None

    def _is_ours(self, header: BlockHeader, lsn: int) -> bool:
        return (
            header.generation == self._superblock.generation
            and header.lsn == lsn
            and header.epoch <= self._superblock.wal_epoch
        )

    def _judge(self, broken: _Break) -> Generator[ReadAt, memoryview, TornTail | None]:
        """Torn tail or damage? One later block, or the superblock, that knew more to be durable proves damage."""
        later = yield from self._headers_behind(self._lsn)
        proven = max([self._superblock.durable_lsn, *(header.durable_upto for header in later)])
        if proven > self._lsn:
            yield from self._report(broken, later, proven)
        epoch = max(self._epoch, self._superblock.append_epoch)
        newer = sum(header.epoch >= epoch for header in later)  # older ones were truncated by an earlier recovery
        if not broken.is_ours and not newer:
            return None
        return TornTail(lsn=Lsn(self._lsn), reason=broken.reason, later_blocks=newer)

    def _headers_behind(self, lsn: int) -> Generator[ReadAt, memoryview, list[BlockHeader]]:
        """Whole headers of this WAL behind a break, as far as anything can have been in flight."""
        found = []
        end = min(lsn + self._superblock.window_bytes + BLOCK_ALIGNMENT, self._limit_lsn)
        at = lsn + BLOCK_ALIGNMENT
        while at < end:
            header = decode_block_header((yield from self._bytes(at, BLOCK_ALIGNMENT)))
            if header is not None and self._is_ours(header, at):
                found.append(header)
            at += BLOCK_ALIGNMENT
        return found

    def _report(self, broken: _Break, later: list[BlockHeader], proven: Lsn) -> Generator[ReadAt, memoryview, None]:
        """Raise WalDamaged, with the offsets that are missing between what lies before and behind the break."""
        lsn = self._lsn
        end = later[0].lsn if later else proven
        exact = yield from self._damaged_records(lsn)
        ranges = exact if exact is not None else (yield from self._gaps_behind(end))
        raise WalDamaged(
            lsn=Lsn(lsn),
            end_lsn=Lsn(end),
            position=self._places.position(lsn),
            proven_lsn=proven,
            reason=broken.reason,
            ranges=ranges,
        )

    def _damaged_records(self, lsn: int) -> Generator[ReadAt, memoryview, list[DamagedRange] | None]:
        """The exact offsets lost in the broken block, if its header and those of its records can still be trusted."""
        header = decode_block_header((yield from self._bytes(lsn, BLOCK_ALIGNMENT)))
        if header is None or self._check_header(header) is not None:
            return None
        records, is_all = readable_records(header, (yield from self._bytes(lsn, header.size_bytes)))
        if not is_all:
            return None
        lost = [record for record, is_whole in records if not is_whole]
        if self._open is not None:
            lost.insert(0, self._open.record)
        return [_range_of(record) for record in lost]

    def _gaps_behind(self, lsn: int) -> Generator[ReadAt, memoryview, list[DamagedRange]]:
        """The offsets missing between the last record of a stream before the break and its next one behind it."""
        gaps: list[DamagedRange] = []
        if self._open is not None:
            gaps.append(_range_of(self._open.record))
            self._ends[self._open.record.stream_id] = gaps[0].end_offset
        while lsn < self._limit_lsn:
            header = decode_block_header((yield from self._bytes(lsn, BLOCK_ALIGNMENT)))
            if header is None or not self._is_ours(header, lsn):
                if lsn >= self._superblock.durable_lsn:
                    break
                lsn += BLOCK_ALIGNMENT
                continue
            records, _ = readable_records(header, (yield from self._bytes(lsn, header.size_bytes)))
            for record, _ in records:
                self._note_gap(gaps, record)
            lsn += header.size_bytes
        return gaps

    def _note_gap(self, gaps: list[DamagedRange], record: RecordHeader) -> None:
        end = self._ends.get(record.stream_id)
        if end is None or end < record.base_offset:
            gaps.append(DamagedRange(stream_id=record.stream_id, start_offset=end, end_offset=record.base_offset))
        self._ends[record.stream_id] = Offset(record.base_offset + record.count)

    def _bytes(self, lsn: int, length: int) -> Generator[ReadAt, memoryview, memoryview]:
        """The bytes [lsn, lsn + length) of the ring; reads a whole chunk when they are not at hand."""
        at = lsn - self._chunk_lsn
        if at < 0 or at + length > len(self._chunk):
            wanted = max(length, min(self._chunk_bytes, self._places.bytes_to_end(lsn), self._limit_lsn - lsn))
            self._chunk = _EMPTY
            self._chunk = yield ReadAt(self._places.position(lsn), wanted)
            self._chunk_lsn, at = lsn, 0
        return self._chunk[at : at + length]


def _range_of(record: RecordHeader) -> DamagedRange:
    return DamagedRange(
        stream_id=record.stream_id,
        start_offset=record.base_offset,
        end_offset=Offset(record.base_offset + record.count),
    )


__all__ = ["CHUNK_BYTES", "Deliver", "Recovered", "RecoveredRecord", "read_superblocks", "recover"]
