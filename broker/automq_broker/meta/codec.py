"""Records as bytes: a table of layouts, one struct per record for its numbers, then its texts and arrays.

A batch of records is what one commit adds. Its form (version 1, integers little-endian):

    batch  = u64 sequence, u8 packing (0 as it is, 1 zlib), u32 length, u32 CRC-32 of all else, packed bytes
    packed = one after another: u8 record kind, numbers as the layout says, then texts, lists and arrays in field order

A kind that this release does not know was written by a newer one: it is refused by name, never skipped.
"""

import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Any, Final
from uuid import UUID

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.meta.records import (
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
    Record,
    StartAdvanced,
    StreamClosed,
    StreamOpened,
    StreamsAssigned,
    TopicAdded,
    TopicRemoved,
    VolumeGivenUp,
    WalConfirmed,
)

_BATCH = Struct("<QBII")
_U32 = Struct("<I")
_PACK_FROM_BYTES: Final = 256
"""Smaller batches are stored as they are: zlib would hardly win."""
BATCH_BYTES_MAX: Final = 1 << 30
"""No commit unpacks to more; a bigger claim is damage."""

_NUMBERS: Final = "q?"
"""Field types that go into a record's struct; the others follow it."""

_LAYOUTS: Final[tuple[tuple[int, type, str], ...]] = (
    (1, NodeRegistered, "node_id:q broker_epoch:q wal_epoch_found:q loses_wal:? incarnation:u volume_uuid:u "
                        "volume_handle:s rack:s endpoints:l"),
    (2, WalConfirmed, "node_id:q"),
    (3, NodeStatusChanged, "node_id:q status:q is_clean:?"),
    (4, NodeRescued, "node_id:q broker_epoch:q rescue:u"),
    (5, TopicAdded, "first_stream_id:q created_ms:q is_internal:? topic_id:u name:s owners:a"),
    (6, PartitionsAdded, "first_stream_id:q topic_id:u owners:a"),
    (7, TopicRemoved, "since_ms:q topic_id:u"),
    (8, ConfigsChanged, "resource_type:q resource_name:s upserts:l deletes:l"),
    (9, StreamsAssigned, "node_id:q stream_ids:a"),
    (10, StreamOpened, "stream_id:q epoch:q node_id:q broker_epoch:q first_offset:q"),
    (11, StreamClosed, "stream_id:q"),
    (12, BlockLeased, "first:q end:q node_id:q broker_epoch:q issued_ms:q"),
    (13, BlockRetired, "first:q"),
    (14, ObjectAdded, "object_id:q size:q crc:q node_id:q broker_epoch:q kind:q created_ms:q index_position:q "
                      "ranges:a"),
    (15, ObjectReplacing, "object_id:q size:q crc:q node_id:q broker_epoch:q kind:q created_ms:q index_position:q "
                          "since_ms:q ranges:a"),
    (16, StartAdvanced, "stream_id:q start_offset:q since_ms:q"),
    (17, ProducerIdsLeased, "end:q"),
    (18, ObjectsForgotten, "object_ids:a"),
    (19, VolumeGivenUp, "node_id:q broker_epoch:q"),
    (20, NodeForgotten, "node_id:q"),
    (21, ClusterStopping, "until_ms:q"),
)  # fmt: skip
"""Kind, class, fields in the order of their bytes. A kind's layout never changes: a changed record gets a new kind."""


class Writer:
    """Bytes being put together."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def text(self, value: str) -> None:
        """A text with its length in bytes."""
        data = value.encode()
        self.parts.append(_U32.pack(len(data)))
        self.parts.append(data)

    def texts(self, values: tuple[str, ...]) -> None:
        """A list of texts with its count."""
        self.parts.append(_U32.pack(len(values)))
        for value in values:
            self.text(value)

    def uuid(self, value: UUID) -> None:
        """Sixteen bytes."""
        self.parts.append(value.bytes)

    def numbers(self, values: "array[int]") -> None:
        """An array of int64 with its count."""
        self.parts.append(_U32.pack(len(values)))
        self.parts.append(_little(values).tobytes())

    def data(self) -> bytes:
        """Everything so far."""
        return b"".join(self.parts)


class Reader:
    """Bytes being taken apart; running past the end raises Corrupt."""

    __slots__ = ("position", "view")

    def __init__(self, data: bytes | memoryview) -> None:
        self.view = memoryview(data)
        self.position = 0

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, as a view."""
        end = self.position + size
        if end > len(self.view):
            raise Corrupt(f"metadata ends at byte {len(self.view)}, {end} were promised")
        part = self.view[self.position : end]
        self.position = end
        return part

    def unpack(self, form: Struct) -> tuple[Any, ...]:
        """The next fixed-size fields."""
        return form.unpack(self.take(form.size))

    def text(self) -> str:
        """The next text."""
        (size,) = self.unpack(_U32)
        try:
            return str(self.take(size), "utf-8")
        except UnicodeDecodeError as error:
            raise Corrupt(f"metadata holds a text that is not UTF-8 at byte {self.position}") from error

    def texts(self) -> tuple[str, ...]:
        """The next list of texts."""
        (count,) = self.unpack(_U32)
        if count > len(self.view):
            raise Corrupt(f"metadata promises {count} texts in {len(self.view)} bytes")
        return tuple(self.text() for _ in range(count))

    def uuid(self) -> UUID:
        """The next sixteen bytes."""
        return UUID(bytes=bytes(self.take(16)))

    def numbers(self) -> "array[int]":
        """The next array of int64."""
        (count,) = self.unpack(_U32)
        values: array[int] = array("q")
        values.frombytes(self.take(count * 8))
        return _little(values)

    @property
    def is_at_end(self) -> bool:
        """Whether everything was read."""
        return self.position == len(self.view)


