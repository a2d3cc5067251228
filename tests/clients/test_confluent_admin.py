"""The admin client of confluent-kafka: topics, partitions, configs, groups and their offsets, deleted records."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from clients.confluent import create_topic, read_partition
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from twins.child_process import wait_until

Fresh = Callable[[str], str]


@pytest.fixture
def admin(bootstrap: str) -> AdminClient:
    """An admin client of the broker under test."""
    return AdminClient({"bootstrap.servers": bootstrap})


def _code(caught: "pytest.ExceptionInfo[KafkaException]") -> int:
    return int(caught.value.args[0].code())


def _produce(bootstrap: str, topic: str, count: int, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(count):
        producer.produce(topic, value=f"{number}", partition=partition)
    assert producer.flush(30) == 0


@contextmanager
def _live_member(bootstrap: str, group: str, topic: str) -> Iterator[None]:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": group, "client.id": "member", "heartbeat.interval.ms": 300}
    )
    consumer.subscribe([topic])
    wait_until(lambda: consumer.poll(0.1) is None and bool(consumer.assignment()), 20, "the member has a partition")
    stop = threading.Event()

    def poll() -> None:
        while not stop.is_set():
            consumer.poll(0.1)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
        consumer.close()


def test_topics_are_created_described_grown_and_deleted(admin: AdminClient, fresh: Fresh) -> None:
    topic = fresh("admin")
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])[topic].result(30)
    assert sorted(admin.list_topics(topic, timeout=10).topics[topic].partitions) == [0, 1]
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(30)
    wait_until(lambda: len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 5, 10, "5 partitions")
    with pytest.raises(KafkaException) as caught:
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)
    assert _code(caught) == KafkaError.INVALID_PARTITIONS
    admin.delete_topics([topic])[topic].result(30)
    wait_until(lambda: topic not in admin.list_topics(timeout=10).topics, 10, "the topic is gone")
    with pytest.raises(KafkaException) as caught:
        admin.delete_topics([topic])[topic].result(30)
    assert _code(caught) == KafkaError.UNKNOWN_TOPIC_OR_PART


@pytest.mark.parametrize("name", ["has space", "a/b", "x" * 250, ".", ".."])
def test_names_that_kafka_refuses_are_refused(admin: AdminClient, name: str) -> None:
    with pytest.raises(KafkaException) as caught:
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    assert _code(caught) == KafkaError.TOPIC_EXCEPTION


def test_validate_only_creates_nothing(admin: AdminClient, fresh: Fresh) -> None:
    topic = fresh("dry-run")
    admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True)[topic].result(30)
    assert topic not in admin.list_topics(timeout=10).topics


def test_a_topics_configs_are_read_set_and_deleted(admin: AdminClient, bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("configs")
    create_topic(bootstrap, topic, config={"retention.ms": "1234567"})
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def read() -> dict[str, ConfigEntry]:
        return dict(admin.describe_configs([resource])[resource].result(30))

    before = read()
    assert before["retention.ms"].value == "1234567"
    assert before["cleanup.policy"].value == "delete"
    assert before["cleanup.policy"].is_default
    assert not before["retention.ms"].is_default
    changes = [
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET),
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND),
    ]
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=changes)
    admin.incremental_alter_configs([change])[change].result(30)
    wait_until(lambda: read()["max.message.bytes"].value == "5000", 10, "the new value is shown")
    after = read()
    assert after["retention.ms"].value == "604800000"
    assert after["cleanup.policy"].value == "delete,compact"


@pytest.mark.parametrize(
    ("key", "value"), [("retention.ms", "soon"), ("cleanup.policy", "shred"), ("no.such.config", "1")]
)
def test_impossible_configs_are_refused(admin: AdminClient, bootstrap: str, fresh: Fresh, key: str, value: str) -> None:
    topic = fresh("bad-config")
    with pytest.raises(KafkaException) as caught:
        create_topic(bootstrap, topic, config={key: value})
    assert _code(caught) == KafkaError.INVALID_CONFIG


def test_the_brokers_configs_and_the_cluster_are_described(admin: AdminClient) -> None:
    cluster = admin.describe_cluster().result(30)
    node = cluster.nodes[0]
    resource = ConfigResource(ResourceType.BROKER, str(node.id))
    configs = admin.describe_configs([resource])[resource].result(30)
    assert configs["message.max.bytes"].value == "1048588"
    assert cluster.cluster_id
    assert cluster.controller is not None
    assert cluster.controller.id == node.id


def test_offsets_are_listed_by_position_and_time(admin: AdminClient, bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("offsets")
    create_topic(bootstrap, topic)
    _produce(bootstrap, topic, 25)
    partition = TopicPartition(topic, 0)
    asked = {"earliest": OffsetSpec.earliest(), "latest": OffsetSpec.latest(), "max": OffsetSpec.max_timestamp()}
    asked["from 1970 on"] = OffsetSpec.for_timestamp(1)
    found = {name: admin.list_offsets({partition: spec})[partition].result(30).offset for name, spec in asked.items()}
    assert found["earliest"] == 0
    assert found["latest"] == 25
    assert found["from 1970 on"] == 0
    assert 0 <= found["max"] < 25


def test_records_are_deleted_up_to_an_offset(admin: AdminClient, bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("delete-records")
    create_topic(bootstrap, topic)
    _produce(bootstrap, topic, 100)
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, 60)]).values()
    assert deleted.result(30).low_watermark == 60
    assert [message.offset() for message in read_partition(bootstrap, topic, 0)] == list(range(60, 100))
    (beyond,) = admin.delete_records([TopicPartition(topic, 0, 101)]).values()
    with pytest.raises(KafkaException) as caught:
        beyond.result(30)
    assert _code(caught) == KafkaError.OFFSET_OUT_OF_RANGE


def test_groups_are_listed_described_and_deleted(admin: AdminClient, bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("groups"), fresh("g")
    create_topic(bootstrap, topic)
    with _live_member(bootstrap, group, topic):
        described = admin.describe_consumer_groups([group])[group].result(30)
        assert described.state == ConsumerGroupState.STABLE
        (member,) = described.members
        assert member.client_id == "member"
        assert member.assignment.topic_partitions == [TopicPartition(topic, 0)]
        assert described.partition_assignor == "range"
        listed = {found.group_id: found.state for found in admin.list_consumer_groups().result(30).valid}
        assert listed[group] == ConsumerGroupState.STABLE
        with pytest.raises(KafkaException) as caught:
            admin.delete_consumer_groups([group])[group].result(30)
        assert _code(caught) == KafkaError.NON_EMPTY_GROUP
    admin.delete_consumer_groups([group])[group].result(30)
    assert group not in {found.group_id for found in admin.list_consumer_groups().result(30).valid}
    with pytest.raises(KafkaException) as caught:
        admin.delete_consumer_groups([group])[group].result(30)
    assert _code(caught) == KafkaError.GROUP_ID_NOT_FOUND


def test_a_groups_offsets_are_listed_and_altered(admin: AdminClient, bootstrap: str, fresh: Fresh) -> None:
    topic, group = fresh("group-offsets"), fresh("g")
    create_topic(bootstrap, topic)
    partition = TopicPartition(topic, 0, 11)
    change = ConsumerGroupTopicPartitions(group, [partition])
    admin.alter_consumer_group_offsets([change])[group].result(30)
    found = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    assert [(entry.topic, entry.partition, entry.offset) for entry in found.topic_partitions] == [(topic, 0, 11)]
    with _live_member(bootstrap, group, topic):
        refused = admin.alter_consumer_group_offsets([change])[group].result(30)
    (entry,) = refused.topic_partitions
    assert entry.error is not None
    assert entry.error.code() == KafkaError.UNKNOWN_MEMBER_ID
