"""Which partitions this broker serves: opened at start and as the metadata says, given up when it says otherwise.

Level-triggered: whatever record arrives, the topics that it touches are compared with what is open, so a missed or
repeated notice changes nothing. Opening is one command per stream (epoch + 1); a stream is served only after its own
open is confirmed. What is assigned to another node is put into `unwanted`, and `engine/closing.py` closes it.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from automq_broker.cache.tail import TailCache
from automq_broker.engine.partition import Partition
from automq_broker.engine.patience import submit_patiently
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.errors import ClientFault, NotMine
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamEpoch, StreamId
from automq_broker.log.admission import LogSettings
from automq_broker.log.partition import PartitionLog
from automq_broker.meta import records as meta_records
from automq_broker.meta.commands import CloseStream, Opened, OpenStream
from automq_broker.meta.rows import NO_NODE, NodeStatus, PartitionRow, ResourceType, StreamRow, TopicRow
from automq_broker.ports import Metadata

_OPENS_AT_ONCE = 20_000
"""Streams opened with one wave of commands; the controller folds them into a few commits."""

_PARTITIONS_PER_BREATH = 2_000

LogSettingsOf = Callable[[TopicRow], LogSettings]
"""A topic's own configs over the broker's."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the WAL held of one stream: where its records end. Nothing recovered = no entry."""

    end_offset: Offset


