"""The truth about one partition: which offsets exist, which are durable, and what a batch gets when it comes in.

One event loop owns a partition, so nothing here is locked. Effects of `prepare` are immediate and never undone:
batches that arrive behind it in the same loop step must see its offsets and sequences, and a WAL write that fails
ends the process (DESIGN law 4).
"""

from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.errors import Bug, ClientFault, Corrupt, Refused
from automq_broker.kernel.ids import Offset, StreamId
from automq_broker.log.admission import (
    BATCH_LENGTH_MIN,
    RECORD_BYTES_MIN,
    SHRINK_MAX,
    ZSTD,
    LogSettings,
    check_batch,
)
from automq_broker.log.producers import ProducerStates
from automq_broker.wire.batches import (
    CONTROL,
    LOG_OVERHEAD_BYTES,
    MAGIC,
    TRANSACTIONAL,
    BatchHeader,
)
from automq_broker.wire.codes import ErrorCode

HIGH_WATERMARK: Final = -1
"""DeleteRecords' word for 'everything that is durable'."""


@dataclass(slots=True)
class Accepted:
    """The offsets that a batch got. COST: not frozen, since one is made per batch and frozen ones cost 3x."""

    base_offset: Offset
    last_offset: Offset
    append_time_ms: int
    """The broker's time to stamp into the batch and to answer (LogAppendTime topics), else -1."""


