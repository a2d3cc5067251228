"""Records into rows: one function per record. They follow; they never refuse, and read nothing but the state."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId
from automq_broker.meta.objects import digest
from automq_broker.meta.records import (
    RANGE_COLUMNS,
    BlockLeased,
    BlockRetired,
    ClusterStopping,
    ConfigsChanged,
    NodeForgotten,
    NodeRegistered,
    NodeRescued,
    NodeStatusChanged,
    ObjectAdded,
    ObjectReplacing,
    ObjectsForgotten,
    PartitionsAdded,
    ProducerIdsLeased,
    StartAdvanced,
    StreamClosed,
    StreamOpened,
    StreamsAssigned,
    TopicAdded,
    TopicRemoved,
    VolumeGivenUp,
    WalConfirmed,
    split_endpoints,
)
from automq_broker.meta.rows import NO_NODE, NO_VOLUME, BlockRow, NodeRow, NodeStatus, ResourceType, Volume
from automq_broker.meta.tables import CELLS, ObjectEntry, Stream, Topic, pack_object, unpack_object
from automq_broker.meta.topics import collision_key

if TYPE_CHECKING:
    from automq_broker.meta.state import State


def _node_registered(state: "State", record: NodeRegistered) -> None:
    node_id, epoch = NodeId(record.node_id), BrokerEpoch(record.broker_epoch)
    volume = Volume(uuid=record.volume_uuid, handle=record.volume_handle)
    before = state.nodes.get(node_id) or state.forgotten.pop(node_id, None)
    is_same_volume = before is not None and before.volume == volume
    refused = before.refused_volumes if before else ()
    if record.loses_wal and before is not None:
        refused = (*refused, before.volume)
    state.nodes[node_id] = NodeRow(
        node_id=node_id,
        status=NodeStatus.RECOVERING,
        broker_epoch=epoch,
        confirmed_epoch=before.confirmed_epoch if before and is_same_volume else BrokerEpoch(record.wal_epoch_found),
        granted_epochs=(*before.granted_epochs, epoch) if before and is_same_volume else (epoch,),
        incarnation=record.incarnation,
        incarnation_epoch=epoch,
        volume=volume,
        refused_volumes=refused,
        rack=record.rack,
        endpoints=split_endpoints(record.endpoints),
    )
    state.last_epoch = max(state.last_epoch, record.broker_epoch)
    state.stops_until_ms = 0


def _node_forgotten(state: "State", record: NodeForgotten) -> None:
    state.forgotten[NodeId(record.node_id)] = state.nodes.pop(NodeId(record.node_id))


def _cluster_stopping(state: "State", record: ClusterStopping) -> None:
    state.stops_until_ms = record.until_ms


def _wal_confirmed(state: "State", record: WalConfirmed) -> None:
    node = state.nodes[NodeId(record.node_id)]
    state.nodes[node.node_id] = replace(node, confirmed_epoch=node.broker_epoch, granted_epochs=())


def _node_status_changed(state: "State", record: NodeStatusChanged) -> None:
    node = state.nodes[NodeId(record.node_id)]
    state.nodes[node.node_id] = replace(node, status=NodeStatus(record.status), is_clean=record.is_clean)


def _node_rescued(state: "State", record: NodeRescued) -> None:
    node = state.nodes[NodeId(record.node_id)]
    epoch = BrokerEpoch(record.broker_epoch)
    state.nodes[node.node_id] = replace(
        node,
        status=NodeStatus.RESCUING,
        broker_epoch=epoch,
        granted_epochs=(*node.granted_epochs, epoch),
        rescue=record.rescue,
        is_clean=False,
    )
    state.last_epoch = max(state.last_epoch, record.broker_epoch)


def _volume_given_up(state: "State", record: VolumeGivenUp) -> None:
    node = state.nodes[NodeId(record.node_id)]
    epoch = BrokerEpoch(record.broker_epoch)
    state.nodes[node.node_id] = replace(
        node,
        status=NodeStatus.STOPPED,
        broker_epoch=epoch,
        confirmed_epoch=BrokerEpoch(0),
        granted_epochs=(epoch,),
        volume=NO_VOLUME,
        refused_volumes=(*node.refused_volumes, node.volume),
        is_clean=False,
    )
    state.last_epoch = max(state.last_epoch, record.broker_epoch)


def _topic_added(state: "State", record: TopicAdded) -> None:
    state.topics_by_id[record.topic_id] = Topic(
        record.topic_id, record.name, is_internal=record.is_internal, created_ms=record.created_ms, streams=array("q")
    )
    state.topic_ids[record.name] = record.topic_id
    if (key := collision_key(record.name)) is not None:
        state.collisions[key] = record.topic_id
    _add_streams(state, record.topic_id, record.first_stream_id, record.owners)


def _partitions_added(state: "State", record: PartitionsAdded) -> None:
    _add_streams(state, record.topic_id, record.first_stream_id, record.owners)


def _add_streams(state: "State", topic_id: UUID, first_stream_id: int, owners: "array[int]") -> None:
    topic = state.topics_by_id.own(topic_id)
    for stream_id, owner in enumerate(owners, first_stream_id):
        state.streams[stream_id] = Stream(stream_id, topic.topic_id, len(topic.streams), owner)
        topic.streams.append(stream_id)
    for owner, count in Counter(owners).items():
        state.partition_counts[owner] = state.partition_counts.get(owner, 0) + count
    state.next_stream_id = first_stream_id + len(owners)
    state.topic_rows.pop(topic_id, None)


def _topic_removed(state: "State", record: TopicRemoved) -> None:
    topic = state.topics_by_id[record.topic_id]
    used: Counter[int] = Counter()
    for stream_id in topic.streams:
        stream = state.streams[stream_id]
        used.update(stream.cells[::CELLS])
        state.partition_counts[stream.assigned] -= 1
        del state.streams[stream_id]
    _release(state, used, record.since_ms)
    del state.topics_by_id[record.topic_id]
    del state.topic_ids[topic.name]
    if (key := collision_key(topic.name)) is not None:
        del state.collisions[key]
    state.config_rows.pop((ResourceType.TOPIC, topic.name), None)
    state.topic_rows.pop(record.topic_id, None)


def _configs_changed(state: "State", record: ConfigsChanged) -> None:
    key = (record.resource_type, record.resource_name)
    configs = dict(state.config_rows.get(key, {}))
    for name in record.deletes:
        configs.pop(name, None)
    configs.update(zip(record.upserts[::2], record.upserts[1::2], strict=True))
    if configs:
        state.config_rows[key] = configs
    else:
        state.config_rows.pop(key, None)
    if record.resource_type == ResourceType.TOPIC:
        state.topic_rows.pop(state.topic_ids[record.resource_name], None)


def _streams_assigned(state: "State", record: StreamsAssigned) -> None:
    counts = state.partition_counts
    for stream_id in record.stream_ids:
        stream = state.streams.own(stream_id)
        counts[stream.assigned] -= 1
        stream.assigned = record.node_id
        counts[stream.assigned] = counts.get(stream.assigned, 0) + 1
        state.topic_rows.pop(stream.topic_id, None)


def _stream_opened(state: "State", record: StreamOpened) -> None:
    stream = state.streams.own(record.stream_id)
    stream.epoch = record.epoch
    stream.is_open = True
    stream.owner = record.node_id
    stream.opener_epoch = record.broker_epoch
    opens = stream.opens
    while opens and opens[-1] >= record.first_offset:  # those epochs hold no record
        del opens[-2:]
    opens.extend((record.epoch, record.first_offset))


def _stream_closed(state: "State", record: StreamClosed) -> None:
    stream = state.streams.own(record.stream_id)
    stream.is_open = False
    stream.owner = NO_NODE


def _block_leased(state: "State", record: BlockLeased) -> None:
    state.blocks[record.first] = BlockRow(
        first=ObjectId(record.first),
        end=ObjectId(record.end),
        node_id=NodeId(record.node_id),
        broker_epoch=BrokerEpoch(record.broker_epoch),
        issued_ms=record.issued_ms,
    )
    state.next_object_id = record.end


def _block_retired(state: "State", record: BlockRetired) -> None:
    del state.blocks[record.first]


def _object_added(state: "State", record: ObjectAdded) -> None:
    _add_object(state, record)
    ranges = record.ranges
    for at in range(0, len(ranges), RANGE_COLUMNS):
        stream = state.streams.own(ranges[at])
        stream.ends.append(ranges[at + 3])
        stream.cells.extend(_cells(record.object_id, ranges, at))
        stream.committed_end = ranges[at + 3]


def _add_object(state: "State", record: ObjectAdded) -> None:
    state.object_entries[record.object_id] = pack_object(
        ObjectEntry(
            size=record.size,
            created_ms=record.created_ms,
            index_position=record.index_position,
            broker_epoch=record.broker_epoch,
            digest=digest(record),
            crc=record.crc,
            node_id=record.node_id,
            live_ranges=len(record.ranges) // RANGE_COLUMNS,
            kind=record.kind,
        )
    )


def _cells(object_id: int, ranges: "array[int]", at: int) -> "array[int]":
    """The columns of a stream's range, from those of a commit: object, epoch, start, position and what follows."""
    cells = array("q", (object_id, ranges[at + 1], ranges[at + 2]))
    cells.extend(ranges[at + 4 : at + RANGE_COLUMNS])
    return cells


