"""The bytes of the write-ahead log: where things lie, block headers, record headers, and what each CRC covers.

    0          superblock A (4 KiB)                  1 MiB     the ring: blocks of 4 KiB .. 1 MiB, each one write
    512 KiB    superblock B (4 KiB)

A block is a 64-byte header, its payload, and zeros up to the next 4 KiB. A payload is records back to back; a record
may go on in the next block, and then fills its block to the last byte.

Every byte is covered once, without a second pass over the data: a Kafka batch brings a CRC32C of its own for everything
from byte 21 on (checked when it was received), the record's CRC covers the record header and the first 21 bytes of the
batch (base offset, epoch, magic, that CRC), the block header's `records_crc` covers the CRCs of the records that start
in it, and the header's own CRC covers the header and is what the next block chains to. Records of another kind are
covered whole by the record's CRC. Record CRCs are seeded with LSN and generation, so none of an earlier lap ever fits.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from crc32c import crc32c

from automq_broker.kernel.ids import BrokerEpoch, Lsn, Offset, StreamEpoch, StreamId

Bytes = bytes | bytearray | memoryview

BLOCK_ALIGNMENT = 4096
BLOCK_BYTES_MAX = 1 << 20
BLOCK_HEADER_BYTES = 64
RECORD_HEADER_BYTES = 48
RING_POSITION = 1 << 20
"""Where the ring begins on the device; what lies before belongs to the superblocks."""

WINDOW_BYTES = 16 << 20
"""Default bound of what may be written and not yet known durable; recovery scans exactly this far past a break."""

BATCH_CRC_AT = 17
BATCH_CRC_FROM = 21
BATCH_BYTES_MIN = 61
"""Kafka's record batch v2: where its CRC32C lies, from where it covers, and the length of an empty batch."""

FLAG_RESTART = 1
"""First block after a recovery: a record that was cut short by the truncation is given up, not missing."""

_BLOCK_MAGIC = 0x4B424C57  # "WLBK"
_BLOCK = struct.Struct("<II QqQQ IIIIII")
_BLOCK_CRC = struct.Struct("<I")
_RECORD = struct.Struct("<IB3x qqqq iI")
_ZEROS = bytes(BLOCK_ALIGNMENT)
assert _BLOCK.size == BLOCK_HEADER_BYTES
assert _RECORD.size == RECORD_HEADER_BYTES


class RecordKind(IntEnum):
    """What a record's body is, which decides what its CRC has to cover."""

    BATCH = 1
    """One Kafka record batch v2 whose own CRC32C was checked."""
    RAW = 2
    """Any bytes."""


_KINDS = {int(kind): kind for kind in RecordKind}


class RecordHeader(NamedTuple):
    """Says whose batch this is; it covers the offsets [base_offset, base_offset + count).

    COST: a named tuple, since one is made per batch on the produce path; a frozen dataclass takes three times as long.
    """

    kind: RecordKind
    stream_id: StreamId
    stream_epoch: StreamEpoch
    broker_epoch: BrokerEpoch
    base_offset: Offset
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody needs here


class BlockHeader(NamedTuple):
    """One block as its header tells it; `crc` is the header's own, which the next block repeats in `previous_crc`."""

    crc: int
    generation: int
    epoch: int
    lsn: Lsn
    durable_upto: Lsn
    payload_bytes: int
    first_record: int
    """Payload bytes that belong to a record which began in an earlier block."""
    records: int
    """Records that begin in this block."""
    records_crc: int
    previous_crc: int
    flags: int

    @property
    def size_bytes(self) -> int:
        """Bytes that the block takes in the ring, header and padding included."""
        return aligned(BLOCK_HEADER_BYTES + self.payload_bytes)


def aligned(size: int) -> int:
    """`size` rounded up to whole 4 KiB units."""
    return (size + BLOCK_ALIGNMENT - 1) & -BLOCK_ALIGNMENT


def encode_block_header(target: memoryview, header: BlockHeader) -> int:
    """Write the header into the first 64 bytes of `target` and return its CRC (`header.crc` is ignored)."""
    _BLOCK.pack_into(target, 0, _BLOCK_MAGIC, 0, *header[1:])
    crc = crc32c(target[8:BLOCK_HEADER_BYTES])
    _BLOCK_CRC.pack_into(target, 4, crc)
    return crc


