"""Who may speak for a node: registration, volumes, fences, rescue."""

from uuid import UUID

import pytest
from automq_broker.kernel.errors import Fenced, NotMine, Refused, Retry
from automq_broker.meta.commands import (
    AllocateObjectIds,
    ConfirmWal,
    FenceNode,
    LiftFence,
    NodeRecovered,
    NodeStopped,
    RegisterNode,
    RescueDone,
    RescueNode,
)
from automq_broker.meta.nodes import GRANTING, LEGAL
from automq_broker.meta.rows import Endpoint, NodeStatus, StreamStatus, Volume
from twins.meta_world import MetaWorld

OTHER = UUID(int=0xBAD)


def cluster_with_open_streams(partitions=2, committed=10):
    world = MetaWorld(nodes=1)
    topic = world.topic("orders", partitions)
    for row in topic.partitions:
        world.open(row.stream_id)
        world.append(row.stream_id, committed)
    return world


def rescue(world, node_id=0, key=1, expected=None):
    expected = world.epochs[node_id] if expected is None else expected
    return world.do(RescueNode(node_id=node_id, expected_epoch=expected, rescue=UUID(int=key))).broker_epoch


def test_every_registration_gets_the_next_epoch_of_one_counter():
    world = MetaWorld(nodes=2)
    first, second = world.epochs[0], world.epochs[1]
    assert world.register(0) > second > first


def test_a_registration_repeated_by_its_incarnation_gets_the_same_epoch():
    world = MetaWorld(nodes=1)
    incarnation = UUID(int=123)
    epoch = world.register(0, incarnation=incarnation)
    count = len(world.records)
    assert world.register(0, incarnation=incarnation) == epoch
    assert len(world.records) == count
    world.do(ConfirmWal(node_id=0, broker_epoch=epoch))
    assert world.register(0, incarnation=incarnation) == epoch


def test_an_incarnation_whose_epoch_was_taken_away_never_registers_again():
    world = MetaWorld()
    world.start(0, incarnation=UUID(int=123))
    rescue(world)
    with pytest.raises(Fenced, match="EPOCH_GONE"):
        world.register(0, incarnation=UUID(int=123))


def test_a_new_node_never_gets_an_epoch_at_or_below_the_one_its_wal_holds():
    world = MetaWorld()
    assert world.register(0, wal_epoch_found=41) == 42


def test_any_epoch_that_was_confirmed_or_granted_since_is_accepted():
    world = MetaWorld(nodes=1)
    confirmed = world.epochs[0]
    second = world.register(0, wal_epoch_found=confirmed)
    third = world.register(0, wal_epoch_found=second)
    world.register(0, wal_epoch_found=confirmed)
    world.register(0, wal_epoch_found=third)
    world.check()


def test_a_wal_that_was_rolled_back_is_refused():
    world = MetaWorld(nodes=1)
    old = world.epochs[0]
    world.start(0)
    with pytest.raises(Refused, match="rolled back"):
        world.register(0, wal_epoch_found=old)


def test_another_volume_is_refused_while_streams_are_open_and_names_them():
    world = cluster_with_open_streams()
    for change in ({"volume_uuid": OTHER}, {"volume_handle": "restored-snapshot"}):
        with pytest.raises(Refused, match=r"orders-0 \(stream 1\) at 10, orders-1 \(stream 2\) at 10"):
            world.register(0, **({"wal_epoch_found": 0} | change))


def test_a_refusal_names_only_the_first_streams_and_counts_the_others():
    world = cluster_with_open_streams(partitions=25)
    with pytest.raises(Refused, match=r"25 open streams.*orders-19 .* and 5 more"):
        world.register(0, volume_uuid=OTHER)


def test_another_volume_is_taken_when_nothing_is_open():
    world = cluster_with_open_streams()
    for stream_id in (1, 2):
        world.close(stream_id)
    epoch = world.register(0, volume_uuid=OTHER, wal_epoch_found=0)
    assert world.state.nodes[0].volume.uuid == OTHER
    assert world.register(0, wal_epoch_found=epoch) > epoch
    world.check()


