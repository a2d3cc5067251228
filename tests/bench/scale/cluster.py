"""A cluster's metadata as they are after days of work, made without playing the days."""

from array import array
from dataclasses import dataclass
from uuid import UUID

from automq_broker.meta.state import State
from automq_broker.meta.tables import ObjectEntry, Stream, Topic, pack_object
from twins.meta_world import MetaWorld

MIB = 1 << 20
FIRST_NODE = 1_000
"""Node ids begin here, so that a real broker with a small id joins a cluster that it owns nothing of."""

_TOPIC_PARTITIONS = 100
_RANGES_PER_OBJECT = 200


@dataclass(frozen=True, slots=True)
class Size:
    """How large: brokers, partitions of all topics together, and committed ranges per partition."""

    brokers: int
    partitions: int
    ranges: int

    def words(self) -> list[str]:
        """As arguments of a child process."""
        return [str(self.brokers), str(self.partitions), str(self.ranges)]


def cluster_of(size: Size) -> State:
    """Every partition open at its fourth epoch, with its ranges; an object serves 200 of them."""
    world = MetaWorld()
    for node_id in range(FIRST_NODE, FIRST_NODE + size.brokers):
        world.start(node_id)
    state = world.state
    for first in range(0, size.partitions, _TOPIC_PARTITIONS):
        topic = Topic(UUID(int=first + 1), f"topic-{first}", is_internal=False, created_ms=1, streams=array("q"))
        state.topics_by_id[topic.topic_id] = topic
        state.topic_ids[topic.name] = topic.topic_id
        for number in range(first, min(first + _TOPIC_PARTITIONS, size.partitions)):
            owner = FIRST_NODE + number % size.brokers
            stream = _stream(number, topic, owner, world.epochs[owner], size.ranges)
            topic.streams.append(stream.stream_id)
            state.streams[stream.stream_id] = stream
            state.partition_counts[owner] = state.partition_counts.get(owner, 0) + 1
    objects = size.partitions * size.ranges // _RANGES_PER_OBJECT + 1
    for object_id in range(1, objects + 1):
        state.object_entries[object_id] = _entry(object_id)
    state.next_stream_id, state.next_object_id = size.partitions + 1, objects + 1
    return state


def _stream(number: int, topic: Topic, owner: int, broker_epoch: int, ranges: int) -> Stream:
    stream = Stream(number + 1, topic.topic_id, len(topic.streams), owner)
    stream.epoch, stream.is_open, stream.owner, stream.opener_epoch = 3, True, owner, broker_epoch
    stream.opens.extend((0, 0, 1, 1000, 2, 5000, 3, 9000))
    for index in range(ranges):
        start = stream.ends[-1] if index else 0
        stream.ends.append((index + 1) * 1000 + number % 977)
        position, length = (index * 7919 + number) * 4096, 65536 + number % 1000
        stream.cells.extend((1 + index, index * 4 // ranges, start, position, length, 1000, 1_700_000_000_000, 0, 0))
    stream.committed_end = stream.ends[-1] if ranges else 0
    return stream


def _entry(object_id: int) -> bytes:
    return pack_object(
        ObjectEntry(
            size=64 * MIB,
            created_ms=1_700_000_000_000 + object_id,
            index_position=object_id * 77,
            broker_epoch=5,
            digest=object_id * 0x9E37_79B9 % (1 << 62),
            crc=object_id,
            node_id=FIRST_NODE,
            live_ranges=_RANGES_PER_OBJECT,
            kind=1,
        )
    )


__all__ = ["FIRST_NODE", "MIB", "Size", "cluster_of"]
