"""From the WAL to the bucket: object PUT, then metadata commit, then trim. Never in another order (DESIGN, rule 2).

One round takes what is durable and not yet committed, cuts it into objects of bounded size, stores several at a time,
commits them in order, and lets the ring go. A crash between any two steps leaves an orphan object or a longer replay,
never a hole: the trim follows only replies to commits.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from automq_broker.cache.tail import Entry, TailCache
from automq_broker.engine.byte_gate import ByteGate
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.object_ids import ObjectIds
from automq_broker.engine.partition import Partition
from automq_broker.engine.patience import submit_patiently
from automq_broker.engine.store import Store
from automq_broker.engine.upload_bodies import Body, UploadBodies
from automq_broker.kernel.errors import Retry
from automq_broker.kernel.ids import BrokerEpoch, Lsn, NodeId, ObjectId, Offset, StreamId
from automq_broker.lake import keys, objects
from automq_broker.lake.upload_plan import WaitingStream, plan_upload
from automq_broker.meta.commands import CommitObject, CommitRefused
from automq_broker.meta.rows import ObjectRow, RangeRow
from automq_broker.ports import Clock, Metadata

_GONE_DELAY_S = 0.1


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
        metadata: Metadata,
        cache: TailCache,
        bodies: UploadBodies,
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
        self._metadata = metadata
        self._cache = cache
        self._bodies = bodies
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
        self._gate = ByteGate(knobs.upload_bytes_max)
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

    @property
    def memory_bytes(self) -> int:
        """Memory that objects on their way to the bucket hold; its limit is EngineKnobs.upload_bytes_max."""
        return self._gate.used_bytes

    def waiting_bytes_of(self, stream_id: StreamId) -> int:
        """As `waiting_bytes`, of one stream."""
        return self._cache.uncommitted_bytes_of(stream_id)

    def waiting_bytes_of_all(self, streams: Collection[StreamId]) -> int:
        """As `waiting_bytes`, of some streams."""
        return sum(backlog.size_bytes for backlog in self._cache.uncommitted_streams() if backlog.stream_id in streams)

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

    async def upload_round(self, only: Collection[StreamId] | None = None) -> None:
        """One round over all streams, or over some. Rounds never overlap."""
        async with self._round:
            await self._upload(only)

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[Callable[[Collection[StreamId]], Awaitable[None]]]:
        """Rounds of one's own, with no other in between: yields a function that uploads what some streams have now."""
        async with self._round:
            yield self._upload

    async def _upload(self, only: Collection[StreamId] | None) -> None:
        started = self._clock.monotonic()
        groups = self._plan(only)
        if groups:
            try:
                await self._carry_out(groups)
            except BaseExceptionGroup as failed:  # objects travel side by side; the first that fails is the reason
                if not all(isinstance(each, Retry) for each in failed.exceptions):
                    raise failed.exceptions[0] from failed
                # A topic was deleted meanwhile and the ring let go of its batches: the next round plans without them.
                self.press()
                return
            self.rounds_total += 1
            self.last_round_s = self._clock.monotonic() - started
        self._on_committed()

    def _plan(self, only: Collection[StreamId] | None) -> list[list[Part]]:
        """The objects of this round, each a list of parts in stream order (see lake/upload_plan).

        The streams with the oldest batches come first, so that a round which reaches its bound lets the ring go.
        """
        backlogs = self._cache.uncommitted_streams()
        streams = [backlog.stream_id for backlog in backlogs if only is None or backlog.stream_id in only]
        entries: dict[StreamId, list[Entry]] = {}
        room = self._knobs.upload_batches_max
        for stream_id in streams:
            partition = self._partition_of(stream_id)
            if partition is None:
                self._cache.forget(stream_id)
                continue
            waiting = self._cache.uncommitted(stream_id, partition.log.high_watermark)
            entries[stream_id] = list(islice(waiting, room))
            room -= len(entries[stream_id])
            if not room:
                self.press()
                break
        planned = plan_upload(
            (
                WaitingStream(stream_id=stream_id, sizes=tuple(entry.size_bytes for entry in found))
                for stream_id, found in entries.items()
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
        """Store as many objects at a time as memory allows; commit in order: a stream's parts are contiguous.

        A commit is a request of the bucket, so what has been stored is committed together, at the end of the round; a
        slow round commits as often as an idle controller writes its head anyway, and one that the ring waits for at once.
        """
        ids = await self._ids.take(len(groups))
        async with asyncio.TaskGroup() as tasks:
            stored = [
                tasks.create_task(self._store_object(object_id, parts), name=f"put {object_id}")
                for object_id, parts in zip(ids, groups, strict=True)
            ]
            waiting: list[tuple[ObjectRow, list[Part]]] = []
            since = self._clock.monotonic()
            for task, parts in zip(stored, groups, strict=True):
                waiting.append((await task, parts))
                now = self._clock.monotonic()
                if self._pressed.is_set() or now - since >= self._knobs.commit_delay_s:
                    await self._commit_in_order(waiting)
                    waiting, since = [], now
            await self._commit_in_order(waiting)

    async def _store_object(self, object_id: ObjectId, parts: list[Part]) -> ObjectRow:
        size = sum(entry.size_bytes for part in parts for entry in part.entries)
        await self._gate.enter(size)
        try:
            return await self._put_object(object_id, parts)
        finally:
            self._gate.leave(size)

    async def _put_object(self, object_id: ObjectId, parts: list[Part]) -> ObjectRow:
        entries = sorted((entry for part in parts for entry in part.entries), key=attrgetter("lsn"))
        bodies = await self._bodies.gather(entries)  # the ring is read once, in its own order, for all streams
        slices = [await self._slice(part, bodies) for part in parts]
        header = objects.ObjectHeader(
            cluster_id=self._metadata.state.cluster_id,
            node_id=self._node_id,
            broker_epoch=self._broker_epoch,
            object_id=object_id,
            created_ms=self._clock.now_ms(),
            kind=objects.ObjectKind.STREAM if len(slices) == 1 else objects.ObjectKind.STREAM_SET,
        )
        encoded = objects.encode_object(header, slices, block_bytes=self._knobs.block_size_bytes)
        await self._store.put_new(keys.data_key(object_id), encoded)
        self.bytes_total += encoded.size
        self.objects_total += 1
        return object_row(header, encoded)

    async def _slice(self, part: Part, bodies: dict[Lsn, Body]) -> objects.StreamSlice:
        partition = part.partition
        await self._load_producers(partition)  # a checkpoint must stand on the one before it
        batches = []
        for entry in part.entries:
            batches.append(
                objects.Batch(
                    base_offset=entry.base_offset,
                    last_offset=entry.last_offset,
                    records_count=entry.records_count,
                    max_timestamp=entry.max_timestamp,
                    segments=bodies[entry.lsn],
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

    async def _commit_in_order(self, waiting: Sequence[tuple[ObjectRow, list[Part]]]) -> None:
        """Objects without a stream in common are committed side by side, so that they share one write of the head."""
        together: list[tuple[ObjectRow, list[Part]]] = []
        streams: set[StreamId] = set()
        for row, parts in waiting:
            found = {part.partition.stream_id for part in parts}
            if not streams.isdisjoint(found):
                await self._commit_together(together)
                together, streams = [], set()
            together.append((row, parts))
            streams |= found
        await self._commit_together(together)

    async def _commit_together(self, objects_stored: Sequence[tuple[ObjectRow, list[Part]]]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for row, parts in objects_stored:
                    tasks.create_task(self._commit(row, parts), name=f"commit {row.object_id}")
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    async def _commit(self, row: ObjectRow, parts: list[Part]) -> None:
        """Commit and note it; a refusal tells the true ends, and the next round starts from them under a new id."""
        try:
            await submit_patiently(
                self._metadata, CommitObject(node_id=self._node_id, broker_epoch=self._broker_epoch, object=row)
            )
        except CommitRefused as refused:
            self._ids.give_up()
            for stream_id, end in refused.ends.items():
                if stream_id not in refused.gone:
                    self._cache.mark_committed(stream_id, end)
            if refused.gone:
                # What took them from this node is on its way here and lets go of them; until then a round repeats this.
                await asyncio.sleep(_GONE_DELAY_S)
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
