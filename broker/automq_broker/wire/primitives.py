"""Kafka's primitive types: how one value is read from a frame and written to a response.

Readers take a Cursor over the frame and check every length against what is left before they take or allocate anything.
Fixed-width reads lean on struct and on indexing, which refuse to run past the end by themselves; `codec` turns those
exceptions into WireError once per message. Source: the protocol guide's "Protocol Primitive Types".
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any
from uuid import UUID

from automq_broker.kernel.errors import AutomqError

Buffer = bytes | bytearray | memoryview
Records = None | Buffer | Sequence[Buffer]
"""Record batches: one view when decoded; when encoded one buffer or several segments, which are never joined."""

MAX_ITEMS = 1_000_000
"""Items of all arrays (and tagged fields) of one request together; Kafka 4.4 allows as many for each array."""

MAX_TAGS = 10_000
"""Tagged fields of one struct, as in Kafka 4.4."""

_INT16 = Struct(">h")
_INT32 = Struct(">i")


class WireError(AutomqError):
    """The bytes are not what the schema says (or a value does not fit it): close the connection without an answer."""


class Cursor:
    """A place in a frame, and how many array items the frame may still bring."""

    __slots__ = ("items_left", "position", "view")

    def __init__(self, view: memoryview, position: int = 0, items_left: int = MAX_ITEMS) -> None:
        self.view = view
        self.position = position
        self.items_left = items_left


class Sink:
    """Where a message is written: a growing head, and before it the parts that are complete.

    Record segments become parts of their own; what lies between them is joined.
    """

    __slots__ = ("head", "parts", "parts_size")

    def __init__(self) -> None:
        self.head = bytearray()
        self.parts: list[Buffer] = []
        self.parts_size = 0

    def pass_through(self, segments: Sequence[Buffer]) -> None:
        """Append buffers as they are, after what was written so far."""
        self.parts.append(self.head)
        self.parts_size += len(self.head)
        self.head = bytearray()
        for segment in segments:
            self.parts.append(segment)
            self.parts_size += len(segment)


Reader = Callable[[Cursor], Any]
Writer = Callable[[Sink, Any], None]

# --- variable-length integers -------------------------------------------------------------------------------------


def read_uvarint(cursor: Cursor) -> int:
    """An unsigned varint of at most 5 bytes (32 bits). Raises WireError when it is longer."""
    view, position = cursor.view, cursor.position
    byte = view[position]
    if byte < 0x80:
        cursor.position = position + 1
        return byte
    value = byte & 0x7F
    for shift in (7, 14, 21, 28):
        position += 1
        byte = view[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            cursor.position = position + 1
            if value > 0xFFFFFFFF:
                break
            return value
    raise WireError("varint longer than 32 bits")


def write_uvarint(out: bytearray, value: int) -> None:
    """Append an unsigned varint; `value` is not negative."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


# --- lengths ------------------------------------------------------------------------------------------------------


def read_int16_length(cursor: Cursor) -> int:
    """The length of a string before flexible versions; negative means null."""
    (length,) = _INT16.unpack_from(cursor.view, cursor.position)
    cursor.position += 2
    return int(length)


def read_int32_length(cursor: Cursor) -> int:
    """The length of bytes and arrays before flexible versions; negative means null."""
    (length,) = _INT32.unpack_from(cursor.view, cursor.position)
    cursor.position += 4
    return int(length)


def read_compact_length(cursor: Cursor) -> int:
    """The length of strings, bytes and arrays in flexible versions; -1 means null."""
    return read_uvarint(cursor) - 1


def write_int16_length(out: bytearray, length: int) -> None:
    """Append a string's length (-1 = null); raises struct.error above 32767."""
    out += _INT16.pack(length)


def write_int32_length(out: bytearray, length: int) -> None:
    """Append the length of bytes or of an array (-1 = null)."""
    out += _INT32.pack(length)


def write_compact_length(out: bytearray, length: int) -> None:
    """Append a flexible version's length (-1 = null)."""
    write_uvarint(out, length + 1)


def length_functions(kind: str, is_flexible: bool) -> tuple[Reader, Callable[[bytearray, int], None]]:
    """How the length of a "string", of bytes or of an array is read and written."""
    if is_flexible:
        return read_compact_length, write_compact_length
    if kind == "string":
        return read_int16_length, write_int16_length
    return read_int32_length, write_int32_length


