"""What a batch must look like to enter a partition, and Kafka's exact refusal when it does not.

The order of the checks is Kafka's, since a batch with two faults must get the code of the first. The common good
batch never comes here: `PartitionLog.prepare` recognises it with one expression and asks `check_batch` only when that
says no; a property test holds the two together.
Source: Kafka's UnifiedLog.analyzeAndValidateRecords, LogValidator.validateBatch, ProduceRequest.validateRecords.
"""

from dataclasses import dataclass
from typing import Final, NoReturn

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.batches import (
    BATCH_HEADER_BYTES,
    COMPRESSION_MASK,
    CONTROL,
    LOG_APPEND_TIME,
    LOG_OVERHEAD_BYTES,
    MAGIC,
    TRANSACTIONAL,
    BatchHeader,
    read_batch_header,
)
from automq_broker.wire.codes import ErrorCode

ZSTD: Final = 4
"""The last codec that exists."""
NO_TIMESTAMP: Final = -1
NO_LIMIT_MS: Final = 2**63 - 1
BATCH_LENGTH_MIN: Final = BATCH_HEADER_BYTES - LOG_OVERHEAD_BYTES
RECORD_BYTES_MIN: Final = 7
"""One byte each for length, attributes, timestamp, offset, key, value, headers."""
SHRINK_MAX: Final = 16384
"""No codec makes records so many times smaller: gzip at most 1032 times, zstd some thousand with offsets that count."""
_MAGIC_AT: Final = 16
_LEGACY_LENGTH_MIN: Final = 14
"""The shortest message of format v0: Kafka calls any length below it corrupt before it looks at the magic."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The topic settings that decide what a partition accepts. Times in milliseconds, sizes in bytes."""

    max_message_bytes: int = 1_048_588
    """Largest batch as it is stored, compressed, its 12 leading bytes included (max.message.bytes)."""
    timestamp_type: str = "CreateTime"
    """CreateTime keeps the producer's timestamps, LogAppendTime replaces them (message.timestamp.type)."""
    timestamp_before_max_ms: int = NO_LIMIT_MS
    """How far a record may lie in the past (message.timestamp.before.max.ms)."""
    timestamp_after_max_ms: int = 3_600_000
    """How far a record may lie in the future (message.timestamp.after.max.ms)."""
    compression_type: str = "producer"
    """'producer' stores a batch as sent; another value makes the engine recompress it first (compression.type)."""
    compression_level: int | None = None
    """The level for recompressing (compression.gzip.level and its like); None is the codec's default."""
    is_compacted: bool = False
    """cleanup.policy holds 'compact': every record needs a key, so batches are decoded before they are accepted."""
    producer_id_expiration_ms: int = 86_400_000
    """A producer that was silent for so long is forgotten (producer.id.expiration.ms)."""
    producers_max: int = 20_000
    """Producers remembered per partition; above it the longest silent ones go. Ours: Kafka has no bound here."""

    @property
    def is_log_append_time(self) -> bool:
        """The broker's time replaces the producer's."""
        return self.timestamp_type == "LogAppendTime"

    @property
    def looks_inside(self) -> bool:
        """Some batches must be looked at or rewritten before they are stored, off the loop (engine/inspect)."""
        is_limited = self.timestamp_before_max_ms != NO_LIMIT_MS and not self.is_log_append_time
        return self.is_compacted or is_limited or self.compression_type != "producer"

    def needs_records(self, header: BatchHeader) -> bool:
        """The records must be decoded (off the loop) and given to `record_faults` before the header may be prepared.

        True for compacted topics (keys), and where old timestamps are limited: the header shows the first record's
        timestamp and the largest, not the oldest.
        """
        if self.is_compacted:
            return True
        is_limited = self.timestamp_before_max_ms != NO_LIMIT_MS and not self.is_log_append_time
        return is_limited and header.records_count > 1

    def must_recompress(self, header: BatchHeader) -> bool:
        """The topic asks for another codec than the batch has (compression.type other than 'producer')."""
        wanted = CODEC_IDS.get(self.compression_type)
        return wanted is not None and wanted != header.attributes & COMPRESSION_MASK

    @property
    def codec(self) -> int:
        """The id of the topic's own codec; only where `must_recompress` says so."""
        return CODEC_IDS[self.compression_type]


