"""Objects: leases of ids, commits, replacement, deletion."""

from dataclasses import replace

import pytest
from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Refused
from automq_broker.meta.commands import (
    AdvanceStart,
    AllocateObjectIds,
    AllocateProducerIds,
    CommitObject,
    CommitRefused,
    DeleteTopic,
    ForgetObjects,
    ReplaceObjects,
    RetireBlock,
)
from automq_broker.meta.rows import OFFSET_MAX
from twins.meta_world import MetaWorld, object_of


def two_streams(nodes=1):
    world = MetaWorld(nodes=nodes)
    ids = [row.stream_id for row in world.topic("t", 2).partitions]
    for stream_id in ids:
        world.open(stream_id)
    return world, *ids


def commit(world, row, node_id=0):
    return world.do(CommitObject(node_id=node_id, broker_epoch=world.epochs[node_id], object=row))


def replace_objects(world, removed, *added, now_ms=50):
    return world.do(
        ReplaceObjects(
            node_id=0,
            broker_epoch=world.epochs[0],
            removed=tuple(row.object_id for row in removed),
            added=added,
            now_ms=now_ms,
        )
    )


def test_a_commit_continues_all_its_streams_and_answers_their_ends():
    world, a, b = two_streams()
    row = world.new_object(0, (a, 0, 10), (b, 0, 3))
    assert commit(world, row).ends == {a: 10, b: 3}
    assert world.state.stream(a).ranges[0] == replace(row.ranges[0], object_id=row.object_id)
    assert world.state.objects[row.object_id] == replace(row, ranges=())
    assert world.state.live_ranges(row.object_id) == 2
    world.check()


def test_an_object_may_hold_several_runs_of_one_stream():
    world, a, _ = two_streams()
    row = world.new_object(0, (a, 0, 10), (a, 10, 15))
    assert commit(world, row).ends == {a: 15}
    world.do(AdvanceStart(stream_id=a, start_offset=10, now_ms=1))
    assert world.state.live_ranges(row.object_id) == 1
    world.check()


def test_the_same_commit_again_is_a_success_even_after_its_ranges_are_gone():
    world, a, b = two_streams()
    row = world.new_object(0, (a, 0, 10), (b, 0, 10))
    commit(world, row)
    world.append(a, 5)
    count = len(world.records)
    assert commit(world, row).ends == {a: 15, b: 10}
    assert len(world.records) == count
    world.do(AdvanceStart(stream_id=a, start_offset=10, now_ms=1))
    world.do(AdvanceStart(stream_id=b, start_offset=10, now_ms=1))
    assert row.object_id in world.state.deleting
    assert commit(world, row).ends == {a: 15, b: 10}
    world.do(DeleteTopic(topic_id=world.state.topic("t").topic_id, now_ms=2))
    assert commit(world, row).ends == {a: OFFSET_MAX, b: OFFSET_MAX}


def test_a_late_repeat_of_a_forgotten_object_changes_nothing():
    world, a, _ = two_streams()
    row = world.append(a, 10)
    world.do(AdvanceStart(stream_id=a, start_offset=10, now_ms=1))
    world.do(ForgetObjects(object_ids=(row.object_id,)))
    with pytest.raises(CommitRefused) as caught:
        commit(world, row)
    assert caught.value.ends == {a: 10}
    assert row.object_id not in world.state.objects


@pytest.mark.parametrize("change", [{"crc": 1}, {"size": 99_999}, {"index_position": 1}, {"kind": 2}])
def test_the_same_id_with_other_content_is_refused(change):
    world, a, _ = two_streams()
    row = world.append(a, 10)
    with pytest.raises(CommitRefused, match="other content"):
        commit(world, replace(row, **change))


def test_the_same_id_from_a_later_incarnation_is_refused():
    world, a, _ = two_streams()
    row = world.append(a, 10)
    world.start(0)
    with pytest.raises(CommitRefused, match="other content"):
        commit(world, row)


def test_a_commit_that_leaves_a_gap_or_overlaps_is_refused_as_a_whole_with_the_true_ends():
    world, a, b = two_streams()
    world.append(a, 10)
    for start in (0, 9, 11):
        row = world.new_object(0, (b, 0, 5), (a, start, 20))
        with pytest.raises(CommitRefused) as caught:
            commit(world, row)
        assert caught.value.ends == {b: 0, a: 10}
        assert caught.value.gone == ()
    assert world.state.stream(b).committed_end == 0