def _little(values: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values


_PUT: Final[dict[str, Callable[[Writer, Any], None]]] = {
    "u": Writer.uuid,
    "s": Writer.text,
    "l": Writer.texts,
    "a": Writer.numbers,
}
_TAKE: Final[dict[str, Callable[[Reader], Any]]] = {
    "u": Reader.uuid,
    "s": Reader.text,
    "l": Reader.texts,
    "a": Reader.numbers,
}


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
    form = Struct("<B" + "".join(code for _, code in fields if code in _NUMBERS))
    return _Layout(kind, make, form, numbers, tuple((name, code) for name, code in fields if code not in _NUMBERS))


_BY_KIND: Final = {kind: _compile(kind, make, text) for kind, make, text in _LAYOUTS}
_BY_CLASS: Final = {layout.make: layout for layout in _BY_KIND.values()}


def encode_records(records: Iterable[Record]) -> bytes:
    """The records one after another, without a header."""
    writer = Writer()
    for record in records:
        layout = _BY_CLASS[type(record)]
        writer.parts.append(layout.form.pack(layout.kind, *[getattr(record, name) for name in layout.numbers]))
        for name, code in layout.others:
            _PUT[code](writer, getattr(record, name))
    return writer.data()


def decode_records(data: bytes | memoryview) -> Iterator[Record]:
    """The records in `data`, one at a time. Raises Refused for a newer kind and Corrupt for anything else."""
    reader = Reader(data)
    while not reader.is_at_end:
        kind = reader.view[reader.position]
        layout = _BY_KIND.get(kind)
        if layout is None:
            raise Refused(f"metadata record kind {kind} was written by a newer release; this one cannot read it")
        values = dict(zip(layout.numbers, reader.unpack(layout.form)[1:], strict=True))
        for name, code in layout.others:
            values[name] = _TAKE[code](reader)
        yield layout.make(**values)


def encode_batch(seq: int, records: Iterable[Record]) -> bytes:
    """What one commit adds, with its sequence number and checksum."""
    data = encode_records(records)
    packing = 0
    if len(data) >= _PACK_FROM_BYTES:
        data = zlib.compress(data, 1)
        packing = 1
    return _BATCH.pack(seq, packing, len(data), _batch_crc(seq, packing, data)) + data


def _batch_crc(seq: int, packing: int, data: bytes | memoryview) -> int:
    """Covers the header too: a wrong sequence number would pass for a gap or for a commit that the head denies."""
    return zlib.crc32(data, zlib.crc32(_BATCH.pack(seq, packing, len(data), 0)))


@dataclass(frozen=True, slots=True)
class Batch:
    """One commit's records, still packed; `data` is a view of what was read, `whole` includes the header."""

    seq: int
    packing: int
    data: memoryview
    whole: memoryview

    def records(self) -> Iterator[Record]:
        """Unpack and decode; raises Corrupt and Refused."""
        if self.packing == 0:
            return decode_records(self.data)
        if self.packing != 1:
            raise Refused(f"metadata batch {self.seq} is packed in a newer way ({self.packing})")
        return decode_records(inflate(self.data, BATCH_BYTES_MAX))


def inflate(data: bytes | memoryview, size_max: int) -> bytes:
    """Unpack zlib data of at most `size_max` bytes; raises Corrupt."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, size_max)
    except zlib.error as error:
        raise Corrupt(f"metadata cannot be unpacked: {error}") from error
    if not unpacker.eof:
        raise Corrupt(f"metadata unpacks to more than {size_max} bytes, or is cut off")
    return unpacked


def split_batches(data: bytes | memoryview) -> Iterator[Batch]:
    """The batches in `data`, in order, each checked against its CRC; raises Corrupt."""
    reader = Reader(data)
    while not reader.is_at_end:
        begin = reader.position
        try:
            seq, packing, length, crc = reader.unpack(_BATCH)
        except StructError as error:
            raise Corrupt(f"metadata batch at byte {begin} has no header") from error
        body = reader.take(length)
        if _batch_crc(seq, packing, body) != crc:
            raise Corrupt(f"metadata batch {seq} at byte {begin} does not match its CRC")
        yield Batch(seq, packing, body, reader.view[begin : reader.position])


__all__ = [
    "Batch",
    "Reader",
    "Writer",
    "decode_records",
    "encode_batch",
    "encode_records",
    "inflate",
    "split_batches",
]
