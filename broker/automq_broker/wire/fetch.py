"""Fetch by hand: the same bytes and messages as the generic codec at about half its cost.

Written out for requests from version 9 and responses from version 11, which is what clients of the last years send;
older versions, tagged fields, forgotten topics and aborted transactions go the generic way. Record segments pass
through unjoined. A test holds both codecs against each other for every version.
Source: FetchRequest.json, FetchResponse.json.
"""

import struct

from automq_broker.wire import codec
from automq_broker.wire.apis.k01_fetch import (
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    ForgottenTopic,
    PartitionData,
    ReplicaState,
)
from automq_broker.wire.primitives import (
    MAX_ITEMS,
    Cursor,
    Sink,
    WireError,
    segments_of,
    text,
    uuid_of,
    write_uvarint,
)
from automq_broker.wire.schema import ZERO_UUID
from automq_broker.wire.tuned import check_count, compact_count, compact_end, plain_string, read_tags, too_many

_new = object.__new__
_REQUEST_FROM = 9
_RESPONSE_FROM = 11
_FLEXIBLE_FROM = 12
_TOPIC_IDS_FROM = 13
_REPLICA_STATE_FROM = 15

_HEAD = struct.Struct(">iiibii")
_ROW_PLAIN = struct.Struct(">iiqqi")
_ROW_FLEXIBLE = struct.Struct(">iiqiqi")
_INT32 = struct.Struct(">i")
_INT16 = struct.Struct(">h")
_HIGH_WATERMARK_UNKNOWN = 0x7FFFFFFFFFFFFFFF


def decode_request(version: int, view: memoryview, position: int) -> FetchRequest:
    """The body of a Fetch request. Raises WireError as `codec.decode` does."""
    if version < _REQUEST_FROM:
        return codec.decode(FetchRequest, version, view, position)
    try:
        request = _new(FetchRequest)
        position = _read_head(request, version, view, position)
        if version >= _FLEXIBLE_FROM:
            _read_flexible(request, version, view, position)
        else:
            _read_plain(request, version, view, position)
        return request
    except (struct.error, IndexError) as error:
        raise WireError(f"FetchRequest v{version} ends before its last field") from error


def _read_head(request: FetchRequest, version: int, view: memoryview, position: int) -> int:
    request.cluster_id = None
    request.replica_state = ReplicaState()
    request.replica_id = -1
    if version < _REPLICA_STATE_FROM:
        (request.replica_id,) = _INT32.unpack_from(view, position)
        position += 4
    values = _HEAD.unpack_from(view, position)
    request.max_wait_ms, request.min_bytes, request.max_bytes, request.isolation_level = values[:4]
    request.session_id, request.session_epoch = values[4:]
    return position + _HEAD.size


def _read_flexible(request: FetchRequest, version: int, view: memoryview, position: int) -> None:
    items, position = compact_count(view, position, 3)
    request.topics = topics = []
    for _ in range(items):
        topic = _new(FetchTopic)
        topics.append(topic)
        if version >= _TOPIC_IDS_FROM:
            start, position = position, position + 16
            topic.topic = ""
            topic.topic_id = uuid_of(bytes(view[start:position]))
        else:
            start, position = compact_end(view, position)
            topic.topic = text(view[start:position])
            topic.topic_id = ZERO_UUID
        count, position = compact_count(view, position, _ROW_FLEXIBLE.size + 1)
        items += count
        if items > MAX_ITEMS:
            raise too_many(items)
        topic.partitions, position = _flexible_partitions(version, view, position, count)
        position = position + 1 if view[position] == 0 else read_tags(view, position)
    count, position = compact_count(view, position, 3)
    request.forgotten_topics_data, position = _forgotten(version, view, position, count, items)
    start, position = compact_end(view, position)
    request.rack_id = text(view[start:position])
    if view[position]:
        read_tags(view, position, request, version)


def _flexible_partitions(version: int, view: memoryview, position: int, count: int) -> tuple[list[FetchPartition], int]:
    partitions = []
    unpack, size = _ROW_FLEXIBLE.unpack_from, _ROW_FLEXIBLE.size
    for _ in range(count):
        row = _new(FetchPartition)
        partitions.append(row)
        values = unpack(view, position)
        row.partition, row.current_leader_epoch, row.fetch_offset = values[:3]
        row.last_fetched_epoch, row.log_start_offset, row.partition_max_bytes = values[3:]
        row.replica_directory_id = ZERO_UUID
        row.high_watermark = _HIGH_WATERMARK_UNKNOWN
        position += size
        position = position + 1 if view[position] == 0 else read_tags(view, position, row, version)
    return partitions, position


def _read_plain(request: FetchRequest, version: int, view: memoryview, position: int) -> None:
    """Versions 9 to 11."""
    (items,) = _INT32.unpack_from(view, position)
    position += 4
    check_count(view, position, items, 6)
    request.topics = topics = []
    for _ in range(items):
        topic = _new(FetchTopic)
        topics.append(topic)
        topic.topic, position = plain_string(view, position)
        topic.topic_id = ZERO_UUID
        (count,) = _INT32.unpack_from(view, position)
        position += 4
        check_count(view, position, count, _ROW_PLAIN.size)
        items += count
        if items > MAX_ITEMS:
            raise too_many(items)
        topic.partitions = [_plain_partition(view, position + i * _ROW_PLAIN.size) for i in range(count)]
        position += count * _ROW_PLAIN.size
    (count,) = _INT32.unpack_from(view, position)
    check_count(view, position + 4, count, 6)
    request.forgotten_topics_data, position = _forgotten(version, view, position + 4, count, items)
    request.rack_id = plain_string(view, position)[0] if version >= _RESPONSE_FROM else ""


