"""Which small stream objects of one stream are joined; compaction.py says at what price."""

from collections import Counter
from collections.abc import Mapping, Sequence

from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.compaction_plan import CompactionKnobs, CompactionPlan, length_of, object_of, slice_of
from automq_broker.lake.values import ObjectKind
from automq_broker.lake.views import ObjectView, RangeView, StreamView


def plan_merges(
    objects: Mapping[ObjectId, ObjectView], stream: StreamView, *, knobs: CompactionKnobs, is_pressing: bool = False
) -> list[CompactionPlan]:
    """Joins of small neighbouring stream objects of one stream; the plans are independent of each other.

    `objects` holds at least the stream's own; an object that is not in it stays. Set `is_pressing` while the cluster
    has more than `knobs.objects_pressing` live objects: larger outputs, fewer objects, more requests.
    """
    limit = knobs.major_bytes_max if is_pressing else knobs.object_bytes_max
    small = limit // 2
    count_min = 4 if is_pressing else knobs.merge_count_min
    plans = []
    for run in _runs_of_small(objects, stream, small):
        for group in _group(run, limit):
            chosen = _without_dominant(group)
            total = sum(piece.length for piece in chosen)
            if len(chosen) >= 2 and (total >= small or len(chosen) >= count_min):
                plans.append(_merge_of(chosen, total))
    return plans


def _runs_of_small(objects: Mapping[ObjectId, ObjectView], stream: StreamView, small: int) -> list[list[RangeView]]:
    runs: list[list[RangeView]] = [[]]
    ranges_in = Counter(piece.object_id for piece in stream.ranges)
    for piece in stream.ranges:
        row = objects.get(piece.object_id)
        is_small = row is not None and row.kind == ObjectKind.STREAM and piece.length < small
        # An object of two ranges could only go as a whole, and between them lies another one.
        if is_small and ranges_in[piece.object_id] == 1:
            runs[-1].append(piece)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if len(run) > 1]


def _group(run: Sequence[RangeView], limit: int) -> list[list[RangeView]]:
    groups: list[list[RangeView]] = [[]]
    size = 0
    for piece in run:
        if groups[-1] and size + piece.length > limit:
            groups.append([])
            size = 0
        groups[-1].append(piece)
        size += piece.length
    return groups


def _without_dominant(group: Sequence[RangeView]) -> Sequence[RangeView]:
    """Leave out what is larger than all that would be joined to it, and everything older than that."""
    while len(group) > 1:
        largest = max(range(len(group)), key=lambda place: group[place].length)
        if 2 * group[largest].length <= length_of(group):
            return group
        group = group[largest + 1 :]
    return group


def _merge_of(pieces: Sequence[RangeView], total: int) -> CompactionPlan:
    return CompactionPlan(
        inputs=tuple(piece.object_id for piece in pieces),
        outputs=(object_of([slice_of(pieces)]),),
        reason=f"{len(pieces)} small objects of stream {pieces[0].stream_id}, {total} bytes",
    )


__all__ = ["plan_merges"]