# --- values behind a length ---------------------------------------------------------------------------------------


def take(cursor: Cursor, length: int) -> memoryview:
    """The next `length` bytes as a view into the frame. Raises WireError when fewer are left."""
    start = cursor.position
    end = start + length
    if end > len(cursor.view):
        raise WireError(f"length {length} exceeds the {len(cursor.view) - start} bytes left")
    cursor.position = end
    return cursor.view[start:end]


def text(view: memoryview) -> str:
    """UTF-8 as Kafka reads it: bytes that are not UTF-8 become U+FFFD instead of an error."""
    return str(view, "utf-8", "replace")


def string_reader(is_flexible: bool, is_nullable: bool) -> Reader:
    """Reader of a string; null gives None or, where the schema forbids it, WireError."""
    read_length, _ = length_functions("string", is_flexible)

    def read(cursor: Cursor) -> str | None:
        length = read_length(cursor)
        if length < 0:
            check_null(is_nullable)
            return None
        return text(take(cursor, length))

    return read


def string_writer(is_flexible: bool, is_nullable: bool) -> Writer:
    """Writer of a string or None."""
    _, write_length = length_functions("string", is_flexible)

    def write(sink: Sink, value: str | None) -> None:
        if value is None:
            check_null(is_nullable)
            write_length(sink.head, -1)
            return
        data = value.encode()
        write_length(sink.head, len(data))
        sink.head += data

    return write


def bytes_reader(is_flexible: bool, is_nullable: bool) -> Reader:
    """Reader of bytes and records: a view into the frame, or None."""
    read_length, _ = length_functions("bytes", is_flexible)

    def read(cursor: Cursor) -> memoryview | None:
        length = read_length(cursor)
        if length < 0:
            check_null(is_nullable)
            return None
        return take(cursor, length)

    return read


def bytes_writer(is_flexible: bool, is_nullable: bool) -> Writer:
    """Writer of bytes or None; the bytes are copied."""
    _, write_length = length_functions("bytes", is_flexible)

    def write(sink: Sink, value: Buffer | None) -> None:
        if value is None:
            check_null(is_nullable)
            write_length(sink.head, -1)
            return
        write_length(sink.head, len(value))
        sink.head += value

    return write


def records_writer(is_flexible: bool, is_nullable: bool) -> Writer:
    """Writer of records or None; the segments are passed through without a copy."""
    _, write_length = length_functions("records", is_flexible)

    def write(sink: Sink, value: Records) -> None:
        if value is None:
            check_null(is_nullable)
            write_length(sink.head, -1)
            return
        segments, size = segments_of(value)
        write_length(sink.head, size)
        if size:
            sink.pass_through(segments)

    return write


def segments_of(records: Buffer | Sequence[Buffer]) -> tuple[Sequence[Buffer], int]:
    """(segments, bytes in all) of records that may be one buffer or several."""
    if isinstance(records, bytes | bytearray | memoryview):
        return (records,), len(records)
    return records, sum(map(len, records))


@lru_cache(maxsize=16384)
def uuid_of(raw: bytes) -> UUID:
    """The UUID of 16 bytes; topic ids return with every request, and building one costs more than finding it."""
    if len(raw) != 16:
        raise WireError("a uuid is cut short")
    return UUID(bytes=raw)


def read_uuid(cursor: Cursor) -> UUID:
    """Sixteen bytes, most significant first."""
    return uuid_of(bytes(take(cursor, 16)))


def write_uuid(sink: Sink, value: UUID) -> None:
    """Sixteen bytes, most significant first."""
    sink.head += value.bytes


def check_null(is_nullable: bool) -> None:
    """Raises WireError for a null that the schema does not allow."""
    if not is_nullable:
        raise WireError("null where the schema allows none")


__all__ = [
    "MAX_ITEMS",
    "MAX_TAGS",
    "Buffer",
    "Cursor",
    "Reader",
    "Records",
    "Sink",
    "WireError",
    "Writer",
    "bytes_reader",
    "bytes_writer",
    "check_null",
    "length_functions",
    "read_compact_length",
    "read_int16_length",
    "read_int32_length",
    "read_uuid",
    "read_uvarint",
    "records_writer",
    "segments_of",
    "string_reader",
    "string_writer",
    "take",
    "text",
    "uuid_of",
    "write_compact_length",
    "write_int16_length",
    "write_int32_length",
    "write_uuid",
    "write_uvarint",
]
