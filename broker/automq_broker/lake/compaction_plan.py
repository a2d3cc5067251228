"""A compaction as a value, and the few ways to build one that both kinds of plans share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from automq_broker.kernel.ids import ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.lake.values import ObjectKind
from automq_broker.lake.views import RangeView

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionKnobs:
    """Limits of the plans, in bytes, milliseconds and objects."""

    own_bytes: int = 64 * MIB
    """A stream gets an object of its own once it has gathered this much in stream sets; stream objects below it are
    small."""
    object_bytes_max: int = 128 * MIB
    """No output is larger, unless a single input range is. Equal to the largest single PUT."""
    major_bytes_max: int = 512 * MIB
    """The same for merges while the number of objects presses."""
    force_age_ms: int = 2 * 3600 * 1000
    """Stream sets older than this are joined even when no stream has gathered enough."""
    objects_pressing: int = 200_000
    """Live objects in the cluster from which on larger merges are worth their requests."""
    merge_count_min: int = 10
    """Small stream objects side by side that are joined although they do not reach `own_bytes`."""
    inputs_max: int = 4000
    """Objects that one plan may take."""
    gap_bytes_max: int = 64 * 1024
    """Bytes between two pieces of one object that are rather read than asked around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSlice:
    """Adjacent ranges of one stream that become one range. `pieces` are theirs in offset order."""

    stream_id: StreamId
    stream_epoch: StreamEpoch
    start: Offset
    end: Offset
    length: int
    pieces: tuple[RangeView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedObject:
    """One output: slices in order of (stream, start)."""

    kind: ObjectKind
    slices: tuple[PlannedSlice, ...]
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactionPlan:
    """`outputs` take over exactly the live ranges of `inputs`; `reason` is for the log."""

    inputs: tuple[ObjectId, ...]
    outputs: tuple[PlannedObject, ...]
    reason: str

    @property
    def length(self) -> int:
        """Bytes to read and to write."""
        return sum(output.length for output in self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRead:
    """Bytes [position, position + length) of an object."""

    object_id: ObjectId
    position: int
    length: int


def plan_reads(outputs: Iterable[PlannedObject], *, gap_bytes_max: int) -> list[PlannedRead]:
    """The ranged GETs that bring everything `outputs` are made of, with near neighbours in one.

    Bytes of checkpoints are not among them: a slice's checkpoint is its last piece's.
    """
    pieces = sorted(
        (piece.object_id, piece.position, piece.length)
        for output in outputs
        for planned in output.slices
        for piece in planned.pieces
    )
    reads: list[PlannedRead] = []
    for object_id, position, length in pieces:
        last = reads[-1] if reads else None
        if last is not None and last.object_id == object_id:
            gap = position - (last.position + last.length)
            if 0 <= gap <= gap_bytes_max:
                whole = last.length + gap + length
                reads[-1] = PlannedRead(object_id=object_id, position=last.position, length=whole)
                continue
        reads.append(PlannedRead(object_id=object_id, position=position, length=length))
    return reads


def pack_slices(slices: Iterable[PlannedSlice], limit: int) -> list[PlannedObject]:
    """Fill objects up to `limit` bytes, in the order given; a larger slice gets an object alone."""
    groups: list[list[PlannedSlice]] = []
    size = 0
    for one in slices:
        if groups and size + one.length <= limit:
            groups[-1].append(one)
            size += one.length
        else:
            groups.append([one])
            size = one.length
    return [object_of(group) for group in groups]


def slice_of(pieces: Sequence[RangeView]) -> PlannedSlice:
    """Join ranges of one stream, each of which begins where the one before it ends."""
    return PlannedSlice(
        stream_id=pieces[0].stream_id,
        # The newest epoch: against a stray object of an older one, joined data must win a rescue.
        stream_epoch=max(piece.stream_epoch for piece in pieces),
        start=pieces[0].start,
        end=pieces[-1].end,
        length=length_of(pieces),
        pieces=tuple(pieces),
    )


def object_of(slices: Sequence[PlannedSlice]) -> PlannedObject:
    """An object of slices that are in order; of one stream it is a stream object."""
    is_one = len({one.stream_id for one in slices}) == 1
    return PlannedObject(
        kind=ObjectKind.STREAM if is_one else ObjectKind.STREAM_SET,
        slices=tuple(slices),
        length=sum(one.length for one in slices),
    )


def length_of(pieces: Iterable[RangeView]) -> int:
    """Bytes of data in these ranges."""
    return sum(piece.length for piece in pieces)


__all__ = [
    "CompactionKnobs",
    "CompactionPlan",
    "PlannedObject",
    "PlannedRead",
    "PlannedSlice",
    "length_of",
    "object_of",
    "pack_slices",
    "plan_reads",
    "slice_of",
]
