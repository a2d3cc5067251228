"""Streams: opens, closes, leader-epoch history, start offsets."""

import pytest
from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Retry
from automq_broker.meta.commands import (
    AdvanceStart,
    AssignStreams,
    CloseStream,
    CommitRefused,
    DeleteTopic,
    FenceNode,
    OpenStream,
)
from automq_broker.meta.rows import NO_NODE, StreamStatus
from automq_broker.wire.codes import ErrorCode
from twins.meta_world import MetaWorld


def one_stream(nodes=1):
    world = MetaWorld(nodes=nodes)
    return world, world.topic("t").partitions[0].stream_id


def open_command(world, stream_id, **changes):
    fields = {"stream_id": stream_id, "node_id": 0, "broker_epoch": world.epochs[0], "stream_epoch": 0}
    return OpenStream(**(fields | changes))


def test_the_first_open_grants_epoch_zero_and_each_later_one_the_next():
    world, stream_id = one_stream()
    assert world.state.stream(stream_id).epoch == -1
    assert world.open(stream_id).stream_epoch == 0
    world.close(stream_id)
    assert world.open(stream_id).stream_epoch == 1


def test_the_same_open_again_is_a_success_and_changes_nothing():
    world, stream_id = one_stream()
    command = open_command(world, stream_id)
    first = world.do(command)
    count = len(world.records)
    assert world.do(command) == first
    assert len(world.records) == count


def test_an_open_needs_the_next_epoch_exactly():
    world, stream_id = one_stream()
    for epoch in (-1, 1, 7):
        with pytest.raises(NotMine, match="not the next"):
            world.do(open_command(world, stream_id, stream_epoch=epoch))


def test_only_the_assigned_node_opens_a_closed_stream():
    world, stream_id = one_stream(nodes=2)
    world.do(AssignStreams(stream_ids=(stream_id,), node_id=1))
    with pytest.raises(NotMine, match="assigned to node 1"):
        world.open(stream_id, 0)
    world.open(stream_id, 1)


def test_a_stream_that_is_open_elsewhere_is_not_opened():
    world, stream_id = one_stream(nodes=2)
    world.open(stream_id, 0)
    world.do(AssignStreams(stream_ids=(stream_id,), node_id=1))
    with pytest.raises(NotMine, match="open at node 0"):
        world.open(stream_id, 1)


def test_a_node_that_died_while_closing_reopens_its_own_stream():
    world, stream_id = one_stream(nodes=2)
    world.open(stream_id, 0)
    world.append(stream_id, 7)
    world.do(AssignStreams(stream_ids=(stream_id,), node_id=1))
    world.start(0)
    opened = world.open(stream_id, 0)
    assert (opened.stream_epoch, opened.committed_end) == (1, 7)
    world.close(stream_id)
    assert world.open(stream_id, 1).stream_epoch == 2
    world.check()


def test_nothing_is_opened_before_the_wal_epoch_is_confirmed():
    world, stream_id = one_stream()
    world.register(0)
    with pytest.raises(NotMine, match="not confirmed"):
        world.open(stream_id, 0)


def test_a_fenced_or_outdated_node_opens_nothing():
    world, stream_id = one_stream()
    old = world.epochs[0]
    world.do(FenceNode(node_id=0, broker_epoch=old))
    with pytest.raises(Retry):
        world.open(stream_id)
    world.start(0)
    with pytest.raises(Fenced):
        world.do(open_command(world, stream_id, broker_epoch=old))


def test_unknown_streams_are_unknown_partitions():
    world, _ = one_stream()
    for command in (open_command(world, 99), AdvanceStart(stream_id=99, start_offset=0, now_ms=0)):
        with pytest.raises(ClientFault) as caught:
            world.do(command)
        assert caught.value.code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def test_the_epoch_history_begins_each_epoch_where_the_recovered_log_ends():
    world, stream_id = one_stream()
    world.open(stream_id)
    world.append(stream_id, 10)
    world.start(0)
    world.open(stream_id, log_end=25)
    assert world.state.stream(stream_id).opens == ((0, 0), (1, 25))
    world.append(stream_id, 30)
    world.start(0)
    world.open(stream_id, log_end=12)
    assert world.state.stream(stream_id).opens == ((0, 0), (1, 25), (2, 40))


def test_epochs_without_records_leave_no_trace_in_the_history():
    world, stream_id = one_stream()
    world.open(stream_id)
    world.append(stream_id, 10)
    for _ in range(50):
        world.start(0)
        world.open(stream_id)
    assert world.state.stream(stream_id).opens == ((0, 0), (50, 10))


def test_a_close_needs_everything_committed():
    world, stream_id = one_stream()
    world.open(stream_id)
    world.append(stream_id, 10)
    command = CloseStream(stream_id=stream_id, node_id=0, broker_epoch=world.epochs[0], stream_epoch=0, final_end=12)
    with pytest.raises(CommitRefused) as caught:
        world.do(command)
    assert caught.value.ends == {stream_id: 10}
    world.close(stream_id)
    stream = world.state.stream(stream_id)
    assert (stream.status, stream.owner, stream.committed_end) == (StreamStatus.CLOSED, NO_NODE, 10)


