"""Produce by hand: the same bytes and messages as the generic codec at half its cost.

Only what every request carries is written out here; tagged fields, record errors and the like go the generic way.
A test holds both codecs against each other for every version. Source: ProduceRequest.json, ProduceResponse.json.
"""

import struct

from automq_broker.wire import codec
from automq_broker.wire.apis.k00_produce import (
    LeaderIdAndEpoch,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)
from automq_broker.wire.primitives import MAX_ITEMS, Sink, WireError, text, uuid_of, write_uvarint
from automq_broker.wire.schema import ZERO_UUID
from automq_broker.wire.tuned import (
    check_count,
    compact_count,
    compact_end,
    compact_nullable,
    long_uvarint,
    plain_string,
    read_tags,
    too_many,
)

_new = object.__new__
"""Messages are made without their constructor, whose keyword arguments cost more than the fields."""

_FLEXIBLE_FROM = 9
_TOPIC_IDS_FROM = 13

_ACKS_TIMEOUT = struct.Struct(">hi")
_ACKS_TIMEOUT_COUNT = struct.Struct(">hii")
_INT16 = struct.Struct(">h")
_INT32 = struct.Struct(">i")
_TWO_INT32 = struct.Struct(">ii")


def decode_request(version: int, view: memoryview, position: int) -> ProduceRequest:
    """The body of a Produce request; records are views into `view`. Raises WireError as `codec.decode` does."""
    try:
        if version >= _FLEXIBLE_FROM:
            return _decode_flexible(version, view, position)
        return _decode_plain(view, position)
    except (struct.error, IndexError) as error:
        raise WireError(f"ProduceRequest v{version} ends before its last field") from error


def _decode_flexible(version: int, view: memoryview, position: int) -> ProduceRequest:
    """Versions 9 to 13: compact lengths, tagged fields after every struct."""
    request = _new(ProduceRequest)
    if view[position]:
        request.transactional_id, position = compact_nullable(view, position)
    else:
        request.transactional_id = None
        position += 1
    request.acks, request.timeout_ms = _ACKS_TIMEOUT.unpack_from(view, position)
    items, position = compact_count(view, position + 6, 3)
    request.topic_data = topics = []
    for _ in range(items):
        topic = _new(TopicProduceData)
        topics.append(topic)
        if version >= _TOPIC_IDS_FROM:
            start, position = position, position + 16
            topic.name = ""
            topic.topic_id = uuid_of(bytes(view[start:position]))
        else:
            start, position = compact_end(view, position)
            topic.name = text(view[start:position])
            topic.topic_id = ZERO_UUID
        count, position = compact_count(view, position, 6)
        items += count
        if items > MAX_ITEMS:
            raise too_many(items)
        topic.partition_data, position = _flexible_partitions(view, position, count)
        position = position + 1 if view[position] == 0 else read_tags(view, position)
    if view[position]:
        read_tags(view, position)
    return request


def _flexible_partitions(view: memoryview, position: int, count: int) -> tuple[list[PartitionProduceData], int]:
    partitions = []
    frame_end = len(view)
    for _ in range(count):
        partition = _new(PartitionProduceData)
        partitions.append(partition)
        (partition.index,) = _INT32.unpack_from(view, position)
        length = view[position + 4]
        position += 5
        if length > 0x7F:
            length, position = long_uvarint(view, position)
        if length:
            end = position + length - 1
            if end > frame_end:
                raise WireError(f"records of {length - 1} bytes, {frame_end - position} left")
            partition.records = view[position:end]
            position = end
        else:
            partition.records = None
        position = position + 1 if view[position] == 0 else read_tags(view, position)
    return partitions, position


def _decode_plain(view: memoryview, position: int) -> ProduceRequest:
    """Versions 3 to 8: int16 and int32 lengths, topics by name."""
    request = _new(ProduceRequest)
    request.transactional_id = None
    if view[position] > 0x7F:
        position += 2
    else:
        request.transactional_id, position = plain_string(view, position)
    request.acks, request.timeout_ms, items = _ACKS_TIMEOUT_COUNT.unpack_from(view, position)
    position += 10
    check_count(view, position, items, 6)
    request.topic_data = topics = []
    for _ in range(items):
        topic = _new(TopicProduceData)
        topics.append(topic)
        topic.name, position = plain_string(view, position)
        topic.topic_id = ZERO_UUID
        (count,) = _INT32.unpack_from(view, position)
        position += 4
        check_count(view, position, count, 8)
        items += count
        if items > MAX_ITEMS:
            raise too_many(items)
        topic.partition_data, position = _plain_partitions(view, position, count)
    return request


