"""Commands and their answers as bytes, for the way between brokers: a table of layouts, as `codec` has for records.

    payload = u8 version (1), u8 kind, numbers as the layout says (little-endian), then the other fields in their order

A version or kind that this release does not know was sent by a newer one and is refused by name. Everything is checked
against the bytes that are there before anything is allocated; bytes left over at the end are damage.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any, Final

from automq_broker.kernel.errors import AutomqError, ClientFault, Corrupt, Fenced, NotMine, Refused, Retry
from automq_broker.kernel.ids import NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.meta import commands
from automq_broker.meta.codec import Reader, Writer
from automq_broker.meta.commands import Command, CommitRefused
from automq_broker.meta.records import RANGE_COLUMNS, flatten, join_endpoints, split_endpoints
from automq_broker.meta.rows import Endpoint, ObjectRow, PartitionRow, RangeRow, TopicRow

VERSION: Final = 1
_HEADER: Final = Struct("<BB")
_OBJECT: Final = Struct("<qqqqqqq")
_TOPIC: Final = Struct("<q?")
_NUMBERS: Final = "q?d"
"""Field types that go into a payload's struct; the others follow it."""

_PARTITION_COLUMNS: Final = 3
_ENDPOINT_TEXTS: Final = 4
_OBJECT_BYTES_MIN: Final = _OBJECT.size + 4

_COMMANDS: Final[tuple[tuple[int, type, str], ...]] = (
    (1, commands.RegisterNode, "node_id:q wal_epoch_found:q accept_wal_loss:? incarnation:u volume_uuid:u "
                               "volume_handle:s rack:s endpoints:e"),
    (2, commands.ConfirmWal, "node_id:q broker_epoch:q"),
    (3, commands.NodeRecovered, "node_id:q broker_epoch:q"),
    (4, commands.NodeStopped, "node_id:q broker_epoch:q clean:?"),
    (5, commands.FenceNode, "node_id:q broker_epoch:q"),
    (6, commands.LiftFence, "node_id:q broker_epoch:q"),
    (7, commands.RescueNode, "node_id:q expected_epoch:q rescue:u"),
    (8, commands.RescueDone, "node_id:q broker_epoch:q"),
    (9, commands.CreateTopic, "partitions:q is_internal:? replication_factor:q created_ms:q topic_id:u name:s "
                              "configs:m owners:i"),
    (10, commands.DeleteTopic, "now_ms:q topic_id:u"),
    (11, commands.CreatePartitions, "total:q topic_id:u owners:i"),
    (12, commands.SetConfigs, "resource_type:q resource_name:s upserts:m deletes:l"),
    (13, commands.AssignStreams, "node_id:q stream_ids:i"),
    (14, commands.OpenStream, "stream_id:q node_id:q broker_epoch:q stream_epoch:q log_end:q"),
    (15, commands.CloseStream, "stream_id:q node_id:q broker_epoch:q stream_epoch:q final_end:q"),
    (16, commands.AllocateObjectIds, "node_id:q broker_epoch:q count:q now_ms:q"),
    (17, commands.CommitObject, "node_id:q broker_epoch:q object:o"),
    (18, commands.ReplaceObjects, "node_id:q broker_epoch:q now_ms:q removed:i added:O"),
    (19, commands.AdvanceStart, "stream_id:q start_offset:q now_ms:q"),
    (20, commands.AllocateProducerIds, "node_id:q broker_epoch:q count:q"),
    (21, commands.RetireBlock, "first:q"),
    (22, commands.ForgetObjects, "object_ids:i"),
    (23, commands.AcceptWalLoss, "node_id:q expected_epoch:q volume_uuid:u volume_handle:s"),
    (24, commands.NodeStopped, "node_id:q broker_epoch:q clean:? keeps_partitions:?"),
    (25, commands.StopCluster, "until_ms:q"),
    (26, commands.ForgetNode, "node_id:q"),
)  # fmt: skip
"""Kind, class, fields in the order of their bytes. A kind's layout never changes: a changed command gets a new kind, and is
written as its last one."""

_ANSWERS: Final[tuple[tuple[int, type, str], ...]] = (
    (1, commands.Registered, "broker_epoch:q"),
    (2, commands.RescueGranted, "broker_epoch:q"),
    (3, commands.TopicCreated, "topic:t"),
    (4, commands.Opened, "stream_epoch:q start_offset:q committed_end:q"),
    (5, commands.IdBlock, "first:q end:q"),
    (6, commands.Committed, "ends:x"),
    (7, commands.WalLossAccepted, "broker_epoch:q ends:x"),
)

_REFUSALS: Final[tuple[tuple[int, type, str], ...]] = (
    (65, ClientFault, "code:q message:s"),
    (66, Retry, "delay_s:d message:s"),
    (67, CommitRefused, "message:s ends:x gone:i"),
    (68, Fenced, "message:s"),
    (69, Refused, "message:s"),
    (70, NotMine, "message:s"),
)
_NOTHING: Final = 0


