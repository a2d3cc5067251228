"""Metadata, the cluster, and the life of topics: create, grow, delete, describe."""

from typing import Any
from uuid import UUID

from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic
from automq_broker.wire.apis.k19_create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from automq_broker.wire.apis.k20_delete_topics import DeleteTopicsRequest, DeleteTopicState
from automq_broker.wire.apis.k35_describe_log_dirs import DescribableLogDirTopic, DescribeLogDirsRequest
from automq_broker.wire.apis.k37_create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from automq_broker.wire.apis.k60_describe_cluster import DescribeClusterRequest
from automq_broker.wire.apis.k75_describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsRequestCursor,
    TopicRequest,
)
from clients.differential.world import Ask, Steps, World, batch, case

METADATA, CREATE, DELETE, LOG_DIRS, GROW, CLUSTER, TOPIC_PARTITIONS = 3, 19, 20, 35, 37, 60, 75
BAD_NAMES = ("", ".", "..", "has space", "a/b", "x" * 250, "ünicode")


def _metadata(*names: str, **given: Any) -> MetadataRequest:
    topics = [MetadataRequestTopic(name=name) for name in names]
    return MetadataRequest(topics=topics, **{"allow_auto_topic_creation": False, **given})


@case(METADATA)
def known_topics_and_the_cluster(world: World, version: int) -> Steps:
    yield _metadata(world.seeded(), world.empty_topic())


@case(METADATA, least=4)
def unknown_and_impossible_topics(world: World, version: int) -> Steps:
    yield _metadata("nobody-made-this")
    for name in BAD_NAMES:
        yield _metadata(name)

    def view(answer: Any) -> Any:
        return sorted((row.error_code, row.name, len(row.partitions)) for row in answer.topics)

    yield Ask(message=_metadata(world.seeded(), "nobody-made-this", world.seeded()), view=view)


@case(METADATA, only=(1, 4, 13))
def impossible_topics_are_not_created_on_demand(world: World, version: int) -> Steps:
    for name in BAD_NAMES:
        yield _metadata(name, allow_auto_topic_creation=True)


@case(METADATA, least=1)
def no_topics_and_all_topics(world: World, version: int) -> Steps:
    world.seeded()
    yield MetadataRequest(topics=[])

    def view(answer: Any) -> Any:
        return [row for row in answer.topics if row.name == "seeded"]

    yield Ask(message=MetadataRequest(topics=None), view=view)


def _by_id(world: World, *asked: tuple[str | None, UUID]) -> MetadataRequest:
    topics = [MetadataRequestTopic(name=name, topic_id=topic_id) for name, topic_id in asked]
    return MetadataRequest(topics=topics, allow_auto_topic_creation=False)


@case(METADATA, least=12)
def topics_by_id(world: World, version: int) -> Steps:
    yield _by_id(world, (None, world.topic_id(world.seeded())))
    yield _by_id(world, (None, UUID(int=77)))
    yield _by_id(world, ("seeded", world.topic_id(world.seeded())))


