"""One block's payload as records: all of it checked, or the reason why the block does not count."""

from dataclasses import dataclass, replace
from typing import NamedTuple

from automq_broker.kernel.ids import Lsn
from automq_broker.wal.format import (
    BATCH_BYTES_MIN,
    BLOCK_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    BlockHeader,
    RecordHeader,
    RecordKind,
    batch_crc_is_valid,
    combined_crc,
    decode_record_header,
    is_zero,
    record_crc,
)


class RecoveredRecord(NamedTuple):
    """One record as the scan found it; `segments` are views of what was read, several if the record spans blocks."""

    lsn: Lsn
    end_lsn: Lsn
    header: RecordHeader
    segments: tuple[memoryview, ...]

    @property
    def first_bytes(self) -> memoryview:
        """The start of the body; of a Kafka batch always at least its 61-byte header."""
        return self.segments[0]


class _Start(NamedTuple):
    """Where a record starts in its block, and what its header says."""

    at: int
    crc: int
    record: RecordHeader
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """A record that goes on in the next block: `rest` bytes of its body are still to come."""

    header: BlockHeader
    block: memoryview
    start: _Start
    segments: tuple[memoryview, ...]
    rest: int

    @property
    def record(self) -> RecordHeader:
        """Whose record it is."""
        return self.start.record


class _Misfit(Exception):
    """Why a block does not count."""


def read_block(
    header: BlockHeader, block: memoryview, continued: Continuation | None
) -> tuple[list[RecoveredRecord], Continuation | None] | str:
    """The records that end in this block and the one that goes on behind it; a reason when any byte of it does not fit.

    `continued` is what the block before left open. The header itself was checked already.
    """
    try:
        if not is_zero(block[BLOCK_HEADER_BYTES + header.payload_bytes :]):
            return "padding that is not zero"
        records: list[RecoveredRecord] = []
        unfinished = None if continued is None else _go_on(header, block, continued, records)
        return records, _read_starts(header, block, records) or unfinished
    except _Misfit as misfit:
        return str(misfit)


def _read_starts(header: BlockHeader, block: memoryview, records: list[RecoveredRecord]) -> Continuation | None:
    """The records that start in this block; the last one may go on in the next."""
    unfinished = None
    crcs: list[int] = []
    at = BLOCK_HEADER_BYTES + header.first_record
    end = BLOCK_HEADER_BYTES + header.payload_bytes
    while at < end:
        start = _start_at(block, at, end)
        if start is None:
            raise _Misfit(f"no record at byte {at} of the block")
        crcs.append(start.crc)
        body = at + RECORD_HEADER_BYTES
        behind = body + start.length
        if behind <= end:
            segments = (block[body:behind],)
            if not _fits(header, block, start, segments):
                raise _Misfit(f"a record at byte {at} of the block that does not fit its CRC")
            records.append(RecoveredRecord(Lsn(header.lsn + at), Lsn(header.lsn + behind), start.record, segments))
        else:
            unfinished = _begin(header, block, start)
        at = behind
    if len(crcs) != header.records or combined_crc(crcs) != header.records_crc:
        raise _Misfit("other records than its header counted")
    return unfinished


def _start_at(block: memoryview, at: int, end: int) -> _Start | None:
    decoded = decode_record_header(block, at) if at + RECORD_HEADER_BYTES <= end else None
    return None if decoded is None else _Start(at, *decoded)


def _head_fits(header: BlockHeader, block: memoryview, start: _Start) -> bool:
    """Whether a Kafka batch's record header and first 21 bytes fit the record's CRC."""
    return record_crc(block, start.at, header.lsn + start.at, header.generation, None) == start.crc


def _fits(header: BlockHeader, block: memoryview, start: _Start, segments: tuple[memoryview, ...]) -> bool:
    if start.record.kind is RecordKind.BATCH:
        return start.length >= BATCH_BYTES_MIN and _head_fits(header, block, start) and batch_crc_is_valid(segments)
    return record_crc(block, start.at, header.lsn + start.at, header.generation, segments) == start.crc


def _begin(header: BlockHeader, block: memoryview, start: _Start) -> Continuation:
    """A record that goes on behind this block, which must be full, and hold the record's first bytes."""
    first = block[start.at + RECORD_HEADER_BYTES :]
    is_full = BLOCK_HEADER_BYTES + header.payload_bytes == len(block)
    if not is_full or len(first) < BATCH_BYTES_MIN:
        raise _Misfit(f"a record at byte {start.at} of the block that goes on in no other block")
    if start.record.kind is RecordKind.BATCH and not _head_fits(header, block, start):
        raise _Misfit(f"a record at byte {start.at} of the block that does not fit its CRC")
    return Continuation(header=header, block=block, start=start, segments=(first,), rest=start.length - len(first))


def _go_on(
    header: BlockHeader, block: memoryview, continued: Continuation, records: list[RecoveredRecord]
) -> Continuation | None:
    """Take this block's part of an earlier record, which joins `records` when it is whole."""
    end = BLOCK_HEADER_BYTES + header.first_record
    if header.first_record != min(continued.rest, len(block) - BLOCK_HEADER_BYTES):
        raise _Misfit("a block that does not go on with the record before it")
    segments = (*continued.segments, block[BLOCK_HEADER_BYTES:end])
    if continued.rest > header.first_record:
        return replace(continued, segments=segments, rest=continued.rest - header.first_record)
    start = continued.start
    lsn = Lsn(continued.header.lsn + start.at)
    if not _fits(continued.header, continued.block, start, segments):
        raise _Misfit(f"the end of a record (from LSN {lsn}) that does not fit its CRC")
    records.append(RecoveredRecord(lsn, Lsn(header.lsn + end), start.record, segments))
    return None


def readable_records(header: BlockHeader, block: memoryview) -> tuple[list[tuple[RecordHeader, bool]], bool]:
    """For a report on damage: (record, is it whole) for each that starts here, and whether these are all."""
    found: list[tuple[RecordHeader, bool]] = []
    at, end = BLOCK_HEADER_BYTES + header.first_record, BLOCK_HEADER_BYTES + header.payload_bytes
    while (start := _start_at(block, at, end)) is not None:
        body = at + RECORD_HEADER_BYTES
        at = body + start.length
        is_whole = at <= end and _fits(header, block, start, (block[body:at],))
        if not is_whole and not (start.record.kind is RecordKind.BATCH and _head_fits(header, block, start)):
            break
        found.append((start.record, is_whole))
    return found, len(found) == header.records


__all__ = ["Continuation", "RecoveredRecord", "read_block", "readable_records"]