def test_streams_that_are_no_longer_the_senders_are_named_as_gone():
    world, a, b = two_streams()
    row = world.new_object(0, (a, 0, 5), (b, 0, 5), (999, 0, 5))
    world.close(b)
    with pytest.raises(CommitRefused) as caught:
        commit(world, row)
    assert caught.value.ends == {a: 0, b: OFFSET_MAX, 999: OFFSET_MAX}
    assert caught.value.gone == (b, 999)


def test_a_commit_at_an_older_stream_epoch_is_refused():
    world, a, _ = two_streams()
    row = world.new_object(0, (a, 0, 5))
    world.close(a)
    world.open(a)
    with pytest.raises(CommitRefused) as caught:
        commit(world, row)
    assert caught.value.ends == {a: 0}


def test_a_commit_at_an_older_broker_epoch_ends_the_process():
    world, a, _ = two_streams()
    row = world.new_object(0, (a, 0, 5))
    old = world.epochs[0]
    world.start(0)
    with pytest.raises(Fenced):
        world.do(CommitObject(node_id=0, broker_epoch=old, object=row))


def test_ids_belong_to_one_incarnation_of_one_node():
    world = MetaWorld(nodes=2)
    stream_id = world.topic("t", 2).partitions[0].stream_id
    world.open(stream_id, 0)
    foreign = world.new_object(1, (stream_id, 0, 5))
    with pytest.raises(CommitRefused, match="never leased"):
        commit(world, replace(foreign, node_id=0))
    own = world.new_object(0, (stream_id, 0, 5))
    world.start(0)
    world.open(stream_id, 0)
    with pytest.raises(CommitRefused, match="never leased"):
        commit(world, replace(object_of(world.state, 0, own.object_id, (stream_id, 0, 5))))


def test_leases_are_consecutive_and_sized():
    world = MetaWorld(nodes=1)
    first = world.do(AllocateObjectIds(node_id=0, broker_epoch=world.epochs[0], count=10, now_ms=3))
    second = world.do(AllocateObjectIds(node_id=0, broker_epoch=world.epochs[0], count=5, now_ms=4))
    assert (first.first, first.end, second.first, second.end) == (1, 11, 11, 16)
    for count in (0, -1, 1_000_001):
        with pytest.raises(ClientFault):
            world.do(AllocateObjectIds(node_id=0, broker_epoch=world.epochs[0], count=count, now_ms=0))


def test_producer_ids_come_in_blocks_that_never_overlap():
    world = MetaWorld(nodes=1)
    first = world.do(AllocateProducerIds(node_id=0, broker_epoch=world.epochs[0]))
    second = world.do(AllocateProducerIds(node_id=0, broker_epoch=world.epochs[0], count=5))
    assert (first.first, first.end, second.first, second.end) == (0, 1000, 1000, 1005)
    with pytest.raises(Fenced):
        world.do(AllocateProducerIds(node_id=0, broker_epoch=0))


def test_no_object_of_a_retired_block_is_ever_committed():
    world, a, _ = two_streams()
    row = world.new_object(0, (a, 0, 5))
    assert not world.state.is_retired(row.object_id)
    world.do(RetireBlock(first=row.object_id))
    world.do(RetireBlock(first=row.object_id))
    assert world.state.is_retired(row.object_id)
    with pytest.raises(CommitRefused, match="retired"):
        commit(world, row)
    live = world.append(a, 5)
    with pytest.raises(NotMine, match="retired"):
        replace_objects(world, [live], row)


def test_a_commit_of_a_block_that_was_retired_later_still_answers_its_repeat():
    world, a, _ = two_streams()
    row = world.append(a, 5)
    world.do(RetireBlock(first=row.object_id))
    assert commit(world, row).ends == {a: 5}


def test_retired_ids_are_all_that_lie_between_the_leases():
    world = MetaWorld(nodes=1)
    for count in (5, 3, 4):
        world.do(AllocateObjectIds(node_id=0, broker_epoch=world.epochs[0], count=count, now_ms=0))
    assert world.state.retired_spans() == []
    world.do(RetireBlock(first=6))
    assert world.state.retired_spans() == [(6, 9)]
    world.do(RetireBlock(first=1))
    world.do(RetireBlock(first=9))
    assert world.state.retired_spans() == [(1, 13)]
    assert [world.state.is_retired(each) for each in (0, 1, 12, 13)] == [False, True, True, False]