def test_accepting_the_loss_is_one_commit_that_closes_everything_where_it_was_committed():
    world = cluster_with_open_streams()
    old = world.state.nodes[0].volume
    before = len(world.records)
    world.start(0, volume_uuid=OTHER, volume_handle="new", wal_epoch_found=0, accept_wal_loss=True)
    assert [type(record).__name__ for record in world.records[before:]] == [
        "NodeRegistered",
        "WalConfirmed",
        "NodeStatusChanged",
    ]
    assert [world.state.stream(each).status for each in (1, 2)] == [StreamStatus.CLOSED] * 2
    assert world.state.nodes[0].refused_volumes == (old,)
    assert world.open(1).committed_end == 10
    world.check()


def test_a_volume_that_was_given_up_stays_refused():
    world = cluster_with_open_streams()
    old = world.state.nodes[0].volume
    found = world.state.nodes[0].confirmed_epoch
    world.start(0, volume_uuid=OTHER, wal_epoch_found=0, accept_wal_loss=True)
    for accept in (False, True):
        with pytest.raises(Refused, match="given up"):
            world.register(
                0, volume_uuid=old.uuid, volume_handle=old.handle, wal_epoch_found=found, accept_wal_loss=accept
            )


@pytest.mark.parametrize("change", [{"volume_handle": "copy", "wal_epoch_found": 0}, {"volume_uuid": OTHER}])
def test_a_loss_is_accepted_only_on_a_freshly_formatted_wal(change):
    world = cluster_with_open_streams()
    with pytest.raises(Refused, match="freshly formatted"):
        world.register(0, accept_wal_loss=True, **change)


def test_accepting_a_loss_that_is_none_changes_nothing_else():
    world = cluster_with_open_streams()
    world.register(0, accept_wal_loss=True)
    assert world.state.stream(1).status is StreamStatus.OPEN
    assert world.state.nodes[0].refused_volumes == ()


def test_commands_of_an_older_epoch_end_their_process():
    world = MetaWorld(nodes=1)
    old = world.epochs[0]
    world.start(0)
    for command in (
        ConfirmWal(node_id=0, broker_epoch=old),
        NodeRecovered(node_id=0, broker_epoch=old),
        NodeStopped(node_id=0, broker_epoch=old),
        LiftFence(node_id=0, broker_epoch=old),
        RescueDone(node_id=0, broker_epoch=old),
        AllocateObjectIds(node_id=0, broker_epoch=old, count=1, now_ms=0),
    ):
        with pytest.raises(Fenced, match="EPOCH_GONE"):
            world.do(command)
    with pytest.raises(Fenced, match="not registered"):
        world.do(ConfirmWal(node_id=9, broker_epoch=1))


def test_a_node_is_active_only_with_its_wal_epoch_confirmed():
    world = MetaWorld()
    epoch = world.register(0)
    with pytest.raises(NotMine, match="not confirmed"):
        world.do(NodeRecovered(node_id=0, broker_epoch=epoch))
    world.do(ConfirmWal(node_id=0, broker_epoch=epoch))
    world.do(ConfirmWal(node_id=0, broker_epoch=epoch))
    world.do(NodeRecovered(node_id=0, broker_epoch=epoch))
    world.do(NodeRecovered(node_id=0, broker_epoch=epoch))
    assert world.state.nodes[0].status is NodeStatus.ACTIVE
    assert len(world.records) == 3


def test_the_soft_fence_holds_commits_until_a_heartbeat_at_the_same_epoch():
    world = MetaWorld(nodes=1)
    epoch = world.epochs[0]
    world.do(FenceNode(node_id=0, broker_epoch=epoch))
    with pytest.raises(Retry):
        world.do(AllocateObjectIds(node_id=0, broker_epoch=epoch, count=1, now_ms=0))
    world.do(LiftFence(node_id=0, broker_epoch=epoch))
    world.do(LiftFence(node_id=0, broker_epoch=epoch))
    world.do(AllocateObjectIds(node_id=0, broker_epoch=epoch, count=1, now_ms=0))


def test_a_fence_for_an_older_epoch_does_not_touch_the_new_incarnation():
    world = MetaWorld(nodes=1)
    old = world.epochs[0]
    world.start(0)
    with pytest.raises(NotMine):
        world.do(FenceNode(node_id=0, broker_epoch=old))
    with pytest.raises(NotMine):
        rescue(world, expected=old)


