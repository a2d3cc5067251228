"""Records inside a batch (format v2): written by the broker for its own topics, read only where a question demands it.

Produce and fetch never come here: they need the header alone (`batches`, whose names this module repeats).
Source: DefaultRecord, DefaultRecordBatch (Kafka).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire import batches, compression
from automq_broker.wire.batches import (
    BATCH_HEADER_BYTES,
    LOG_OVERHEAD_BYTES,
    BatchHeader,
    crc_is_valid,
    iter_headers,
    read_batch_header,
    stamp,
    stamp_crc,
    stamp_create_time,
    stamp_log_append_time,
)
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.primitives import Buffer, WireError, write_uvarint

NO_TIMESTAMP = -1
_RECORD_BYTES_MIN = 7
"""One byte each for length, attributes, timestamp, offset, key, value, headers."""

_VARINT_BITS_MAX = 70
_INT32_MAX = 0x7FFFFFFF
_INT64_MAX = 0x7FFFFFFFFFFFFFFF


class Record(NamedTuple):
    """One record; offset -1 means "the one after the record before", a null key or value is None.

    Headers are (name, value) pairs in order; names may repeat. Timestamps are ms since the epoch.
    """

    offset: int = -1
    timestamp: int = NO_TIMESTAMP
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()


# --- writing ------------------------------------------------------------------------------------------------------


def encode_batch(
    records: Sequence[Record],
    *,
    base_offset: int = 0,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    leader_epoch: int = -1,
    compression: int = 0,
    timestamp_type: int = 0,
    is_transactional: bool = False,
    is_control: bool = False,
) -> bytes:
    """One whole batch with a valid checksum; `timestamp_type` 1 is LogAppendTime (the newest timestamp counts for all).

    Offsets must rise from `base_offset`; raises WireError otherwise, and for an empty sequence.
    """
    if not records:
        raise WireError("a batch holds at least one record")
    base_timestamp = records[0].timestamp
    body = bytearray()
    delta = -1
    for record in records:
        last, delta = delta, delta + 1 if record.offset < 0 else record.offset - base_offset
        if not last < delta <= _INT32_MAX:
            raise WireError(f"offset {record.offset} does not follow in a batch that starts at {base_offset}")
        _write_record(body, record, delta, base_timestamp)
    payload = _compress(compression, body)
    attributes = compression | (batches.LOG_APPEND_TIME if timestamp_type else 0)
    attributes |= (batches.TRANSACTIONAL if is_transactional else 0) | (batches.CONTROL if is_control else 0)
    header = BatchHeader(
        base_offset=base_offset,
        batch_length=BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES + len(payload),
        partition_leader_epoch=leader_epoch,
        magic=batches.MAGIC,
        crc=0,
        attributes=attributes,
        last_offset_delta=delta,
        base_timestamp=base_timestamp,
        max_timestamp=max(record.timestamp for record in records),
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        records_count=len(records),
    )
    batch = bytearray(batches.HEADER.pack(*header))
    batch += payload
    stamp_crc(batch)
    return bytes(batch)


def _compress(kind: int, body: bytearray) -> Buffer:
    return compression.compress(kind, body) if kind else body


def _write_record(out: bytearray, record: Record, offset_delta: int, base_timestamp: int) -> None:
    inner = bytearray(b"\0")  # attributes: unused in format v2
    _write_varint(inner, record.timestamp - base_timestamp)
    _write_varint(inner, offset_delta)
    _write_bytes(inner, record.key)
    _write_bytes(inner, record.value)
    _write_varint(inner, len(record.headers))
    for name, value in record.headers:
        _write_bytes(inner, name.encode())
        _write_bytes(inner, value)
    _write_varint(out, len(inner))
    out += inner


def _write_bytes(out: bytearray, data: bytes | None) -> None:
    if data is None:
        _write_varint(out, -1)
        return
    _write_varint(out, len(data))
    out += data


def _write_varint(out: bytearray, value: int) -> None:
    write_uvarint(out, value << 1 if value >= 0 else ~(value << 1))


# --- reading ------------------------------------------------------------------------------------------------------


def decode_records(batch_view: Buffer, *, limit_bytes: int, limit_ratio: int) -> list[Record]:
    """All records of one batch, in order; see `iter_records`."""
    return list(iter_records(batch_view, limit_bytes=limit_bytes, limit_ratio=limit_ratio))


def iter_records(batch_view: Buffer, *, limit_bytes: int, limit_ratio: int) -> Iterator[Record]:
    """The records of one batch, one after the other; keys and values are copies. The checksum is not looked at.

    Compressed records unfold within the limits of `compression.decompress` before the first one comes; what is not
    compressed is not limited. Raises ClientFault INVALID_RECORD for anything malformed or above the limits,
    WireError when there is no whole header. CPU work: run it off the loop for batches of clients.
    """
    header, body = unfold(batch_view, limit_bytes=limit_bytes, limit_ratio=limit_ratio)
    return _records(header, body)


def unfold(batch_view: Buffer, *, limit_bytes: int, limit_ratio: int) -> tuple[BatchHeader, memoryview]:
    """The header and the uncompressed records of one batch; limits and errors as in `iter_records`."""
    header = read_batch_header(batch_view)
    if header.magic != batches.MAGIC or not BATCH_HEADER_BYTES <= header.size_bytes <= len(batch_view):
        _refuse(f"no whole batch of format v2: magic {header.magic}, length {header.batch_length}")
    packed = memoryview(batch_view)[BATCH_HEADER_BYTES : header.size_bytes]
    body = memoryview(
        compression.decompress(header.compression, packed, limit_bytes=limit_bytes, limit_ratio=limit_ratio)
    )
    if not 0 <= header.records_count * _RECORD_BYTES_MIN <= len(body):
        _refuse(f"{header.records_count} records in {len(body)} bytes")
    return header, body


def iter_glances(header: BatchHeader, body: memoryview) -> Iterator[tuple[int, bool]]:
    """(timestamp, has a key) of every record of an unfolded batch; values and headers are not looked at.

    COST: a third of what whole records cost. Raises ClientFault INVALID_RECORD for lengths that cannot be.
    """
    base, position, whole = header.base_timestamp, 0, len(body)
    stamped = header.max_timestamp if header.is_log_append_time else None
    try:
        for _ in range(header.records_count):
            size, position = _read_varint(body, position)
            if not 0 < size <= whole - position:
                _refuse(f"a record of {size} bytes, {whole - position} left")
            end = position + size
            timestamp_delta, position = _read_varint(body, position + 1)
            _, position = _read_varint(body, position)
            key_bytes, position = _read_varint(body, position)
            if position + max(key_bytes, 0) > end:
                _refuse(f"a key of {key_bytes} bytes, {end - position} left")
            timestamp = base + timestamp_delta if stamped is None else stamped
            if timestamp > _INT64_MAX:
                _refuse(f"timestamp {timestamp} does not fit in 64 bits")
            yield timestamp, key_bytes >= 0
            position = end
    except IndexError:
        _refuse("a record is cut short")
    if position != whole:
        _refuse(f"{whole - position} bytes after the last record")


def refold(batch_view: Buffer, body: memoryview, kind: int, level: int | None = None) -> bytearray:
    """The same batch with its unfolded records compressed by another codec; a valid checksum, all else as it was."""
    payload = compression.compress(kind, body, level) if kind else body
    header = read_batch_header(batch_view)
    changed = header._replace(
        batch_length=BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES + len(payload),
        attributes=header.attributes & ~batches.COMPRESSION_MASK | kind,
    )
    batch = bytearray(batches.HEADER.pack(*changed))
    batch += payload
    stamp_crc(batch)
    return batch


def _records(header: BatchHeader, body: memoryview) -> Iterator[Record]:
    position = 0
    try:
        for _ in range(header.records_count):
            size, position = _read_varint(body, position)
            if not 0 < size <= len(body) - position:
                _refuse(f"a record of {size} bytes, {len(body) - position} left")
            end = position + size
            yield _read_record(header, body[position:end])
            position = end
    except IndexError:
        _refuse("a record is cut short")
    if position != len(body):
        _refuse(f"{len(body) - position} bytes after the last record")


def _read_record(header: BatchHeader, view: memoryview) -> Record:
    """One record that fills `view` exactly."""
    timestamp_delta, position = _read_varint(view, 1)
    offset_delta, position = _read_varint(view, position)
    key, position = _read_bytes(view, position)
    value, position = _read_bytes(view, position)
    count, position = _read_varint(view, position)
    if not 0 <= count * 2 <= len(view) - position:
        _refuse(f"{count} headers in {len(view) - position} bytes")
    headers: Sequence[tuple[str, bytes | None]] = ()
    if count:
        headers, position = _read_headers(view, position, count)
    if position != len(view):
        _refuse(f"{len(view) - position} bytes after a record's last header")
    timestamp = header.max_timestamp if header.is_log_append_time else header.base_timestamp + timestamp_delta
    if not -_INT64_MAX <= timestamp <= _INT64_MAX:
        _refuse(f"timestamp {timestamp} does not fit in 64 bits")
    return Record(header.base_offset + offset_delta, timestamp, key, value, headers)


def _read_headers(view: memoryview, position: int, count: int) -> tuple[Sequence[tuple[str, bytes | None]], int]:
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, position = _read_bytes(view, position)
        value, position = _read_bytes(view, position)
        if name is None:
            _refuse("a header without a name")
        headers.append((name.decode("utf-8", "replace"), value))
    return tuple(headers), position


def _read_bytes(view: memoryview, position: int) -> tuple[bytes | None, int]:
    size, position = _read_varint(view, position)
    if size < 0:
        return None, position
    end = position + size
    if end > len(view):
        _refuse(f"{size} bytes claimed, {len(view) - position} left")
    return bytes(view[position:end]), end


def _read_varint(view: memoryview, position: int) -> tuple[int, int]:
    """(value, position after it) of a zigzag varint of at most ten bytes."""
    byte = view[position]
    position += 1
    value = byte & 0x7F
    shift = 7
    while byte > 0x7F:
        if shift == _VARINT_BITS_MAX:
            _refuse("a varint longer than ten bytes")
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), position


def _refuse(reason: str) -> NoReturn:
    raise ClientFault(ErrorCode.INVALID_RECORD, reason)


__all__ = [
    "BATCH_HEADER_BYTES",
    "NO_TIMESTAMP",
    "BatchHeader",
    "Record",
    "crc_is_valid",
    "decode_records",
    "encode_batch",
    "iter_glances",
    "iter_headers",
    "iter_records",
    "read_batch_header",
    "refold",
    "stamp",
    "stamp_create_time",
    "stamp_log_append_time",
    "unfold",
]