@pytest.mark.parametrize(
    "change",
    [{"start": -1}, {"end": 0}, {"position": -1}, {"length": -1}, {"length": 10_000}, {"start": 5, "end": 5}],
)
def test_impossible_ranges_are_refused(change):
    world, a, _ = two_streams()
    row = world.new_object(0, (a, 0, 10))
    with pytest.raises(ClientFault):
        commit(world, replace(row, ranges=(replace(row.ranges[0], **change),)))
    with pytest.raises(ClientFault):
        commit(world, replace(row, ranges=()))


def test_compaction_takes_over_exactly_what_its_inputs_hold():
    world, a, b = two_streams()
    first = world.commit(0, (a, 0, 10), (b, 0, 10))
    second = world.commit(0, (a, 10, 20))
    world.append(a, 10)
    merged = world.new_object(0, (a, 0, 20))
    split = world.new_object(0, (b, 0, 10))
    replace_objects(world, [first, second], merged, split)
    merged_range = world.state.stream(a).ranges[0]
    assert (merged_range.start, merged_range.end, merged_range.object_id) == (0, 20, merged.object_id)
    assert world.state.deleting == {first.object_id: 50, second.object_id: 50}
    world.check()
    count = len(world.records)
    replace_objects(world, [first, second], merged, split)
    assert len(world.records) == count, "a repeat is a success"


def test_compaction_is_refused_unless_every_input_is_live_with_the_same_ranges():
    world, a, b = two_streams()
    first = world.commit(0, (a, 0, 10), (b, 0, 10))
    second = world.commit(0, (a, 10, 20))
    whole = [world.new_object(0, (a, 0, 20)), world.new_object(0, (b, 0, 10))]
    for removed, added in (
        ([first], whole),
        ([first, second], whole[:1]),
        ([first, second], [world.new_object(0, (a, 0, 15)), whole[1]]),
        ([first, second], [world.new_object(0, (a, 5, 20)), whole[1]]),
        ([first, second], [whole[0], whole[1], world.new_object(0, (b, 0, 10))]),
        ([second], []),
        ([replace(second, object_id=999)], []),
    ):
        with pytest.raises(NotMine):
            replace_objects(world, removed, *added)
    world.do(AdvanceStart(stream_id=a, start_offset=12, now_ms=1))
    with pytest.raises(NotMine):
        replace_objects(world, [first, second], *whole)
    world.check()


def test_two_compactors_of_one_object_never_both_win():
    world, a, _ = two_streams()
    row = world.append(a, 10)
    one, other = world.new_object(0, (a, 0, 10)), world.new_object(0, (a, 0, 10))
    replace_objects(world, [row], one)
    with pytest.raises(NotMine):
        replace_objects(world, [row], other)


def test_compaction_needs_inputs_of_streams_that_exist_and_epochs_that_fit():
    world, a, b = two_streams()
    row = world.commit(0, (a, 0, 10))
    wrong = world.new_object(0, (a, 0, 10))
    with pytest.raises(NotMine, match="epochs"):
        replace_objects(world, [row], replace(wrong, ranges=(replace(wrong.ranges[0], stream_epoch=7),)))
    world.append(b, 10)
    world.do(DeleteTopic(topic_id=world.state.topic("t").topic_id, now_ms=1))
    with pytest.raises(NotMine, match="deleted"):
        replace_objects(world, [row], wrong)


def test_an_object_is_not_added_twice_in_one_compaction():
    world, a, b = two_streams()
    row = world.commit(0, (a, 0, 10), (b, 0, 10))
    first = world.new_object(0, (a, 0, 10))
    second = replace(world.new_object(0, (b, 0, 10)), object_id=first.object_id)
    with pytest.raises(ClientFault):
        replace_objects(world, [row], first, second)


def test_a_live_object_is_never_forgotten():
    world, a, _ = two_streams()
    row = world.append(a, 10)
    with pytest.raises(Refused, match="live"):
        world.do(ForgetObjects(object_ids=(row.object_id,)))
    world.do(AdvanceStart(stream_id=a, start_offset=10, now_ms=5))
    assert world.state.object_or_deleting(row.object_id).size == row.size
    world.do(ForgetObjects(object_ids=(row.object_id, 12_345)))
    world.do(ForgetObjects(object_ids=(row.object_id,)))
    assert world.state.deleting == {}
    assert world.state.object_or_deleting(row.object_id) is None
