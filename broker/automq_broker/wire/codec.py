"""From a schema's table to a reader and a writer for one version, compiled when the version is first met.

The compiled form is a flat plan: runs of fixed-width fields become one struct.Struct, every other field one step.
Bounds: an array's count is checked against the bytes left (each item takes at least its smallest encoding) and against
the frame's budget of items before anything is allocated; unknown tagged fields are skipped.
"""

import operator
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from automq_broker.wire import primitives
from automq_broker.wire.primitives import MAX_ITEMS, MAX_TAGS, Buffer, Cursor, Reader, Sink, WireError, Writer
from automq_broker.wire.schema import Array, Field, Message, NewDefault, Versions

M = TypeVar("M", bound=Message)

_FIXED = {
    "bool": "?",
    "int8": "b",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "float64": "d",
}
"""Types of a fixed width that struct knows, with its letter for them."""

ReadStep = Callable[[Cursor, Message], None]
WriteStep = Callable[[Sink, Message], None]


class Codec(NamedTuple):
    """How one type is read and written in one version, and the fewest bytes it can take.

    `known_tags` (tag -> field, reader) and `write_tags` are for the hand-written codecs, which leave tags to this one.
    """

    read: Reader
    write: Writer
    size_min: int
    known_tags: Mapping[int, tuple[str, Reader]] = MappingProxyType({})
    write_tags: WriteStep | None = None


def decode(message_class: type[M], version: int, view: memoryview, position: int = 0, *, items: int = MAX_ITEMS) -> M:
    """Read one message that starts at `position`; bytes after it are ignored.

    Fields of type bytes and records are views into `view`. Raises WireError on anything malformed.
    """
    cursor = Cursor(view, position, items)
    try:
        message: M = struct_codec(message_class, version).read(cursor)
    except (struct.error, IndexError) as error:
        raise WireError(f"{message_class.__name__} v{version} ends before its last field") from error
    return message


def encode(message: Message, version: int) -> bytes:
    """The message's bytes in that version; a field that the version lacks is left out.

    Raises WireError when a value does not fit its field.
    """
    sink = Sink()
    encode_into(sink, message, version)
    return b"".join((*sink.parts, sink.head))


def encode_into(sink: Sink, message: Message, version: int) -> None:
    """Append the message to `sink`; see `encode`."""
    try:
        struct_codec(type(message), version).write(sink, message)
    except (struct.error, TypeError, AttributeError, UnicodeEncodeError) as error:
        raise WireError(f"{type(message).__name__} v{version} cannot be encoded: {error}") from error


# --- structs ------------------------------------------------------------------------------------------------------


_compiled: dict[tuple[type[Message], int], Codec] = {}


def struct_codec(message_class: type[Message], version: int) -> Codec:
    """The compiled codec of a struct in one version; kept for the life of the process."""
    known = _compiled.get((message_class, version))
    if known is None:
        known = _compiled[message_class, version] = _compile(message_class, version)
    return known


def _compile(message_class: type[Message], version: int) -> Codec:
    schema = message_class.SCHEMA
    is_flexible = Versions.parse(schema.flexible).has(version)
    present = [field for field in schema.fields if Versions.parse(field.versions).has(version)]
    tagged = [field for field in present if Versions.parse(field.tagged).has(version)]
    plain = [field for field in present if field not in tagged]
    absent = [field for field in schema.fields if field not in plain]
    codecs = {field.name: _field_codec(field, version, is_flexible) for field in present}
    runs = list(_runs(plain))
    read_steps = [_default_step(field) for field in absent]
    read_steps += [_read_step(run, codecs[run[0].name]) for run in runs]
    write_steps = [_write_step(run, codecs[run[0].name]) for run in runs]
    known_tags = {field.tag: (field.name, codecs[field.name].read) for field in tagged}
    write_tags = _tags_write_step([(field, codecs[field.name].write) for field in tagged]) if is_flexible else None
    if write_tags:
        read_steps.append(lambda cursor, message: read_tags(cursor, message, known_tags))
        write_steps.append(write_tags)
    size_min = sum(codecs[field.name].size_min for field in plain) + is_flexible
    read, write = _struct_reader(message_class, read_steps), _struct_writer(write_steps)
    return Codec(read, write, size_min, known_tags, write_tags)


