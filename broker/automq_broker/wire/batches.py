"""The header of a record batch (format v2): 61 bytes that say all a broker needs without looking at a record.

Base offset and leader epoch lie outside the checksum, so that a broker stamps them without touching the rest.
Source: DefaultRecordBatch (Kafka), "Record Batch" in the protocol guide.
"""

from collections.abc import Iterator
from struct import Struct
from struct import error as struct_error
from typing import NamedTuple

from crc32c import crc32c

from automq_broker.wire.primitives import Buffer, WireError

BATCH_HEADER_BYTES = 61
LOG_OVERHEAD_BYTES = 12
"""Base offset and length field: what `batch_length` does not count."""

MAGIC = 2
_MAGIC_AT, _CRC_AT, _CHECKED_FROM, _MAX_TIMESTAMP_AT, _LEADER_EPOCH_AT = 16, 17, 21, 35, 12

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
"""Bits of a batch's attributes. Bit 6 (delete horizon) is set by compaction only."""

_INT32_MAX = 0x7FFFFFFF

HEADER = Struct(">qiibIhiqqqhii")
_INT64 = Struct(">q")
_INT32 = Struct(">i")
_UINT32 = Struct(">I")
_INT16 = Struct(">h")


class BatchHeader(NamedTuple):
    """The header's fields in their order on the wire; `crc` covers everything from `attributes` to the batch's end."""

    base_offset: int
    batch_length: int
    partition_leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    records_count: int

    @property
    def last_offset(self) -> int:
        """Offset of the batch's last record (inclusive)."""
        return self.base_offset + self.last_offset_delta

    @property
    def size_bytes(self) -> int:
        """The whole batch, this header included."""
        return LOG_OVERHEAD_BYTES + self.batch_length

    @property
    def compression(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5 to 7 mean nothing."""
        return self.attributes & COMPRESSION_MASK

    @property
    def is_log_append_time(self) -> bool:
        """The records' timestamps are `max_timestamp`, set by a broker."""
        return bool(self.attributes & LOG_APPEND_TIME)

    @property
    def is_transactional(self) -> bool:
        """The batch belongs to a transaction."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """The batch holds a transaction marker, written by brokers only."""
        return bool(self.attributes & CONTROL)

    @property
    def last_sequence(self) -> int:
        """Sequence of the last record: wraps from 2147483647 to 0; -1 without a sequence."""
        if self.base_sequence < 0:
            return -1
        last = self.base_sequence + self.last_offset_delta
        return last if last <= _INT32_MAX else last - _INT32_MAX - 1


def read_batch_header(view: Buffer, position: int = 0) -> BatchHeader:
    """Read the header at `position`. Nothing but its presence is checked; raises WireError when it is cut short."""
    try:
        return tuple.__new__(BatchHeader, HEADER.unpack_from(view, position))
    except struct_error as error:
        raise WireError(f"{len(view) - position} bytes are too few for a batch header") from error


def crc_is_valid(view: Buffer) -> bool:
    """Whether the checksum of one whole batch (exactly its bytes) is right; False for a stump."""
    if len(view) < BATCH_HEADER_BYTES:
        return False
    (stated,) = _UINT32.unpack_from(view, _CRC_AT)
    return bool(crc32c(memoryview(view)[_CHECKED_FROM:]) == stated)


def stamp(buffer: bytearray | memoryview, base_offset: int, leader_epoch: int) -> None:
    """Write base offset and leader epoch in place; the checksum does not cover them."""
    _INT64.pack_into(buffer, 0, base_offset)
    _INT32.pack_into(buffer, _LEADER_EPOCH_AT, leader_epoch)


def stamp_log_append_time(buffer: bytearray | memoryview, timestamp_ms: int) -> None:
    """Make `timestamp_ms` the timestamp of every record of one whole batch, in place, and renew the checksum."""
    attributes = _INT16.unpack_from(buffer, _CHECKED_FROM)[0] | LOG_APPEND_TIME
    _INT16.pack_into(buffer, _CHECKED_FROM, attributes)
    _INT64.pack_into(buffer, _MAX_TIMESTAMP_AT, timestamp_ms)
    stamp_crc(buffer)


def stamp_create_time(buffer: bytearray | memoryview, max_timestamp_ms: int) -> None:
    """Let every record of one whole batch keep its own timestamp, the largest being `max_timestamp_ms`, in place."""
    attributes = _INT16.unpack_from(buffer, _CHECKED_FROM)[0] & ~LOG_APPEND_TIME
    _INT16.pack_into(buffer, _CHECKED_FROM, attributes)
    _INT64.pack_into(buffer, _MAX_TIMESTAMP_AT, max_timestamp_ms)
    stamp_crc(buffer)


def stamp_crc(buffer: bytearray | memoryview) -> None:
    """Write the checksum of one whole batch in place."""
    view = memoryview(buffer)
    _UINT32.pack_into(view, _CRC_AT, crc32c(view[_CHECKED_FROM:]))


def empty_batch(base_offset: int, count: int, leader_epoch: int, timestamp_ms: int) -> bytes:
    """A batch that covers `count` offsets (1 .. 2^31) and holds no record, as Kafka's compaction leaves behind.

    Clients pass over it. Source: DefaultRecordBatch.writeEmptyHeader (Kafka).
    """
    batch = bytearray(
        HEADER.pack(
            *BatchHeader(
                base_offset=base_offset,
                batch_length=BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES,
                partition_leader_epoch=leader_epoch,
                magic=MAGIC,
                crc=0,
                attributes=0,
                last_offset_delta=count - 1,
                base_timestamp=timestamp_ms,
                max_timestamp=timestamp_ms,
                producer_id=-1,
                producer_epoch=-1,
                base_sequence=-1,
                records_count=0,
            )
        )
    )
    stamp_crc(batch)
    return bytes(batch)


def iter_headers(view: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """(position, header) of every batch in `view`, which holds whole batches one after the other.

    Raises WireError where a batch is cut short or claims a length below its header's.
    """
    position, end = 0, len(view)
    while position < end:
        header = read_batch_header(view, position)
        size = LOG_OVERHEAD_BYTES + header.batch_length
        if size < BATCH_HEADER_BYTES or size > end - position:
            raise WireError(f"batch of {size} bytes at {position}, {end - position} bytes left")
        yield position, header
        position += size


__all__ = [
    "BATCH_HEADER_BYTES",
    "COMPRESSION_MASK",
    "CONTROL",
    "HEADER",
    "LOG_APPEND_TIME",
    "LOG_OVERHEAD_BYTES",
    "MAGIC",
    "TRANSACTIONAL",
    "BatchHeader",
    "crc_is_valid",
    "empty_batch",
    "iter_headers",
    "read_batch_header",
    "stamp",
    "stamp_crc",
    "stamp_create_time",
    "stamp_log_append_time",
]