def _object_replacing(state: "State", record: ObjectReplacing) -> None:
    _add_object(state, record)
    released: Counter[int] = Counter()
    ranges = record.ranges
    for at in range(0, len(ranges), RANGE_COLUMNS):
        stream = state.streams.own(ranges[at])
        first = bisect_right(stream.ends, ranges[at + 2])
        last = bisect_left(stream.ends, ranges[at + 3]) + 1
        released.update(stream.cells[first * CELLS : last * CELLS : CELLS])
        stream.cells[first * CELLS : last * CELLS] = _cells(record.object_id, ranges, at)
        stream.ends[first:last] = array("q", (ranges[at + 3],))
    _release(state, released, record.since_ms)


def _release(state: "State", released: "Counter[int]", since_ms: int) -> None:
    """Take ranges off their objects; an object without any waits for its deletion."""
    for object_id, count in released.items():
        entry = unpack_object(state.object_entries[object_id])
        left = entry.live_ranges - count
        packed = pack_object(entry._replace(live_ranges=left))
        if left:
            state.object_entries[object_id] = packed
        else:
            del state.object_entries[object_id]
            state.deleting_entries[object_id] = (since_ms, packed)


def _start_advanced(state: "State", record: StartAdvanced) -> None:
    stream = state.streams.own(record.stream_id)
    stream.start_offset = record.start_offset
    gone = bisect_right(stream.ends, record.start_offset)
    _release(state, Counter(stream.drop_front(gone)), record.since_ms)
    opens = stream.opens
    while len(opens) > 2 and opens[3] <= record.start_offset:  # the epoch at the start is the first that matters
        del opens[:2]


