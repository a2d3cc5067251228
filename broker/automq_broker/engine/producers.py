"""Producer state that lies in the bucket, loaded when the first idempotent batch asks for it.

Opening ten thousand partitions must not read ten thousand checkpoints. So a partition opens with the state of its
un-uploaded batches only, and the checkpoint below them is merged in before the first idempotent batch is judged:
otherwise a retry of an uploaded batch would be appended twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from automq_broker.engine.append import Appender, Done
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import ClientFault, Corrupt, Fenced
from automq_broker.lake import keys
from automq_broker.ports import Buffer, Clock, Metadata, NotFound
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode

log = logging.getLogger("automq.producers")

_FIRST_PAUSE_S, _PAUSE_S_MAX = 0.05, 5.0
_EXPIRED_AT_ONCE = 100
"""Partitions looked at between two turns of the loop; each costs what its producers are."""


class ProducerLoader:
    """Loads each partition's checkpoint once; appends that arrive meanwhile keep their order."""

    def __init__(
        self,
        *,
        store: Store,
        metadata: Metadata,
        appender: Appender,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._appender = appender
        self._start_task = start_task
        self._waiting: dict[Partition, deque[tuple[bytes, Done, float]]] = {}

    def append(self, partition: Partition, batch: Buffer, done: Done, timeout_s: float) -> None:
        """Append now if the partition's producer state is whole, else as `append_when_loaded`."""
        if partition.log.producers.is_complete:
            self._appender.append(partition, batch, done, timeout_s=timeout_s)
        else:
            self.append_when_loaded(partition, batch, done, timeout_s)

    def append_when_loaded(self, partition: Partition, batch: Buffer, done: Done, timeout_s: float) -> None:
        """Append now if the batch needs no producer state and nobody waits; else behind the load."""
        queue = self._waiting.get(partition)
        is_idempotent = len(batch) >= records.BATCH_HEADER_BYTES and records.read_batch_header(batch).producer_id >= 0
        if queue is None and not is_idempotent:
            self._appender.append(partition, batch, done, timeout_s=timeout_s)
            return
        if queue is None:
            queue = self._waiting[partition] = deque()
            partition.loading = self._start_task(
                f"producers of {partition.topic}-{partition.index}", self._go(partition)
            )
        queue.append((bytes(batch), done, timeout_s))

    async def load(self, partition: Partition) -> None:
        """Make the partition's producer state whole; at once if it is."""
        if partition.log.producers.is_complete:
            return
        if partition.loading is None:
            self._waiting[partition] = deque()
            partition.loading = self._start_task(
                f"producers of {partition.topic}-{partition.index}", self._go(partition)
            )
        await asyncio.shield(partition.loading)

    def closed(self, partition: Partition) -> None:
        """The partition is not served here any more: refuse the appends that wait; a load under way ends."""
        for _, done, _ in self._take(partition):
            done(ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER))

    def _take(self, partition: Partition) -> Iterator[tuple[bytes, Done, float]]:
        queue = self._waiting.get(partition)
        while queue:
            yield queue.popleft()

    async def _go(self, partition: Partition) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            checkpoint = await self._checkpoint(partition)
            try:
                self._restore(partition, checkpoint)
                break
            except Corrupt as damage:  # most often on its way here; if it lasts, this partition waits, not the broker
                log.error(
                    "producer state cannot be read",
                    extra={"topic": partition.topic, "partition": partition.index, "reason": str(damage)},
                )
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_S_MAX)
        partition.loading = None
        for batch, done, timeout_s in self._waiting.pop(partition):
            try:
                self._appender.append(partition, batch, done, timeout_s=timeout_s)
            except ClientFault as fault:
                done(fault)

    def _restore(self, partition: Partition, checkpoint: Buffer | None) -> None:
        producers = partition.log.producers
        if checkpoint is None:
            producers.complete_without_checkpoint()
        else:
            producers.restore(checkpoint, partition.replay_from)

    async def _checkpoint(self, partition: Partition) -> Buffer | None:
        """The checkpoint of the stream's last committed range; a compaction that replaces it meanwhile is followed.

        None once the partition is closed: then others continue the stream, and nobody asks for its producers here.
        Raises Fenced if the stream goes on without this process: it commits nothing before its checkpoint is loaded.
        """
        while partition.is_held:
            stream = self._metadata.state.stream(partition.stream_id)
            if stream is None or not stream.ranges:
                return None
            last = stream.ranges[-1]
            if not last.checkpoint_length:
                return None
            if last.end > partition.replay_from:
                raise Fenced(f"stream {partition.stream_id} was continued by another process, up to {last.end}")
            start = last.checkpoint_position
            try:
                return await self._store.get(keys.data_key(last.object_id), start, start + last.checkpoint_length)
            except NotFound:
                await asyncio.sleep(0.05)
        return None


async def expire_producers(open_partitions: OpenPartitions, interval_s: float, clock: Clock) -> None:
    """For ever: forget producers that were silent for producer.id.expiration.ms, a few partitions per loop turn.

    A partition whose checkpoint is not loaded waits for it: forgetting there would let an older state come back.
    """
    while True:
        await asyncio.sleep(interval_s)
        for number, partition in enumerate(list(open_partitions.by_stream.values()), 1):
            producers = partition.log.producers
            if producers.is_complete and len(producers):
                producers.expire(clock.now_ms())
            if number % _EXPIRED_AT_ONCE == 0:
                await asyncio.sleep(0)


__all__ = ["ProducerLoader", "expire_producers"]