@dataclass(frozen=True, slots=True)
class _Layout:
    kind: int
    make: type
    form: Struct
    numbers: tuple[str, ...]
    others: tuple[tuple[str, str], ...]


def _compile(kind: int, make: type, text: str) -> _Layout:
    fields = [(name, code) for name, code in (part.split(":") for part in text.split())]
    numbers = tuple(name for name, code in fields if code in _NUMBERS)
    form = Struct("<" + "".join(code for _, code in fields if code in _NUMBERS))
    return _Layout(kind, make, form, numbers, tuple((name, code) for name, code in fields if code not in _NUMBERS))


def _table(rows: Iterable[tuple[int, type, str]]) -> dict[int, _Layout]:
    return {kind: _compile(kind, make, text) for kind, make, text in rows}


_COMMAND_KINDS: Final = _table(_COMMANDS)
_ANSWER_KINDS: Final = _table((*_ANSWERS, *_REFUSALS))
_COMMAND_CLASSES: Final = {layout.make: layout for layout in _COMMAND_KINDS.values()}
_ANSWER_CLASSES: Final = {layout.make: layout for layout in _ANSWER_KINDS.values()}
_REFUSAL_ORDER: Final = tuple(_ANSWER_CLASSES[make] for _, make, _ in _REFUSALS)


def encode_command(command: Command[Any]) -> bytes:
    """The payload of a command. Raises Refused if a field has a value that its type does not allow."""
    layout = _COMMAND_CLASSES.get(type(command))
    if layout is None:
        raise Refused(f"{type(command).__name__} is no command")
    try:
        return _encode(layout, {name: getattr(command, name) for name in _names(layout)})
    except (StructError, TypeError, ValueError, AttributeError, OverflowError) as wrong:
        raise Refused(f"{type(command).__name__} has a field of a wrong type or size: {wrong}") from wrong


def decode_command(data: bytes | memoryview) -> Command[Any]:
    """The command in a payload. Raises Refused for a newer version or kind, Corrupt for bytes that make no sense."""
    layout, values = _decode(_COMMAND_KINDS, data, "command")
    assert layout is not None
    command: Command[Any] = layout.make(**values)
    return command


def encode_answer(answer: object) -> bytes:
    """The payload of what a command was answered with: a value of `commands`, None, or a refusal."""
    if answer is None:
        return _HEADER.pack(VERSION, _NOTHING)
    if isinstance(answer, AutomqError):
        layout = next(each for each in _REFUSAL_ORDER if isinstance(answer, each.make))
        values = {name: str(answer) if name == "message" else getattr(answer, name) for name in _names(layout)}
        return _encode(layout, values)
    layout = _ANSWER_CLASSES[type(answer)]
    return _encode(layout, {name: getattr(answer, name) for name in _names(layout)})


def decode_answer(data: bytes | memoryview) -> object:
    """The answer in a payload; a refusal is returned, not raised. Raises Refused and Corrupt as `decode_command`."""
    layout, values = _decode(_ANSWER_KINDS, data, "answer")
    if layout is None:
        return None
    if issubclass(layout.make, AutomqError) and not issubclass(layout.make, ClientFault):
        return layout.make(values.pop("message"), **values)
    return layout.make(**values)


def _names(layout: _Layout) -> tuple[str, ...]:
    return (*layout.numbers, *(name for name, _ in layout.others))


def _encode(layout: _Layout, values: Mapping[str, Any]) -> bytes:
    writer = Writer()
    writer.parts.append(_HEADER.pack(VERSION, layout.kind))
    writer.parts.append(layout.form.pack(*(values[name] for name in layout.numbers)))
    for name, code in layout.others:
        _PUT[code](writer, values[name])
    return writer.data()


def _decode(kinds: dict[int, _Layout], data: bytes | memoryview, what: str) -> tuple[_Layout | None, dict[str, Any]]:
    reader = Reader(data)
    version, kind = reader.unpack(_HEADER)
    if version > VERSION:
        raise Refused(f"a metadata {what} of version {version} comes from a newer release; this one reads {VERSION}")
    layout = kinds.get(kind)
    if layout is None and (what == "command" or kind != _NOTHING):
        raise Refused(f"metadata {what} of kind {kind} comes from a newer release; this one does not know it")
    values: dict[str, Any] = {}
    if layout is not None:
        values.update(zip(layout.numbers, reader.unpack(layout.form), strict=True))
        for name, code in layout.others:
            values[name] = _TAKE[code](reader)
    if not reader.is_at_end:
        raise Corrupt(f"a metadata {what} of kind {kind} has {len(data) - reader.position} bytes too many")
    return layout, values


# --- fields that are more than a number ---------------------------------------------------------------------------


def _put_ints(writer: Writer, values: Iterable[int]) -> None:
    writer.numbers(array("q", values))


def _take_ints(reader: Reader) -> tuple[int, ...]:
    return tuple(reader.numbers())


def _put_texts_by_text(writer: Writer, values: Mapping[str, str]) -> None:
    writer.texts(tuple(part for pair in values.items() for part in pair))


