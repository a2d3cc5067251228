"""From the WAL to the bucket: object PUT, then metadata commit, then trim. Never in another order (DESIGN, rule 2).

One round takes what is durable and not yet committed, cuts it into objects of bounded size, stores several at a time,
commits them in order, and lets the ring go. A crash between any two steps leaves an orphan object or a longer replay,
never a hole: the trim follows only replies to commits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from automq_broker.cache.tail import Entry, TailCache
from automq_broker.engine.control import Control
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.object_ids import ObjectIds
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import Reader
from automq_broker.engine.store import Store
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamId
from automq_broker.lake import keys, objects
from automq_broker.lake.upload_plan import WaitingStream, plan_upload
from automq_broker.meta.commands import CommitObject, CommitRefused
from automq_broker.meta.rows import ObjectRow, RangeRow
from automq_broker.ports import Clock


@dataclass(frozen=True, slots=True)
class Part:
    """A run of one stream's batches that goes into one object."""

    partition: Partition
    entries: Sequence[Entry]


class Uploader:
    """`partition_of` answers None for a stream that this broker no longer owns: its batches are droppable."""

    def __init__(
        self,
        *,
        store: Store,
        control: Control,
        cache: TailCache,
        reader: Reader,
        ids: ObjectIds,
        knobs: EngineKnobs,
        clock: Clock,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
        partition_of: Callable[[StreamId], Partition | None],
        load_producers: Callable[[Partition], Awaitable[None]],
        on_committed: Callable[[], None],
    ) -> None:
        self._store = store
        self._control = control
        self._cache = cache
        self._reader = reader
        self._ids = ids
        self._knobs = knobs
        self._clock = clock
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._partition_of = partition_of
        self._load_producers = load_producers
        self._on_committed = on_committed
        self._pressed = asyncio.Event()
        self._round = asyncio.Lock()
        self.bytes_total = 0
        self.objects_total = 0
        self.rounds_total = 0
        self.last_round_s = 0.0

    def press(self) -> None:
        """Upload now; safe to call often."""
        self._pressed.set()

    @property
    def waiting_bytes(self) -> int:
        """Appended and not yet committed to the bucket."""
        return self._cache.uncommitted_bytes

    def waiting_bytes_of(self, stream_id: StreamId) -> int:
        """As `waiting_bytes`, of one stream."""
        return sum(entry.size_bytes for entry in self._cache.uncommitted(stream_id))

    async def run(self) -> None:
        """For ever: a round at the threshold, at the interval, or when pressed."""
        loop = asyncio.get_running_loop()
        while True:
            deadline = loop.time() + self._knobs.upload_interval_s
            while self.waiting_bytes < self._knobs.upload_threshold_bytes and loop.time() < deadline:
                try:
                    await asyncio.wait_for(self._pressed.wait(), min(0.5, max(0.0, deadline - loop.time())))
                    break
                except TimeoutError:
                    continue
            self._pressed.clear()
            if self.waiting_bytes:
                await self.upload_round()

    async def upload_all(self, progress: Callable[[int], None] | None = None) -> None:
        """Rounds until everything durable is committed; `progress` is told the bytes left before each round."""
        while self.waiting_bytes:
            if progress is not None:
                progress(self.waiting_bytes)
            await self.upload_round()

    async def upload_round(self, only: StreamId | None = None) -> None:
        """One round over all streams, or over one. Rounds never overlap."""
        async with self._round:
            started = self._clock.monotonic()
            groups = self._plan(only)
            if groups:
                await self._carry_out(groups)
                self.rounds_total += 1
                self.last_round_s = self._clock.monotonic() - started
            self._on_committed()

    def _plan(self, only: StreamId | None) -> list[list[Part]]:
        """The objects of this round, each a list of parts in stream order (see lake/upload_plan)."""
        streams = [only] if only is not None else [backlog.stream_id for backlog in self._cache.uncommitted_streams()]
        entries: dict[StreamId, list[Entry]] = {}
        for stream_id in streams:
            partition = self._partition_of(stream_id)
            if partition is None:
                self._cache.forget(stream_id)
            else:
                entries[stream_id] = list(self._cache.uncommitted(stream_id, partition.log.high_watermark))
        planned = plan_upload(
            (
                WaitingStream(stream_id=stream_id, sizes=tuple(entry.size_bytes for entry in waiting))
                for stream_id, waiting in entries.items()
            ),
            split_bytes=self._knobs.split_size_bytes,
            object_bytes_max=self._knobs.object_size_bytes_max,
        )
        return [
            [self._part(part.stream_id, entries[part.stream_id][part.first : part.end]) for part in upload.parts]
            for upload in planned
        ]

    def _part(self, stream_id: StreamId, entries: list[Entry]) -> Part:
        partition = self._partition_of(stream_id)
        assert partition is not None  # nothing has waited since it was looked up
        return Part(partition, entries)

    async def _carry_out(self, groups: list[list[Part]]) -> None:
        """Store a few objects at a time; commit strictly in order, since a stream's parts must stay contiguous."""
        ids = await self._ids.take(len(groups))
        gate = asyncio.Semaphore(self._knobs.upload_concurrency)
        async with asyncio.TaskGroup() as tasks:
            stored = [
                tasks.create_task(self._store_object(object_id, parts, gate), name=f"put {object_id}")
                for object_id, parts in zip(ids, groups, strict=True)
            ]
            for task, parts in zip(stored, groups, strict=True):
                row = await task
                await self._commit(row, parts)
                gate.release()

    async def _store_object(self, object_id: ObjectId, parts: list[Part], gate: asyncio.Semaphore) -> ObjectRow:
        await gate.acquire()  # released after the commit: stored and not committed counts as in flight
        slices = [await self._slice(part) for part in parts]
        header = objects.ObjectHeader(
            cluster_id=self._control.state.cluster_id,
            node_id=self._node_id,
            broker_epoch=self._broker_epoch,
            object_id=object_id,
            created_ms=self._clock.now_ms(),
            kind=objects.ObjectKind.STREAM if len(slices) == 1 else objects.ObjectKind.STREAM_SET,
        )
        encoded = objects.encode_object(header, slices)
        await self._store.put_new(keys.data_key(object_id), encoded)
        self.bytes_total += encoded.size
        self.objects_total += 1
        return object_row(header, encoded)

    async def _slice(self, part: Part) -> objects.StreamSlice:
        partition = part.partition
        await self._load_producers(partition)  # a checkpoint must stand on the one before it
        batches = []
        for entry in part.entries:
            segments = entry.segments
            if segments is None:
                segments = (await self._reader.batch_from_ring(entry),)
            batches.append(
                objects.Batch(
                    base_offset=entry.base_offset,
                    last_offset=entry.last_offset,
                    records_count=entry.records_count,
                    max_timestamp=entry.max_timestamp,
                    segments=segments,
                )
            )
        return objects.StreamSlice(
            stream_id=partition.stream_id,
            topic_id=partition.topic_id,
            topic=partition.topic,
            partition=partition.index,
            stream_epoch=partition.stream_epoch,
            batches=batches,
            checkpoint=partition.log.producers.snapshot(Offset(part.entries[-1].last_offset + 1)),
        )

    async def _commit(self, row: ObjectRow, parts: list[Part]) -> None:
        """Commit and note it; a refusal tells the true ends, and the next round starts from them under a new id."""
        try:
            await self._control.submit(CommitObject(node_id=self._node_id, broker_epoch=self._broker_epoch, object=row))
        except CommitRefused as refused:
            for stream_id, end in refused.ends.items():
                if stream_id not in refused.gone:
                    self._cache.mark_committed(stream_id, end)
            return
        for part in parts:
            self._cache.mark_committed(part.partition.stream_id, part.entries[-1].last_offset + 1)
        self._on_committed()


def object_row(header: objects.ObjectHeader, encoded: objects.EncodedObject) -> ObjectRow:
    """What the metadata keeps of a stored object."""
    return ObjectRow(
        object_id=header.object_id,
        size=encoded.size,
        crc=encoded.crc,
        node_id=header.node_id,
        kind=header.kind,
        created_ms=header.created_ms,
        index_position=encoded.index_position,
        ranges=tuple(
            RangeRow(
                stream_id=span.stream_id,
                stream_epoch=span.stream_epoch,
                start=span.start,
                end=span.end,
                position=span.position,
                length=span.length,
                records=span.records,
                max_timestamp=span.max_timestamp,
                checkpoint_position=span.checkpoint_position,
                checkpoint_length=span.checkpoint_length,
            )
            for span in encoded.ranges
        ),
    )


__all__ = ["Part", "Uploader", "object_row"]