CODEC_IDS: Final = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


class FieldFault(ClientFault):
    """The field is not one sound batch at all: refused before any log is asked, so the answer knows no log start."""


def check_field(field: Buffer) -> BatchHeader:
    """The header of the one batch of a Produce request's records; the CRC is checked elsewhere.

    What follows the batch and is no whole batch (fewer than 12 bytes, or one that is cut short) is left out, as Kafka
    does: the batch is the first `size_bytes` of the field. Raises FieldFault: CORRUPT_MESSAGE for an impossible length or
    magic, INVALID_RECORD for another magic than 2 or anything but one whole batch.
    Source: ByteBufferLogInputStream.nextBatchSize, ProduceRequest.validateRecords.
    """
    size = _next_batch_size(field)
    if size is None:
        raise FieldFault(ErrorCode.INVALID_RECORD, f"{len(field)} bytes hold no whole record batch")
    magic = field[_MAGIC_AT]
    if magic != MAGIC or _next_batch_size(memoryview(field)[size:]) is not None:
        raise FieldFault(
            ErrorCode.INVALID_RECORD,
            f"a produce request holds exactly one record batch of magic {MAGIC} per partition, not {len(field)} bytes "
            f"with a batch of {size} bytes and magic {magic}",
        )
    if size < BATCH_HEADER_BYTES:
        raise FieldFault(ErrorCode.CORRUPT_MESSAGE, f"a record batch of {size} bytes is shorter than its header")
    return read_batch_header(field)


def _next_batch_size(data: Buffer) -> int | None:
    """Bytes of the batch that `data` begins with; None if there is no whole one. Raises FieldFault CORRUPT_MESSAGE."""
    if len(data) < LOG_OVERHEAD_BYTES:
        return None
    length = int.from_bytes(data[8:LOG_OVERHEAD_BYTES], "big", signed=True)
    if length < _LEGACY_LENGTH_MIN:
        raise FieldFault(ErrorCode.CORRUPT_MESSAGE, f"a record batch of length {length} is corrupt")
    if len(data) <= _MAGIC_AT:
        return None
    if data[_MAGIC_AT] > MAGIC:
        raise FieldFault(ErrorCode.CORRUPT_MESSAGE, f"a record batch with magic {data[_MAGIC_AT]} is corrupt")
    return length + LOG_OVERHEAD_BYTES if length + LOG_OVERHEAD_BYTES <= len(data) else None


def refuse_checksum(header: BatchHeader, settings: LogSettings) -> NoReturn:
    """The CRC is wrong: raises ClientFault CORRUPT_MESSAGE, or what Kafka finds before it looks at the CRC."""
    _check_place_and_size(header, settings)
    raise ClientFault(ErrorCode.CORRUPT_MESSAGE, "The CRC32C of the record batch does not match.")


def check_batch(header: BatchHeader, settings: LogSettings, now_ms: int) -> None:
    """Refuse a batch that a client may not append, with Kafka's code for its first fault; sequences come later.

    Raises ClientFault: CORRUPT_MESSAGE, INVALID_RECORD, MESSAGE_TOO_LARGE, INVALID_TIMESTAMP, UNKNOWN_SERVER_ERROR (a
    codec that does not exist: Kafka's own answer), INVALID_TXN_STATE (no transaction can be open here).
    """
    check_header(header, settings)
    _check_timestamps(header, settings, now_ms)


def fits(header: BatchHeader) -> bool:
    """Whether so many records can lie in so few bytes: a lie here would take offsets that no record ever fills."""
    room = header.batch_length - BATCH_LENGTH_MIN
    if header.attributes & COMPRESSION_MASK:
        room *= SHRINK_MAX
    return header.records_count * RECORD_BYTES_MIN <= room