def _producer_ids_leased(state: "State", record: ProducerIdsLeased) -> None:
    state.next_producer_id = record.end


def _objects_forgotten(state: "State", record: ObjectsForgotten) -> None:
    _drop(state, record.object_ids)


def _drop(state: "State", object_ids: Iterable[int]) -> None:
    for object_id in object_ids:
        state.deleting_entries.pop(object_id, None)


APPLY: Final[dict[type, Callable[["State", Any], None]]] = {
    NodeRegistered: _node_registered,
    WalConfirmed: _wal_confirmed,
    NodeStatusChanged: _node_status_changed,
    NodeRescued: _node_rescued,
    TopicAdded: _topic_added,
    PartitionsAdded: _partitions_added,
    TopicRemoved: _topic_removed,
    ConfigsChanged: _configs_changed,
    StreamsAssigned: _streams_assigned,
    StreamOpened: _stream_opened,
    StreamClosed: _stream_closed,
    BlockLeased: _block_leased,
    BlockRetired: _block_retired,
    ObjectAdded: _object_added,
    ObjectReplacing: _object_replacing,
    StartAdvanced: _start_advanced,
    ProducerIdsLeased: _producer_ids_leased,
    ObjectsForgotten: _objects_forgotten,
    VolumeGivenUp: _volume_given_up,
    NodeForgotten: _node_forgotten,
    ClusterStopping: _cluster_stopping,
}

__all__ = ["APPLY"]