def _plain_partitions(view: memoryview, position: int, count: int) -> tuple[list[PartitionProduceData], int]:
    partitions = []
    frame_end = len(view)
    for _ in range(count):
        partition = _new(PartitionProduceData)
        partitions.append(partition)
        partition.index, length = _TWO_INT32.unpack_from(view, position)
        position += 8
        partition.records = None
        if length >= 0:
            end = position + length
            if end > frame_end:
                raise WireError(f"records of {length} bytes, {frame_end - position} left")
            partition.records = view[position:end]
            position = end
    return partitions, position


_NO_LEADER = LeaderIdAndEpoch()


def response_row(index: int) -> PartitionProduceResponse:
    """A partition's row with its defaults. Replace its `current_leader`, never change it: all rows share one."""
    row = _new(PartitionProduceResponse)
    row.index = index
    row.error_code = row.base_offset = 0
    row.log_append_time_ms = row.log_start_offset = -1
    row.record_errors = []
    row.error_message = None
    row.current_leader = _NO_LEADER
    return row


# --- the response -------------------------------------------------------------------------------------------------

_ROW_V5 = struct.Struct(">ihqqq")
"""Index, error code, base offset, log append time, log start offset: a row of versions 5 to 7."""

_ROW_V8 = struct.Struct(">ihqqqih")
_ROW_FLEXIBLE = struct.Struct(">ihqqqBBB")
"""The same, then no record errors and no error message; in flexible versions also no tagged field."""


def encode_response(sink: Sink, message: ProduceResponse, version: int) -> None:
    """Append the body of a Produce response. Raises WireError as `codec.encode_into` does."""
    try:
        if version >= _FLEXIBLE_FROM:
            _encode_flexible(sink, message, version)
        else:
            _encode_plain(sink, message, version)
    except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise WireError(f"ProduceResponse v{version} cannot be encoded: {error}") from error


def _encode_flexible(sink: Sink, message: ProduceResponse, version: int) -> None:
    head = sink.head
    write_uvarint(head, len(message.responses) + 1)
    for topic in message.responses:
        if version >= _TOPIC_IDS_FROM:
            head += topic.topic_id.bytes
        else:
            name = topic.name.encode()
            write_uvarint(head, len(name) + 1)
            head += name
        write_uvarint(head, len(topic.partition_responses) + 1)
        for row in topic.partition_responses:
            _write_flexible_row(sink, row, version)
        head.append(0)
    head += _INT32.pack(message.throttle_time_ms)
    write_tags = codec.struct_codec(ProduceResponse, version).write_tags
    if message.node_endpoints and write_tags:
        write_tags(sink, message)
    else:
        head.append(0)


def _write_flexible_row(sink: Sink, row: PartitionProduceResponse, version: int) -> None:
    leader = row.current_leader
    is_short = not row.record_errors and row.error_message is None
    if not is_short or leader.leader_id != -1 or leader.leader_epoch != -1:
        codec.struct_codec(PartitionProduceResponse, version).write(sink, row)
        return
    append_time, start = row.log_append_time_ms, row.log_start_offset
    sink.head += _ROW_FLEXIBLE.pack(row.index, row.error_code, row.base_offset, append_time, start, 1, 0, 0)


def _encode_plain(sink: Sink, message: ProduceResponse, version: int) -> None:
    head = sink.head
    head += _INT32.pack(len(message.responses))
    for topic in message.responses:
        name = topic.name.encode()
        head += _INT16.pack(len(name))
        head += name
        head += _INT32.pack(len(topic.partition_responses))
        for row in topic.partition_responses:
            _write_plain_row(sink, row, version)
    head += _INT32.pack(message.throttle_time_ms)


def _write_plain_row(sink: Sink, row: PartitionProduceResponse, version: int) -> None:
    values = (row.index, row.error_code, row.base_offset, row.log_append_time_ms, row.log_start_offset)
    if version == 8 and not row.record_errors and row.error_message is None:
        sink.head += _ROW_V8.pack(*values, 0, -1)
    elif 5 <= version <= 7:
        sink.head += _ROW_V5.pack(*values)
    else:
        codec.struct_codec(PartitionProduceResponse, version).write(sink, row)


__all__ = ["decode_request", "encode_response", "response_row"]
