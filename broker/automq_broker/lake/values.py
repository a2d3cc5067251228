"""What goes into an object and what comes out of it, as values. `objects.py` gives them their public names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId

Buffer = bytes | bytearray | memoryview
"""Bytes, or a view of bytes; views are one-dimensional and byte-sized."""


class ObjectKind(IntEnum):
    """What an object holds; the number is part of the format."""

    STREAM_SET = 1
    """Slices of several streams, sorted by stream; the compactor takes it apart."""
    STREAM = 2
    """One stream only; the compactor merges it with its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHeader:
    """Who wrote the object, when, and for which cluster."""

    cluster_id: str
    node_id: NodeId
    broker_epoch: BrokerEpoch
    object_id: ObjectId
    created_ms: int
    kind: ObjectKind


class Batch(NamedTuple):
    """The unit that is never split: one record batch, or a whole block of batches taken over from an older object.

    `segments` are views in order; they are stored verbatim and stay owned by the caller, who must not change them until
    the object is in the bucket. COST: a NamedTuple, because an upload makes one per batch.
    """

    base_offset: Offset
    last_offset: Offset
    records_count: int
    max_timestamp: int
    segments: Sequence[Buffer]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSlice:
    """A run of one stream without a gap, as it goes into an object.

    `checkpoint` is the stream's state (producers, aborted transactions) right behind the last batch; b"" = none.
    """

    stream_id: StreamId
    topic_id: UUID
    topic: str
    partition: int
    stream_epoch: StreamEpoch
    batches: Sequence[Batch]
    checkpoint: Buffer = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRange:
    """What the metadata needs to know of one slice: offsets [start, end) at bytes [position, position + length)."""

    stream_id: StreamId
    stream_epoch: StreamEpoch
    start: Offset
    end: Offset
    position: int
    length: int
    records: int
    max_timestamp: int
    checkpoint_position: int
    checkpoint_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedObject:
    """An object ready to be stored: the concatenation of `segments` is its bytes, `size` their number.

    `crc` is the CRC32C of the bytes from `index_position` to the end, which cover all others through the CRCs that they
    hold. The segments alias the caller's batches.
    """

    segments: list[Buffer]
    size: int
    crc: int
    ranges: list[ObjectRange]
    index_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """The end of an object: where its index lies and whose it is."""

    format_version: int
    cluster_id: str
    object_id: ObjectId
    index_position: int
    index_length: int
    index_crc: int


class IndexEntry(NamedTuple):
    """One data block: offsets first .. last (inclusive) at bytes [position, position + length).

    COST: a NamedTuple, because reading a large index makes tens of thousands of them.
    """

    stream_id: StreamId
    stream_epoch: StreamEpoch
    first_offset: Offset
    last_offset: Offset
    position: int
    length: int
    records: int
    max_timestamp: int
    crc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceIndex:
    """One slice as its object's index describes it; entries are in offset order."""

    stream_id: StreamId
    topic_id: UUID
    topic: str
    partition: int
    stream_epoch: StreamEpoch
    checkpoint_position: int
    checkpoint_length: int
    checkpoint_crc: int
    entries: tuple[IndexEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectIndex:
    """Everything that an object says of itself. `size` and `crc` are those that the metadata recorded at its commit."""

    header: ObjectHeader
    slices: tuple[SliceIndex, ...]
    index_position: int
    size: int
    crc: int
    entries: list[IndexEntry] = field(init=False)

    def __post_init__(self) -> None:
        """Lay all entries side by side, in the order of their positions."""
        object.__setattr__(self, "entries", [entry for piece in self.slices for entry in piece.entries])


__all__ = [
    "Batch",
    "Buffer",
    "EncodedObject",
    "IndexEntry",
    "ObjectHeader",
    "ObjectIndex",
    "ObjectKind",
    "ObjectRange",
    "SliceIndex",
    "StreamSlice",
    "Trailer",
]