def _plain_partition(view: memoryview, position: int) -> FetchPartition:
    row = _new(FetchPartition)
    values = _ROW_PLAIN.unpack_from(view, position)
    row.partition, row.current_leader_epoch, row.fetch_offset, row.log_start_offset, row.partition_max_bytes = values
    row.last_fetched_epoch = -1
    row.replica_directory_id = ZERO_UUID
    row.high_watermark = _HIGH_WATERMARK_UNKNOWN
    return row


def _forgotten(
    version: int, view: memoryview, position: int, count: int, items: int
) -> tuple[list[ForgottenTopic], int]:
    """Only incremental fetch sessions forget topics."""
    if not count:
        return [], position
    if items + count > MAX_ITEMS:
        raise too_many(items + count)
    cursor = Cursor(view, position, MAX_ITEMS - items - count)
    read = codec.struct_codec(ForgottenTopic, version).read
    return [read(cursor) for _ in range(count)], cursor.position


# --- the response -------------------------------------------------------------------------------------------------

_HEAD_PLAIN = struct.Struct(">ihii")
_HEAD_FLEXIBLE = struct.Struct(">ihi")
_ANSWER_PLAIN = struct.Struct(">ihqqqiii")
"""Index, error code, three offsets, no aborted transactions (-1 or 0), preferred replica, length of the records."""

_ANSWER_FLEXIBLE = struct.Struct(">ihqqqBi")
"""The same with a compact count of aborted transactions; the length of the records follows as a varint."""


def encode_response(sink: Sink, message: FetchResponse, version: int) -> None:
    """Append the body of a Fetch response; record segments are handed on. Raises WireError as `encode_into` does."""
    if version < _RESPONSE_FROM:
        codec.encode_into(sink, message, version)
        return
    try:
        if version >= _FLEXIBLE_FROM:
            _encode_flexible(sink, message, version)
        else:
            _encode_plain(sink, message)
    except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise WireError(f"FetchResponse v{version} cannot be encoded: {error}") from error


def _encode_flexible(sink: Sink, message: FetchResponse, version: int) -> None:
    sink.head += _HEAD_FLEXIBLE.pack(message.throttle_time_ms, message.error_code, message.session_id)
    write_uvarint(sink.head, len(message.responses) + 1)
    for topic in message.responses:
        _write_flexible_topic(sink, topic, version)
    write_tags = codec.struct_codec(FetchResponse, version).write_tags
    if message.node_endpoints and write_tags:
        write_tags(sink, message)
    else:
        sink.head.append(0)


def _write_flexible_topic(sink: Sink, topic: FetchableTopicResponse, version: int) -> None:
    if version >= _TOPIC_IDS_FROM:
        sink.head += topic.topic_id.bytes
    else:
        name = topic.topic.encode()
        write_uvarint(sink.head, len(name) + 1)
        sink.head += name
    write_uvarint(sink.head, len(topic.partitions) + 1)
    for row in topic.partitions:
        if row.aborted_transactions or _has_tags(row):
            codec.struct_codec(PartitionData, version).write(sink, row)
        else:
            _write_flexible_row(sink, row)
    sink.head.append(0)


def _has_tags(row: PartitionData) -> bool:
    """Whether one of the three tagged structs differs from its default."""
    leader, diverging, snapshot = row.current_leader, row.diverging_epoch, row.snapshot_id
    is_default = leader.leader_id == leader.leader_epoch == diverging.epoch == diverging.end_offset == -1
    return not (is_default and snapshot.epoch == snapshot.end_offset == -1)


def _write_flexible_row(sink: Sink, row: PartitionData) -> None:
    offsets = (row.high_watermark, row.last_stable_offset, row.log_start_offset)
    aborted = 0 if row.aborted_transactions is None else 1
    head = sink.head
    head += _ANSWER_FLEXIBLE.pack(row.partition_index, row.error_code, *offsets, aborted, row.preferred_read_replica)
    if row.records is None:
        head += b"\0\0"
        return
    segments, size = segments_of(row.records)
    write_uvarint(head, size + 1)
    if size:
        sink.pass_through(segments)
    sink.head.append(0)


def _encode_plain(sink: Sink, message: FetchResponse) -> None:
    """Version 11."""
    head = (message.throttle_time_ms, message.error_code, message.session_id, len(message.responses))
    sink.head += _HEAD_PLAIN.pack(*head)
    for topic in message.responses:
        name = topic.topic.encode()
        sink.head += _INT16.pack(len(name))
        sink.head += name
        sink.head += _INT32.pack(len(topic.partitions))
        for row in topic.partitions:
            if row.aborted_transactions:
                codec.struct_codec(PartitionData, _RESPONSE_FROM).write(sink, row)
            else:
                _write_plain_row(sink, row)


def _write_plain_row(sink: Sink, row: PartitionData) -> None:
    segments, size = segments_of(row.records) if row.records is not None else ((), -1)
    offsets = (row.high_watermark, row.last_stable_offset, row.log_start_offset)
    aborted = -1 if row.aborted_transactions is None else 0
    values = (row.partition_index, row.error_code, *offsets, aborted, row.preferred_read_replica, size)
    sink.head += _ANSWER_PLAIN.pack(*values)
    if size > 0:
        sink.pass_through(segments)


__all__ = ["decode_request", "encode_response"]
