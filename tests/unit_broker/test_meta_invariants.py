"""Every invariant notices what it is for: a state is broken by hand, and the broken promise is named."""

from dataclasses import replace
from uuid import UUID

import pytest
from automq_broker.kernel.errors import Bug
from automq_broker.meta.invariants import check_draft, findings
from automq_broker.meta.rows import BlockRow, NodeStatus
from automq_broker.meta.tables import pack_object, unpack_object
from twins.meta_world import MetaWorld


def busy_world():
    world = MetaWorld(nodes=2)
    world.topic("a_b", 2)
    for stream_id in (1, 2):
        world.open(stream_id)
        for _ in range(3):
            world.append(stream_id, 10)
    return world


def close_wrongly(state):
    state.streams.own(1).is_open = False


def unknown_owner(state):
    state.streams.own(1).owner = 77


def opened_by_a_later_epoch(state):
    state.streams.own(1).opener_epoch = 99


def start_beyond_end(state):
    state.streams.own(1).start_offset = 31


def gap_in_ranges(state):
    state.streams.own(1).ends[0] = 9


def end_beyond_ranges(state):
    state.streams.own(1).committed_end = 31


def range_below_start(state):
    state.streams.own(1).start_offset = 10


def range_missing_above_start(state):
    state.streams.own(1).drop_front(1)


def all_ranges_missing(state):
    stream = state.streams.own(1)
    stream.drop_front(3)


def columns_missing(state):
    del state.streams.own(1).cells[-1]


def epoch_of_a_range_falls(state):
    state.streams.own(1).epoch = 5
    state.streams.own(1).opens.extend((5, 20))
    state.streams.own(1).cells[1] = 4


def epoch_of_a_range_ahead(state):
    state.streams.own(1).cells[-8] = 4


def history_does_not_ascend(state):
    state.streams.own(1).opens.extend((0, 40))


def history_ends_elsewhere(state):
    state.streams.own(1).opens.extend((8, 40))


def stream_id_beyond_counter(state):
    state.next_stream_id = 2


def partition_without_stream(state):
    del state.streams[2]


def stream_of_another_partition(state):
    state.streams.own(2).partition = 5


def name_of_no_topic(state):
    state.topic_ids["ghost"] = UUID(int=1)


def two_names(state):
    topic = next(iter(state.topics_by_id.values()))
    state.topics_by_id.own(topic.topic_id).name = "other"


def node_epoch_beyond_counter(state):
    state.nodes[0] = replace(state.nodes[0], broker_epoch=9, confirmed_epoch=9)


def active_without_confirmation(state):
    state.nodes[0] = replace(state.nodes[0], confirmed_epoch=0, granted_epochs=(1,))


def epoch_neither_granted_nor_confirmed(state):
    state.nodes[0] = replace(state.nodes[0], status=NodeStatus.STOPPED, confirmed_epoch=0)


def refused_volume_in_use(state):
    state.nodes[0] = replace(state.nodes[0], refused_volumes=(state.nodes[0].volume,))


def overlapping_blocks(state):
    state.blocks[2] = BlockRow(first=1, end=4, node_id=0, broker_epoch=1, issued_ms=0)


def live_and_deleting(state):
    state.deleting_entries[1] = (0, state.object_entries[1])


def live_without_ranges(state):
    state.object_entries[1] = pack_object(unpack_object(state.object_entries[1])._replace(live_ranges=0))


def counted_wrongly(state):
    state.object_entries[1] = pack_object(unpack_object(state.object_entries[1])._replace(live_ranges=2))


def range_of_no_object(state):
    del state.object_entries[1]


