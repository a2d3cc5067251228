"""Batches that must be looked at before they are stored: keys, every record's timestamp, another codec.

Most topics need none of it and their batches travel as bytes (DESIGN, rule 7). Where a topic does, the work runs in the
pool of workers, several batches at a time, and each partition's batches go on in the order in which they came.
Memory: a batch unfolds within the limits of EngineKnobs, in a worker; what waits here is what clients have in flight.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from automq_broker.engine.append import Done, checked_header
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import StreamId
from automq_broker.log.admission import LogSettings, check_header
from automq_broker.log.record_faults import check_records
from automq_broker.ports import Buffer, Clock, Workers
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode

Onward = Callable[[Partition, Buffer, Done, float], None]
"""(partition, batch, done, timeout in seconds): appends what has been looked at; raises ClientFault at once."""

INLINE_RECORDS = 32
"""An uncompressed batch of so few records is looked at on the loop: a worker would cost more than the look."""

INLINE_BYTES = 64 << 10


@dataclass(slots=True)
class _Waiting:
    work: "asyncio.Task[Buffer | ClientFault]"
    done: Done
    deadline: float


class Inspector:
    """One queue per partition while its batches are being looked at. `is_busy` says that later ones must queue too."""

    def __init__(
        self,
        *,
        workers: Workers,
        knobs: EngineKnobs,
        clock: Clock,
        onward: Onward,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._workers = workers
        self._knobs = knobs
        self._clock = clock
        self._onward = onward
        self._start_task = start_task
        self._lanes: dict[StreamId, deque[_Waiting]] = {}

    def is_busy(self, partition: Partition) -> bool:
        """Batches of this partition are being looked at: what comes now must stay behind them."""
        return bool(self._lanes) and partition.stream_id in self._lanes

    def append(self, partition: Partition, batch: Buffer, done: Done, timeout_s: float) -> None:
        """Look at the batch, then append it behind those that came before. Raises ClientFault for a bad header.

        What the records say is refused through `done`, with RecordFaults where single records are at fault.
        """
        settings = partition.log.settings
        header = checked_header(batch, partition.log)
        if header.size_bytes < len(batch):
            batch = memoryview(batch)[: header.size_bytes]
        check_header(header, settings)
        arguments = (header, settings, self._clock.now_ms(), self._knobs)
        lane = self._lanes.get(partition.stream_id)
        if lane is None and _is_small(header, settings):
            self._onward(partition, look(batch, *arguments), done, timeout_s)
            return
        if lane is None:
            lane = self._lanes[partition.stream_id] = deque()
            self._start_task(f"batches of {partition.topic}-{partition.index}", self._go(partition, lane))
        loop = asyncio.get_running_loop()
        kept = bytes(batch)  # the receive buffer goes back to its pool
        work = loop.create_task(self._look(kept, *arguments), name="look at a batch")
        lane.append(_Waiting(work, done, loop.time() + timeout_s))

    async def _look(self, *arguments: Any) -> Buffer | ClientFault:
        return await self._workers.run(_outcome, *arguments)

    async def _go(self, partition: Partition, lane: deque[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        while lane:
            waiting = lane[0]
            try:
                batch = await waiting.work
                if isinstance(batch, ClientFault):
                    raise batch
                if not partition.is_open:
                    raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)
                self._onward(partition, batch, waiting.done, max(0.0, waiting.deadline - loop.time()))
            except ClientFault as fault:
                waiting.done(fault)
            lane.popleft()
        del self._lanes[partition.stream_id]


def _is_small(header: records.BatchHeader, settings: LogSettings) -> bool:
    return (
        not header.compression
        and header.records_count <= INLINE_RECORDS
        and header.size_bytes <= INLINE_BYTES
        and not settings.must_recompress(header)
    )


def _outcome(*arguments: Any) -> Buffer | ClientFault:
    """As `look`, a refusal being the answer: its traceback would keep the unfolded records until the next collection."""
    try:
        return look(*arguments)
    except ClientFault as fault:
        fault.__context__ = None
        return fault.with_traceback(None)


def look(batch: Buffer, header: records.BatchHeader, settings: LogSettings, now_ms: int, knobs: EngineKnobs) -> Buffer:
    """The batch as it is to be stored: itself, or rewritten with the topic's codec or the true largest timestamp.

    CPU work. Raises RecordFaults, or ClientFault INVALID_RECORD (broken or above the limits), MESSAGE_TOO_LARGE (it
    grew above max.message.bytes).
    """
    header, body = records.unfold(
        batch, limit_bytes=knobs.decompress_limit_bytes, limit_ratio=knobs.decompress_limit_ratio
    )
    largest = check_records(records.iter_glances(header, body), header, settings, now_ms)
    if settings.must_recompress(header):
        batch = records.refold(batch, body, settings.codec, settings.compression_level)
        if len(batch) > settings.max_message_bytes:
            raise ClientFault(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"The record batch has {len(batch)} bytes as {settings.compression_type}, which exceeds the maximum "
                f"configured value of {settings.max_message_bytes}.",
            )
    if not settings.is_log_append_time and (header.is_log_append_time or largest != header.max_timestamp):
        batch = bytearray(batch)
        records.stamp_create_time(batch, largest)
    return batch


__all__ = ["Inspector", "look"]