def test_a_rescue_takes_the_epoch_away_and_nothing_lifts_it():
    world = MetaWorld(nodes=1)
    old = world.epochs[0]
    granted = rescue(world)
    assert granted > old
    assert rescue(world, expected=old) == granted, "the same rescue again"
    with pytest.raises(Fenced):
        world.do(LiftFence(node_id=0, broker_epoch=old))
    world.do(LiftFence(node_id=0, broker_epoch=granted))
    assert world.state.nodes[0].status is NodeStatus.RESCUING
    with pytest.raises(NotMine):
        world.do(NodeRecovered(node_id=0, broker_epoch=granted))
    with pytest.raises(NotMine):
        world.do(NodeStopped(node_id=0, broker_epoch=granted))


def test_a_second_rescue_supersedes_the_first_adopter():
    world = MetaWorld(nodes=1)
    first = rescue(world, key=1)
    second = rescue(world, key=2, expected=first)
    with pytest.raises(Fenced):
        world.do(ConfirmWal(node_id=0, broker_epoch=first))
    world.do(ConfirmWal(node_id=0, broker_epoch=second))


def test_the_adopter_commits_and_closes_as_the_node_and_is_done_when_nothing_is_open():
    world = cluster_with_open_streams(partitions=1)
    world.epochs[0] = rescue(world)
    with pytest.raises(NotMine, match="opens none"):
        world.open(1, 0)
    with pytest.raises(NotMine, match=r"orders-0 \(stream 1\) at 10"):
        world.do(RescueDone(node_id=0, broker_epoch=world.epochs[0]))
    world.append(1, 5)
    world.close(1)
    world.do(RescueDone(node_id=0, broker_epoch=world.epochs[0]))
    world.do(RescueDone(node_id=0, broker_epoch=world.epochs[0]))
    assert world.state.nodes[0].status is NodeStatus.STOPPED
    assert world.state.stream(1).committed_end == 15
    world.check()


def test_whoever_holds_the_volume_may_register_during_a_rescue():
    world = cluster_with_open_streams(partitions=1)
    confirmed = world.state.nodes[0].confirmed_epoch
    granted = rescue(world)
    with_old_epoch = world.register(0, wal_epoch_found=confirmed)
    with pytest.raises(Fenced):
        world.do(ConfirmWal(node_id=0, broker_epoch=granted))
    assert world.register(0, wal_epoch_found=granted) > with_old_epoch, "the adopter had raised the WAL's epoch"


def test_only_the_rescued_are_done_being_rescued():
    world = MetaWorld(nodes=1)
    with pytest.raises(NotMine):
        world.do(RescueDone(node_id=0, broker_epoch=world.epochs[0]))


def test_a_stopped_node_says_nothing_more_and_may_start_again():
    world = MetaWorld(nodes=1)
    epoch = world.epochs[0]
    world.do(NodeStopped(node_id=0, broker_epoch=epoch, clean=False))
    world.do(NodeStopped(node_id=0, broker_epoch=epoch))
    assert world.state.nodes[0].is_clean
    with pytest.raises(Fenced):
        world.do(AllocateObjectIds(node_id=0, broker_epoch=epoch, count=1, now_ms=0))
    with pytest.raises(NotMine):
        world.do(FenceNode(node_id=0, broker_epoch=epoch))
    world.start(0)
    assert not world.state.nodes[0].is_clean


def test_ways_between_states_are_closed_under_what_grants_epochs():
    assert set(LEGAL) == set(NodeStatus)
    for status, ways in LEGAL.items():
        assert ways >= GRANTING or status is NodeStatus.STOPPED
        assert NodeStatus.RECOVERING in ways
    assert NodeStatus.ACTIVE not in LEGAL[NodeStatus.RESCUING], "nothing lifts a rescue"


def test_a_registration_carries_rack_and_endpoints():
    world = MetaWorld()
    endpoints = (Endpoint(listener="A", host="h", port=1), Endpoint(listener="B", host="g", port=2))
    world.do(
        RegisterNode(
            node_id=3,
            incarnation=UUID(int=1),
            volume_uuid=OTHER,
            volume_handle="h",
            wal_epoch_found=0,
            rack="z",
            endpoints=endpoints,
        )
    )
    node = world.state.nodes[3]
    assert (node.rack, node.endpoints, node.volume) == ("z", endpoints, Volume(uuid=OTHER, handle="h"))