def check_header(header: BatchHeader, settings: LogSettings) -> None:
    """`check_batch` without the timestamps, whose faults are the records' own; for batches whose records are read."""
    if header.size_bytes < BATCH_HEADER_BYTES or header.magic != MAGIC:
        raise ClientFault(ErrorCode.CORRUPT_MESSAGE, f"no batch of magic {MAGIC}: {header.size_bytes} bytes")
    _check_place_and_size(header, settings)
    if header.attributes & COMPRESSION_MASK > ZSTD:
        raise ClientFault(
            ErrorCode.UNKNOWN_SERVER_ERROR, f"Unknown compression type id: {header.attributes & COMPRESSION_MASK}"
        )
    _check_contents(header)
    if header.attributes & TRANSACTIONAL:
        raise ClientFault(
            ErrorCode.INVALID_TXN_STATE, f"Producer {header.producer_id} has no open transaction in this partition"
        )


def _check_place_and_size(header: BatchHeader, settings: LogSettings) -> None:
    if header.base_offset != 0:
        raise ClientFault(
            ErrorCode.INVALID_RECORD, f"The base offset of the record batch should be 0, but it is {header.base_offset}"
        )
    if header.size_bytes > settings.max_message_bytes:
        raise ClientFault(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"The record batch size is {header.size_bytes} bytes which exceeds the maximum configured value of "
            f"{settings.max_message_bytes}.",
        )


def _check_contents(header: BatchHeader) -> None:
    count = header.records_count
    if header.last_offset_delta < 0:
        raise ClientFault(
            ErrorCode.INVALID_RECORD, f"Batch has an invalid offset range: [0, {header.last_offset_delta}]"
        )
    if count <= 0:
        raise ClientFault(ErrorCode.INVALID_RECORD, f"Invalid reported count for record batch: {count}")
    if header.last_offset_delta + 1 != count:
        raise ClientFault(
            ErrorCode.INVALID_RECORD,
            f"Inconsistent batch offset range [0, {header.last_offset_delta}] and count of records {count}",
        )
    if not fits(header):
        raise ClientFault(
            ErrorCode.INVALID_RECORD, f"{count} records cannot lie in a batch of {header.size_bytes} bytes"
        )
    if header.attributes & CONTROL:
        raise ClientFault(ErrorCode.INVALID_RECORD, "Clients are not allowed to write control records")
    if header.producer_id >= 0 and header.base_sequence < 0:
        raise ClientFault(
            ErrorCode.INVALID_RECORD,
            f"Invalid sequence number {header.base_sequence} in record batch with producerId {header.producer_id}",
        )


class TimestampFault(ClientFault):
    """The header says that a record's timestamp is wrong; which ones, and whether really, the records must tell."""


def _check_timestamps(header: BatchHeader, settings: LogSettings, now_ms: int) -> None:
    """The header's first and largest timestamp stand for all: records are not parsed here (DESIGN rule 7)."""
    if header.attributes & LOG_APPEND_TIME:
        raise TimestampFault(
            ErrorCode.INVALID_TIMESTAMP,
            "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.",
        )
    if settings.is_log_append_time:
        return
    oldest, newest = now_ms - settings.timestamp_before_max_ms, now_ms + settings.timestamp_after_max_ms
    for timestamp, is_wrong in (
        (header.base_timestamp, header.base_timestamp < oldest),
        (header.max_timestamp, header.max_timestamp > newest),
    ):
        if is_wrong and timestamp != NO_TIMESTAMP:
            raise TimestampFault(
                ErrorCode.INVALID_TIMESTAMP,
                f"Timestamp {timestamp} is out of range. The timestamp should be within [{oldest}, {newest}]",
            )


__all__ = [
    "BATCH_LENGTH_MIN",
    "RECORD_BYTES_MIN",
    "SHRINK_MAX",
    "FieldFault",
    "LogSettings",
    "TimestampFault",
    "check_batch",
    "check_field",
    "check_header",
    "fits",
    "refuse_checksum",
]
