"""What readers of the metadata see: values that never change under their hands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId

NO_NODE = NodeId(-1)
"""Nobody: a stream that is closed has no owner."""

NEVER_OPENED = StreamEpoch(-1)
"""Epoch of a stream before its first open, which grants 0 (Kafka's first leader epoch)."""

NO_OBJECT = ObjectId(-1)
NO_UUID = UUID(int=0)
OFFSET_MAX = Offset((1 << 63) - 1)


class NodeStatus(IntEnum):
    """Where a node stands; `nodes.LEGAL` holds the legal ways between them."""

    RECOVERING = 1
    """Registered, replays its WAL; may commit and open, is not advertised to clients."""
    ACTIVE = 2
    """Serves. Its WAL epoch is confirmed."""
    FENCED = 3
    """Missed heartbeats. Soft: the next heartbeat at the same epoch lifts it. Commits wait until then."""
    RESCUING = 4
    """Proven dead: only an adopter at the epoch that the rescue granted speaks for it; a new start alone ends it."""
    STOPPED = 5
    """Ended: by its own clean stop, or drained by an adopter."""


class StreamStatus(IntEnum):
    """OPEN: exactly one node appends. CLOSED: everything is committed, anyone assigned may open at epoch + 1."""

    CLOSED = 0
    OPEN = 1


class ResourceType(IntEnum):
    """What a config belongs to, by Kafka's numbers (ConfigResource.Type)."""

    TOPIC = 2
    BROKER = 4
    CLIENT_METRICS = 16
    GROUP = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a listener of a node is reached from outside."""

    listener: str
    host: str
    port: int
    security_protocol: str = "PLAINTEXT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Identity of a WAL volume: the uuid in its superblock and the handle kept outside its bytes.

    A restored snapshot carries the same uuid and another handle, so only the pair is an identity (DESIGN 5a.4).
    """

    uuid: UUID
    handle: str


NO_VOLUME: Final = Volume(uuid=NO_UUID, handle="")
"""What a node has whose volume was given up, until it starts on another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """One broker identity. `granted_epochs` are broker epochs given since the WAL epoch was last confirmed."""

    node_id: NodeId
    status: NodeStatus
    broker_epoch: BrokerEpoch
    confirmed_epoch: BrokerEpoch
    granted_epochs: tuple[BrokerEpoch, ...]
    incarnation: UUID
    incarnation_epoch: BrokerEpoch
    volume: Volume
    refused_volumes: tuple[Volume, ...] = ()
    rack: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    is_clean: bool = False
    rescue: UUID = NO_UUID
    """Key of the rescue that granted the present epoch, while RESCUING."""

    @property
    def is_wal_confirmed(self) -> bool:
        """Whether the present broker epoch is known to be in the superblock of the WAL."""
        return self.confirmed_epoch == self.broker_epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """`owner` is the node that is to serve the partition; whether it does yet says the stream."""

    index: int
    stream_id: StreamId
    owner: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRow:
    """A topic; `partitions` in index order, `configs` only what was set for it."""

    topic_id: UUID
    name: str
    is_internal: bool
    created_ms: int
    partitions: tuple[PartitionRow, ...]
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRow:
    """Offsets [start, end) of one stream in one object: where its bytes and its checkpoint lie.

    `object_id` is filled in by the metadata; inside an ObjectRow it is that object's.
    """

    stream_id: StreamId
    stream_epoch: StreamEpoch
    start: Offset
    end: Offset
    position: int
    length: int
    records: int
    max_timestamp: int
    checkpoint_position: int = 0
    checkpoint_length: int = 0
    object_id: ObjectId = NO_OBJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """An object in the bucket. Commands carry its `ranges`; rows read from a state have none (they live by stream)."""

    object_id: ObjectId
    size: int
    crc: int
    node_id: NodeId
    kind: int
    created_ms: int
    index_position: int
    ranges: tuple[RangeRow, ...] = ()


class StreamHead(NamedTuple):
    """What leader lookups ask of a stream: its row without the opens and ranges, of which there may be many."""

    topic_id: UUID
    epoch: StreamEpoch
    is_open: bool
    owner: NodeId
    start_offset: Offset
    committed_end: Offset
    assigned: NodeId
    """Who is to have it: opens it once it is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """One partition's log as the controller knows it. `owner` is who has it open, else NO_NODE.

    `opens` is the leader-epoch history, (epoch, first offset of that epoch), ascending; an epoch without records is
    left out once a later one begins at the same offset, as Kafka's cache does.
    """

    stream_id: StreamId
    topic_id: UUID
    partition: int
    epoch: StreamEpoch
    status: StreamStatus
    owner: NodeId
    start_offset: Offset
    committed_end: Offset
    opens: Sequence[tuple[StreamEpoch, Offset]]
    ranges: Sequence[RangeRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow:
    """A lease of object ids [first, end) to one incarnation of one node."""

    first: ObjectId
    end: ObjectId
    node_id: NodeId
    broker_epoch: BrokerEpoch
    issued_ms: int


__all__ = [
    "NEVER_OPENED",
    "NO_NODE",
    "NO_VOLUME",
    "OFFSET_MAX",
    "BlockRow",
    "Endpoint",
    "NodeRow",
    "NodeStatus",
    "ObjectRow",
    "PartitionRow",
    "RangeRow",
    "ResourceType",
    "StreamHead",
    "StreamRow",
    "StreamStatus",
    "TopicRow",
    "Volume",
]