class OpenPartitions:
    """The registry of open partitions and the task that keeps it in step with the metadata."""

    def __init__(
        self,
        *,
        metadata: Metadata,
        cache: TailCache,
        waiters: Waiters,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
        settings_of: LogSettingsOf,
        config_of: Callable[[TopicRow, str], str],
    ) -> None:
        self._metadata = metadata
        self._cache = cache
        self._waiters = waiters
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._settings_of = settings_of
        self._config_of = config_of
        self._opened_callbacks: list[Callable[[Partition], None]] = []
        self._closed_callbacks: list[Callable[[Partition], None]] = []
        self._dirty: dict[uuid.UUID, None] = {}
        self._all_dirty = False
        self._postponed: dict[uuid.UUID, None] = {}
        """Topics with partitions whose next owner is not there yet: they are served here until it is."""
        self._wake = asyncio.Event()
        self._has_unwanted = asyncio.Event()
        self._has_dropped = asyncio.Event()
        self._is_stopping = False
        self._opening = asyncio.Lock()
        """Held while opens may be on their way."""
        self.unwanted: dict[StreamId, Partition] = {}
        """Open here and assigned elsewhere; in the order in which they were noticed."""
        self.by_name: dict[tuple[str, int], Partition] = {}
        self.by_stream: dict[StreamId, Partition] = {}

    def on_opened(self, callback: Callable[[Partition], None]) -> None:
        """Tell `callback` of every partition that is announced from now on, in the order of registration."""
        self._opened_callbacks.append(callback)

    def on_closed(self, callback: Callable[[Partition], None]) -> None:
        """Tell `callback` of every partition that stops being served, at that moment; its last appends may still end."""
        self._closed_callbacks.append(callback)

    def effective_config(self, partition: Partition, name: str) -> str:
        """A topic config in force: the topic's own, else the broker's, else Kafka's default."""
        row = self._metadata.state.topic(partition.topic)
        if row is None:
            raise ClientFault(3)
        return self._config_of(row, name)

    async def open_all(self, recovered: dict[StreamId, Recovered]) -> None:
        """Open what the metadata gives to this node, and what an earlier life of it left open; used once, at start.

        Before the WAL's records are replayed: a move that this node's death interrupted needs their upload, and goes on
        when they are back. The partitions are not announced yet; `announce_all` does it when the replay is complete.
        """
        rows = [
            (topic, row.index, row.stream_id)
            for topic in self._metadata.state.topics()
            for row in topic.partitions
            if self._may_open(row)
        ]
        for first in range(0, len(rows), _OPENS_AT_ONCE):
            await self._open(rows[first : first + _OPENS_AT_ONCE], recovered)

    def take_over(self) -> list[tuple[Partition, Offset]]:
        """Hold what this node, which is dead, left open, at its present epoch; each with its committed end.

        For an adopter: nothing of it is opened anew or served, it is only uploaded and closed (DESIGN 5a.12).
        """
        state = self._metadata.state
        held = []
        for stream in state.open_streams_of(self._node_id):
            topic = state.topic_by_id(stream.topic_id)
            assert topic is not None  # a topic and its streams are one commit
            row = stream.row()
            opened = Opened(stream_epoch=row.epoch, start_offset=row.start_offset, committed_end=row.committed_end)
            partition = self._register(topic, row.partition, row, opened)
            partition.is_open = False
            held.append((partition, row.committed_end))
        return held

    def applied(self, records: Iterable[meta_records.Record]) -> None:
        """Confirmed metadata records: note which topics to look at. Called by the controller's loop; never waits."""
        for record in records:
            match record:
                case meta_records.TopicAdded() | meta_records.PartitionsAdded() | meta_records.TopicRemoved():
                    self._dirty[record.topic_id] = None
                case meta_records.StreamsAssigned():
                    self._mark_streams(record.stream_ids)
                case meta_records.StreamClosed():
                    self._mark_streams((record.stream_id,))
                case meta_records.NodeStatusChanged() | meta_records.NodeRegistered() if self._postponed:
                    self._dirty |= self._postponed
                    self._postponed = {}
                case meta_records.ConfigsChanged(resource_type=ResourceType.TOPIC):
                    row = self._metadata.state.topic(record.resource_name)
                    if row is not None:
                        self._dirty[row.topic_id] = None
                case meta_records.ConfigsChanged(resource_type=ResourceType.BROKER):
                    self._all_dirty = True
                case meta_records.StartAdvanced():
                    self._advance_start(StreamId(record.stream_id), Offset(record.start_offset))
                case _:
                    continue
        if self._dirty or self._all_dirty:
            self._wake.set()

    def reloaded(self, _: object) -> None:
        """The metadata was loaded anew: look at everything, and at starts that moved meanwhile."""
        for stream_id in list(self.by_stream):
            stream = self._metadata.state.stream(stream_id)
            if stream is not None:
                self._advance_start(stream_id, stream.start_offset)
        self._all_dirty = True
        self._wake.set()

    async def run(self) -> None:
        """For ever: bring what is open in step with the metadata."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            topic_ids, self._dirty = list(self._dirty), {}
            if self._all_dirty:
                self._all_dirty = False
                held = (partition.topic_id for partition in self.by_stream.values())
                topic_ids = list(dict.fromkeys([*(topic.topic_id for topic in self._metadata.state.topics()), *held]))
            async with self._opening:
                await self._reconcile(topic_ids)

    async def next_unwanted(self) -> list[Partition]:
        """Wait until partitions are to be given up, and take them all: they are one wave."""
        while not self.unwanted:
            self._has_unwanted.clear()
            await self._has_unwanted.wait()
        taken, self.unwanted = list(self.unwanted.values()), {}
        return taken

    async def wait_given_up(self, streams: Collection[StreamId]) -> None:
        """Wait until none of these is held here. Only one may wait at a time."""
        while any(stream_id in self.by_stream for stream_id in streams):
            self._has_dropped.clear()
            await self._has_dropped.wait()

    def is_unwanted(self, partition: Partition) -> bool:
        """Whether the partition is served here and assigned to another node that could open it now."""
        head = self._metadata.state.stream_head(partition.stream_id)
        return partition.is_open and head is not None and self._can_take_over(head.assigned)

    def open_no_more(self) -> None:
        """The broker is going: what is assigned to it from now on stays closed."""
        self._is_stopping = True

    async def wait_opened(self) -> None:
        """Wait until every open on its way is answered: behind `open_no_more`, nothing comes to `by_stream` then."""
        async with self._opening:
            pass

    def stop_serving(self, partition: Partition) -> None:
        """No append and no fetch any more; waiting fetches wake. What was handed to the WAL before still counts."""
        if not partition.is_open:
            return
        partition.is_open = False
        self._waiters.closed(partition.stream_id)
        for callback in self._closed_callbacks:
            callback(partition)

    async def close_stream(self, partition: Partition) -> None:
        """Commit that the stream is closed at its end; raises CommitRefused if something is not in the bucket yet."""
        await submit_patiently(
            self._metadata,
            CloseStream(
                stream_id=partition.stream_id,
                node_id=self._node_id,
                broker_epoch=self._broker_epoch,
                stream_epoch=partition.stream_epoch,
                final_end=partition.log.end_offset,
            ),
        )

    def closed(self, partition: Partition) -> None:
        """The close is committed: forget the partition. If it was given back to this node meanwhile, it opens anew."""
        if self.by_stream.get(partition.stream_id) is partition:
            self._drop(partition)
        self._dirty[partition.topic_id] = None
        self._wake.set()

    async def _reconcile(self, topic_ids: list[uuid.UUID]) -> None:
        missing: list[tuple[TopicRow, int, StreamId]] = []
        seen = 0
        for topic_id in topic_ids:
            if seen >= _PARTITIONS_PER_BREATH:
                seen = 0
                await asyncio.sleep(0)
            topic = self._metadata.state.topic_by_id(topic_id)
            if topic is None:
                self._drop_topic(topic_id)
                continue
            settings = self._settings_of(topic)
            seen += len(topic.partitions)
            for row in topic.partitions:
                partition = self.by_stream.get(row.stream_id)
                if partition is not None:
                    partition.log.configure(settings)
                    self._compare_owner(partition, row)
                elif not self._is_stopping and self._may_open(row):
                    missing.append((topic, row.index, row.stream_id))
        if missing:
            self._announce(await self._open(missing, {}))

    def _compare_owner(self, partition: Partition, row: PartitionRow) -> None:
        self.unwanted.pop(partition.stream_id, None)
        if row.owner == self._node_id or not partition.is_open:
            return
        if self._can_take_over(row.owner):
            self.unwanted[partition.stream_id] = partition
            self._has_unwanted.set()
        else:
            self._postponed[partition.topic_id] = None

    def _can_take_over(self, node_id: NodeId) -> bool:
        node = self._metadata.state.nodes.get(node_id)
        return node_id != self._node_id and node is not None and node.status is NodeStatus.ACTIVE

    def _may_open(self, row: PartitionRow) -> bool:
        """Nobody else has it open, and it is this node's: assigned to it, or still open at an earlier life of it."""
        head = self._metadata.state.stream_head(row.stream_id)
        if head is None:
            return False
        return head.owner == self._node_id or (head.owner == NO_NODE and row.owner == self._node_id)

    async def _open(
        self, rows: list[tuple[TopicRow, int, StreamId]], recovered: dict[StreamId, Recovered]
    ) -> list[Partition]:
        opened = await asyncio.gather(
            *(self._open_one(topic, index, stream_id, recovered) for topic, index, stream_id in rows)
        )
        return [partition for partition in opened if partition is not None]

    async def _open_one(
        self, topic: TopicRow, index: int, stream_id: StreamId, recovered: dict[StreamId, Recovered]
    ) -> Partition | None:
        head = self._metadata.state.stream_head(stream_id)
        if head is None:
            return None
        log_end = recovered[stream_id].end_offset if stream_id in recovered else Offset(0)
        try:
            opened = await submit_patiently(
                self._metadata,
                OpenStream(
                    stream_id=stream_id,
                    node_id=self._node_id,
                    broker_epoch=self._broker_epoch,
                    stream_epoch=StreamEpoch(head.epoch + 1),
                    log_end=log_end,
                ),
            )
        except (NotMine, ClientFault):
            return None  # deleted or assigned elsewhere meanwhile; the record that did it has marked the topic
        stream = self._metadata.state.stream(stream_id)
        return None if stream is None else self._register(topic, index, stream, opened)

    def _register(self, topic: TopicRow, index: int, stream: StreamRow, opened: Opened) -> Partition:
        has_checkpoint = bool(stream.ranges) and stream.ranges[-1].checkpoint_length > 0
        log = PartitionLog(
            stream_id=stream.stream_id,
            leader_epoch=opened.stream_epoch,
            start_offset=max(opened.start_offset, stream.start_offset),  # advanced since the answer was made
            end_offset=opened.committed_end,
            settings=self._settings_of(topic),
            has_checkpoint=has_checkpoint,
        )
        partition = Partition(
            topic=topic.name,
            topic_id=topic.topic_id,
            index=index,
            stream_id=stream.stream_id,
            stream_epoch=opened.stream_epoch,
            is_internal=topic.is_internal,
            log=log,
            replay_from=opened.committed_end,
        )
        self.by_stream[stream.stream_id] = partition
        self.by_name[topic.name, index] = partition
        return partition

    def announce_all(self) -> None:
        """Everything is replayed: tell whoever asked of every open partition, and go on with moves that a death cut off."""
        self._announce(list(self.by_stream.values()))
        for partition in self.by_stream.values():
            head = self._metadata.state.stream_head(partition.stream_id)
            if head is None or head.assigned != self._node_id:
                self._dirty[partition.topic_id] = None
                self._wake.set()

    def _announce(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            for callback in self._opened_callbacks:
                callback(partition)

    def _drop_topic(self, topic_id: uuid.UUID) -> None:
        for partition in [held for held in self.by_stream.values() if held.topic_id == topic_id]:
            self._drop(partition)

    def _drop(self, partition: Partition) -> None:
        self.stop_serving(partition)
        partition.is_held = False
        self.unwanted.pop(partition.stream_id, None)
        del self.by_stream[partition.stream_id]
        self._has_dropped.set()
        if self.by_name.get((partition.topic, partition.index)) is partition:
            del self.by_name[partition.topic, partition.index]
        self._cache.forget(partition.stream_id)

    def _mark_streams(self, stream_ids: Iterable[int]) -> None:
        for stream_id in stream_ids:
            head = self._metadata.state.stream_head(StreamId(stream_id))
            if head is not None and (head.assigned == self._node_id or stream_id in self.by_stream):
                self._dirty[head.topic_id] = None

    def _advance_start(self, stream_id: StreamId, start_offset: Offset) -> None:
        """Unless it went on elsewhere: what is deleted there may lie beyond all that this log has."""
        partition, head = self.by_stream.get(stream_id), self._metadata.state.stream_head(stream_id)
        if partition is None or head is None:
            return
        if head.owner == self._node_id and head.epoch == partition.stream_epoch:
            partition.log.advance_start(start_offset)
            self._cache.drop_below(stream_id, start_offset)


__all__ = ["OpenPartitions", "Recovered"]
