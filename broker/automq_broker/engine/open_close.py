"""Which partitions this broker serves: opened at start and as the metadata says, closed when it says otherwise.

Level-triggered: whatever record arrives, the topics that it touches are compared with what is open, so a missed or
repeated notice changes nothing. Opening is one command per stream (epoch + 1); a stream is served only after its own
open is confirmed.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from automq_broker.cache.tail import TailCache
from automq_broker.engine.control import Control
from automq_broker.engine.partition import Partition
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.errors import ClientFault, NotMine
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamEpoch, StreamId
from automq_broker.log.admission import LogSettings
from automq_broker.log.partition import PartitionLog
from automq_broker.meta import records as meta_records
from automq_broker.meta.commands import CloseStream, Opened, OpenStream
from automq_broker.meta.rows import ResourceType, StreamRow, TopicRow

_OPENS_AT_ONCE = 20_000
"""Streams opened with one wave of commands; the controller folds them into a few commits."""

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
        control: Control,
        cache: TailCache,
        waiters: Waiters,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
        settings_of: LogSettingsOf,
        config_of: Callable[[TopicRow, str], str],
    ) -> None:
        self._control = control
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
        self._wake = asyncio.Event()
        self._is_stopping = False
        self.by_name: dict[tuple[str, int], Partition] = {}
        self.by_stream: dict[StreamId, Partition] = {}

    def on_opened(self, callback: Callable[[Partition], None]) -> None:
        """Tell `callback` of every partition that is announced from now on, in the order of registration."""
        self._opened_callbacks.append(callback)

    def on_closed(self, callback: Callable[[Partition], None]) -> None:
        """Tell `callback` of every partition that closes."""
        self._closed_callbacks.append(callback)

    def effective_config(self, partition: Partition, name: str) -> str:
        """A topic config in force: the topic's own, else the broker's, else Kafka's default."""
        row = self._control.state.topic(partition.topic)
        if row is None:
            raise ClientFault(3)
        return self._config_of(row, name)

    async def open_all(self, recovered: dict[StreamId, Recovered]) -> None:
        """Open every partition that the metadata gives to this node; used once, before the WAL's records are replayed.

        The partitions are not announced yet: `announce_all` does it when the replay is complete.
        """
        rows = [
            (topic, row.index, row.stream_id)
            for topic in self._control.state.topics()
            for row in topic.partitions
            if row.owner == self._node_id
        ]
        for first in range(0, len(rows), _OPENS_AT_ONCE):
            await self._open(rows[first : first + _OPENS_AT_ONCE], recovered)

    def applied(self, records: Iterable[meta_records.Record]) -> None:
        """Confirmed metadata records: note which topics to look at. Called by the controller's loop; never waits."""
        for record in records:
            match record:
                case meta_records.TopicAdded() | meta_records.PartitionsAdded() | meta_records.TopicRemoved():
                    self._dirty[record.topic_id] = None
                case meta_records.StreamsAssigned():
                    self._mark_streams(record.stream_ids)
                case meta_records.ConfigsChanged(resource_type=ResourceType.TOPIC):
                    row = self._control.state.topic(record.resource_name)
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

    async def run(self) -> None:
        """For ever: bring what is open in step with the metadata."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            topic_ids, self._dirty = list(self._dirty), {}
            if self._all_dirty:
                self._all_dirty = False
                topic_ids = [topic.topic_id for topic in self._control.state.topics()]
            await self._reconcile(topic_ids)

    async def close_all(self) -> None:
        """Close every stream at its end; all its records must be committed. Used at a clean stop."""
        self._is_stopping = True
        partitions = list(self.by_stream.values())
        for partition in partitions:
            partition.is_open = False
            self._waiters.closed(partition.stream_id)
        await asyncio.gather(*(self._close_stream(partition) for partition in partitions))

    async def _reconcile(self, topic_ids: list[uuid.UUID]) -> None:
        missing: list[tuple[TopicRow, int, StreamId]] = []
        for topic_id in topic_ids:
            topic = self._control.state.topic_by_id(topic_id)
            if topic is None:
                self._drop_topic(topic_id)
                continue
            settings = self._settings_of(topic)
            for row in topic.partitions:
                partition = self.by_stream.get(row.stream_id)
                if partition is not None:
                    partition.log.configure(settings)
                elif row.owner == self._node_id and not self._is_stopping:
                    missing.append((topic, row.index, row.stream_id))
        if missing:
            self._announce(await self._open(missing, {}))

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
        stream = self._control.state.stream(stream_id)
        if stream is None:
            return None
        log_end = recovered[stream_id].end_offset if stream_id in recovered else Offset(0)
        try:
            opened = await self._control.submit(
                OpenStream(
                    stream_id=stream_id,
                    node_id=self._node_id,
                    broker_epoch=self._broker_epoch,
                    stream_epoch=StreamEpoch(stream.epoch + 1),
                    log_end=log_end,
                )
            )
        except (NotMine, ClientFault):
            return None  # deleted or assigned elsewhere meanwhile; the record that did it has marked the topic
        stream = self._control.state.stream(stream_id)
        return None if stream is None else self._register(topic, index, stream, opened)

    def _register(self, topic: TopicRow, index: int, stream: StreamRow, opened: Opened) -> Partition:
        has_checkpoint = bool(stream.ranges) and stream.ranges[-1].checkpoint_length > 0
        log = PartitionLog(
            stream_id=stream.stream_id,
            leader_epoch=opened.stream_epoch,
            start_offset=opened.start_offset,
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
        """Everything is replayed: tell whoever asked of every open partition."""
        self._announce(list(self.by_stream.values()))

    def _announce(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            for callback in self._opened_callbacks:
                callback(partition)

    def _drop_topic(self, topic_id: uuid.UUID) -> None:
        for partition in [held for held in self.by_stream.values() if held.topic_id == topic_id]:
            self._drop(partition)

    def _drop(self, partition: Partition) -> None:
        partition.is_open = False
        del self.by_stream[partition.stream_id]
        if self.by_name.get((partition.topic, partition.index)) is partition:
            del self.by_name[partition.topic, partition.index]
        self._cache.forget(partition.stream_id)
        self._waiters.closed(partition.stream_id)
        for callback in self._closed_callbacks:
            callback(partition)

    def _mark_streams(self, stream_ids: Iterable[int]) -> None:
        for stream_id in stream_ids:
            stream = self._control.state.stream(StreamId(stream_id))
            if stream is not None:
                self._dirty[stream.topic_id] = None

    def _advance_start(self, stream_id: StreamId, start_offset: Offset) -> None:
        partition = self.by_stream.get(stream_id)
        if partition is not None:
            partition.log.advance_start(start_offset)
            self._cache.drop_below(stream_id, start_offset)

    async def _close_stream(self, partition: Partition) -> None:
        await self._control.submit(
            CloseStream(
                stream_id=partition.stream_id,
                node_id=self._node_id,
                broker_epoch=self._broker_epoch,
                stream_epoch=partition.stream_epoch,
                final_end=partition.log.end_offset,
            )
        )


__all__ = ["OpenPartitions", "Recovered"]
