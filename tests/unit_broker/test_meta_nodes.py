"""Who may speak for a node: registration, volumes, fences, rescue."""

from uuid import UUID

import pytest
from automq_broker.kernel.errors import ClientFault, Fenced, NotMine, Refused, Retry
from automq_broker.meta.commands import (
    AcceptWalLoss,
    AllocateObjectIds,
    AssignStreams,
    ConfirmWal,
    FenceNode,
    ForgetNode,
    LiftFence,
    NodeRecovered,
    NodeStopped,
    RegisterNode,
    RescueDone,
    RescueNode,
    SetConfigs,
    StopCluster,
)
from automq_broker.meta.draining import keeps_partitions
from automq_broker.meta.nodes import GRANTING, LEGAL
from automq_broker.meta.records import StreamClosed
from automq_broker.meta.rows import Endpoint, NodeStatus, ResourceType, StreamStatus, Volume
from automq_broker.meta.topics import CORDON_CONFIG
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
        "StreamClosed",
        "StreamClosed",
        "WalConfirmed",
        "NodeStatusChanged",
    ]
    assert [world.state.stream(each).status for each in (1, 2)] == [StreamStatus.CLOSED] * 2
    assert world.state.nodes[0].refused_volumes == (old,)
    assert world.open(1).committed_end == 10
    world.check()


def accept_loss(world, **changes):
    node = world.state.nodes[0]
    fields = {
        "node_id": 0,
        "expected_epoch": node.broker_epoch,
        "volume_uuid": node.volume.uuid,
        "volume_handle": node.volume.handle,
    }
    return world.do(AcceptWalLoss(**(fields | changes)))


def test_a_dead_nodes_log_is_given_up_in_one_commit_that_says_what_is_lost():
    world = cluster_with_open_streams()
    old, epoch = world.state.nodes[0].volume, world.epochs[0]
    world.do(FenceNode(node_id=0, broker_epoch=epoch))
    accepted = accept_loss(world)
    assert accepted.broker_epoch > epoch
    assert accepted.ends == {1: 10, 2: 10}
    assert [world.state.stream(each).status for each in (1, 2)] == [StreamStatus.CLOSED] * 2
    node = world.state.nodes[0]
    assert (node.status, node.refused_volumes, node.broker_epoch) == (NodeStatus.STOPPED, (old,), accepted.broker_epoch)
    world.check()


@pytest.mark.parametrize("command", [ConfirmWal, NodeRecovered, NodeStopped, LiftFence, RescueDone])
def test_whoever_lived_on_a_log_that_was_given_up_is_told_that_its_epoch_is_gone(command):
    world = cluster_with_open_streams()
    old = world.state.nodes[0]
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    accept_loss(world)
    with pytest.raises(Fenced, match="EPOCH_GONE"):
        world.do(command(node_id=0, broker_epoch=world.epochs[0]))
    with pytest.raises(Fenced, match="EPOCH_GONE"):
        world.register(0, incarnation=old.incarnation)


def test_an_adopter_of_a_log_that_was_given_up_is_superseded():
    world = cluster_with_open_streams()
    granted = world.do(RescueNode(node_id=0, expected_epoch=world.epochs[0], rescue=UUID(int=7))).broker_epoch
    assert accept_loss(world).ends == {1: 10, 2: 10}
    with pytest.raises(Fenced, match="EPOCH_GONE"):
        world.do(RescueDone(node_id=0, broker_epoch=granted))


def test_accepting_the_loss_of_a_volume_again_changes_nothing():
    world = cluster_with_open_streams()
    old, epoch = world.state.nodes[0].volume, world.epochs[0]
    world.do(FenceNode(node_id=0, broker_epoch=epoch))
    accept_loss(world)
    new = world.start(0, volume_uuid=OTHER, volume_handle="new", wal_epoch_found=0)
    world.open(1)
    records = len(world.records)
    again = accept_loss(world, expected_epoch=epoch, volume_uuid=old.uuid, volume_handle=old.handle)
    assert (again.broker_epoch, again.ends, len(world.records)) == (new, {}, records)


def test_a_node_without_its_log_starts_on_another_volume_and_never_again_on_that_one():
    world = cluster_with_open_streams()
    old = world.state.nodes[0]
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    accept_loss(world)
    for accept in (False, True):
        with pytest.raises(Refused, match="given up"):
            world.register(
                0,
                volume_uuid=old.volume.uuid,
                volume_handle=old.volume.handle,
                wal_epoch_found=old.confirmed_epoch,
                accept_wal_loss=accept,
            )
    world.start(0, volume_uuid=OTHER, volume_handle="new", wal_epoch_found=0)
    assert world.open(1).committed_end == 10
    world.check()


@pytest.mark.parametrize(
    "change", [{"expected_epoch": 0}, {"volume_uuid": OTHER}, {"volume_handle": "another"}, {"node_id": 9}]
)
def test_only_the_loss_of_the_recorded_volume_at_the_present_epoch_is_accepted(change):
    world = cluster_with_open_streams()
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    with pytest.raises(NotMine):
        accept_loss(world, **change)
    assert world.state.stream(1).status is StreamStatus.OPEN


