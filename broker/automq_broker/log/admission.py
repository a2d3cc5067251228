"""What a batch must look like to enter a partition, and Kafka's exact refusal when it does not.

The order of the checks is Kafka's, since a batch with two faults must get the code of the first. The common good
batch never comes here: `PartitionLog.prepare` recognises it with one expression and asks `check_batch` only when that
says no; a property test holds the two together.
Source: Kafka's UnifiedLog.analyzeAndValidateRecords, LogValidator.validateBatch, ProduceRequest.validateRecords.
"""

from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.batches import COMPRESSION_MASK, CONTROL, LOG_APPEND_TIME, MAGIC, TRANSACTIONAL
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import BATCH_HEADER_BYTES, BatchHeader

ZSTD: Final = 4
"""The last codec that exists."""
NO_TIMESTAMP: Final = -1
NO_LIMIT_MS: Final = 2**63 - 1
ZSTD_SINCE_PRODUCE_VERSION: Final = 7


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


CODEC_IDS: Final = {"uncompressed": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def check_field(header: BatchHeader, field_bytes: int, produce_version: int) -> None:
    """Refuse what a Produce request may not carry as one partition's records; the CRC is checked elsewhere.

    `field_bytes` is the length of the records field, `produce_version` the version of the request.
    Raises ClientFault: INVALID_RECORD for another magic or anything but one batch, CORRUPT_MESSAGE for an impossible
    length or magic, UNSUPPORTED_COMPRESSION_TYPE for zstd before Produce v7. Source: ProduceRequest.validateRecords.
    """
    size = header.size_bytes
    if size < BATCH_HEADER_BYTES or not 0 <= header.magic <= MAGIC:
        raise ClientFault(
            ErrorCode.CORRUPT_MESSAGE, f"Record batch of {size} bytes with magic {header.magic} is corrupt."
        )
    if header.magic != MAGIC:
        raise ClientFault(
            ErrorCode.INVALID_RECORD,
            f"Produce requests with version {produce_version} are only allowed to contain record batches with magic "
            f"version {MAGIC}",
        )
    if produce_version < ZSTD_SINCE_PRODUCE_VERSION and header.attributes & COMPRESSION_MASK == ZSTD:
        raise ClientFault(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
            f"Produce requests with version {produce_version} are not allowed to use ZStandard compression",
        )
    if size != field_bytes:
        raise ClientFault(
            ErrorCode.INVALID_RECORD,
            f"Produce requests must hold exactly one record batch per partition: the batch has {size} bytes, the field "
            f"{field_bytes}",
        )


def check_batch(header: BatchHeader, settings: LogSettings, now_ms: int) -> None:
    """Refuse a batch that a client may not append, with Kafka's code for its first fault; sequences come later.

    Raises ClientFault: CORRUPT_MESSAGE, INVALID_RECORD, MESSAGE_TOO_LARGE, INVALID_TIMESTAMP, UNKNOWN_SERVER_ERROR (a
    codec that does not exist: Kafka's own answer), INVALID_TXN_STATE (no transaction can be open here).
    """
    _check_envelope(header, settings)
    _check_contents(header)
    _check_timestamps(header, settings, now_ms)
    if header.attributes & TRANSACTIONAL:
        raise ClientFault(
            ErrorCode.INVALID_TXN_STATE, f"Producer {header.producer_id} has no open transaction in this partition"
        )


def _check_envelope(header: BatchHeader, settings: LogSettings) -> None:
    size = header.size_bytes
    if size < BATCH_HEADER_BYTES or not 0 <= header.magic <= MAGIC:
        raise ClientFault(
            ErrorCode.CORRUPT_MESSAGE, f"Record batch of {size} bytes with magic {header.magic} is corrupt."
        )
    if header.magic != MAGIC:
        raise ClientFault(
            ErrorCode.INVALID_RECORD, f"Only record batches with magic {MAGIC} are stored, not {header.magic}"
        )
    if header.base_offset != 0:
        raise ClientFault(
            ErrorCode.INVALID_RECORD, f"The base offset of the record batch should be 0, but it is {header.base_offset}"
        )
    if size > settings.max_message_bytes:
        raise ClientFault(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"The record batch size is {size} bytes which exceeds the maximum configured value of "
            f"{settings.max_message_bytes}.",
        )
    if header.attributes & COMPRESSION_MASK > ZSTD:
        raise ClientFault(
            ErrorCode.UNKNOWN_SERVER_ERROR, f"Unknown compression type id: {header.attributes & COMPRESSION_MASK}"
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
    if header.attributes & CONTROL:
        raise ClientFault(ErrorCode.INVALID_RECORD, "Clients are not allowed to write control records")
    if header.producer_id >= 0 and header.base_sequence < 0:
        raise ClientFault(
            ErrorCode.INVALID_RECORD,
            f"Invalid sequence number {header.base_sequence} in record batch with producerId {header.producer_id}",
        )


def _check_timestamps(header: BatchHeader, settings: LogSettings, now_ms: int) -> None:
    """The header's first and largest timestamp stand for all: records are not parsed here (DESIGN rule 7).

    A client that marks its batch as LogAppendTime is refused on every topic. Kafka lets that pass on a CreateTime
    topic and rewrites the bit; here batches are stored as sent.
    """
    if header.attributes & LOG_APPEND_TIME:
        raise ClientFault(
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
            raise ClientFault(
                ErrorCode.INVALID_TIMESTAMP,
                f"Timestamp {timestamp} is out of range. The timestamp should be within [{oldest}, {newest}]",
            )


__all__ = ["LogSettings", "check_batch", "check_field"]
