"""Rows in memory: tables with cheap drafts, and the packed form of streams and objects.

A draft is a copy-on-write layer: it answers from its own rows first and from the base below, and its own rows are
exactly what a batch touched, which is what the invariants look at. The base is never written through a draft.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from struct import Struct
from typing import Final, Generic, NamedTuple, TypeVar, cast, overload
from uuid import UUID

from automq_broker.kernel.ids import NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.meta.rows import NEVER_OPENED, NO_NODE, ObjectRow, RangeRow, StreamHead, StreamRow, StreamStatus

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class _Gone:
    """Marks a row that a draft removed."""


_GONE: Final = _Gone()


class Table(MutableMapping[K, V], Generic[K, V]):
    """A mapping with drafts. Rows are immutable, unless a `copy` is given: `own` then yields one to change."""

    __slots__ = ("_base", "_copy", "_count", "_rows")

    def __init__(self, copy: Callable[[V], V] | None = None, base: "Table[K, V] | None" = None) -> None:
        self._rows: dict[K, V | _Gone] = {}
        self._base = base
        self._copy = copy
        self._count = 0 if base is None else len(base)

    def draft(self) -> "Table[K, V]":
        """A layer above this table; changes to it stay in it."""
        return Table(self._copy, self)

    def touched(self) -> list[K]:
        """Keys that were written or removed since the draft was made (of a base table: all)."""
        return list(self._rows)

    @property
    def touched_count(self) -> int:
        """How many keys `touched` would tell."""
        return len(self._rows)

    def own(self, key: K) -> V:
        """The row, for changing in place; a draft copies it first. Raises KeyError."""
        row = self._rows.get(key)
        if row is None and self._base is not None:
            row = self._base[key]
            if self._copy is not None:
                row = self._copy(row)
            self._rows[key] = row
        if row is None or isinstance(row, _Gone):
            raise KeyError(key)
        return row

    def load(self, rows: dict[K, V]) -> None:
        """Take `rows` as the whole content; for restoring a snapshot."""
        self._rows = cast("dict[K, V | _Gone]", rows)
        self._count = len(rows)

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: T, /) -> V | T: ...

    def get(self, key: K, default: object = None, /) -> object:
        """The row, or `default`. COST: the inherited one raises and catches."""
        row = self._rows.get(key)
        if row is None:
            return default if self._base is None else self._base.get(key, default)
        return default if row is _GONE else row

    def __getitem__(self, key: K) -> V:
        row = self._rows.get(key)
        if row is None and self._base is not None:
            return self._base[key]
        if row is None or isinstance(row, _Gone):
            raise KeyError(key)
        return row

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._count += 1
        self._rows[key] = value

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self._count -= 1
        if self._base is not None and key in self._base:
            self._rows[key] = _GONE
        else:
            del self._rows[key]

    def __contains__(self, key: object) -> bool:
        row = self._rows.get(cast("K", key))
        if row is None:
            return self._base is not None and key in self._base
        return row is not _GONE

    def __iter__(self) -> Iterator[K]:
        if self._base is not None:
            yield from (key for key in self._base if key not in self._rows)
        yield from (key for key, row in self._rows.items() if row is not _GONE)

    def __len__(self) -> int:
        return self._count


CELLS: Final = 9
"""Columns of a range beside its end: object, stream epoch, start, position, length, records, max timestamp,
checkpoint position, checkpoint length."""
_LENGTH_CELL: Final = 4


class Stream:
    """One stream, packed: 80 bytes per range in two arrays instead of an object per range.

    `ends` alone is searched (bisect at C speed); row i of `cells` describes the range that ends at `ends[i]`.
    """

    __slots__ = (
        "assigned", "cells", "committed_end", "ends", "epoch", "is_open", "opener_epoch", "opens", "owner",
        "partition", "start_offset", "stream_id", "topic_id",
    )  # fmt: skip

    def __init__(self, stream_id: int, topic_id: UUID, partition: int, assigned: int) -> None:
        self.stream_id = stream_id
        self.topic_id = topic_id
        self.partition = partition
        self.assigned = assigned
        self.epoch: int = NEVER_OPENED
        self.is_open = False
        self.owner: int = NO_NODE
        self.opener_epoch = 0
        self.start_offset = 0
        self.committed_end = 0
        self.opens: array[int] = array("q")
        self.ends: array[int] = array("q")
        self.cells: array[int] = array("q")

    def copy(self) -> "Stream":
        """An independent copy, for a draft."""
        other = Stream(self.stream_id, self.topic_id, self.partition, self.assigned)
        other.epoch, other.is_open, other.owner = self.epoch, self.is_open, self.owner
        other.opener_epoch = self.opener_epoch
        other.start_offset, other.committed_end = self.start_offset, self.committed_end
        other.opens, other.ends, other.cells = self.opens[:], self.ends[:], self.cells[:]
        return other

    def drop_front(self, count: int) -> "array[int]":
        """Remove the first `count` ranges; returns their object ids."""
        objects = self.cells[0 : count * CELLS : CELLS]
        del self.ends[:count]
        del self.cells[: count * CELLS]
        return objects

    def rows_from(self, offset: int, limit: int) -> list[RangeRow]:
        """Up to `limit` ranges from the one that holds `offset` on."""
        first = bisect_right(self.ends, offset)
        last = min(len(self.ends), first + limit)
        return [_range_row(self.stream_id, self.ends, self.cells, index) for index in range(first, last)]

    def head(self) -> StreamHead:
        """The stream without opens and ranges."""
        return StreamHead(
            self.topic_id,
            StreamEpoch(self.epoch),
            self.is_open,
            NodeId(self.owner),
            Offset(self.start_offset),
            Offset(self.committed_end),
            NodeId(self.assigned),
        )

    def epochs(self) -> tuple[tuple[StreamEpoch, Offset], ...]:
        """The leader-epoch history: (epoch, first offset), ascending."""
        return tuple(
            (StreamEpoch(epoch), Offset(start)) for epoch, start in zip(self.opens[::2], self.opens[1::2], strict=True)
        )

    def stored_bytes(self) -> int:
        """Bytes of all ranges."""
        return sum(self.cells[_LENGTH_CELL::CELLS])

    def row(self) -> StreamRow:
        """The stream as a value; its ranges are a packed copy that is unpacked as it is read."""
        return StreamRow(
            stream_id=StreamId(self.stream_id),
            topic_id=self.topic_id,
            partition=self.partition,
            epoch=StreamEpoch(self.epoch),
            status=StreamStatus.OPEN if self.is_open else StreamStatus.CLOSED,
            owner=NodeId(self.owner),
            start_offset=Offset(self.start_offset),
            committed_end=Offset(self.committed_end),
            opens=self.epochs(),
            ranges=RangesView(self.stream_id, self.ends[:], self.cells[:]),
        )


class RangesView(Sequence[RangeRow]):
    """Ranges of one stream as values, made when they are looked at; equal to any sequence of equal ranges."""

    __slots__ = ("_cells", "_ends", "_stream_id")

    def __init__(self, stream_id: int, ends: "array[int]", cells: "array[int]") -> None:
        self._stream_id = stream_id
        self._ends = ends
        self._cells = cells

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> RangeRow: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[RangeRow, ...]: ...

    def __getitem__(self, index: int | slice) -> RangeRow | tuple[RangeRow, ...]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return _range_row(self._stream_id, self._ends, self._cells, index % len(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _range_row(stream_id: int, ends: "array[int]", cells: "array[int]", index: int) -> RangeRow:
    at = index * CELLS
    object_id, epoch, start, position, length, records, max_timestamp, checkpoint, checkpoint_length = cells[
        at : at + CELLS
    ]
    return RangeRow(
        stream_id=StreamId(stream_id),
        stream_epoch=StreamEpoch(epoch),
        start=Offset(start),
        end=Offset(ends[index]),
        position=position,
        length=length,
        records=records,
        max_timestamp=max_timestamp,
        checkpoint_position=checkpoint,
        checkpoint_length=checkpoint_length,
        object_id=ObjectId(object_id),
    )


class Topic:
    """One topic, packed: its streams in partition order. Owners stand in the streams."""

    __slots__ = ("created_ms", "is_internal", "name", "streams", "topic_id")

    def __init__(self, topic_id: UUID, name: str, *, is_internal: bool, created_ms: int, streams: "array[int]") -> None:
        self.topic_id = topic_id
        self.name = name
        self.is_internal = is_internal
        self.created_ms = created_ms
        self.streams = streams

    def copy(self) -> "Topic":
        """An independent copy, for a draft."""
        return Topic(
            self.topic_id, self.name, is_internal=self.is_internal, created_ms=self.created_ms, streams=self.streams[:]
        )


class ObjectEntry(NamedTuple):
    """An object's row without its ranges. `digest` stands for what was committed, so that a repeat is recognised."""

    size: int
    created_ms: int
    index_position: int
    broker_epoch: int
    digest: int
    crc: int
    node_id: int
    live_ranges: int
    kind: int


OBJECT_ENTRY: Final = Struct("<qqqqqIiII")
"""Packed form of an ObjectEntry: 56 bytes instead of a tuple with nine integers."""


def pack_object(entry: ObjectEntry) -> bytes:
    """The packed form of `entry`."""
    return OBJECT_ENTRY.pack(*entry)


def unpack_object(packed: bytes) -> ObjectEntry:
    """The entry in its packed form."""
    return ObjectEntry._make(OBJECT_ENTRY.unpack(packed))


def object_row(object_id: int, packed: bytes) -> ObjectRow:
    """The row that readers see."""
    entry = unpack_object(packed)
    return ObjectRow(
        object_id=ObjectId(object_id),
        size=entry.size,
        crc=entry.crc,
        node_id=NodeId(entry.node_id),
        kind=entry.kind,
        created_ms=entry.created_ms,
        index_position=entry.index_position,
    )


__all__ = [
    "CELLS",
    "OBJECT_ENTRY",
    "ObjectEntry",
    "RangesView",
    "Stream",
    "Table",
    "Topic",
    "object_row",
    "pack_object",
    "unpack_object",
]
