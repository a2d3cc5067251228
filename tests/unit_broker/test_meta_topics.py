"""Topics, partitions, configs: Kafka's rules for the whole cluster."""

from uuid import UUID

import pytest
from automq_broker.kernel.errors import ClientFault, NotMine
from automq_broker.meta.commands import (
    AssignStreams,
    CreatePartitions,
    CreateTopic,
    DeleteTopic,
    NodeStopped,
    SetConfigs,
)
from automq_broker.meta.rows import ResourceType
from automq_broker.wire.codes import ErrorCode
from twins.meta_world import MetaWorld


def refusal(world, command):
    before = len(world.records)
    with pytest.raises(ClientFault) as caught:
        world.do(command)
    assert len(world.records) == before
    return caught.value.code


def new_topic(name="t", partitions=1, **changes):
    return CreateTopic(**({"name": name, "topic_id": UUID(int=99), "partitions": partitions} | changes))


def test_a_topic_gets_one_stream_per_partition_and_never_an_id_twice():
    world = MetaWorld(nodes=1)
    first = world.topic("a", 3)
    world.do(DeleteTopic(topic_id=first.topic_id, now_ms=1))
    second = world.topic("a", 2)
    assert [row.stream_id for row in first.partitions] == [1, 2, 3]
    assert [row.stream_id for row in second.partitions] == [4, 5]
    assert second.topic_id != first.topic_id
    assert world.state.topic_by_id(first.topic_id) is None
    assert world.state.stream(1) is None
    world.check()


def test_the_answer_of_a_creation_is_the_topic_as_the_state_has_it():
    world = MetaWorld(nodes=2)
    created = world.topic("a", 3, configs={"retention.ms": "5"}, is_internal=True, created_ms=7)
    assert created == world.state.topic("a")
    assert (created.is_internal, created.created_ms, created.configs) == (True, 7, {"retention.ms": "5"})


