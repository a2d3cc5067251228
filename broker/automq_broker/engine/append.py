"""Group commit: batches in arrival order into the ring, one device write per group, acks in the order of the log.

The law (DESIGN, rules 1 and 4): an ack means that the device has confirmed the batch and everything before it in the
WAL. The high watermark moves at the same moment and never earlier. A failed write ends all acks and the process.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from automq_broker.cache.tail import TailCache
from automq_broker.contract.histogram import Histogram
from automq_broker.engine.admission import Admission
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Appended, Partition
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import BrokerEpoch, Lsn, Offset
from automq_broker.log.admission import check_batch, check_field, refuse_checksum
from automq_broker.log.partition import Duplicate, PartitionLog
from automq_broker.ports import Buffer, Clock, WalDevice, WalWriteFailed
from automq_broker.wal.format import RecordHeader, RecordKind
from automq_broker.wal.writer import WalWriter, Write
from automq_broker.wire import records
from automq_broker.wire.batches import MAGIC
from automq_broker.wire.codes import ErrorCode

Done = Callable[[Appended | BaseException], None]
"""Called once, on the loop: with the place when the batch is durable, or with the ClientFault that refused it."""

_Place = tuple[Offset, Offset, Lsn, int, int, int]
"""(first offset, last offset, LSN, size in bytes, max timestamp, records) of a batch: what the tail cache indexes."""

_Ack = tuple[Partition | None, _Place | None, Appended, Done]
"""(partition, what to index, answer, whom to tell): what a group owes when it is durable. A retry indexes nothing."""

_NOWHERE = Appended(Offset(-1), -1, Offset(-1))

RECORD_OVERHEAD_BYTES = 4096 + 128
"""What a lone record may cost in the ring beyond its batch: a block header, its own header, padding."""


class Appender:
    """The only writer of the WAL. `on_durable(partition, size_bytes)` wakes waiting fetches; `fail(error)` ends the process."""

    def __init__(
        self,
        *,
        writer: WalWriter,
        device: WalDevice,
        cache: TailCache,
        admission: Admission,
        knobs: EngineKnobs,
        clock: Clock,
        broker_epoch: BrokerEpoch,
        on_durable: Callable[[Partition, int], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._writer = writer
        self._device = device
        self._cache = cache
        self._admission = admission
        self._knobs = knobs
        self._clock = clock
        self._broker_epoch = broker_epoch
        self._on_durable = on_durable
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._forming: list[_Ack] = []
        self._groups: deque[tuple[Lsn, list[_Ack], float]] = deque()
        self._kick_scheduled = False
        self._next_group_at = 0.0
        self._pace_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_failed = False
        self._quiet: asyncio.Future[None] | None = None
        self.durable_lsn = Lsn(writer.durable_lsn)
        self.answers_total = 0
        """Writes that the device has confirmed, superblocks included."""
        self.groups_total = 0
        self.batches_total = 0
        self.bytes_total = 0
        self.write_seconds = Histogram()
        """Of each group, from its hand-over until it and everything before it was durable."""

    def append(self, partition: Partition, batch: Buffer, done: Done, *, timeout_s: float = 30.0) -> None:
        """Take one whole v2 batch. Raises ClientFault at once when the batch itself is refused.

        `batch` is copied exactly once, into the ring's aligned memory, and stamped there (base offset, leader epoch), so
        the caller may reuse it when this returns; on a LogAppendTime topic it is stamped in place if it is writable.
        A full ring keeps a copy until the batch entered or `timeout_s` passed (REQUEST_TIMED_OUT, nothing appended).
        """
        header = checked_header(batch, partition.log)
        if header.size_bytes < len(batch):
            batch = memoryview(batch)[: header.size_bytes]
        size = header.size_bytes + RECORD_OVERHEAD_BYTES
        if self._admission.is_free(size):
            self._enter(partition, batch, header, done)
            return
        check_batch(header, partition.log.settings, self._clock.now_ms())  # refused now, not after the wait
        kept = bytearray(batch)  # the receive buffer goes back to its pool; a waiting batch must own its bytes
        self._admission.enter_or_wait(
            size,
            stream_id=partition.stream_id,
            is_internal=partition.is_internal,
            deadline=self._loop.time() + timeout_s,
            enter=lambda: self._enter_late(partition, kept, header, done),
            give_up=lambda: done(ClientFault(ErrorCode.REQUEST_TIMED_OUT, "the write-ahead log is full")),
            sequence_of=(partition.stream_id, header.producer_id) if header.producer_id >= 0 else None,
        )

    def wait_durable(self) -> "asyncio.Future[None]":
        """Resolves when everything appended so far is durable (at once if it already is)."""
        future: asyncio.Future[None] = self._loop.create_future()
        if not self._forming and not self._groups:
            future.set_result(None)
            return future

        def done(_: Appended | BaseException) -> None:
            if not future.done():
                future.set_result(None)

        self._join_last_group((None, None, _NOWHERE, done))
        return future

    @property
    def is_waiting(self) -> bool:
        """Whether anything is on its way to the device or about to be."""
        return not self._writer.is_quiet

    def statistics(self) -> dict[str, float]:
        """Totals since the start, for metrics."""
        return {
            "groups": self.groups_total,
            "batches": self.batches_total,
            "bytes": self.bytes_total,
            "write_seconds": self.write_seconds.sum,
            "in_flight_bytes": self._writer.in_flight_bytes,
        }

    def close(self) -> "asyncio.Future[None]":
        """Nothing may be appended any more; resolves when the device has answered every write, superblocks included.

        Never once the WAL has failed: then the process is ending already.
        """
        self._quiet = self._loop.create_future()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._tell_if_quiet()
        return self._quiet

    def _enter_late(self, partition: Partition, batch: bytearray, header: records.BatchHeader, done: Done) -> None:
        if not partition.is_open:
            done(ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER))
            return
        try:
            self._enter(partition, batch, header, done)
        except ClientFault as fault:
            done(fault)

    def _enter(self, partition: Partition, batch: Buffer, header: records.BatchHeader, done: Done) -> None:
        log = partition.log
        outcome = log.prepare(header, self._clock.now_ms())
        if isinstance(outcome, Duplicate):
            self._answer_duplicate(partition, outcome, done)
            return
        base_offset, append_time_ms = outcome.base_offset, outcome.append_time_ms
        max_timestamp, count = header.max_timestamp, header.records_count
        if append_time_ms >= 0:
            max_timestamp = append_time_ms
            batch = _writable(batch)
            records.stamp_log_append_time(batch, append_time_ms)
        epoch = partition.stream_epoch
        lsn, _, segments = self._writer.append(
            RecordHeader(RecordKind.BATCH, partition.stream_id, epoch, self._broker_epoch, base_offset, count), batch
        )
        records.stamp(segments[0], base_offset, epoch)
        place = (base_offset, outcome.last_offset, lsn, header.size_bytes, max_timestamp, count)
        self._forming.append((partition, place, Appended(base_offset, append_time_ms, log.start_offset), done))
        partition.in_flight_appends += 1
        self._schedule_kick()

    def _answer_duplicate(self, partition: Partition, outcome: Duplicate, done: Done) -> None:
        """A retry is answered with the original place, but not before the original is durable."""
        answer = Appended(outcome.base_offset, outcome.append_time_ms, partition.log.start_offset, is_duplicate=True)
        if outcome.last_offset < partition.log.high_watermark:
            done(answer)
        else:
            partition.in_flight_appends += 1
            self._join_last_group((partition, None, answer, done))

    def _join_last_group(self, ack: _Ack) -> None:
        (self._forming if self._forming else self._groups[-1][1]).append(ack)

    def _schedule_kick(self) -> None:
        """At the end of this turn of the loop, so that one burst of requests becomes one group."""
        if not self._kick_scheduled:
            self._kick_scheduled = True
            self._loop.call_soon(self._kick)

    def _kick(self) -> None:
        self._kick_scheduled = False
        if self._is_failed or not (self._forming or self._writer.has_pending) or not self._has_room_in_flight():
            return
        if self._knobs.group_interval_s and self._is_too_early():
            return
        writes = self._writer.cut(self.durable_lsn)
        if self._forming:
            end_lsn = writes[-1].end_lsn if writes else self._writer.appended_lsn
            self._groups.append((end_lsn, self._forming, self._loop.time()))
            self._forming = []
            self.groups_total += 1
        self._hand_over(writes)

    def _has_room_in_flight(self) -> bool:
        if not self._groups:
            return True
        if self._writer.in_flight_bytes >= self._knobs.in_flight_bytes_max:
            return False
        return (
            len(self._groups) < self._knobs.groups_in_flight_max
            or self._writer.pending_bytes >= self._knobs.group_bytes_enough
        )

    def _is_too_early(self) -> bool:
        """Whether the next group has to wait and grow; then it is kicked when its time comes."""
        now = self._loop.time()
        if now < self._next_group_at and self._writer.pending_bytes < self._knobs.group_bytes_enough:
            if self._pace_timer is None:
                self._pace_timer = self._loop.call_at(self._next_group_at, self._kick_in_time)
            return True
        self._next_group_at = now + self._knobs.group_interval_s
        return False

    def _kick_in_time(self) -> None:
        self._pace_timer = None
        self._next_group_at = 0.0  # a timer may be early by the clock's resolution
        self._kick()

    def _hand_over(self, writes: list[Write]) -> None:
        for write in writes:
            self._device.write(write.position, write.data, partial(self.written, write))

    def written(self, write: Write, error: BaseException | None) -> None:
        """The device's word on one write, superblocks included; it frees acks or ends the process."""
        if error is not None or self._is_failed:
            if not self._is_failed:
                self._is_failed = True
                self._fail(error or WalWriteFailed("the WAL failed before"))
            return
        self.answers_total += 1
        if write.lsn is not None:
            self._cache.hold(write.lsn, write.data)  # ORDER: before the batches that lie in it
        self.durable_lsn = self._writer.completed(write)
        while self._groups and self._groups[0][0] <= self.durable_lsn:
            _, acks, started = self._groups.popleft()
            self.write_seconds.observe(self._loop.time() - started)
            self._acknowledge(acks)
        if self._forming or self._writer.has_pending:
            self._kick()
        elif self._quiet is not None:
            self._tell_if_quiet()
        elif not self._groups:
            self._arm_idle_block()

    def _tell_if_quiet(self) -> None:
        if self._quiet is not None and not self._quiet.done() and self._writer.is_quiet:
            self._quiet.set_result(None)

    def _acknowledge(self, acks: list[_Ack]) -> None:
        for partition, place, answer, done in acks:
            if partition is not None:
                partition.in_flight_appends -= 1
                if place is not None and partition.is_held:
                    size = place[3]
                    partition.log.durable_to(Offset(place[1] + 1))
                    self._cache.append(partition.stream_id, *place)
                    self.batches_total += 1
                    self.bytes_total += size
                    self._on_durable(partition, size)
            done(answer)

    def _arm_idle_block(self) -> None:
        """After the last ack of a burst, one more block proves it durable to a later recovery."""
        if self._idle_timer is None and self._writer.proven_lsn < self.durable_lsn:
            self._idle_timer = self._loop.call_later(self._knobs.idle_block_delay_s, self._write_idle_block)

    def _write_idle_block(self) -> None:
        self._idle_timer = None
        if self._is_failed or self._groups or self._forming or self._writer.proven_lsn >= self.durable_lsn:
            return
        write = self._writer.idle_block(self.durable_lsn)
        if write is not None:
            self._hand_over([write])


def _writable(batch: Buffer) -> bytearray | memoryview:
    """The batch itself where it may be stamped in place, else a copy."""
    if isinstance(batch, bytes) or (isinstance(batch, memoryview) and batch.readonly):
        return bytearray(batch)
    return batch


def checked_header(batch: Buffer, log: PartitionLog) -> records.BatchHeader:
    """The header of exactly one sound v2 batch; raises ClientFault with the code that Kafka gives.

    The batch is the first `size_bytes`: what else Kafka would leave out behind it (see `check_field`) is the caller's to
    cut off.
    """
    if len(batch) >= records.BATCH_HEADER_BYTES:
        header = records.read_batch_header(batch)
        if header.magic == MAGIC and header.size_bytes == len(batch):
            if records.crc_is_valid(batch):
                return header
            refuse_checksum(header, log.settings)
    header = check_field(batch)
    if not records.crc_is_valid(memoryview(batch)[: header.size_bytes]):
        refuse_checksum(header, log.settings)
    return header


__all__ = ["RECORD_OVERHEAD_BYTES", "Appender", "Done", "checked_header"]