def decode_block_header(data: Bytes, at: int = 0) -> BlockHeader | None:
    """The header at `at`, or None if there is none: wrong magic, wrong CRC, lengths that no writer makes."""
    magic, crc, *fields = _BLOCK.unpack_from(data, at)
    if magic != _BLOCK_MAGIC or crc32c(memoryview(data)[at + 8 : at + BLOCK_HEADER_BYTES]) != crc:
        return None
    header = BlockHeader(crc, *fields)
    if (
        header.size_bytes > BLOCK_BYTES_MAX
        or header.first_record > header.payload_bytes
        or header.lsn % BLOCK_ALIGNMENT
    ):
        return None
    return header


def encode_record_header(target: memoryview, at: int, record: RecordHeader, length: int) -> None:
    """Write a record's header with an empty CRC; `seal_record` fills it in when the batch is final."""
    _RECORD.pack_into(target, at, 0, *record, length)


def decode_record_header(data: Bytes, at: int) -> tuple[int, RecordHeader, int] | None:
    """(CRC, header, body length) of the record at `at`; None for a kind that does not exist."""
    crc, kind, stream_id, stream_epoch, broker_epoch, base_offset, count, length = _RECORD.unpack_from(data, at)
    known = _KINDS.get(kind)
    if known is None:
        return None
    return crc, RecordHeader(known, stream_id, stream_epoch, broker_epoch, base_offset, count), length


def record_crc(data: Bytes, at: int, lsn: int, generation: int, whole_body: Sequence[Bytes] | None) -> int:
    """The CRC of the record whose header lies at `at`: with `whole_body` over all of it, else as for a Kafka batch.

    The first 21 bytes of a batch must follow its header in `data`.
    """
    seed = (lsn // BLOCK_ALIGNMENT ^ generation) & 0xFFFFFFFF
    view = memoryview(data)
    if whole_body is None:
        return crc32c(view[at + 4 : at + RECORD_HEADER_BYTES + BATCH_CRC_FROM], seed)
    crc = crc32c(view[at + 4 : at + RECORD_HEADER_BYTES], seed)
    for part in whole_body:
        crc = crc32c(part, crc)
    return crc


def seal_record(target: memoryview, at: int, lsn: int, generation: int, whole_body: Sequence[Bytes] | None) -> int:
    """Fill in the record's CRC and return it."""
    crc = record_crc(target, at, lsn, generation, whole_body)
    _BLOCK_CRC.pack_into(target, at, crc)
    return crc


def batch_crc_is_valid(segments: Sequence[Bytes]) -> bool:
    """Whether a Kafka batch, in one or more pieces of which the first has at least 21 bytes, fits its own CRC32C."""
    first = memoryview(segments[0])
    crc = crc32c(first[BATCH_CRC_FROM:])
    for part in segments[1:]:
        crc = crc32c(part, crc)
    return crc == int.from_bytes(first[BATCH_CRC_AT:BATCH_CRC_FROM], "big")


def combined_crc(crcs: Sequence[int]) -> int:
    """The `records_crc` of a block: CRC32C over the record CRCs in order, four little-endian bytes each."""
    return crc32c(struct.pack(f"<{len(crcs)}I", *crcs))


def is_zero(data: memoryview) -> bool:
    """Whether up to 4 KiB are all zeros."""
    return data == _ZEROS[: len(data)]


__all__ = [
    "BATCH_BYTES_MIN",
    "BATCH_CRC_FROM",
    "BLOCK_ALIGNMENT",
    "BLOCK_BYTES_MAX",
    "BLOCK_HEADER_BYTES",
    "FLAG_RESTART",
    "RECORD_HEADER_BYTES",
    "RING_POSITION",
    "WINDOW_BYTES",
    "BlockHeader",
    "Bytes",
    "RecordHeader",
    "RecordKind",
    "aligned",
    "batch_crc_is_valid",
    "combined_crc",
    "decode_block_header",
    "decode_record_header",
    "encode_block_header",
    "encode_record_header",
    "is_zero",
    "record_crc",
    "seal_record",
]
