"""When and how stream-set objects are taken apart or joined; compaction.py says at what price."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.compaction_plan import (
    CompactionKnobs,
    CompactionPlan,
    PlannedObject,
    PlannedSlice,
    length_of,
    object_of,
    pack_slices,
    slice_of,
)
from automq_broker.lake.values import ObjectKind
from automq_broker.lake.views import ObjectView, RangeView, StreamView


@dataclass(slots=True)
class _Set:
    """A live stream-set object and what of it is still live."""

    row: ObjectView
    live_bytes: int = 0
    live_ranges: int = 0

    @property
    def mean(self) -> float:
        return self.live_bytes / self.live_ranges


def plan_stream_sets(
    objects: Iterable[ObjectView],
    streams: Sequence[StreamView],
    *,
    now_ms: int,
    knobs: CompactionKnobs,
) -> CompactionPlan | None:
    """The next plan over stream-set objects and small stream objects, or None when nothing is worth its price.

    `objects` are those that may be taken (usually this node's own), `streams` all streams that may have ranges in them:
    an object of which a live range is missing here cannot be replaced later. Work is proportional to the live ranges.
    """
    sets = _live_sets(objects, streams, knobs.own_bytes)[: knobs.inputs_max]
    return (
        _plan_gathered(sets, streams, knobs)
        or _plan_aged(sets, streams, now_ms, knobs)
        or _plan_half_dead(sets, streams, now_ms, knobs)
    )


def _live_sets(objects: Iterable[ObjectView], streams: Iterable[StreamView], own_bytes: int) -> list[_Set]:
    """Stream sets with live ranges, oldest first; small stream objects among them.

    A stream that is alone in an upload now and then has small objects between its stream sets. Left out, they would cut
    its run into pieces that never gather anything.
    """
    sets = {row.object_id: _Set(row) for row in objects if row.kind == ObjectKind.STREAM_SET or row.size < own_bytes}
    for stream in streams:
        for piece in stream.ranges:
            found = sets.get(piece.object_id)
            if found is not None:
                found.live_bytes += piece.length
                found.live_ranges += 1
    live = [one for one in sets.values() if one.live_ranges]
    return sorted(live, key=lambda one: (one.row.created_ms, one.row.object_id))


def _plan_gathered(
    sets: Sequence[_Set], streams: Sequence[StreamView], knobs: CompactionKnobs
) -> CompactionPlan | None:
    """Take apart the sets that hold a promoted stream, when at least half of their bytes leave them."""
    runs = _runs(streams, {one.row.object_id for one in sets})
    promoted = [run for run in runs if length_of(run) >= knobs.own_bytes]
    holders = {piece.object_id for run in promoted for piece in run}
    chosen = [one for one in sets if one.row.object_id in holders]
    total = sum(one.live_bytes for one in chosen)
    if not promoted or 2 * sum(map(length_of, promoted)) < total:
        return None
    return _plan_of(chosen, streams, knobs, f"{len(promoted)} streams gathered {knobs.own_bytes} bytes and more")


def _plan_aged(
    sets: Sequence[_Set], streams: Sequence[StreamView], now_ms: int, knobs: CompactionKnobs
) -> CompactionPlan | None:
    """Join neighbours in time, the coarsest first, where every range of the result is 4 times what it was."""
    for ceiling in sorted({_tier(one) for one in sets}, reverse=True):
        for group in _neighbours(sets, ceiling):
            if len(group) < 2 or group[0].row.created_ms > now_ms - knobs.force_age_ms:
                continue
            runs = _runs(streams, {one.row.object_id for one in group})
            mean = sum(one.live_bytes for one in group) / len(runs)
            if mean >= 4 * max(one.mean for one in group):
                return _plan_of(group, streams, knobs, f"{len(group)} stream sets, the oldest past its age")
    return None


def _plan_half_dead(
    sets: Sequence[_Set], streams: Sequence[StreamView], now_ms: int, knobs: CompactionKnobs
) -> CompactionPlan | None:
    chosen = [
        one
        for one in sets
        if 2 * one.live_bytes < one.row.index_position and one.row.created_ms <= now_ms - knobs.force_age_ms
    ]
    return _plan_of(chosen, streams, knobs, f"{len(chosen)} stream sets more than half dead") if chosen else None


def _tier(one: _Set) -> int:
    """Sets of one tier have ranges of a like size, within a factor of 4."""
    return int(one.mean).bit_length() // 2


def _neighbours(sets: Sequence[_Set], ceiling: int) -> list[list[_Set]]:
    """Longest groups of sets, adjacent in time, of tier `ceiling` and below."""
    groups: list[list[_Set]] = [[]]
    for one in sets:
        if _tier(one) <= ceiling:
            groups[-1].append(one)
        elif groups[-1]:
            groups.append([])
    return groups


def _runs(streams: Iterable[StreamView], members: set[ObjectId]) -> list[list[RangeView]]:
    """Ranges that lie in `members`, joined where nothing lies between them, in order of (stream, start)."""
    runs: list[list[RangeView]] = []
    for stream in sorted(streams, key=lambda one: one.stream_id):
        end = None
        for piece in stream.ranges:
            if piece.object_id not in members:
                continue
            if piece.start == end:
                runs[-1].append(piece)
            else:
                runs.append([piece])
            end = piece.end
    return runs


def _plan_of(
    sets: Sequence[_Set], streams: Sequence[StreamView], knobs: CompactionKnobs, reason: str
) -> CompactionPlan:
    own: list[PlannedObject] = []
    shared: list[PlannedSlice] = []
    for run in _runs(streams, {one.row.object_id for one in sets}):
        objects, rest = _cut_own(run, knobs)
        own.extend(objects)
        if rest:
            shared.append(slice_of(rest))
    outputs = own + pack_slices(shared, knobs.object_bytes_max)
    return CompactionPlan(
        inputs=tuple(sorted(one.row.object_id for one in sets)),
        outputs=tuple(sorted(outputs, key=lambda one: (one.slices[0].stream_id, one.slices[0].start))),
        reason=reason,
    )


def _cut_own(run: Sequence[RangeView], knobs: CompactionKnobs) -> tuple[list[PlannedObject], list[RangeView]]:
    """Objects of `own_bytes` and a bit, and what is left; a rest that still fits goes into the last object."""
    cuts: list[list[RangeView]] = []
    rest: list[RangeView] = []
    size = 0
    for piece in run:
        rest.append(piece)
        size += piece.length
        if size >= knobs.own_bytes:
            cuts.append(rest)
            rest, size = [], 0
    if cuts and rest and length_of(cuts[-1]) + size <= knobs.object_bytes_max:
        cuts[-1] = cuts[-1] + rest
        rest = []
    return [object_of([slice_of(cut)]) for cut in cuts], rest


__all__ = ["plan_stream_sets"]
