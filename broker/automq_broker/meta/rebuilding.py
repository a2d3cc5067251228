"""A state from rows instead of from records: for `automq rescue`, which has objects and no history."""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from automq_broker.kernel.ids import StreamId
from automq_broker.meta.objects import digest
from automq_broker.meta.records import object_added
from automq_broker.meta.rows import ObjectRow, ResourceType, StreamRow, StreamStatus, TopicRow
from automq_broker.meta.state import TABLES, State
from automq_broker.meta.tables import ObjectEntry, Stream, Topic, pack_object
from automq_broker.meta.topics import collision_key


def build_state(
    cluster_id: str,
    *,
    topics: Iterable[TopicRow],
    streams: Iterable[StreamRow],
    objects: Iterable[ObjectRow],
    last_epoch: int,
    next_stream_id: int,
    next_object_id: int,
    next_producer_id: int,
    keeps: State | None = None,
) -> State:
    """The state that holds exactly these rows: no nodes, no leases, every stream CLOSED at its committed end.

    `next_*` must lie above every id that any object or client may still know; `last_epoch` above every epoch that was
    ever granted. From an older state, `keeps` hands on what no row tells: configs of brokers and groups, and whatever
    else is neither topic, stream, object, node nor lease. Check the result with `invariants.findings`.
    """
    state = State(cluster_id)
    state.last_epoch, state.next_stream_id = last_epoch, next_stream_id
    state.next_object_id, state.next_producer_id = next_object_id, next_producer_id
    by_id = {row.stream_id: row for row in streams}
    for topic in topics:
        _add_topic(state, topic, by_id)
    if keeps is not None:
        _keep(state, keeps)
    live = Counter(each.object_id for row in by_id.values() for each in row.ranges)
    for row in objects:
        state.object_entries[row.object_id] = _entry(row, live[row.object_id])
    return state


def _keep(state: State, older: State) -> None:
    for name in set(TABLES) - _REBUILT:
        getattr(state, name).update(getattr(older, name))
    for (kind, name), values in older.config_rows.items():
        if kind != ResourceType.TOPIC:
            state.config_rows[kind, name] = dict(values)


def _add_topic(state: State, row: TopicRow, streams: Mapping[StreamId, StreamRow]) -> None:
    ids = array("q", [partition.stream_id for partition in row.partitions])
    state.topics_by_id[row.topic_id] = Topic(
        row.topic_id, row.name, is_internal=row.is_internal, created_ms=row.created_ms, streams=ids
    )
    state.topic_ids[row.name] = row.topic_id
    if (key := collision_key(row.name)) is not None:
        state.collisions[key] = row.topic_id
    if row.configs:
        state.config_rows[ResourceType.TOPIC, row.name] = dict(row.configs)
    for partition in row.partitions:
        state.streams[partition.stream_id] = _stream(
            row, partition.index, partition.owner, streams[partition.stream_id]
        )
        state.partition_counts[partition.owner] = state.partition_counts.get(partition.owner, 0) + 1


def _stream(topic: TopicRow, index: int, owner: int, row: StreamRow) -> Stream:
    if row.status is not StreamStatus.CLOSED:
        raise ValueError(f"stream {row.stream_id} is rebuilt as {row.status.name}: nobody can have it open")
    stream = Stream(row.stream_id, topic.topic_id, index, owner)
    stream.epoch, stream.start_offset, stream.committed_end = row.epoch, row.start_offset, row.committed_end
    for epoch, first in row.opens:
        stream.opens.extend((epoch, first))
    for each in row.ranges:
        stream.ends.append(each.end)
        stream.cells.extend((
            each.object_id, each.stream_epoch, each.start, each.position, each.length, each.records,
            each.max_timestamp, each.checkpoint_position, each.checkpoint_length,
        ))  # fmt: skip
    return stream


def _entry(row: ObjectRow, live_ranges: int) -> bytes:
    """The broker epoch is 0, which no node ever has: a late repeat of the object's commit is refused, not a success."""
    return pack_object(
        ObjectEntry(
            size=row.size,
            created_ms=row.created_ms,
            index_position=row.index_position,
            broker_epoch=0,
            digest=digest(object_added(row, 0)),
            crc=row.crc,
            node_id=row.node_id,
            live_ranges=live_ranges,
            kind=int(row.kind),
        )
    )


_REBUILT: Final = frozenset({
    "nodes", "topics_by_id", "topic_ids", "collisions", "streams", "object_entries", "deleting_entries", "blocks",
    "config_rows", "partition_counts",
})  # fmt: skip

__all__ = ["build_state"]
