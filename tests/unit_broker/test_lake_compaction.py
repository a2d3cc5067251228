"""lake/compaction*.py: plans keep every record, join only what touches, end, and stay within their price."""

from dataclasses import dataclass, replace
from random import Random

from automq_broker.lake.compaction import CompactionKnobs, plan_merges, plan_reads, plan_stream_sets
from automq_broker.lake.objects import ObjectKind
from automq_broker.lake.upload_plan import WaitingStream, plan_upload
from hypothesis import given, settings
from hypothesis import strategies as st

KIB, MIB, HOUR = 1024, 1024 * 1024, 3_600_000


@dataclass(frozen=True)
class Range:
    object_id: int
    stream_id: int
    stream_epoch: int
    start: int
    end: int
    position: int
    length: int
    records: int = 1
    max_timestamp: int = 0
    checkpoint_position: int = 0
    checkpoint_length: int = 0


@dataclass(frozen=True)
class Row:
    object_id: int
    size: int
    kind: int
    created_ms: int
    crc: int = 0

    @property
    def index_position(self):
        return self.size


class World:
    """A metadata of dicts: what uploads and compactions do to it, with the checks that the real one makes."""

    def __init__(self):
        self.objects, self.streams, self.now_ms, self.written, self.puts = {}, {}, 0, 0, 0

    def views(self):
        return [_Stream(stream_id, ranges) for stream_id, ranges in sorted(self.streams.items())]

    def add(self, kind, parts):
        """parts: (stream, start, end, epoch, bytes) in order."""
        object_id, position = len_ids(self), 0
        for stream, start, end, epoch, size in parts:
            one = Range(object_id, stream, epoch, start, end, position, size, records=end - start)
            ranges = self.streams.setdefault(stream, [])
            ranges.append(one)
            ranges.sort(key=lambda piece: piece.start)
            position += size
        self.objects[object_id] = Row(object_id, position, int(kind), self.now_ms)
        self.puts += 1
        self.written += position
        return object_id

    def upload(self, sizes, epoch=0, **limits):
        for planned in plan_upload([WaitingStream(stream_id=s, sizes=(n,)) for s, n in sizes.items()], **limits):
            parts = []
            for part in planned.parts:
                start = self.end_of(part.stream_id)
                parts.append((part.stream_id, start, start + 10, epoch, part.size_bytes))
            self.add(planned.kind, parts)

    def end_of(self, stream):
        ranges = self.streams.get(stream)
        return ranges[-1].end if ranges else 0

    def expire(self, stream, count):
        gone = self.streams[stream][:count]
        self.streams[stream] = self.streams[stream][count:]
        live = {one.object_id for ranges in self.streams.values() for one in ranges}
        for one in gone:
            if one.object_id not in live:
                self.objects.pop(one.object_id, None)

    def apply(self, plan):
        inputs = set(plan.inputs)
        assert len(inputs) == len(plan.inputs)
        assert inputs <= self.objects.keys()
        live = {one for ranges in self.streams.values() for one in ranges if one.object_id in inputs}
        pieces = [piece for output in plan.outputs for part in output.slices for piece in part.pieces]
        assert len(pieces) == len(set(pieces)), "a range is written twice"
        assert set(pieces) == live, "a live range is lost or a stranger is taken"
        for stream in self.streams:
            self.streams[stream] = [one for one in self.streams[stream] if one.object_id not in inputs]
        for output in plan.outputs:
            check_output(output)
            self.add(
                output.kind,
                [(part.stream_id, part.start, part.end, part.stream_epoch, part.length) for part in output.slices],
            )
        for object_id in inputs:
            del self.objects[object_id]


@dataclass(frozen=True)
class _Stream:
    stream_id: int
    ranges: list

    @property
    def start_offset(self):
        return self.ranges[0].start if self.ranges else 0

    @property
    def committed_end(self):
        return self.ranges[-1].end if self.ranges else 0


def len_ids(world):
    world.last_id = getattr(world, "last_id", 0) + 1
    return world.last_id


def check_output(output):
    keys = [(part.stream_id, part.start) for part in output.slices]
    assert keys == sorted(set(keys))
    assert (output.kind == ObjectKind.STREAM) == (len({part.stream_id for part in output.slices}) == 1)
    for part in output.slices:
        for before, after in zip(part.pieces, part.pieces[1:], strict=False):
            assert before.end == after.start, "joined over a gap"
        assert (part.start, part.end) == (part.pieces[0].start, part.pieces[-1].end)
        epochs = [piece.stream_epoch for piece in part.pieces]
        assert min(epochs) <= part.stream_epoch == max(epochs)