def test_partitions_are_spread_over_the_nodes_with_the_fewest():
    world = MetaWorld(nodes=3)
    world.topic("a", 4)
    world.topic("b", 5)
    owners = [row.owner for topic in world.state.topics() for row in topic.partitions]
    assert sorted(owners) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_a_creation_repeated_with_its_id_is_the_same_creation():
    world = MetaWorld(nodes=1)
    first = world.do(new_topic())
    count = len(world.records)
    assert world.do(new_topic()) == first
    assert len(world.records) == count


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (new_topic("there"), ErrorCode.TOPIC_ALREADY_EXISTS),
        (new_topic(""), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("."), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic(".."), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("x" * 250), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("bad name"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("ümlaut"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("newline\n"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic("a_b"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (new_topic(partitions=0), ErrorCode.INVALID_PARTITIONS),
        (new_topic(partitions=-1), ErrorCode.INVALID_PARTITIONS),
        (new_topic(partitions=10_001), ErrorCode.POLICY_VIOLATION),
        (new_topic(replication_factor=0), ErrorCode.INVALID_REPLICATION_FACTOR),
        (new_topic(configs={"nope": "1"}), ErrorCode.INVALID_CONFIG),
        (new_topic(configs={"retention.ms": "soon"}), ErrorCode.INVALID_CONFIG),
        (new_topic(topic_id=UUID(int=0)), ErrorCode.INVALID_REQUEST),
    ],
)
def test_a_creation_is_refused_with_kafkas_code(command, code):
    world = MetaWorld(nodes=1)
    world.topic("there")
    world.topic("a.b")
    assert refusal(world, command) == code


def test_names_of_249_characters_and_any_replication_factor_are_accepted():
    world = MetaWorld(nodes=1)
    world.topic("x" * 249, replication_factor=3)
    world.topic("y", replication_factor=-1)
    world.check()


def test_dots_and_underscores_collide_only_while_the_other_topic_exists():
    world = MetaWorld(nodes=1)
    other = world.topic("a.b_c")
    assert refusal(world, new_topic("a_b.c")) == ErrorCode.INVALID_TOPIC_EXCEPTION
    world.do(DeleteTopic(topic_id=other.topic_id, now_ms=1))
    world.topic("a_b.c")
    world.topic("a-b-c")
    world.check()


def test_without_a_live_node_nothing_is_created():
    world = MetaWorld()
    assert refusal(world, new_topic()) == ErrorCode.INVALID_REPLICATION_FACTOR
    epoch = world.start(0)
    world.do(NodeStopped(node_id=0, broker_epoch=epoch))
    assert refusal(world, new_topic()) == ErrorCode.INVALID_REPLICATION_FACTOR


def test_a_node_that_is_starting_owns_new_partitions_if_no_other_lives():
    world = MetaWorld()
    world.register(0)
    assert world.topic("a").partitions[0].owner == 0
    world.start(1)
    assert world.topic("b").partitions[0].owner == 1


def test_a_topic_grows_behind_its_last_partition():
    world = MetaWorld(nodes=1)
    topic = world.topic("a", 2)
    world.topic("b")
    grown = world.do(CreatePartitions(topic_id=topic.topic_id, total=4)).topic
    assert grown == world.state.topic("a")
    assert [(row.index, row.stream_id) for row in grown.partitions] == [(0, 1), (1, 2), (2, 4), (3, 5)]
    world.check()


@pytest.mark.parametrize("total", [2, 1, 0, -3])
def test_a_topic_never_shrinks_or_stays(total):
    world = MetaWorld(nodes=1)
    topic = world.topic("a", 2)
    assert refusal(world, CreatePartitions(topic_id=topic.topic_id, total=total)) == ErrorCode.INVALID_PARTITIONS


def test_a_topic_does_not_grow_by_more_than_the_limit_at_once():
    world = MetaWorld(nodes=1)
    topic = world.topic("a")
    command = CreatePartitions(topic_id=topic.topic_id, total=20_000)
    assert refusal(world, command) == ErrorCode.POLICY_VIOLATION


def test_unknown_ids_and_names_are_refused():
    world = MetaWorld(nodes=1)
    unknown = UUID(int=5)
    assert refusal(world, DeleteTopic(topic_id=unknown, now_ms=1)) == ErrorCode.UNKNOWN_TOPIC_ID
    assert refusal(world, CreatePartitions(topic_id=unknown, total=3)) == ErrorCode.UNKNOWN_TOPIC_ID
    command = SetConfigs(resource_type=ResourceType.TOPIC, resource_name="nope", upserts={"retention.ms": "1"})
    assert refusal(world, command) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    command = SetConfigs(resource_type=7, resource_name="", upserts={})
    assert refusal(world, command) == ErrorCode.INVALID_REQUEST


def test_a_deleted_topic_takes_its_streams_objects_and_configs_along():
    world = MetaWorld(nodes=1)
    kept, gone = world.topic("kept"), world.topic("gone", configs={"retention.ms": "1"})
    streams = [kept.partitions[0].stream_id, gone.partitions[0].stream_id]
    for stream_id in streams:
        world.open(stream_id)
    shared = world.commit(0, (streams[0], 0, 5), (streams[1], 0, 5))
    alone = world.commit(0, (streams[1], 5, 9))
    world.do(DeleteTopic(topic_id=gone.topic_id, now_ms=77))
    assert world.state.stream(streams[1]) is None
    assert world.state.deleting == {alone.object_id: 77}
    assert list(world.state.objects) == [shared.object_id]
    assert world.state.live_ranges(shared.object_id) == 1
    assert world.state.configs(ResourceType.TOPIC, "gone") == {}
    world.topic("gone")
    assert world.state.topic("gone").configs == {}
    world.check()


def test_configs_are_judged_together_with_those_that_stay():
    world = MetaWorld(nodes=1)
    world.topic("a", configs={"max.compaction.lag.ms": "100"})

    def change(upserts, deletes=()):
        return SetConfigs(resource_type=ResourceType.TOPIC, resource_name="a", upserts=upserts, deletes=deletes)

    assert refusal(world, change({"min.compaction.lag.ms": "101"})) == ErrorCode.INVALID_CONFIG
    world.do(change({"min.compaction.lag.ms": "101"}, ("max.compaction.lag.ms",)))
    assert world.state.topic("a").configs == {"min.compaction.lag.ms": "101"}
    count = len(world.records)
    world.do(change({"min.compaction.lag.ms": "101"}, ("retention.ms",)))
    assert len(world.records) == count, "what is so already needs no commit"


def test_broker_configs_are_kept_by_name():
    world = MetaWorld(nodes=1)
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="", upserts={"any.thing": "x"}))
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="0", upserts={"any.thing": "y"}))
    assert world.state.configs(ResourceType.BROKER, "") == {"any.thing": "x"}
    world.do(SetConfigs(resource_type=ResourceType.BROKER, resource_name="0", deletes=("any.thing",)))
    assert world.state.configs(ResourceType.BROKER, "0") == {}


def test_streams_are_assigned_to_nodes_that_may_own_them():
    world = MetaWorld(nodes=2)
    topic = world.topic("a", 2)
    ids = tuple(row.stream_id for row in topic.partitions)
    world.do(AssignStreams(stream_ids=ids, node_id=1))
    assert [row.owner for row in world.state.topic("a").partitions] == [1, 1]
    assert refusal(world, AssignStreams(stream_ids=(999,), node_id=1)) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    with pytest.raises(NotMine):
        world.do(AssignStreams(stream_ids=ids, node_id=9))
    world.do(NodeStopped(node_id=0, broker_epoch=world.epochs[0]))
    with pytest.raises(NotMine):
        world.do(AssignStreams(stream_ids=ids, node_id=0))
    world.check()