@dataclass(slots=True)
class Duplicate:
    """A retry: the offsets that the batch got the first time. Nothing is appended."""

    base_offset: Offset
    last_offset: Offset
    append_time_ms: int
    """The batch's max timestamp as stored, on both kinds of topic, since Kafka answers that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatistics:
    """One partition in numbers, for metrics and humans."""

    start_offset: Offset
    high_watermark: Offset
    end_offset: Offset
    producers: int
    producers_evicted: int
    duplicates: int


class PartitionLog:
    """Offsets, leader epoch and producers of one partition: start_offset <= high_watermark <= end_offset."""

    __slots__ = (
        "_after_max_ms",
        "_batch_length_max",
        "_before_max_ms",
        "_is_log_append_time",
        "_settings",
        "duplicates",
        "end_offset",
        "high_watermark",
        "leader_epoch",
        "looks_inside",
        "producers",
        "start_offset",
        "stream_id",
    )

    def __init__(
        self,
        *,
        stream_id: StreamId,
        leader_epoch: int,
        start_offset: Offset,
        end_offset: Offset,
        settings: LogSettings,
        has_checkpoint: bool = False,
    ) -> None:
        """Everything below `end_offset` is durable. With `has_checkpoint` the producers' older state is still to come
        (`producers.restore`), before the first idempotent batch is prepared or the first checkpoint is taken."""
        if not 0 <= start_offset <= end_offset:
            raise Bug(f"a log from {start_offset} to {end_offset}")
        self.stream_id = stream_id
        self.leader_epoch = leader_epoch
        self.start_offset = start_offset
        self.end_offset = end_offset
        self.high_watermark = end_offset
        self.duplicates = 0
        self.producers = ProducerStates(
            expiration_ms=settings.producer_id_expiration_ms,
            producers_max=settings.producers_max,
            is_complete=not has_checkpoint,
        )
        self.configure(settings)

    @property
    def settings(self) -> LogSettings:
        """The topic settings in force."""
        return self._settings

    @property
    def last_stable_offset(self) -> Offset:
        """Where read_committed stops. No transaction can be open in this log, so it is the high watermark."""
        return self.high_watermark

    def configure(self, settings: LogSettings) -> None:
        """Use other topic settings from the next batch on."""
        self._settings = settings
        self.looks_inside = settings.looks_inside
        self._is_log_append_time = settings.is_log_append_time
        self._batch_length_max = settings.max_message_bytes - LOG_OVERHEAD_BYTES
        self._before_max_ms = settings.timestamp_before_max_ms
        self._after_max_ms = settings.timestamp_after_max_ms
        self.producers.expiration_ms = settings.producer_id_expiration_ms
        self.producers.producers_max = settings.producers_max

    def needs_checkpoint(self, header: BatchHeader) -> bool:
        """The producers' checkpoint must be restored before this batch can be prepared."""
        return header.producer_id >= 0 and not self.producers.is_complete

    def prepare(self, header: BatchHeader, now_ms: int) -> Accepted | Duplicate:
        """Check a client's batch and give it the next offsets; a retry gets those of its first time.

        The offsets are taken and the producer's state moves at once: the caller must append exactly this batch, in the
        order of the calls. Raises ClientFault with Kafka's code; then nothing has changed. The CRC is the caller's.
        """
        delta = header.last_offset_delta
        producer_id = header.producer_id
        is_log_append_time = self._is_log_append_time
        if not (
            0 <= header.attributes <= ZSTD
            and header.magic == MAGIC
            and header.base_offset == 0
            and 0 <= delta == header.records_count - 1
            and BATCH_LENGTH_MIN <= header.batch_length <= self._batch_length_max
            and RECORD_BYTES_MIN * (delta + 1)
            <= (header.batch_length - BATCH_LENGTH_MIN) * (SHRINK_MAX if header.attributes else 1)
            and (producer_id < 0 or header.base_sequence >= 0)
            and (
                is_log_append_time
                or (
                    header.max_timestamp - now_ms <= self._after_max_ms
                    and now_ms - header.base_timestamp <= self._before_max_ms
                )
            )
        ):
            check_batch(header, self._settings, now_ms)
        base_offset = self.end_offset
        last_offset = Offset(base_offset + delta)
        if producer_id >= 0:
            producers = self.producers
            seen = producers.check(header)
            if seen is not None:
                self.duplicates += 1
                return Duplicate(Offset(seen.first_offset), Offset(seen.last_offset), seen.timestamp)
            producers.update(header, last_offset, now_ms if is_log_append_time else header.max_timestamp, now_ms)
        self.end_offset = Offset(last_offset + 1)
        return Accepted(base_offset, last_offset, now_ms if is_log_append_time else -1)

    def replay(self, header: BatchHeader, now_ms: int) -> None:
        """Take a durable batch of this log, in offset order, with the effects of `prepare` and `durable_to`.

        Raises Corrupt if it does not begin at the log's end, Refused if it belongs to a transaction, which only a
        newer version can have written and this one would show to readers uncommitted.
        """
        if header.base_offset != self.end_offset or header.last_offset_delta < 0:
            raise Corrupt(
                f"stream {self.stream_id}: a batch at offset {header.base_offset} "
                f"(+{header.last_offset_delta}) follows the log end {self.end_offset}"
            )
        if header.attributes & (TRANSACTIONAL | CONTROL):
            raise Refused(
                f"stream {self.stream_id}: the batch at offset {header.base_offset} is part of a transaction; "
                "this version does not know transactions, start the newer one again"
            )
        last_offset = header.base_offset + header.last_offset_delta
        if header.producer_id >= 0:
            self.producers.update(header, last_offset, header.max_timestamp, now_ms)
        self.end_offset = self.high_watermark = Offset(last_offset + 1)

    def durable_to(self, offset: Offset) -> bool:
        """All below `offset` is durable now; True if that moves the high watermark. Raises Bug above the end."""
        if offset > self.end_offset:
            raise Bug(f"stream {self.stream_id}: durable to {offset}, but the log ends at {self.end_offset}")
        if offset <= self.high_watermark:
            return False
        self.high_watermark = offset
        return True

    def advance_start(self, offset: Offset) -> bool:
        """Records below `offset` are gone; True if that moves the start. Raises Bug above the high watermark.

        Producers keep their state although their records are gone (KIP-360).
        """
        if offset > self.high_watermark:
            raise Bug(f"stream {self.stream_id}: start {offset} above the high watermark {self.high_watermark}")
        if offset <= self.start_offset:
            return False
        self.start_offset = offset
        return True

    def delete_before(self, requested: int) -> Offset:
        """The start offset that DeleteRecords asks for, -1 being the high watermark; nothing changes yet.

        Raises ClientFault OFFSET_OUT_OF_RANGE above the high watermark or for other negative values.
        """
        if requested == HIGH_WATERMARK:
            return self.high_watermark
        if not 0 <= requested <= self.high_watermark:
            raise ClientFault(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"The requested offset {requested} is above the high watermark {self.high_watermark}",
            )
        return Offset(max(requested, self.start_offset))

    def check_fetch_offset(self, offset: int) -> None:
        """Raises ClientFault OFFSET_OUT_OF_RANGE unless start <= `offset` <= log end.

        Between the high watermark and the end a fetch is legal and empty: those records are not durable yet.
        """
        if not self.start_offset <= offset <= self.end_offset:
            raise ClientFault(
                ErrorCode.OFFSET_OUT_OF_RANGE,
                f"Received request for offset {offset}, but we only have log segments from offset "
                f"{self.start_offset} to {self.end_offset}.",
            )

    def statistics(self) -> LogStatistics:
        """The partition in numbers."""
        return LogStatistics(
            start_offset=self.start_offset,
            high_watermark=self.high_watermark,
            end_offset=self.end_offset,
            producers=len(self.producers),
            producers_evicted=self.producers.evicted,
            duplicates=self.duplicates,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if not 0 <= self.start_offset <= self.high_watermark <= self.end_offset:
            raise Bug(
                f"stream {self.stream_id}: start {self.start_offset}, high watermark {self.high_watermark}, "
                f"end {self.end_offset} are out of order"
            )
        self.producers.check_invariants()


__all__ = ["Accepted", "Duplicate", "LogStatistics", "PartitionLog"]