def cover(world):
    """Every stream's live offsets as one list of bounds, gaps included: what no compaction may change."""
    result = {}
    for stream, ranges in world.streams.items():
        spans = []
        for one in ranges:
            if spans and spans[-1][1] == one.start:
                spans[-1][1] = one.end
            else:
                spans.append([one.start, one.end])
        result[stream] = (spans, sum(one.length for one in ranges))
    return result


small = CompactionKnobs(
    own_bytes=64, object_bytes_max=128, major_bytes_max=512, force_age_ms=2 * HOUR, merge_count_min=4, inputs_max=50
)


def compact_all(world, knobs, *, is_pressing=False, limit=200):
    for _ in range(limit):
        plan = plan_stream_sets(world.objects.values(), world.views(), now_ms=world.now_ms, knobs=knobs)
        plans = [plan] if plan else []
        if not plans:
            for view in world.views():
                plans += plan_merges(world.objects, view, knobs=knobs, is_pressing=is_pressing)
        if not plans:
            return
        for one in plans:
            world.apply(one)
    raise AssertionError("compaction does not come to an end")


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_no_plan_ever_loses_doubles_or_reorders_a_live_record(seed, is_pressing):
    random, world = Random(seed), World()
    for _ in range(random.randrange(1, 25)):
        world.now_ms += random.randrange(HOUR)
        streams = random.sample(range(8), random.randrange(1, 8))
        world.upload(
            {stream: random.choice((1, 3, 9, 20, 70)) for stream in streams},
            epoch=random.randrange(3),
            split_bytes=20,
            object_bytes_max=100,
        )
        if random.random() < 0.3 and world.streams:
            world.expire(random.choice(sorted(world.streams)), random.randrange(3))
        before = cover(world)
        compact_all(world, small, is_pressing=is_pressing)
        assert cover(world) == before


def test_a_stream_that_gathered_enough_gets_its_own_objects_and_the_rest_moves_on_together():
    world = World()
    for _ in range(8):
        world.upload({1: 9, 2: 8, 3: 1}, split_bytes=1000)
    plan = plan_stream_sets(world.objects.values(), world.views(), now_ms=0, knobs=small)
    assert plan is not None
    assert len(plan.inputs) == 8
    kinds = [(output.kind, [part.stream_id for part in output.slices], output.length) for output in plan.outputs]
    assert kinds == [(ObjectKind.STREAM, [1], 72), (ObjectKind.STREAM, [2], 64), (ObjectKind.STREAM, [3], 8)]


def test_nothing_is_taken_apart_while_less_than_half_of_it_would_leave():
    world = World()
    for _ in range(8):
        world.upload({1: 9, **dict.fromkeys(range(2, 9), 7)}, split_bytes=1000)
    assert plan_stream_sets(world.objects.values(), world.views(), now_ms=0, knobs=small) is None


def test_after_two_hours_small_streams_are_joined_into_a_shared_object_once():
    world = World()
    for _ in range(6):
        world.now_ms += HOUR // 2
        world.upload({1: 2, 2: 1, 3: 1}, split_bytes=1000)
    plan = plan_stream_sets(world.objects.values(), world.views(), now_ms=world.now_ms, knobs=small)
    assert plan is not None
    assert [output.kind for output in plan.outputs] == [ObjectKind.STREAM_SET]
    assert [(part.stream_id, part.start, part.end) for part in plan.outputs[0].slices] == [
        (1, 0, 60),
        (2, 0, 60),
        (3, 0, 60),
    ]
    world.apply(plan)
    world.now_ms += 10 * HOUR
    assert plan_stream_sets(world.objects.values(), world.views(), now_ms=world.now_ms, knobs=small) is None


def test_young_stream_sets_are_left_alone():
    world = World()
    for _ in range(6):
        world.upload({1: 2, 2: 1}, split_bytes=1000)
    assert plan_stream_sets(world.objects.values(), world.views(), now_ms=HOUR, knobs=small) is None


def test_a_stream_set_more_than_half_dead_is_written_again_without_its_dead_part():
    world = World()
    world.upload({1: 30, 2: 10, 3: 5}, split_bytes=1000)
    world.expire(1, 1)
    world.now_ms = 3 * HOUR
    plan = plan_stream_sets(world.objects.values(), world.views(), now_ms=world.now_ms, knobs=small)
    assert plan is not None
    assert plan.length == 15
    world.apply(plan)
    assert plan_stream_sets(world.objects.values(), world.views(), now_ms=2**50, knobs=small) is None