BREAKS = [
    (close_wrongly, "a closed stream has no owner"),
    (unknown_owner, "an open stream has one owner, a known node"),
    (opened_by_a_later_epoch, "an open stream was opened at an epoch of its owner"),
    (start_beyond_end, "0 <= start <= committed end"),
    (gap_in_ranges, "ranges are contiguous"),
    (end_beyond_ranges, "ranges are contiguous"),
    (range_below_start, "none is wholly below"),
    (range_missing_above_start, "ranges hold all"),
    (all_ranges_missing, "ranges hold all"),
    (columns_missing, "every range has its columns"),
    (epoch_of_a_range_falls, "epochs of ranges never fall"),
    (epoch_of_a_range_ahead, "epochs of ranges never fall"),
    (history_does_not_ascend, "the epoch history ascends"),
    (history_ends_elsewhere, "the epoch history ends"),
    (stream_id_beyond_counter, "ids are below their counter"),
    (partition_without_stream, "one stream per partition"),
    (stream_of_another_partition, "one stream per partition"),
    (name_of_no_topic, "names and topics are one to one"),
    (two_names, "names and topics are one to one"),
    (node_epoch_beyond_counter, "ids are below their counter"),
    (active_without_confirmation, "an active node's WAL epoch is confirmed"),
    (epoch_neither_granted_nor_confirmed, "a node's epoch is granted or confirmed"),
    (refused_volume_in_use, "a volume that was given up never returns"),
    (overlapping_blocks, "id blocks are disjoint"),
    (live_and_deleting, "an object is live or deleting, not both"),
    (live_without_ranges, "a live object has ranges"),
    (counted_wrongly, "ranges and objects refer to each other"),
    (range_of_no_object, "ranges and objects refer to each other"),
]


@pytest.mark.parametrize(("spoil", "name"), BREAKS, ids=lambda each: getattr(each, "__name__", ""))
def test_a_broken_state_is_found(spoil, name):
    world = busy_world()
    world.check()
    spoil(world.state)
    assert any(name in finding.invariant for finding in findings(world.state)), findings(world.state)


@pytest.mark.parametrize(
    "spoil",
    [
        spoil
        for spoil, _ in BREAKS
        if spoil not in (partition_without_stream, stream_id_beyond_counter, stream_of_another_partition)
    ],
)
def test_a_draft_that_breaks_the_state_is_not_committed(spoil):
    world = busy_world()
    draft = world.state.draft()
    spoil(draft)
    with pytest.raises(Bug, match="metadata invariant"):
        check_draft(world.state, draft)
    world.check()


def test_what_must_never_fall_is_compared_with_the_state_below():
    for name in ("last_epoch", "next_object_id", "next_producer_id", "next_stream_id"):
        world = busy_world()
        draft = world.state.draft()
        setattr(draft, name, -1)
        with pytest.raises(Bug):
            check_draft(world.state, draft)


def test_a_stream_or_node_that_goes_back_is_noticed():
    world = busy_world()
    world.start(0)
    world.open(1)
    draft = world.state.draft()
    stream = draft.streams.own(1)
    stream.epoch = 0
    del stream.opens[2:]
    with pytest.raises(Bug, match="epochs never fall"):
        check_draft(world.state, draft)
    draft = world.state.draft()
    draft.streams.own(2).owner = 0
    with pytest.raises(Bug, match="one open owner per epoch"):
        check_draft(world.state, draft)
    draft = world.state.draft()
    draft.nodes[0] = replace(draft.nodes[0], broker_epoch=1, confirmed_epoch=1)
    with pytest.raises(Bug, match="epochs never fall"):
        check_draft(world.state, draft)
    draft = world.state.draft()
    draft.nodes[0] = replace(draft.nodes[0], status=NodeStatus.RESCUING)
    with pytest.raises(Bug, match="legal ways"):
        check_draft(world.state, draft)
    draft = world.state.draft()
    del draft.nodes[0]
    with pytest.raises(Bug):
        check_draft(world.state, draft)


def test_wrong_indexes_are_found_in_the_whole_state():
    world = busy_world()
    world.state.collisions["x_y"] = UUID(int=1)
    world.state.partition_counts[0] = 50
    names = {finding.invariant for finding in findings(world.state)}
    assert {"no two names collide", "partition counts match"} <= names
