"""The whole state as bytes, in frames small enough that a loop can breathe between two of them.

Form (version 1, integers little-endian):

    snapshot = "AMQSNAP\\n", u16 version, u16 0, frames ...
    frame    = u8 section, u32 length, u32 CRC-32 of all else, zlib of the section's content
    the last frame is of section 0 and holds the number of frames before it: a cut-off snapshot is noticed

Numbers travel as whole int64 columns, so that a hundred thousand ranges are a few memory copies, not as many objects.
A section that this release does not know makes it refuse the snapshot: leaving it out would lose state.
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import Final, TypeVar

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId
from automq_broker.meta.codec import Reader, Writer, inflate
from automq_broker.meta.records import join_endpoints, split_endpoints
from automq_broker.meta.rows import BlockRow, NodeRow, NodeStatus, ResourceType, Volume
from automq_broker.meta.state import State
from automq_broker.meta.tables import CELLS, OBJECT_ENTRY, Stream, Table, Topic, unpack_object
from automq_broker.meta.topics import collision_key

T = TypeVar("T")

MAGIC: Final = b"AMQSNAP\n"
VERSION: Final = 1

_HEADER = Struct("<8sHH")
_FRAME = Struct("<BII")
_COUNT = Struct("<Q")
_SCALARS = Struct("<qqqq")
_STOPPING = Struct("<q")
_NODE = Struct("<qBqqqB")
_TOPIC = Struct("<q?")
_SECTION_BYTES_MAX: Final = 1 << 30
_ROWS_PER_FRAME: Final = 1_000
_OBJECTS_PER_FRAME: Final = 10_000
_RANGES_PER_FRAME: Final = 20_000
_STREAMS_PER_BREATH: Final = 2_000
_STREAM_COLUMNS: Final = 10
"""id, assigned, epoch, is open, owner, opener's epoch, start, committed end, numbers of opens and of ranges."""


def encode_snapshot(state: State) -> Iterator[bytes]:
    """The state in pieces, each small; it must not change until the last piece was taken."""
    yield _HEADER.pack(MAGIC, VERSION, 0)
    count = 0
    for section, content in _sections(state):
        yield _frame(section, content)
        count += 1
    yield _frame(0, _COUNT.pack(count))


def decode_snapshot(data: bytes | memoryview, cluster_id: str) -> State:
    """The state that `encode_snapshot` wrote. Raises Corrupt, or Refused for a newer version."""
    state = State(cluster_id)
    for _ in restore(state, data):
        pass
    return state


def restore(state: State, data: bytes | memoryview) -> Iterator[int]:
    """Fill an empty `state` from a snapshot; yields the number of frames read so far, so that a loop can breathe.

    Between two of them lie a few thousand rows, also where one topic has very many partitions.
    """
    reader = Reader(data)
    magic, version, _ = reader.unpack(_HEADER)
    if magic != MAGIC:
        raise Corrupt("this is no metadata snapshot")
    if version > VERSION:
        raise Refused(f"metadata snapshot version {version} was written by a newer release; this one reads {VERSION}")
    count = 0
    while True:
        section, length, crc = reader.unpack(_FRAME)
        body = reader.take(length)
        if _frame_crc(section, body) != crc:
            raise Corrupt(f"frame {count} of a metadata snapshot does not match its CRC")
        content = inflate(body, _SECTION_BYTES_MAX)
        if section == 0:
            if _COUNT.unpack(content)[0] != count or not reader.is_at_end:
                raise Corrupt("a metadata snapshot lacks frames")
            return
        if section not in _RESTORE:
            raise Refused(f"metadata snapshot section {section} was written by a newer release")
        for _ in _RESTORE[section](state, Reader(content)) or ():
            yield count
        count += 1
        yield count


def _frame(section: int, content: bytes) -> bytes:
    data = zlib.compress(content, 1)
    return _FRAME.pack(section, len(data), _frame_crc(section, data)) + data


def _frame_crc(section: int, data: bytes | memoryview) -> int:
    """Covers the header too: rows of one section would pass for those of another."""
    return zlib.crc32(data, zlib.crc32(_FRAME.pack(section, len(data), 0)))


def _sections(state: State) -> Iterator[tuple[int, bytes]]:
    yield 1, _SCALARS.pack(state.last_epoch, state.next_stream_id, state.next_object_id, state.next_producer_id)
    yield 2, _encode_nodes(state.nodes.values())
    for topics in _chunks(state.topics_by_id.values(), _ROWS_PER_FRAME):
        yield 3, _encode_topics(topics)
    yield 4, _encode_configs(state)
    for streams in _weighed(state.streams.values()):
        yield 5, _encode_streams(streams)
    for objects in _chunks(state.object_entries.items(), _OBJECTS_PER_FRAME):
        yield 6, _encode_objects(objects)
    for deleting in _chunks(state.deleting_entries.items(), _OBJECTS_PER_FRAME):
        yield 7, _encode_deleting(deleting)
    yield 8, _encode_blocks(state.blocks.values())
    if state.forgotten:
        yield 9, _encode_nodes(state.forgotten.values())
    if state.stops_until_ms:
        yield 10, _STOPPING.pack(state.stops_until_ms)