def _struct_reader(message_class: type[Message], steps: list[ReadStep]) -> Reader:
    new = message_class.__new__

    def read(cursor: Cursor) -> Message:
        message = new(message_class)
        for step in steps:
            step(cursor, message)
        return message

    return read


def _struct_writer(steps: list[WriteStep]) -> Writer:
    def write(sink: Sink, message: Message) -> None:
        for step in steps:
            step(sink, message)

    return write


def _runs(fields: list[Field]) -> Iterator[list[Field]]:
    """Neighbouring fixed-width fields together, every other field alone."""
    run: list[Field] = []
    for field in fields:
        if isinstance(field.type, str) and field.type in _FIXED:
            run.append(field)
            continue
        if run:
            yield run
            run = []
        yield [field]
    if run:
        yield run


def _default_step(field: Field) -> ReadStep:
    """Give a field its default: the version lacks it, or it is tagged and may not come."""
    name, default = field.name, field.default
    if isinstance(default, NewDefault):
        make = default.make
        return lambda _, message: setattr(message, name, make())
    return lambda _, message: setattr(message, name, default)


def _read_step(run: list[Field], codec: Codec) -> ReadStep:
    name = run[0].name
    if len(run) == 1:
        read = codec.read
        return lambda cursor, message: setattr(message, name, read(cursor))
    fixed = _fixed_struct(run)
    names = tuple(field.name for field in run)
    unpack, size = fixed.unpack_from, fixed.size

    def step(cursor: Cursor, message: Message) -> None:
        values = unpack(cursor.view, cursor.position)
        cursor.position += size
        for field_name, value in zip(names, values, strict=True):
            setattr(message, field_name, value)

    return step


def _write_step(run: list[Field], codec: Codec) -> WriteStep:
    get = operator.attrgetter(*(field.name for field in run))
    if len(run) == 1:
        write = codec.write
        return lambda sink, message: write(sink, get(message))
    pack = _fixed_struct(run).pack

    def step(sink: Sink, message: Message) -> None:
        sink.head += pack(*get(message))

    return step


def _fixed_struct(run: list[Field]) -> struct.Struct:
    return struct.Struct(">" + "".join(_FIXED[str(field.type)] for field in run))


# --- tagged fields ------------------------------------------------------------------------------------------------


def read_tags(cursor: Cursor, message: Message | None, known_tags: Mapping[int, tuple[str, Reader]]) -> None:
    """Read a struct's tagged fields into `message`; tags that are not in `known_tags` are skipped."""
    count = primitives.read_uvarint(cursor)
    if not count:
        return
    if count > MAX_TAGS or count * 2 > len(cursor.view) - cursor.position:
        raise WireError(f"{count} tagged fields")
    _spend(cursor, count)
    for _ in range(count):
        tag = primitives.read_uvarint(cursor)
        size = primitives.read_uvarint(cursor)
        start = cursor.position
        primitives.take(cursor, size)
        if message is not None and tag in known_tags:
            name, read = known_tags[tag]
            cursor.position = start
            setattr(message, name, read(cursor))
            if cursor.position != start + size:
                raise WireError(f"tagged field {tag} is not {size} bytes long")


def _tags_write_step(fields: list[tuple[Field, Writer]]) -> WriteStep:
    """Write the tagged fields that differ from their defaults, in the order of their tags."""
    ordered = [
        (field.tag, field.name, write, _default_of(field)) for field, write in sorted(fields, key=lambda f: f[0].tag)
    ]

    def step(sink: Sink, message: Message) -> None:
        # COST: building the list is skipped for the many structs that have no tagged field in this version.
        if not ordered:
            sink.head.append(0)
            return
        chosen = [(tag, write, v) for tag, name, write, default in ordered if (v := getattr(message, name)) != default]
        primitives.write_uvarint(sink.head, len(chosen))
        for tag, write, value in chosen:
            inner = Sink()
            write(inner, value)
            primitives.write_uvarint(sink.head, tag)
            primitives.write_uvarint(sink.head, len(inner.head))
            sink.head += inner.head

    return step


def _default_of(field: Field) -> Any:
    return field.default.make() if isinstance(field.default, NewDefault) else field.default


# --- single fields and arrays -------------------------------------------------------------------------------------