def test_the_log_of_a_node_that_serves_is_not_given_up():
    world = cluster_with_open_streams()
    with pytest.raises(NotMine, match="ACTIVE"):
        accept_loss(world)


def test_partitions_of_a_lost_log_go_to_the_nodes_that_serve_in_the_same_commit():
    world = cluster_with_open_streams(partitions=4)
    world.start(1)
    world.start(2)
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    accept_loss(world)
    assert sorted(world.state.streams[each].assigned for each in (1, 2, 3, 4)) == [1, 1, 2, 2]
    assert world.open(1).committed_end == 10
    world.check()


def test_a_node_without_a_volume_has_none_to_give_up():
    world = cluster_with_open_streams()
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    accept_loss(world)
    with pytest.raises(NotMine, match="no WAL volume"):
        accept_loss(world)


def test_partitions_of_a_lost_log_that_were_on_their_way_to_another_node_are_closed_by_name():
    world = cluster_with_open_streams()
    world.start(1)
    world.do(AssignStreams(stream_ids=(1,), node_id=1))
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    before = len(world.records)
    accept_loss(world)
    assert [each.stream_id for each in world.records[before:] if isinstance(each, StreamClosed)] == [1, 2]
    assert world.open(1, 1).committed_end == 10


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


def test_a_start_that_did_not_hear_that_it_is_active_lifts_its_own_fence_by_repeating_the_word():
    world = MetaWorld(nodes=1)
    epoch = world.epochs[0]
    world.do(FenceNode(node_id=0, broker_epoch=epoch))
    with pytest.raises(Retry):
        world.do(ConfirmWal(node_id=0, broker_epoch=epoch))
    world.do(NodeRecovered(node_id=0, broker_epoch=epoch))
    assert world.state.nodes[0].status is NodeStatus.ACTIVE


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


def stopped(world, node_id=0, **changes):
    world.do(NodeStopped(node_id=node_id, broker_epoch=world.epochs[node_id], **changes))


def test_a_broker_that_is_gone_for_good_is_forgotten_with_its_cordon():
    world = MetaWorld(nodes=2)
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="0", upserts={CORDON_CONFIG: "*"}))
    stopped(world)
    world.do(ForgetNode(node_id=0))
    assert list(world.state.nodes) == [1]
    assert world.state.configs(ResourceType.BROKER, "0") == {}
    with pytest.raises(ClientFault) as unknown:
        world.do(ForgetNode(node_id=0))
    assert unknown.value.code == 102
    with pytest.raises(ClientFault):
        world.do(ForgetNode(node_id=7))
    world.check()


def test_nobody_is_forgotten_on_whom_partitions_depend():
    world = cluster_with_open_streams()
    with pytest.raises(Refused, match="ACTIVE"):
        world.do(ForgetNode(node_id=0))
    stopped(world)
    with pytest.raises(Refused, match="orders-0"):
        world.do(ForgetNode(node_id=0))
    world = MetaWorld(nodes=1)
    world.topic("waits", 3)
    stopped(world)
    with pytest.raises(Refused, match="3 partitions"):
        world.do(ForgetNode(node_id=0))


def test_a_forgotten_broker_that_comes_back_is_judged_by_what_is_known_of_its_volumes():
    world = MetaWorld(nodes=2)
    node = world.state.nodes[0]
    world.do(FenceNode(node_id=0, broker_epoch=world.epochs[0]))
    loss = {"volume_uuid": node.volume.uuid, "volume_handle": node.volume.handle}
    world.do(AcceptWalLoss(node_id=0, expected_epoch=world.epochs[0], **loss))
    world.do(ForgetNode(node_id=0))
    with pytest.raises(Fenced):
        world.register(0, incarnation=node.incarnation)
    with pytest.raises(Refused, match="given up"):
        world.register(0, wal_epoch_found=node.confirmed_epoch, **loss)
    epoch = world.start(0, volume_uuid=OTHER, volume_handle="new")
    assert epoch > world.epochs[1]
    assert not world.state.forgotten
    with pytest.raises(Refused, match="given up"):
        world.register(0, wal_epoch_found=node.confirmed_epoch, **loss)
    world.check()


def test_an_announced_stop_is_taken_back_by_the_next_start_and_by_word():
    world = MetaWorld(nodes=1)
    world.do(StopCluster(until_ms=5_000))
    assert keeps_partitions(world.state, 4_999)
    assert not keeps_partitions(world.state, 5_000)
    count = len(world.records)
    world.do(StopCluster(until_ms=5_000))
    assert len(world.records) == count
    world.do(StopCluster(until_ms=0))
    assert not keeps_partitions(world.state, 0)
    world.do(StopCluster(until_ms=5_000))
    world.register(0)
    assert not keeps_partitions(world.state, 0)


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