def test_ranges_on_both_sides_of_a_gap_stay_two():
    world = World()
    for _ in range(8):
        world.upload({1: 9}, split_bytes=1000)
        end, other = world.end_of(1), world.end_of(2)
        world.add(ObjectKind.STREAM_SET, [(1, end, end + 10, 0, 9), (2, other, other + 1, 0, 1)])
    before = cover(world)
    world.now_ms = 3 * HOUR
    compact_all(world, small)
    assert cover(world) == before


def merges(world, stream=1, **kwargs):
    return plan_merges(world.objects, world.views()[stream - 1], knobs=small, **kwargs)


def put_own(world, *sizes, stream=1):
    for size in sizes:
        world.add(ObjectKind.STREAM, [(stream, world.end_of(stream), world.end_of(stream) + 10, 0, size)])


def test_small_neighbours_are_joined_when_they_make_a_large_object():
    world = World()
    put_own(world, 30, 20, 30)
    (plan,) = merges(world)
    assert (plan.inputs, plan.length) == ((1, 2, 3), 80)


def test_a_few_tiny_objects_wait_and_many_are_joined():
    world = World()
    put_own(world, 1, 1, 1)
    assert merges(world) == []
    put_own(world, 1)
    assert [plan.length for plan in merges(world)] == [4]


def test_an_object_larger_than_all_that_would_join_it_is_not_written_again():
    world = World()
    put_own(world, 40, 1, 1, 1, 1)
    assert [plan.inputs for plan in merges(world)] == [(2, 3, 4, 5)]


def test_large_objects_are_left_alone_until_the_number_of_objects_presses():
    world = World()
    put_own(world, 70, 80, 90, 70)
    assert merges(world) == []
    assert [plan.length for plan in merges(world, is_pressing=True)] == [310]


def test_no_merge_reaches_over_a_shared_object():
    world = World()
    put_own(world, 30, 30)
    world.add(ObjectKind.STREAM_SET, [(1, 20, 30, 0, 5), (2, 0, 10, 0, 5)])
    put_own(world, 30, 30)
    assert [plan.length for plan in merges(world)] == []
    put_own(world, 10)
    assert [plan.inputs for plan in merges(world)] == [(4, 5, 6)]


def test_an_object_that_the_caller_does_not_offer_stays():
    world = World()
    put_own(world, 30, 30, 30)
    offered = {object_id: row for object_id, row in world.objects.items() if object_id != 2}
    assert plan_merges(offered, world.views()[0], knobs=small) == []


def test_reads_of_neighbouring_streams_are_one_request():
    world = World()
    for _ in range(8):
        world.upload({1: 9, 2: 8, 3: 1}, split_bytes=1000)
    plan = plan_stream_sets(world.objects.values(), world.views(), now_ms=0, knobs=small)
    reads = plan_reads(plan.outputs, gap_bytes_max=0)
    assert [(read.object_id, read.position, read.length) for read in reads] == [(n, 0, 18) for n in range(1, 9)]
    assert len(plan_reads([plan.outputs[0], plan.outputs[2]], gap_bytes_max=0)) == 16


def test_every_epoch_of_a_joined_range_is_covered_by_the_newest():
    world = World()
    put_own(world, 32)
    world.streams[1][0] = replace(world.streams[1][0], stream_epoch=3)
    world.add(ObjectKind.STREAM, [(1, 10, 20, 7, 32)])
    (plan,) = merges(world)
    assert plan.outputs[0].slices[0].stream_epoch == 7


def test_the_documented_price_holds_at_steady_load():
    """1000 partitions at 50 MB/s, at a tenth of the partitions and of the rate: requests per GB do not change."""
    world, knobs, partitions = World(), CompactionKnobs(), 100
    random = Random(7)
    round_bytes, round_ms = 50 * MIB, 10_486
    uploads = compactions = produced = 0
    for number in range(300):  # 52 minutes, two compactions
        world.now_ms += round_ms
        sizes = {stream: int(round_bytes / partitions * random.uniform(0.7, 1.3)) for stream in range(partitions)}
        before = world.puts
        world.upload(sizes, object_bytes_max=128 * MIB // 10)
        uploads += world.puts - before
        produced += sum(sizes.values())
        if number % 20 == 0:
            before = world.puts
            compact_all(world, knobs)
            compactions += world.puts - before
    per_gb = 1e9 / produced
    # A tenth of the bytes in objects of a tenth of the size: ten times as many per byte.
    assert uploads * per_gb / 10 < 9.6
    assert compactions * per_gb < 15.5
    assert world.written / produced < 2.1
    assert max(len(ranges) for ranges in world.streams.values()) < 170