def _chunks(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(rows)
    while chunk := list(islice(rest, size)):
        yield chunk


def _weighed(streams: Iterable[Stream]) -> Iterator[list[Stream]]:
    """Chunks by their ranges as well: streams with a long history come in smaller ones."""
    chunk: list[Stream] = []
    ranges = 0
    for stream in streams:
        chunk.append(stream)
        ranges += len(stream.ends)
        if len(chunk) >= _ROWS_PER_FRAME or ranges >= _RANGES_PER_FRAME:
            yield chunk
            chunk, ranges = [], 0
    if chunk:
        yield chunk


def _restore_scalars(state: State, reader: Reader) -> None:
    numbers = reader.unpack(_SCALARS)
    state.last_epoch, state.next_stream_id, state.next_object_id, state.next_producer_id = numbers


def _encode_nodes(nodes: Iterable[NodeRow]) -> bytes:
    writer = Writer()
    for node in nodes:
        numbers = (node.node_id, node.status, node.broker_epoch, node.confirmed_epoch, node.incarnation_epoch)
        writer.parts.append(_NODE.pack(*numbers, node.is_clean))
        writer.numbers(array("q", node.granted_epochs))
        writer.uuid(node.incarnation)
        writer.uuid(node.rescue)
        writer.texts(tuple(each.handle for each in (node.volume, *node.refused_volumes)))
        for volume in (node.volume, *node.refused_volumes):
            writer.uuid(volume.uuid)
        writer.text(node.rack)
        writer.texts(join_endpoints(node.endpoints))
    return writer.data()


def _restore_stopping(state: State, reader: Reader) -> None:
    (state.stops_until_ms,) = reader.unpack(_STOPPING)


def _restore_nodes(nodes: Table[NodeId, NodeRow], reader: Reader) -> None:
    while not reader.is_at_end:
        node_id, status, epoch, confirmed, incarnation_epoch, is_clean = reader.unpack(_NODE)
        granted = tuple(BrokerEpoch(each) for each in reader.numbers())
        incarnation, rescue = reader.uuid(), reader.uuid()
        volumes = tuple(Volume(handle=handle, uuid=reader.uuid()) for handle in reader.texts())
        nodes[NodeId(node_id)] = NodeRow(
            node_id=NodeId(node_id),
            status=NodeStatus(status),
            broker_epoch=BrokerEpoch(epoch),
            confirmed_epoch=BrokerEpoch(confirmed),
            granted_epochs=granted,
            incarnation=incarnation,
            incarnation_epoch=BrokerEpoch(incarnation_epoch),
            volume=volumes[0],
            refused_volumes=volumes[1:],
            rack=reader.text(),
            endpoints=split_endpoints(reader.texts()),
            is_clean=bool(is_clean),
            rescue=rescue,
        )


def _encode_topics(topics: Iterable[Topic]) -> bytes:
    writer = Writer()
    for topic in topics:
        writer.uuid(topic.topic_id)
        writer.parts.append(_TOPIC.pack(topic.created_ms, topic.is_internal))
        writer.text(topic.name)
        writer.numbers(topic.streams)
    return writer.data()


def _restore_topics(state: State, reader: Reader) -> Iterator[None]:
    """Makes the streams too, still empty: their place in the topic is all that the topic knows of them."""
    made = 0
    while not reader.is_at_end:
        topic_id = reader.uuid()
        created_ms, is_internal = reader.unpack(_TOPIC)
        name = reader.text()
        streams = reader.numbers()
        state.topics_by_id[topic_id] = Topic(
            topic_id, name, is_internal=is_internal, created_ms=created_ms, streams=streams
        )
        state.topic_ids[name] = topic_id
        if (key := collision_key(name)) is not None:
            state.collisions[key] = topic_id
        for index, stream_id in enumerate(streams):
            state.streams[stream_id] = Stream(stream_id, topic_id, index, 0)
            made += 1
            if made % _STREAMS_PER_BREATH == 0:
                yield


def _encode_configs(state: State) -> bytes:
    writer = Writer()
    for (kind, name), configs in state.config_rows.items():
        writer.texts((str(int(kind)), name, *(part for pair in configs.items() for part in pair)))
    return writer.data()


def _restore_configs(state: State, reader: Reader) -> None:
    while not reader.is_at_end:
        kind, name, *pairs = reader.texts()
        state.config_rows[ResourceType(int(kind)), name] = dict(zip(pairs[::2], pairs[1::2], strict=True))


def _encode_streams(streams: list[Stream]) -> bytes:
    columns: array[int] = array("q")
    opens: array[int] = array("q")
    ends: array[int] = array("q")
    cells: array[int] = array("q")
    for each in streams:
        columns.extend((
            each.stream_id, each.assigned, each.epoch, each.is_open, each.owner, each.opener_epoch, each.start_offset,
            each.committed_end, len(each.opens), len(each.ends),
        ))  # fmt: skip
        opens.extend(each.opens)
        ends.extend(each.ends)
        cells.extend(each.cells)
    writer = Writer()
    for numbers in (columns, opens, ends, cells):
        writer.numbers(numbers)
    return writer.data()


def _restore_streams(state: State, reader: Reader) -> None:
    columns, opens, ends, cells = (reader.numbers() for _ in range(4))
    opens_at = ends_at = 0
    counts = state.partition_counts
    for at in range(0, len(columns), _STREAM_COLUMNS):
        stream_id, assigned, epoch, is_open, owner, opener, start, end, opens_count, ends_count = columns[
            at : at + _STREAM_COLUMNS
        ]
        stream = state.streams.get(stream_id)
        if stream is None:
            raise Corrupt(f"metadata snapshot has stream {stream_id} of no topic")
        stream.assigned, stream.epoch, stream.is_open, stream.owner = assigned, epoch, bool(is_open), owner
        stream.opener_epoch, stream.start_offset, stream.committed_end = opener, start, end
        stream.opens = opens[opens_at : opens_at + opens_count]
        stream.ends = ends[ends_at : ends_at + ends_count]
        stream.cells = cells[ends_at * CELLS : (ends_at + ends_count) * CELLS]
        opens_at += opens_count
        ends_at += ends_count
        counts[assigned] = counts.get(assigned, 0) + 1


def _encode_objects(objects: list[tuple[int, bytes]]) -> bytes:
    writer = Writer()
    writer.numbers(array("q", [object_id for object_id, _ in objects]))
    writer.parts.extend(packed for _, packed in objects)
    return writer.data()


def _restore_objects(state: State, reader: Reader) -> None:
    for object_id, packed in _packed_objects(reader):
        state.object_entries[object_id] = packed


def _packed_objects(reader: Reader) -> list[tuple[int, bytes]]:
    ids = reader.numbers()
    size = OBJECT_ENTRY.size
    rows = bytes(reader.take(size * len(ids)))
    return [(object_id, rows[index * size : (index + 1) * size]) for index, object_id in enumerate(ids)]


def _encode_deleting(deleting: list[tuple[int, tuple[int, bytes]]]) -> bytes:
    writer = Writer()
    writer.numbers(array("q", [since for _, (since, _) in deleting]))
    writer.parts.append(_encode_objects([(object_id, packed) for object_id, (_, packed) in deleting]))
    return writer.data()


def _restore_deleting(state: State, reader: Reader) -> None:
    since = reader.numbers()
    for (object_id, packed), since_ms in zip(_packed_objects(reader), since, strict=True):
        state.deleting_entries[object_id] = (since_ms, packed)


def _encode_blocks(blocks: Iterable[BlockRow]) -> bytes:
    columns: array[int] = array("q")
    for block in blocks:
        columns.extend((block.first, block.end, block.node_id, block.broker_epoch, block.issued_ms))
    writer = Writer()
    writer.numbers(columns)
    return writer.data()


def _restore_blocks(state: State, reader: Reader) -> None:
    columns = iter(reader.numbers())
    for first, end, node_id, epoch, issued_ms in zip(columns, columns, columns, columns, columns, strict=True):
        state.blocks[first] = BlockRow(
            first=ObjectId(first),
            end=ObjectId(end),
            node_id=NodeId(node_id),
            broker_epoch=BrokerEpoch(epoch),
            issued_ms=issued_ms,
        )


_RESTORE: Final[dict[int, Callable[[State, Reader], Iterator[None] | None]]] = {
    1: _restore_scalars,
    2: lambda state, reader: _restore_nodes(state.nodes, reader),
    3: _restore_topics,
    4: _restore_configs,
    5: _restore_streams,
    6: _restore_objects,
    7: _restore_deleting,
    8: _restore_blocks,
    9: lambda state, reader: _restore_nodes(state.forgotten, reader),
    10: _restore_stopping,
}


def state_as_data(state: State) -> dict[str, object]:
    """Everything in the state as plain values, for comparing two states and for dumps."""
    return {
        "cluster_id": state.cluster_id,
        "counters": (state.last_epoch, state.next_stream_id, state.next_object_id, state.next_producer_id),
        "nodes": dict(state.nodes),
        "forgotten": dict(state.forgotten),
        "stops_until_ms": state.stops_until_ms,
        "topics": {topic.name: topic for topic in state.topics()},
        "collisions": dict(state.collisions),
        "streams": {each.stream_id: (each.row(), each.assigned, each.opener_epoch) for each in state.streams.values()},
        "objects": {object_id: unpack_object(packed) for object_id, packed in state.object_entries.items()},
        "deleting": {
            object_id: (since, unpack_object(packed)) for object_id, (since, packed) in state.deleting_entries.items()
        },
        "blocks": dict(state.blocks),
        "configs": {key: dict(configs) for key, configs in state.config_rows.items()},
        "partition_counts": {node_id: count for node_id, count in state.partition_counts.items() if count},
    }


__all__ = ["MAGIC", "VERSION", "decode_snapshot", "encode_snapshot", "restore", "state_as_data"]
