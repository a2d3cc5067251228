"""What happened: the only input of `State.replay`. Written to the bucket by `codec`, told to subscribers in order.

A record carries outcomes (epochs, ids, owners), never questions, so that replaying it needs no decision. Lists of
numbers are flat arrays of int64: a commit of a thousand ranges is one field, not a thousand objects.
"""

from array import array
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from automq_broker.meta.rows import Endpoint, ObjectRow, RangeRow

RANGE_COLUMNS: Final = 10
"""Numbers per range in the array of a commit: stream, stream epoch, start, end, position, length, records, max
timestamp, checkpoint position, checkpoint length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRegistered:
    """A node took `broker_epoch`. With `loses_wal` its former volume is given up; the closes of its streams follow."""

    node_id: int
    broker_epoch: int
    wal_epoch_found: int
    loses_wal: bool
    incarnation: UUID
    volume_uuid: UUID
    volume_handle: str
    rack: str
    endpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WalConfirmed:
    """The node's present broker epoch is in its WAL."""

    node_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatusChanged:
    """A node went to `status` at an unchanged epoch."""

    node_id: int
    status: int
    is_clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRescued:
    """An adopter may speak for the node at `broker_epoch`; `rescue` is the key of the request."""

    node_id: int
    broker_epoch: int
    rescue: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeGivenUp:
    """The node's volume is lost: it is STOPPED at `broker_epoch`, without a volume. The closes of its streams follow."""

    node_id: int
    broker_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeForgotten:
    """The node is shown to nobody any more; its volumes stay known."""

    node_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStopping:
    """Brokers that stop before `until_ms` keep their partitions; 0 = the others inherit, as ever."""

    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicAdded:
    """A topic whose partition i has stream `first_stream_id` + i and belongs to owners[i]."""

    first_stream_id: int
    created_ms: int
    is_internal: bool
    topic_id: UUID
    name: str
    owners: "array[int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionsAdded:
    """More partitions behind the last one, with consecutive stream ids."""

    first_stream_id: int
    topic_id: UUID
    owners: "array[int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRemoved:
    """The topic, its streams and its configs are gone; objects without live ranges wait for deletion."""

    since_ms: int
    topic_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigsChanged:
    """`upserts` alternates names and values."""

    resource_type: int
    resource_name: str
    upserts: tuple[str, ...]
    deletes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsAssigned:
    """These streams are to be served by the node."""

    node_id: int
    stream_ids: "array[int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOpened:
    """The node has the stream open at `epoch`, whose records begin at `first_offset`."""

    stream_id: int
    epoch: int
    node_id: int
    broker_epoch: int
    first_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamClosed:
    """Nobody appends to the stream; its committed end is its end."""

    stream_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLeased:
    """Object ids [first, end) belong to one incarnation."""

    first: int
    end: int
    node_id: int
    broker_epoch: int
    issued_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRetired:
    """No object of the block can be committed any more."""

    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAdded:
    """An object with its ranges (flat, RANGE_COLUMNS numbers each), which continue their streams."""

    object_id: int
    size: int
    crc: int
    node_id: int
    broker_epoch: int
    kind: int
    created_ms: int
    index_position: int
    ranges: "array[int]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectReplacing(ObjectAdded):
    """An object whose ranges take the place of existing ones with the same outer bounds."""

    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAdvanced:
    """Ranges wholly below the new start are gone."""

    stream_id: int
    start_offset: int
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerIdsLeased:
    """All producer ids below `end` are given away."""

    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsForgotten:
    """The data of these objects is deleted."""

    object_ids: "array[int]"


Record = (
    NodeRegistered
    | WalConfirmed
    | NodeStatusChanged
    | NodeRescued
    | TopicAdded
    | PartitionsAdded
    | TopicRemoved
    | ConfigsChanged
    | StreamsAssigned
    | StreamOpened
    | StreamClosed
    | BlockLeased
    | BlockRetired
    | ObjectAdded
    | ObjectReplacing
    | StartAdvanced
    | ProducerIdsLeased
    | ObjectsForgotten
    | VolumeGivenUp
    | NodeForgotten
    | ClusterStopping
)


def join_endpoints(endpoints: tuple[Endpoint, ...]) -> tuple[str, ...]:
    """Endpoints as records and snapshots carry them: four texts each."""
    return tuple(
        part for each in endpoints for part in (each.listener, each.host, str(each.port), each.security_protocol)
    )


def split_endpoints(flat: tuple[str, ...]) -> tuple[Endpoint, ...]:
    """The reverse of `join_endpoints`."""
    return tuple(
        Endpoint(listener=listener, host=host, port=int(port), security_protocol=protocol)
        for listener, host, port, protocol in zip(flat[0::4], flat[1::4], flat[2::4], flat[3::4], strict=True)
    )


def flatten(ranges: tuple[RangeRow, ...]) -> "array[int]":
    """The array form of an object's ranges."""
    flat = array("q")
    for row in ranges:
        flat.extend((
            row.stream_id, row.stream_epoch, row.start, row.end, row.position, row.length, row.records,
            row.max_timestamp, row.checkpoint_position, row.checkpoint_length,
        ))  # fmt: skip
    return flat


def object_added(row: ObjectRow, broker_epoch: int) -> ObjectAdded:
    """The record of a commit."""
    return ObjectAdded(
        object_id=row.object_id,
        size=row.size,
        crc=row.crc,
        node_id=row.node_id,
        broker_epoch=broker_epoch,
        kind=int(row.kind),
        created_ms=row.created_ms,
        index_position=row.index_position,
        ranges=flatten(row.ranges),
    )


__all__ = [
    "RANGE_COLUMNS",
    "BlockLeased",
    "BlockRetired",
    "ClusterStopping",
    "ConfigsChanged",
    "NodeForgotten",
    "NodeRegistered",
    "NodeRescued",
    "NodeStatusChanged",
    "ObjectAdded",
    "ObjectReplacing",
    "ObjectsForgotten",
    "PartitionsAdded",
    "ProducerIdsLeased",
    "Record",
    "StartAdvanced",
    "StreamClosed",
    "StreamOpened",
    "StreamsAssigned",
    "TopicAdded",
    "TopicRemoved",
    "VolumeGivenUp",
    "WalConfirmed",
    "flatten",
    "join_endpoints",
    "object_added",
    "split_endpoints",
]