@case(METADATA, least=10, most=11)
def ids_came_too_early(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        return [row.error_code for row in answer.topics]

    for asked in ((None, world.topic_id(world.seeded())), (None, UUID(int=0)), ("seeded", UUID(int=77))):
        yield Ask(message=_by_id(world, asked), view=view)


@case(METADATA, least=8)
def authorized_operations_when_asked(world: World, version: int) -> Steps:
    asked = {"include_topic_authorized_operations": True}
    if version <= 10:
        asked["include_cluster_authorized_operations"] = True
    yield _metadata(world.seeded(), **asked)


@case(METADATA, only=(1, 12))
def an_internal_topic_is_marked(world: World, version: int) -> Steps:
    world.group()

    def view(answer: Any) -> Any:
        return [(row.error_code, row.name, row.is_internal, len(row.partitions)) for row in answer.topics]

    yield Ask(message=_metadata("__consumer_offsets"), view=view)


def _create(*topics: CreatableTopic, is_dry: bool = False) -> CreateTopicsRequest:
    return CreateTopicsRequest(topics=list(topics), timeout_ms=5000, validate_only=is_dry)


def _topic(name: str, partitions: int = 1, replicas: int = 1, **configs: str | None) -> CreatableTopic:
    given = [CreatableTopicConfig(name=key.replace("_", "."), value=value) for key, value in configs.items()]
    return CreatableTopic(name=name, num_partitions=partitions, replication_factor=replicas, configs=given)


def _by_name(answer: Any) -> Any:
    """Topics and their configs by name: both come in any order."""
    rows = {}
    for row in answer.topics:
        fields = {entry[0]: getattr(row, entry[0]) for entry in type(row).SCHEMA.fields}
        rows[row.name] = {**fields, "configs": {config.name: config for config in row.configs or []}}
    return rows


def _ask(message: CreateTopicsRequest) -> Ask:
    return Ask(message=message, view=_by_name)


@case(CREATE)
def topics_with_their_configs(world: World, version: int) -> Steps:
    yield _ask(_create(_topic(world.name(), 3, retention_ms="1000", cleanup_policy="compact,delete")))
    yield _ask(_create(_topic(world.name())))
    yield _ask(_create(_topic(world.name("dry"), 2), is_dry=True))
    yield _ask(_create(_topic(world.name("dry"), 2), is_dry=True))


@case(CREATE, least=4)
def the_brokers_defaults(world: World, version: int) -> Steps:
    yield _ask(_create(_topic(world.name(), -1, -1)))


@case(CREATE)
def impossible_topics_are_refused(world: World, version: int) -> Steps:
    for name in BAD_NAMES:
        yield _ask(_create(_topic(name)))
    for partitions, replicas in ((0, 1), (-2, 1), (1, 0), (1, -2)):
        yield _ask(_create(_topic(world.name(), partitions, replicas)))
    yield _ask(_create(_topic(world.name("twice")), _topic(world.name("twice")), _topic(world.name("once"))))
    yield _ask(_create())


@case(CREATE, only=(2, 7))
def names_that_differ_in_dot_and_underscore_collide(world: World, version: int) -> Steps:
    yield _ask(_create(_topic(world.name("a.b"))))
    yield _ask(_create(_topic(world.name("a_b"))))


@case(CREATE, only=(2, 5, 7))
def impossible_configs_are_refused(world: World, version: int) -> Steps:
    impossible: tuple[dict[str, str | None], ...] = (
        {"retention_ms": "soon"},
        {"retention_ms": "-2"},
        {"cleanup_policy": "shred"},
        {"compression_type": "rar"},
        {"no_such_config": "1"},
        {"max_message_bytes": None},
        {"min_insync_replicas": "0"},
    )
    for configs in impossible:
        yield _ask(_create(_topic(world.name(), **configs)))


@case(CREATE, only=(2, 7))
def manual_assignments_are_checked(world: World, version: int) -> Steps:
    def assigned(
        stem: str, *rows: tuple[int, list[int]], partitions: int = -1, replicas: int = -1
    ) -> CreateTopicsRequest:
        assignments = [CreatableReplicaAssignment(partition_index=index, broker_ids=ids) for index, ids in rows]
        topic = CreatableTopic(
            name=world.name(stem), num_partitions=partitions, replication_factor=replicas, assignments=assignments
        )
        return _create(topic)

    yield _ask(assigned("good", (0, [0]), (1, [0])))
    yield _ask(assigned("counted", (0, [0]), partitions=1, replicas=1))
    yield _ask(assigned("gap", (0, [0]), (2, [0])))
    yield _ask(assigned("doubled", (0, [0, 0])))
    yield _ask(assigned("stranger", (0, [9])))
    yield _ask(assigned("nobody", (0, [])))


@case(CREATE, only=(7,))
def more_replicas_than_brokers(world: World, version: int) -> Steps:
    yield _ask(_create(_topic(world.name(), 1, 3)))


def _delete(version: int, *names: str) -> DeleteTopicsRequest:
    if version >= 6:
        return DeleteTopicsRequest(topics=[DeleteTopicState(name=name) for name in names], timeout_ms=5000)
    return DeleteTopicsRequest(topic_names=list(names), timeout_ms=5000)


@case(DELETE)
def topics_go_by_name(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        return sorted((row.name, row.error_code) for row in answer.responses)

    first, second = world.topic("one"), world.topic("two")
    yield Ask(message=_delete(version, first, second, "nobody-made-this"), view=view)
    yield Ask(message=_delete(version, first), view=view)


@case(DELETE, least=6)
def topics_go_by_id(world: World, version: int) -> Steps:
    topic_id = world.topic_id(world.topic())

    def asked(name: str | None, wanted: UUID) -> DeleteTopicsRequest:
        return DeleteTopicsRequest(topics=[DeleteTopicState(name=name, topic_id=wanted)], timeout_ms=5000)

    yield asked(None, UUID(int=77))
    yield asked(world.name(), topic_id)
    yield asked(None, UUID(int=0))
    yield asked(None, topic_id)
    yield asked(None, topic_id)


@case(DELETE, only=(1, 6))
def doubled_names_are_refused(world: World, version: int) -> Steps:
    topic = world.topic()
    yield _delete(version, topic, topic)


def _grow(*rows: tuple[str, int, list[list[int]] | None], is_dry: bool = False) -> CreatePartitionsRequest:
    topics = [
        CreatePartitionsTopic(
            name=name,
            count=count,
            assignments=None if given is None else [CreatePartitionsAssignment(broker_ids=ids) for ids in given],
        )
        for name, count, given in rows
    ]
    return CreatePartitionsRequest(topics=topics, timeout_ms=5000, validate_only=is_dry)


@case(GROW)
def partitions_are_added_never_taken(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)
    yield _grow((topic, 3, None), is_dry=True)
    for count in (2, 1, 0, -1, 4):
        yield _grow((topic, count, None))
    yield _grow((topic, 6, [[0], [0]]))
    yield _grow((topic, 8, [[0]]))
    yield _grow((topic, 7, [[9]]))
    yield _grow((topic, 7, [[]]))
    yield _grow(("nobody-made-this", 3, None))
    yield _grow((topic, 7, None), (topic, 8, None))


@case(CLUSTER)
def the_cluster_is_described(world: World, version: int) -> Steps:
    yield DescribeClusterRequest(include_cluster_authorized_operations=False)
    yield DescribeClusterRequest(include_cluster_authorized_operations=True)


@case(CLUSTER, least=1)
def unknown_endpoint_types_are_refused(world: World, version: int) -> Steps:
    for endpoint_type in (0, 2, 9):
        yield DescribeClusterRequest(endpoint_type=endpoint_type)


def _partitions(
    *names: str, limit: int = 2000, cursor: tuple[str, int] | None = None
) -> DescribeTopicPartitionsRequest:
    place = None
    if cursor is not None:
        place = DescribeTopicPartitionsRequestCursor(topic_name=cursor[0], partition_index=cursor[1])
    topics = [TopicRequest(name=name) for name in names]
    return DescribeTopicPartitionsRequest(topics=topics, response_partition_limit=limit, cursor=place)


@case(TOPIC_PARTITIONS)
def partitions_are_described_page_by_page(world: World, version: int) -> Steps:
    topic, other = world.topic("a", partitions=3), world.topic("b", partitions=2)
    yield _partitions(topic, other)
    yield _partitions(other, topic, limit=2)
    yield _partitions(topic, other, limit=2, cursor=(topic, 2))
    yield _partitions(topic, other, limit=2, cursor=(other, 0))
    yield _partitions("nobody-made-this", topic, limit=1)
    yield _partitions("has space")


@case(TOPIC_PARTITIONS)
def bad_cursors_and_limits(world: World, version: int) -> Steps:
    topic = world.seeded()
    yield _partitions(topic, limit=0)
    yield _partitions(topic, limit=-1)
    yield _partitions(topic, cursor=(topic, -1))
    yield _partitions(topic, cursor=(topic, 99))
    yield _partitions(topic, cursor=("zzz", 0))


@case(LOG_DIRS)
def log_directories_hold_the_partitions(world: World, version: int) -> Steps:
    topic = world.topic(partitions=2)
    world.append(topic, batch(3))

    def view(answer: Any) -> Any:
        rows = [row for found in answer.results for row in found.topics]
        partitions = [
            (row.name, p.partition_index, p.offset_lag, p.is_future_key) for row in rows for p in row.partitions
        ]
        return [answer.error_code, sorted(partitions), [found.error_code for found in answer.results]]

    yield Ask(
        message=DescribeLogDirsRequest(topics=[DescribableLogDirTopic(topic=topic, partitions=[0, 1])]), view=view
    )
    yield Ask(message=DescribeLogDirsRequest(topics=[DescribableLogDirTopic(topic="none", partitions=[0])]), view=view)
