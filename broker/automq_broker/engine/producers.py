"""Producer state that lies in the bucket, loaded when the first idempotent batch asks for it.

Opening ten thousand partitions must not read ten thousand checkpoints. So a partition opens with the state of its
un-uploaded batches only, and the checkpoint below them is merged in before the first idempotent batch is judged:
otherwise a retry of an uploaded batch would be appended twice.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from automq_broker.engine.append import Appender, Done
from automq_broker.engine.control import Control
from automq_broker.engine.partition import Partition
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import StreamId
from automq_broker.lake import keys
from automq_broker.ports import Buffer, NotFound
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode


class ProducerLoader:
    """Loads each partition's checkpoint once; appends that arrive meanwhile keep their order."""

    def __init__(
        self,
        *,
        store: Store,
        control: Control,
        appender: Appender,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._store = store
        self._control = control
        self._appender = appender
        self._start_task = start_task
        self._waiting: dict[StreamId, deque[tuple[bytes, Done, float]]] = {}

    def append_when_loaded(self, partition: Partition, batch: Buffer, done: Done, timeout_s: float) -> None:
        """Append now if the batch needs no producer state and nobody waits; else behind the load."""
        queue = self._waiting.get(partition.stream_id)
        is_idempotent = len(batch) >= records.BATCH_HEADER_BYTES and records.read_batch_header(batch).producer_id >= 0
        if queue is None and not is_idempotent:
            self._appender.append(partition, batch, done, timeout_s=timeout_s)
            return
        if queue is None:
            queue = self._waiting[partition.stream_id] = deque()
            partition.loading = self._start_task(
                f"producers of {partition.topic}-{partition.index}", self._go(partition)
            )
        queue.append((bytes(batch), done, timeout_s))

    async def load(self, partition: Partition) -> None:
        """Make the partition's producer state whole; at once if it is."""
        if partition.log.producers.is_complete:
            return
        if partition.loading is None:
            self._waiting[partition.stream_id] = deque()
            partition.loading = self._start_task(
                f"producers of {partition.topic}-{partition.index}", self._go(partition)
            )
        await asyncio.shield(partition.loading)

    async def _go(self, partition: Partition) -> None:
        checkpoint = await self._checkpoint(partition)
        producers = partition.log.producers
        if checkpoint is None:
            producers.complete_without_checkpoint()
        else:
            producers.restore(checkpoint, partition.replay_from)
        partition.loading = None
        for batch, done, timeout_s in self._waiting.pop(partition.stream_id):
            try:
                if not partition.is_open:
                    raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)
                self._appender.append(partition, batch, done, timeout_s=timeout_s)
            except ClientFault as fault:
                done(fault)

    async def _checkpoint(self, partition: Partition) -> Buffer | None:
        """The checkpoint of the stream's last committed range; a compaction that replaces it meanwhile is followed."""
        while True:
            stream = self._control.state.stream(partition.stream_id)
            if stream is None or not stream.ranges:
                return None
            last = stream.ranges[-1]
            if not last.checkpoint_length:
                return None
            start = last.checkpoint_position
            try:
                return await self._store.get(keys.data_key(last.object_id), start, start + last.checkpoint_length)
            except NotFound:
                await asyncio.sleep(0.05)


__all__ = ["ProducerLoader"]
