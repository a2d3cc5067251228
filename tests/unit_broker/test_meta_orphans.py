"""Who serves the partitions of a broker that has ended."""

from collections import Counter
from uuid import UUID

from automq_broker.meta.commands import AssignStreams, FenceNode, NodeStopped, RescueDone, RescueNode, SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.meta.topics import CORDON_CONFIG
from twins.meta_world import MetaWorld


def world_of(racks, partitions=0, owner=0):
    """Brokers in these racks; a topic that the `owner` has open."""
    world = MetaWorld()
    for node_id, rack in enumerate(racks):
        world.start(node_id, rack=rack)
    streams = owned(world, "orders", partitions, owner) if partitions else []
    return world, streams


def owned(world, name, partitions, owner):
    streams = [row.stream_id for row in world.topic(name, partitions).partitions]
    world.do(AssignStreams(stream_ids=tuple(streams), node_id=owner))
    for stream in streams:
        world.open(stream)
    return streams


def rescued(world, node_id=0):
    """The node's streams are closed by an adopter, which then is done."""
    epoch = world.epochs[node_id]
    world.epochs[node_id] = world.do(
        RescueNode(node_id=node_id, expected_epoch=epoch, rescue=UUID(int=epoch))
    ).broker_epoch
    for stream in [each.stream_id for each in world.state.open_streams_of(node_id)]:
        world.close(stream)
    world.do(RescueDone(node_id=node_id, broker_epoch=world.epochs[node_id]))
    world.check()


def heirs(world, streams):
    return Counter(world.state.streams[stream].assigned for stream in streams)


def test_a_dead_brokers_partitions_are_spread_evenly_over_the_survivors():
    world, streams = world_of(["", "", "", ""], partitions=9)
    rescued(world)
    assert heirs(world, streams) == {1: 3, 2: 3, 3: 3}
    for stream in streams:
        world.open(stream)
        assert world.state.streams[stream].epoch == 1


def test_racks_inherit_by_their_size():
    world, streams = world_of(["a", "a", "b", "b", "c"], partitions=12)
    rescued(world)
    assert heirs(world, streams) == {1: 3, 2: 3, 3: 3, 4: 3}
    world, streams = world_of(["a", "b", "b", "c"], partitions=4, owner=0)
    owned(world, "load", 6, owner=3)
    rescued(world)
    racks = Counter(world.state.nodes[heir].rack for heir in heirs(world, streams).elements())
    assert racks["c"] >= 1, "a loaded rack has its share of every topic"


def test_of_partitions_of_many_topics_the_least_loaded_inherits_the_most():
    world, _ = world_of(["", "", ""])
    owned(world, "load", 4, owner=1)
    streams = [stream for number in range(6) for stream in owned(world, f"t{number}", 1, owner=0)]
    rescued(world)
    assert heirs(world, streams) == {1: 1, 2: 5}


def test_a_cordoned_broker_inherits_only_if_nobody_else_can():
    world, streams = world_of(["", "", ""], partitions=4)
    cordon(world, 1)
    rescued(world)
    assert heirs(world, streams) == {2: 4}
    world, streams = world_of(["", ""], partitions=4)
    cordon(world, 1)
    rescued(world)
    assert heirs(world, streams) == {1: 4}


def cordon(world, node_id):
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name=str(node_id), upserts={CORDON_CONFIG: "*"}))


def test_a_fenced_broker_inherits_only_if_nobody_else_can_and_its_own_rescue_gives_that_away_again():
    world, streams = world_of(["", "", ""], partitions=4)
    world.do(FenceNode(node_id=1, broker_epoch=world.epochs[1]))
    rescued(world)
    assert heirs(world, streams) == {2: 4}
    world, streams = world_of(["", ""], partitions=4)
    world.do(FenceNode(node_id=1, broker_epoch=world.epochs[1]))
    rescued(world)
    assert heirs(world, streams) == {1: 4}
    world.start(0)
    rescued(world, 1)
    assert heirs(world, streams) == {0: 4}


def test_a_move_to_the_dead_is_called_off_and_one_away_from_it_ends_where_it_was_to():
    world, (leaving,) = world_of(["", "", ""], partitions=1)
    (coming,) = owned(world, "other", 1, owner=1)
    world.do(AssignStreams(stream_ids=(coming,), node_id=0))
    world.do(AssignStreams(stream_ids=(leaving,), node_id=2))
    rescued(world)
    assert world.state.streams[coming].assigned == world.state.streams[coming].owner == 1
    assert world.state.streams[leaving].assigned == 2


def test_without_any_other_broker_the_partitions_wait_for_the_nodes_return():
    world, streams = world_of([""], partitions=2)
    rescued(world)
    assert heirs(world, streams) == {0: 2}
    world.start(0)
    for stream in streams:
        world.open(stream)


def test_a_repeated_end_of_a_rescue_changes_nothing_more():
    world, streams = world_of(["", "", ""], partitions=5)
    rescued(world)
    before, count = heirs(world, streams), len(world.records)
    world.do(RescueDone(node_id=0, broker_epoch=world.epochs[0]))
    assert len(world.records) == count
    assert heirs(world, streams) == before


def test_a_broker_that_stops_hands_its_closed_partitions_to_those_that_serve():
    world, streams = world_of(["", "", ""], partitions=4)
    for stream in streams[:3]:
        world.close(stream)
    world.do(NodeStopped(node_id=0, broker_epoch=world.epochs[0], clean=False))
    assert sorted(heirs(world, streams[:3]).items()) in ([(1, 2), (2, 1)], [(1, 1), (2, 2)])
    assert heirs(world, streams[3:]) == {0: 1}, "what it left open stays its own: the rest of it is in its log"
    world.check()


def test_a_broker_that_stops_with_all_others_keeps_its_partitions_until_it_is_asked_again():
    world, streams = world_of(["", "", ""], partitions=4)
    for stream in streams:
        world.close(stream)
    world.do(NodeStopped(node_id=0, broker_epoch=world.epochs[0], keeps_partitions=True))
    assert heirs(world, streams) == {0: 4}
    world.do(NodeStopped(node_id=0, broker_epoch=world.epochs[0]))
    assert heirs(world, streams) == {1: 2, 2: 2}
    world.check()


def test_a_broker_that_stops_where_nobody_else_serves_keeps_its_partitions():
    world, streams = world_of(["", ""], partitions=2)
    world.do(FenceNode(node_id=1, broker_epoch=world.epochs[1]))
    for stream in streams:
        world.close(stream)
    world.do(NodeStopped(node_id=0, broker_epoch=world.epochs[0]))
    assert heirs(world, streams) == {0: 2}
