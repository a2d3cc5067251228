"""The engine as desks and coordinators see it: open partitions, append, read, wait, trim. Built by `start.py`."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automq_broker.engine.append import Appender, Done
from automq_broker.engine.control import Control
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import ReadAnswer, Reader
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId, Offset, StreamId
from automq_broker.log import epochs
from automq_broker.meta.commands import AdvanceStart
from automq_broker.ports import Buffer, Clock
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.engine.open_close import OpenPartitions
    from automq_broker.engine.producer_ids import ProducerIds
    from automq_broker.engine.producers import ProducerLoader
    from automq_broker.engine.timestamps import TimeLookup
    from automq_broker.engine.upload import Uploader


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Where a partition is led, as one listener's clients reach it."""

    node_id: NodeId
    leader_epoch: int
    host: str
    port: int
    rack: str | None


class Engine:
    """One broker's data path. Every method runs on the loop that owns the partitions."""

    def __init__(
        self,
        *,
        node_id: NodeId,
        control: Control,
        open_partitions: "OpenPartitions",
        appender: Appender,
        reader: Reader,
        uploader: "Uploader",
        waiters: Waiters,
        producers: "ProducerLoader",
        producer_ids: "ProducerIds",
        timestamps: "TimeLookup",
        clock: Clock,
    ) -> None:
        self.node_id = node_id
        self.control = control
        self.open_partitions = open_partitions
        self.appender = appender
        self.reader = reader
        self.uploader = uploader
        self.waiters = waiters
        self.producers = producers
        self.producer_ids = producer_ids
        self.timestamps = timestamps
        self.clock = clock

    def partition(self, topic: str, index: int) -> Partition:
        """The open partition; raises ClientFault UNKNOWN_TOPIC_OR_PARTITION or NOT_LEADER_OR_FOLLOWER."""
        found = self.open_partitions.by_name.get((topic, index))
        if found is not None and found.is_open:
            return found
        row = self.control.state.topic(topic)
        if row is None or index < 0 or index >= len(row.partitions):
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def partition_by_id(self, topic_id: uuid.UUID, index: int) -> Partition:
        """As `partition`, by topic id; an id that nobody knows raises UNKNOWN_TOPIC_ID."""
        row = self.control.state.topic_by_id(topic_id)
        if row is None:
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_ID)
        return self.partition(row.name, index)

    def append(self, partition: Partition, batch: Buffer, done: Done, *, timeout_s: float = 30.0) -> None:
        """Append one batch; see `Appender.append`. Waits first for producer state that is still in the bucket."""
        if partition.log.producers.is_complete:
            self.appender.append(partition, batch, done, timeout_s=timeout_s)
        else:
            self.producers.append_when_loaded(partition, batch, done, timeout_s)

    def read_now(self, partition: Partition, offset: Offset, max_bytes: int) -> ReadAnswer | None:
        """See `Reader.read_now`."""
        return self.reader.read_now(partition, offset, max_bytes)

    async def read(self, partition: Partition, offset: Offset, max_bytes: int, reader: str = "") -> ReadAnswer:
        """See `Reader.read`."""
        return await self.reader.read(partition, offset, max_bytes, reader)

    def wait_appended(self, partitions: Sequence[Partition], min_bytes: int, deadline: float) -> "asyncio.Future[None]":
        """Resolves when that many bytes became readable, at the deadline, or when one of the partitions closes."""
        return self.waiters.wait(partitions, min_bytes, deadline)

    async def advance_start(self, partition: Partition, start_offset: Offset) -> None:
        """Drop everything below `start_offset`, durably. Data above the committed end is uploaded first.

        Raises ClientFault OFFSET_OUT_OF_RANGE beyond the high watermark.
        """
        if start_offset > partition.log.high_watermark:
            raise ClientFault(ErrorCode.OFFSET_OUT_OF_RANGE)
        if start_offset <= partition.log.start_offset:
            return
        while (stream := self.control.state.stream(partition.stream_id)) and stream.committed_end < start_offset:
            await self.uploader.upload_round(only=partition.stream_id)
        await self.control.submit(
            AdvanceStart(stream_id=partition.stream_id, start_offset=start_offset, now_ms=self.clock.now_ms())
        )

    def end_offset_for_epoch(self, partition: Partition, epoch: int) -> tuple[int, int]:
        """Kafka's OffsetForLeaderEpoch: (largest known epoch <= the asked one, its end offset), or (-1, -1)."""
        log = partition.log
        return epochs.end_offset_for_epoch(self._opens(partition), epoch, log.high_watermark, log.start_offset)

    def epoch_of_offset(self, partition: Partition, offset: Offset) -> int:
        """The epoch of the leader that wrote (or will write) this offset."""
        written = [epoch for epoch, first in self._opens(partition) if first <= offset]
        return written[-1] if written else partition.log.leader_epoch

    def size_bytes(self, partition: Partition) -> int:
        """Bytes of the partition's live ranges in the bucket, and of what only the WAL holds."""
        stream = self.control.state.stream(partition.stream_id)
        stored = sum(span.length for span in stream.ranges) if stream is not None else 0
        return stored + self.uploader.waiting_bytes_of(partition.stream_id)

    def _opens(self, partition: Partition) -> Sequence[tuple[int, int]]:
        stream = self.control.state.stream(partition.stream_id)
        return [] if stream is None else stream.opens

    def leader(self, topic: str, topic_id: uuid.UUID, index: int, listener: str) -> Leader | None:
        """The leader that the metadata names for a partition, if it is alive and listens there."""
        state = self.control.state
        row = state.topic(topic) if topic else state.topic_by_id(topic_id)
        if row is None or not 0 <= index < len(row.partitions):
            return None
        partition = row.partitions[index]
        node = state.nodes.get(partition.owner)
        if node is None:
            return None
        for endpoint in node.endpoints:
            if endpoint.listener == listener:
                stream = state.stream(partition.stream_id)
                epoch = -1 if stream is None else stream.epoch
                return Leader(
                    node_id=partition.owner, leader_epoch=epoch, host=endpoint.host, port=endpoint.port, rack=node.rack
                )
        return None

    def partition_of(self, stream_id: StreamId) -> Partition | None:
        """The open partition of a stream, if this broker serves it."""
        return self.open_partitions.by_stream.get(stream_id)

    def on_partition_opened(self, callback: Callable[[Partition], None]) -> None:
        """Call `callback` for every partition that is announced from now on."""
        self.open_partitions.on_opened(callback)

    def on_partition_closed(self, callback: Callable[[Partition], None]) -> None:
        """Call `callback` for every partition that closes from now on."""
        self.open_partitions.on_closed(callback)


__all__ = ["Engine", "Leader"]
