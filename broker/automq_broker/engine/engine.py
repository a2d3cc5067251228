"""The engine as desks and coordinators see it: open partitions, append, read, wait, trim. Built by `start.py`."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automq_broker.engine.append import Appender, Done
from automq_broker.engine.changes import Changes
from automq_broker.engine.inspect import Inspector
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import ReadAnswer, Reader
from automq_broker.engine.waiting import Waiters
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId, Offset, StreamId
from automq_broker.log import epochs
from automq_broker.log.admission import TimestampFault
from automq_broker.meta.commands import AdvanceStart
from automq_broker.ports import Buffer, Clock, Metadata
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
        metadata: Metadata,
        open_partitions: "OpenPartitions",
        appender: Appender,
        reader: Reader,
        uploader: "Uploader",
        waiters: Waiters,
        producers: "ProducerLoader",
        inspector: Inspector,
        producer_ids: "ProducerIds",
        timestamps: "TimeLookup",
        clock: Clock,
    ) -> None:
        self.node_id = node_id
        self.metadata = metadata
        self.open_partitions = open_partitions
        self.appender = appender
        self.reader = reader
        self.uploader = uploader
        self.waiters = waiters
        self.producers = producers
        self.inspector = inspector
        self.changes = Changes()
        self.producer_ids = producer_ids
        self.timestamps = timestamps
        self.clock = clock
        metadata.subscribe(self.changes.tell)
        open_partitions.on_opened(self.changes.tell)

    def partition(self, topic: str, index: int) -> Partition:
        """The open partition; raises ClientFault UNKNOWN_TOPIC_OR_PARTITION or NOT_LEADER_OR_FOLLOWER."""
        found = self.open_partitions.by_name.get((topic, index))
        if found is not None and found.is_open:
            return found
        row = self.metadata.state.topic(topic)
        if row is None or index < 0 or index >= len(row.partitions):
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)

    def partition_by_id(self, topic_id: uuid.UUID, index: int) -> Partition:
        """As `partition`, by topic id; an id that nobody knows raises UNKNOWN_TOPIC_ID."""
        row = self.metadata.state.topic_by_id(topic_id)
        if row is None:
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_ID)
        return self.partition(row.name, index)

    def append(self, partition: Partition, batch: Buffer, done: Done, *, timeout_s: float = 30.0) -> None:
        """Append one batch; see `Appender.append`.

        Waits first for a look at its records where the topic needs one, then for producer state in the bucket. Raises
        ClientFault NOT_LEADER_OR_FOLLOWER once the partition has begun to close.
        """
        if not partition.is_open:
            raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER)
        partition.bytes_in += len(batch)
        log = partition.log
        if log.looks_inside or self.inspector.is_busy(partition):
            self.inspector.append(partition, batch, done, timeout_s)
            return
        try:
            if log.producers.is_complete:
                self.appender.append(partition, batch, done, timeout_s=timeout_s)
            else:
                self.producers.append_when_loaded(partition, batch, done, timeout_s)
        except TimestampFault:
            self.inspector.append(partition, batch, done, timeout_s)

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
        while (head := self.metadata.state.stream_head(partition.stream_id)) and head.committed_end < start_offset:
            await self.uploader.upload_round(only=(partition.stream_id,))
        await self.metadata.submit(
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
        return self.metadata.state.stored_bytes(partition.stream_id) + self.uploader.waiting_bytes_of(
            partition.stream_id
        )

    def _opens(self, partition: Partition) -> Sequence[tuple[int, int]]:
        return self.metadata.state.leader_epochs(partition.stream_id)

    def leader(self, topic: str, topic_id: uuid.UUID, index: int, listener: str) -> Leader | None:
        """Where a partition is led or about to be, if that node listens there.

        A partition that moves, or whose owner left, will be opened at the next epoch by the node that it is assigned to;
        clients that go there at once meet it as soon as it opens, and never take an older leader for a newer one.
        """
        state = self.metadata.state
        row = state.topic(topic) if topic else state.topic_by_id(topic_id)
        if row is None or not 0 <= index < len(row.partitions):
            return None
        partition = row.partitions[index]
        node, head = state.nodes.get(partition.owner), state.stream_head(partition.stream_id)
        if node is None or head is None:
            return None
        epoch = head.epoch if head.owner == partition.owner else head.epoch + 1
        for endpoint in node.endpoints:
            if endpoint.listener == listener:
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
