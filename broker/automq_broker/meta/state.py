"""The metadata: one value that commands question and records change.

`decide` never changes anything; `replay` is the only mutator and never refuses. A `draft` is a cheap layer on which a
batch of commands is decided one after another before it is stored: readers of the state below see nothing of it. The
same records always lead to the same state, whoever replays them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from automq_broker.kernel.ids import NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.meta import nodes, objects, replaying, streams, topics
from automq_broker.meta.commands import (
    AcceptWalLoss,
    AdvanceStart,
    AllocateObjectIds,
    AllocateProducerIds,
    AssignStreams,
    CloseStream,
    Command,
    CommitObject,
    ConfirmWal,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    FenceNode,
    ForgetNode,
    ForgetObjects,
    LiftFence,
    NodeRecovered,
    NodeStopped,
    OpenStream,
    RegisterNode,
    ReplaceObjects,
    RescueDone,
    RescueNode,
    RetireBlock,
    SetConfigs,
    StopCluster,
)
from automq_broker.meta.decision import Decision
from automq_broker.meta.records import Record
from automq_broker.meta.rows import (
    BlockRow,
    NodeRow,
    ObjectRow,
    RangeRow,
    ResourceType,
    StreamHead,
    StreamRow,
    TopicRow,
)
from automq_broker.meta.tables import Stream, Table, Topic, object_row, unpack_object

R = TypeVar("R")

_RULES: Final[dict[type, Callable[[Any, Any], Decision[Any]]]] = {
    RegisterNode: nodes.register,
    ConfirmWal: nodes.confirm_wal,
    NodeRecovered: nodes.recovered,
    NodeStopped: nodes.stopped,
    FenceNode: nodes.fence,
    LiftFence: nodes.lift,
    RescueNode: nodes.rescue,
    RescueDone: nodes.rescue_done,
    AcceptWalLoss: nodes.accept_wal_loss,
    ForgetNode: nodes.forget,
    StopCluster: nodes.stop_cluster,
    CreateTopic: topics.create,
    DeleteTopic: topics.delete,
    CreatePartitions: topics.grow,
    SetConfigs: topics.set_configs,
    AssignStreams: topics.assign,
    OpenStream: streams.open_stream,
    CloseStream: streams.close_stream,
    AdvanceStart: streams.advance_start,
    AllocateObjectIds: objects.lease_object_ids,
    AllocateProducerIds: objects.lease_producer_ids,
    CommitObject: objects.commit,
    ReplaceObjects: objects.replace,
    RetireBlock: objects.retire,
    ForgetObjects: objects.forget,
}


class State:
    """Everything the controller knows. Not thread-safe: one loop owns it.

    The packed tables (`streams`, `topics_by_id`, `object_entries`, ...) belong to this room and to `engine/control`;
    everyone else reads through the methods and properties below, which answer with values.
    """

    __slots__ = (
        "blocks", "cluster_id", "collisions", "config_rows", "deleting_entries", "forgotten", "last_epoch",
        "next_object_id", "next_producer_id", "next_stream_id", "nodes", "object_entries", "partition_counts",
        "stops_until_ms", "streams", "topic_ids", "topic_rows", "topics_by_id",
    )  # fmt: skip

    def __init__(self, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self.last_epoch = 0
        self.next_stream_id = 1
        self.next_object_id = 1
        self.next_producer_id = 0
        self.stops_until_ms = 0
        """Brokers that stop before this keep their partitions (`StopCluster`)."""
        self.nodes: Table[NodeId, NodeRow] = Table()
        self.forgotten: Table[NodeId, NodeRow] = Table()
        """Nodes that nobody is shown any more (`ForgetNode`), so that a volume of one is still judged."""
        self.topics_by_id: Table[UUID, Topic] = Table(Topic.copy)
        self.topic_ids: Table[str, UUID] = Table()
        self.collisions: Table[str, UUID] = Table()
        self.streams: Table[int, Stream] = Table(Stream.copy)
        self.object_entries: Table[int, bytes] = Table()
        self.deleting_entries: Table[int, tuple[int, bytes]] = Table()
        self.blocks: Table[int, BlockRow] = Table()
        self.config_rows: Table[tuple[int, str], Mapping[str, str]] = Table()
        self.partition_counts: Table[int, int] = Table()
        self.topic_rows: dict[UUID, TopicRow] = {}

    def draft(self) -> "State":
        """A layer on which commands can be decided and replayed; this state does not change and must not meanwhile."""
        other = State.__new__(State)
        for name in (
            "cluster_id",
            "last_epoch",
            "next_stream_id",
            "next_object_id",
            "next_producer_id",
            "stops_until_ms",
        ):
            setattr(other, name, getattr(self, name))
        for name in TABLES:
            setattr(other, name, getattr(self, name).draft())
        other.topic_rows = {}
        return other

    @property
    def touched_rows(self) -> int:
        """How much a draft changes: what its check and its replay cost."""
        return sum(getattr(self, name).touched_count for name in TABLES)

    def decide(self, command: Command[R]) -> Decision[R]:
        """What the command would do and be answered. Raises the refusals named in `commands`."""
        return cast("Decision[R]", _RULES[type(command)](self, command))

    def replay(self, record: Record) -> None:
        """Apply what happened. The only way in which a state changes; records must come in their order."""
        replaying.APPLY[type(record)](self, record)

    def topic(self, name: str) -> TopicRow | None:
        """The topic with this name."""
        topic_id = self.topic_ids.get(name)
        return None if topic_id is None else self.topic_by_id(topic_id)

    def topic_by_id(self, topic_id: UUID) -> TopicRow | None:
        """The topic with this id; a deleted topic's id finds nothing, even if its name exists again."""
        topic = self.topics_by_id.get(topic_id)
        return None if topic is None else self.topic_row(topic)

    def topics(self) -> Iterator[TopicRow]:
        """All topics, by name."""
        for name in sorted(self.topic_ids):
            yield self.topic_row(self.topics_by_id[self.topic_ids[name]])

    def topic_row(self, topic: Topic) -> TopicRow:
        """The value of a packed topic; kept until the topic changes, since every Metadata request asks."""
        row = self.topic_rows.get(topic.topic_id)
        if row is None:
            row = TopicRow(
                topic_id=topic.topic_id,
                name=topic.name,
                is_internal=topic.is_internal,
                created_ms=topic.created_ms,
                partitions=topics.partition_rows(self, topic),
                configs=self.configs(ResourceType.TOPIC, topic.name),
            )
            self.topic_rows[topic.topic_id] = row
        return row

    def stream(self, stream_id: StreamId) -> StreamRow | None:
        """A stream as a value, its ranges as a lazy sequence.

        COST: it copies all ranges; leaders and ends are in `stream_head`, a few of many ranges in `ranges_from`.
        """
        stream = self.streams.get(stream_id)
        return None if stream is None else stream.row()

    def stream_head(self, stream_id: StreamId) -> StreamHead | None:
        """Epoch, owner and ends of a stream, whatever number of ranges it has."""
        stream = self.streams.get(stream_id)
        return None if stream is None else stream.head()

    def leader_epochs(self, stream_id: StreamId) -> tuple[tuple[StreamEpoch, Offset], ...]:
        """The stream's leader-epoch history: (epoch, first offset), ascending; empty for an unknown stream."""
        stream = self.streams.get(stream_id)
        return () if stream is None else stream.epochs()

    def stored_bytes(self, stream_id: StreamId) -> int:
        """Bytes of the stream's committed ranges."""
        stream = self.streams.get(stream_id)
        return 0 if stream is None else stream.stored_bytes()

    def ranges_from(self, stream_id: StreamId, offset: int, limit: int) -> list[RangeRow]:
        """Up to `limit` committed ranges from the one that holds `offset` on, ascending; empty if there is none."""
        stream = self.streams.get(stream_id)
        return [] if stream is None else stream.rows_from(offset, limit)

    def open_streams_of(self, node_id: NodeId) -> list[Stream]:
        """Packed rows of the streams that the node has open, by id; it looks at all streams."""
        return sorted(
            (each for each in self.streams.values() if each.is_open and each.owner == node_id),
            key=lambda stream: stream.stream_id,
        )

    @property
    def objects(self) -> "ObjectsView":
        """Live objects by id, without ranges."""
        return ObjectsView(self.object_entries)

    @property
    def deleting(self) -> dict[ObjectId, int]:
        """Objects without live ranges whose data may still exist, with the time since when; a copy."""
        return {ObjectId(object_id): since for object_id, (since, _) in self.deleting_entries.items()}

    def object_or_deleting(self, object_id: ObjectId) -> ObjectRow | None:
        """A live object's row, or that of one that waits for its deletion."""
        packed = self.object_entries.get(object_id)
        if packed is None and (deleting := self.deleting_entries.get(object_id)) is not None:
            packed = deleting[1]
        return None if packed is None else object_row(object_id, packed)

    def live_ranges(self, object_id: ObjectId) -> int:
        """How many ranges still refer to the object."""
        packed = self.object_entries.get(object_id)
        return 0 if packed is None else unpack_object(packed).live_ranges

    def configs(self, resource_type: int, resource_name: str) -> Mapping[str, str]:
        """What was set for a resource; defaults are the reader's business."""
        return self.config_rows.get((int(resource_type), resource_name), _NO_CONFIGS)

    def is_retired(self, object_id: int) -> bool:
        """Whether no commit with this id can ever succeed any more: it was leased once and its lease is gone."""
        return 0 < object_id < self.next_object_id and objects.find_block(self, object_id) is None

    def retired_spans(self) -> list[tuple[ObjectId, ObjectId]]:
        """All retired ids as ranges [first, end), ascending: what is between the leases."""
        spans: list[tuple[ObjectId, ObjectId]] = []
        position = 1
        for block in sorted(self.blocks.values(), key=lambda each: each.first):
            if block.first > position:
                spans.append((ObjectId(position), block.first))
            position = block.end
        if self.next_object_id > position:
            spans.append((ObjectId(position), ObjectId(self.next_object_id)))
        return spans


class ObjectsView(Mapping[ObjectId, ObjectRow]):
    """Live objects as values, unpacked one at a time."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Table[int, bytes]) -> None:
        self._entries = entries

    def __getitem__(self, key: ObjectId) -> ObjectRow:
        return object_row(key, self._entries[key])

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[ObjectId]:
        return (ObjectId(key) for key in self._entries)

    def __len__(self) -> int:
        return len(self._entries)


TABLES: Final = (
    "nodes", "forgotten", "topics_by_id", "topic_ids", "collisions", "streams", "object_entries", "deleting_entries", "blocks",
    "config_rows", "partition_counts",
)  # fmt: skip

_NO_CONFIGS: Final[Mapping[str, str]] = {}

__all__ = [
    "TABLES",
    "BlockRow",
    "NodeRow",
    "ObjectRow",
    "ObjectsView",
    "RangeRow",
    "State",
    "StreamHead",
    "StreamRow",
    "TopicRow",
]