def _field_codec(field: Field, version: int, is_flexible: bool) -> Codec:
    is_nullable = Versions.parse(field.nullable).has(version)
    if isinstance(field.type, Array):
        return _array_codec(field.type.item, version, is_flexible, is_nullable)
    if isinstance(field.type, str):
        return _primitive_codec(field.type, is_flexible, is_nullable)
    codec = struct_codec(field.type, version)
    if not is_nullable:
        return codec
    return _nullable_tagged_struct(codec) if field.tag >= 0 else _nullable_struct(codec)


@cache
def _primitive_codec(kind: str, is_flexible: bool, is_nullable: bool) -> Codec:
    if kind in _FIXED:
        return _fixed_codec(_FIXED[kind])
    if kind == "uuid":
        return Codec(primitives.read_uuid, primitives.write_uuid, 16)
    if kind == "string":
        size_min = 1 if is_flexible else 2
        reader, writer = primitives.string_reader, primitives.string_writer
        return Codec(reader(is_flexible, is_nullable), writer(is_flexible, is_nullable), size_min)
    write = primitives.records_writer if kind == "records" else primitives.bytes_writer
    size_min = 1 if is_flexible else 4
    return Codec(primitives.bytes_reader(is_flexible, is_nullable), write(is_flexible, is_nullable), size_min)


def _fixed_codec(letter: str) -> Codec:
    fixed = struct.Struct(">" + letter)
    unpack, pack, size = fixed.unpack_from, fixed.pack, fixed.size

    def read(cursor: Cursor) -> Any:
        (value,) = unpack(cursor.view, cursor.position)
        cursor.position += size
        return value

    def write(sink: Sink, value: Any) -> None:
        sink.head += pack(value)

    return Codec(read, write, size)


def _nullable_struct(codec: Codec) -> Codec:
    """A struct behind one signed byte: negative = null."""

    def read(cursor: Cursor) -> Message | None:
        marker = cursor.view[cursor.position]
        cursor.position += 1
        return None if marker > 0x7F else codec.read(cursor)

    return Codec(read, _marked_writer(codec, null_marker=0xFF), 1)


def _nullable_tagged_struct(codec: Codec) -> Codec:
    """In a tagged field the marker is a varint: 0 = null. Kafka 4.3 has one, in ConsumerGroupMemberMetadataValue."""

    def read(cursor: Cursor) -> Message | None:
        return codec.read(cursor) if primitives.read_uvarint(cursor) else None

    return Codec(read, _marked_writer(codec, null_marker=0), 1)


def _marked_writer(codec: Codec, *, null_marker: int) -> Writer:
    def write(sink: Sink, value: Message | None) -> None:
        if value is None:
            sink.head.append(null_marker)
            return
        sink.head.append(1)
        codec.write(sink, value)

    return write


def _array_codec(item: str | type[Message], version: int, is_flexible: bool, is_nullable: bool) -> Codec:
    read_length, write_length = primitives.length_functions("array", is_flexible)
    inner = _primitive_codec(item, is_flexible, False) if isinstance(item, str) else struct_codec(item, version)
    letter = _FIXED.get(item) if isinstance(item, str) else None
    read_item, write_item, item_size_min = inner.read, inner.write, inner.size_min

    def read(cursor: Cursor) -> list[Any] | None:
        count = read_length(cursor)
        if count < 0:
            primitives.check_null(is_nullable)
            return None
        if count * item_size_min > len(cursor.view) - cursor.position:
            raise WireError(f"array of {count} items exceeds the {len(cursor.view) - cursor.position} bytes left")
        _spend(cursor, count)
        if letter:
            values = struct.unpack_from(f">{count}{letter}", cursor.view, cursor.position)
            cursor.position += count * item_size_min
            return list(values)
        return [read_item(cursor) for _ in range(count)]

    def write(sink: Sink, values: list[Any] | None) -> None:
        if values is None:
            primitives.check_null(is_nullable)
            write_length(sink.head, -1)
            return
        write_length(sink.head, len(values))
        if letter:
            sink.head += struct.pack(f">{len(values)}{letter}", *values)
            return
        for value in values:
            write_item(sink, value)

    return Codec(read, write, 1 if is_flexible else 4)


def _spend(cursor: Cursor, count: int) -> None:
    cursor.items_left -= count
    if cursor.items_left < 0:
        raise WireError("the frame holds more array items than a request may")


__all__ = ["Buffer", "Codec", "WireError", "decode", "encode", "encode_into", "read_tags", "struct_codec"]
