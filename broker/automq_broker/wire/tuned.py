"""The few steps that the hand-written codecs of Produce and Fetch share: plain positions instead of a Cursor.

Every function takes a position and returns the one after what it read. Reads past the end raise IndexError or
struct.error, which the callers turn into WireError once per message.
"""

from struct import Struct

from automq_broker.wire import codec, primitives
from automq_broker.wire.primitives import MAX_ITEMS, Cursor, WireError, text
from automq_broker.wire.schema import Message

_INT16 = Struct(">h")


def long_uvarint(view: memoryview, position: int) -> tuple[int, int]:
    """A varint of two or more bytes; `position` is that of its second byte."""
    byte = view[position]
    if byte < 0x80:
        return view[position - 1] & 0x7F | byte << 7, position + 1
    cursor = Cursor(view, position - 1)
    value = primitives.read_uvarint(cursor)
    return value, cursor.position


def compact_end(view: memoryview, position: int) -> tuple[int, int]:
    """(start, end) of a compact string that is not null. Raises WireError past the frame's end."""
    length = view[position]
    position += 1
    if length > 0x7F:
        length, position = long_uvarint(view, position)
    end = position + length - 1
    if end > len(view) or not length:
        raise WireError(f"string of {length - 1} bytes, {len(view) - position} left")
    return position, end


def compact_nullable(view: memoryview, position: int) -> tuple[str | None, int]:
    """A compact string that may be null, in any spelling of its length, and the position after it."""
    length, after = view[position], position + 1
    if length > 0x7F:
        length, after = long_uvarint(view, after)
    if not length:
        return None, after
    start, end = compact_end(view, position)
    return text(view[start:end]), end


def compact_count(view: memoryview, position: int, item_size_min: int) -> tuple[int, int]:
    """(count, position) of a compact array that is not null, checked against the bytes left."""
    count = view[position]
    position += 1
    if count > 0x7F:
        count, position = long_uvarint(view, position)
    count -= 1
    if not 0 <= count <= MAX_ITEMS or count * item_size_min > len(view) - position:
        raise WireError(f"array of {count} items, {len(view) - position} bytes left")
    return count, position


def plain_string(view: memoryview, position: int) -> tuple[str, int]:
    """A string behind an int16 length, not null, and the position after it."""
    (length,) = _INT16.unpack_from(view, position)
    position += 2
    end = position + length
    if length < 0 or end > len(view):
        raise WireError(f"string of {length} bytes, {len(view) - position} left")
    return text(view[position:end]), end


def check_count(view: memoryview, position: int, count: int, item_size_min: int) -> None:
    """Raises WireError for a null array and for one that cannot fit into the rest of the frame."""
    if not 0 <= count <= MAX_ITEMS or count * item_size_min > len(view) - position:
        raise WireError(f"array of {count} items, {len(view) - position} bytes left")


def too_many(items: int) -> WireError:
    """The refusal of a request whose arrays hold more items together than the codec's budget."""
    return WireError(f"the frame holds {items} array items or more")


def read_tags(view: memoryview, position: int, message: Message | None = None, version: int = 0) -> int:
    """Tagged fields, the generic way: those that `message` knows in `version` are set, the others skipped."""
    cursor = Cursor(view, position)
    known_tags = codec.struct_codec(type(message), version).known_tags if message is not None else {}
    codec.read_tags(cursor, message, known_tags)
    return cursor.position


__all__ = [
    "check_count",
    "compact_count",
    "compact_end",
    "compact_nullable",
    "long_uvarint",
    "plain_string",
    "read_tags",
    "too_many",
]