def _take_texts_by_text(reader: Reader) -> dict[str, str]:
    flat = _pieces(reader.texts(), 2)
    return dict(zip(flat[0::2], flat[1::2], strict=True))


def _put_offsets(writer: Writer, values: Mapping[StreamId, Offset]) -> None:
    writer.numbers(array("q", [part for pair in values.items() for part in pair]))


def _take_offsets(reader: Reader) -> dict[StreamId, Offset]:
    flat = _pieces(reader.numbers(), 2)
    return {StreamId(stream_id): Offset(end) for stream_id, end in zip(flat[0::2], flat[1::2], strict=True)}


def _put_endpoints(writer: Writer, values: tuple[Endpoint, ...]) -> None:
    writer.texts(join_endpoints(values))


def _take_endpoints(reader: Reader) -> tuple[Endpoint, ...]:
    flat = _pieces(reader.texts(), _ENDPOINT_TEXTS)
    if not all(port.isdecimal() for port in flat[2::_ENDPOINT_TEXTS]):
        raise Corrupt("an endpoint's port is no number")
    return split_endpoints(flat)


def _put_object(writer: Writer, row: ObjectRow) -> None:
    numbers = (row.object_id, row.size, row.crc, row.node_id, int(row.kind), row.created_ms, row.index_position)
    writer.parts.append(_OBJECT.pack(*numbers))
    writer.numbers(flatten(row.ranges))


def _take_object(reader: Reader) -> ObjectRow:
    object_id, size, crc, node_id, kind, created_ms, index_position = reader.unpack(_OBJECT)
    flat = _pieces(reader.numbers(), RANGE_COLUMNS)
    return ObjectRow(
        object_id=ObjectId(object_id),
        size=size,
        crc=crc,
        node_id=NodeId(node_id),
        kind=kind,
        created_ms=created_ms,
        index_position=index_position,
        ranges=tuple(_range(flat[begin : begin + RANGE_COLUMNS]) for begin in range(0, len(flat), RANGE_COLUMNS)),
    )


def _range(columns: "array[int]") -> RangeRow:
    return RangeRow(
        stream_id=StreamId(columns[0]),
        stream_epoch=StreamEpoch(columns[1]),
        start=Offset(columns[2]),
        end=Offset(columns[3]),
        position=columns[4],
        length=columns[5],
        records=columns[6],
        max_timestamp=columns[7],
        checkpoint_position=columns[8],
        checkpoint_length=columns[9],
    )


def _put_objects(writer: Writer, rows: tuple[ObjectRow, ...]) -> None:
    writer.parts.append(_COUNT.pack(len(rows)))
    for row in rows:
        _put_object(writer, row)


def _take_objects(reader: Reader) -> tuple[ObjectRow, ...]:
    (count,) = reader.unpack(_COUNT)
    if count * _OBJECT_BYTES_MIN > len(reader.view) - reader.position:
        raise Corrupt(f"{count} objects are promised in {len(reader.view) - reader.position} bytes")
    return tuple(_take_object(reader) for _ in range(count))


def _put_topic(writer: Writer, row: TopicRow) -> None:
    writer.parts.append(_TOPIC.pack(row.created_ms, row.is_internal))
    writer.uuid(row.topic_id)
    writer.text(row.name)
    writer.numbers(array("q", [part for each in row.partitions for part in (each.index, each.stream_id, each.owner)]))
    _put_texts_by_text(writer, row.configs)


def _take_topic(reader: Reader) -> TopicRow:
    created_ms, is_internal = reader.unpack(_TOPIC)
    topic_id, name = reader.uuid(), reader.text()
    flat = _pieces(reader.numbers(), _PARTITION_COLUMNS)
    return TopicRow(
        topic_id=topic_id,
        name=name,
        is_internal=is_internal,
        created_ms=created_ms,
        partitions=tuple(
            PartitionRow(index=index, stream_id=StreamId(stream_id), owner=NodeId(owner))
            for index, stream_id, owner in zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
        ),
        configs=_take_texts_by_text(reader),
    )


def _pieces(flat: Any, columns: int) -> Any:
    if len(flat) % columns:
        raise Corrupt(f"{len(flat)} values are no whole number of rows of {columns}")
    return flat


_COUNT: Final = Struct("<I")
_PUT: Final[dict[str, Callable[[Writer, Any], None]]] = {
    "u": Writer.uuid,
    "s": Writer.text,
    "l": Writer.texts,
    "i": _put_ints,
    "m": _put_texts_by_text,
    "x": _put_offsets,
    "e": _put_endpoints,
    "o": _put_object,
    "O": _put_objects,
    "t": _put_topic,
}
_TAKE: Final[dict[str, Callable[[Reader], Any]]] = {
    "u": Reader.uuid,
    "s": Reader.text,
    "l": Reader.texts,
    "i": _take_ints,
    "m": _take_texts_by_text,
    "x": _take_offsets,
    "e": _take_endpoints,
    "o": _take_object,
    "O": _take_objects,
    "t": _take_topic,
}

__all__ = ["VERSION", "decode_answer", "decode_command", "encode_answer", "encode_command"]