def test_a_repeated_close_is_a_success_also_after_a_later_open_and_after_a_deletion():
    world, stream_id = one_stream()
    world.open(stream_id)
    command = CloseStream(stream_id=stream_id, node_id=0, broker_epoch=world.epochs[0], stream_epoch=0, final_end=0)
    world.do(command)
    world.do(command)
    world.open(stream_id)
    world.do(command)
    assert world.state.stream(stream_id).status is StreamStatus.OPEN
    world.do(DeleteTopic(topic_id=world.state.topic("t").topic_id, now_ms=1))
    world.do(command)


def test_a_close_of_an_epoch_that_never_was_is_refused():
    world, stream_id = one_stream()
    world.open(stream_id)
    with pytest.raises(NotMine):
        world.do(CloseStream(stream_id=stream_id, node_id=0, broker_epoch=world.epochs[0], stream_epoch=5, final_end=0))


def test_the_start_drops_whole_ranges_below_it_and_keeps_the_one_it_falls_into():
    world, stream_id = one_stream()
    world.open(stream_id)
    objects = [world.append(stream_id, 10).object_id for _ in range(4)]
    world.do(AdvanceStart(stream_id=stream_id, start_offset=25, now_ms=9))
    stream = world.state.stream(stream_id)
    assert [(each.start, each.end) for each in stream.ranges] == [(20, 30), (30, 40)]
    assert stream.start_offset == 25
    assert world.state.deleting == {objects[0]: 9, objects[1]: 9}
    world.do(AdvanceStart(stream_id=stream_id, start_offset=40, now_ms=10))
    assert len(world.state.stream(stream_id).ranges) == 0
    assert world.append(stream_id, 5).ranges[0].start == 40
    world.check()


def test_the_start_never_falls_and_never_passes_the_committed_end():
    world, stream_id = one_stream()
    world.open(stream_id)
    world.append(stream_id, 10)
    world.do(AdvanceStart(stream_id=stream_id, start_offset=5, now_ms=0))
    count = len(world.records)
    world.do(AdvanceStart(stream_id=stream_id, start_offset=3, now_ms=0))
    assert len(world.records) == count
    with pytest.raises(ClientFault) as caught:
        world.do(AdvanceStart(stream_id=stream_id, start_offset=11, now_ms=0))
    assert caught.value.code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_the_history_forgets_epochs_that_ended_below_the_start():
    world, stream_id = one_stream()
    for _ in range(3):
        world.start(0)
        world.open(stream_id)
        world.append(stream_id, 10)
    assert world.state.stream(stream_id).opens == ((0, 0), (1, 10), (2, 20))
    world.do(AdvanceStart(stream_id=stream_id, start_offset=10, now_ms=0))
    assert world.state.stream(stream_id).opens == ((1, 10), (2, 20))
    world.do(AdvanceStart(stream_id=stream_id, start_offset=30, now_ms=0))
    assert world.state.stream(stream_id).opens == ((2, 20),)


def test_ranges_are_found_by_offset():
    world, stream_id = one_stream()
    world.open(stream_id)
    objects = [world.append(stream_id, 10).object_id for _ in range(4)]
    assert [each.object_id for each in world.state.ranges_from(stream_id, 10, 2)] == objects[1:3]
    assert [each.object_id for each in world.state.ranges_from(stream_id, 39, 5)] == objects[3:]
    assert world.state.ranges_from(stream_id, 40, 5) == []
    assert world.state.ranges_from(999, 0, 5) == []
    ranges = world.state.stream(stream_id).ranges
    assert ranges[-1] == ranges[3] == ranges[2:][1]
    with pytest.raises(IndexError):
        ranges[4]
    world.append(stream_id)
    assert len(ranges) == 4, "a value does not change under its reader"


def test_the_light_lookups_say_what_the_whole_row_says():
    world, stream_id = one_stream()
    world.open(stream_id)
    for _ in range(3):
        world.append(stream_id, 10)
    world.start(0)
    world.open(stream_id)
    row, head = world.state.stream(stream_id), world.state.stream_head(stream_id)
    assert head is not None
    assert (head.topic_id, head.epoch, head.owner) == (row.topic_id, row.epoch, row.owner)
    assert (head.start_offset, head.committed_end) == (row.start_offset, row.committed_end)
    assert head.is_open == (row.status is StreamStatus.OPEN)
    assert world.state.leader_epochs(stream_id) == row.opens
    assert world.state.stored_bytes(stream_id) == sum(each.length for each in row.ranges) > 0
    assert world.state.stream_head(999) is None
    assert world.state.leader_epochs(999) == ()
    assert world.state.stored_bytes(999) == 0
