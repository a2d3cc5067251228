"""One record out of raw ring bytes: header, CRCs, and the pieces of a body that goes on in later blocks."""

from collections.abc import Iterable

from automq_broker.wal.format import (
    BLOCK_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    RecordHeader,
    RecordKind,
    batch_crc_is_valid,
    decode_record_header,
    record_crc,
)


def extract_record(
    data: memoryview, at: int, block_starts: Iterable[int], lsn: int, generation: int
) -> tuple[RecordHeader, memoryview] | None:
    """The record whose header lies at `at` in `data`; `block_starts` are the block headers behind it that it may cross.

    None when a CRC does not fit or the bytes end before it.
    """
    if at + RECORD_HEADER_BYTES > len(data):
        return None
    decoded = decode_record_header(data, at)
    if decoded is None:
        return None
    crc, header, length = decoded
    pieces = []
    at_body, rest = at + RECORD_HEADER_BYTES, length
    for start in block_starts:
        if start < at_body or start - at_body >= rest:
            break
        pieces.append(data[at_body:start])
        rest -= start - at_body
        at_body = start + BLOCK_HEADER_BYTES
    pieces.append(data[at_body : at_body + rest])
    if len(pieces[-1]) != rest:
        return None
    whole_body = None if header.kind is RecordKind.BATCH else pieces
    if record_crc(data, at, lsn, generation, whole_body) != crc:
        return None
    if header.kind is RecordKind.BATCH and not batch_crc_is_valid(pieces):
        return None
    return header, pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))


__all__ = ["extract_record"]
