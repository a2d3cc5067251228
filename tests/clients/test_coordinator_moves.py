"""A consumer group's coordinator moves to another broker: its members do not notice, its positions are as true as before."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.confluent import create_topic
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConsumerGroupDescription
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

TOKEN = "a-token-of-sixteen-characters"
TOPIC, GROUP = "orders", "billing"
PARTITIONS = 4
MEMBERS = 2
MOVING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[BrokerProcess]]:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    started = cluster_processes(tmp_path, 2, settings={"automq.admin.token.file": str(token)})
    for broker in started:
        broker.start(40)
    yield started
    for broker in started:
        broker.stop()


class Member:
    """A consumer that runs until told to end, and what happened to it."""

    def __init__(self, bootstrap: str) -> None:
        self.values: list[bytes] = []
        self.assignments = 0
        self.losses = 0
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": GROUP,
                "auto.offset.reset": "earliest",
                "auto.commit.interval.ms": 200,
                "heartbeat.interval.ms": 300,
                "session.timeout.ms": 10_000,
            }
        )
        self._consumer.subscribe([TOPIC], on_assign=self._assigned, on_revoke=self._lost, on_lost=self._lost)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Leave the group."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _assigned(self, *_: object) -> None:
        self.assignments += 1

    def _lost(self, *_: object) -> None:
        self.losses += 1

    def _run(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self.values.append(message.value())


def described(broker: BrokerProcess) -> ConsumerGroupDescription:
    """The group; librdkafka's admin client leaves it to its callers to ask again while the coordinator moves."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    deadline = time.monotonic() + 20
    while True:
        try:
            found: ConsumerGroupDescription = admin.describe_consumer_groups([GROUP])[GROUP].result(20)
        except KafkaException as error:
            if error.args[0].code() not in MOVING or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return found


def is_stable(group: ConsumerGroupDescription) -> bool:
    return group.state is ConsumerGroupState.STABLE and len(group.members) == MEMBERS


def committed(broker: BrokerProcess, topic: str) -> int:
    """The sum of the group's positions in a topic; -1 if it has none."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    asked = ConsumerGroupTopicPartitions(GROUP)
    answer = admin.list_consumer_group_offsets([asked])[GROUP].result(20)
    offsets = [each.offset for each in answer.topic_partitions if each.topic == topic and each.offset >= 0]
    return sum(offsets) if offsets else -1


def send(bootstrap: str, count: int, prefix: str) -> set[bytes]:
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    values = [f"{prefix}-{number}".encode() for number in range(count)]
    for number, value in enumerate(values):
        producer.produce(TOPIC, value, partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    return set(values)


def drain(broker: BrokerProcess, node_id: int) -> None:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{broker.admin_port}/v1/drain",
        data=json.dumps({"node_id": node_id}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        method="POST",
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert answer.status == 200


def test_members_and_generation_outlive_a_move_of_their_coordinator(brokers: list[BrokerProcess]) -> None:
    bootstrap = ",".join(broker.bootstrap for broker in brokers)
    create_topic(bootstrap, TOPIC, partitions=PARTITIONS)
    members = [Member(bootstrap) for _ in range(MEMBERS)]
    try:
        wait_until(lambda: is_stable(described(brokers[0])), 30, "both are members")
        sent = send(bootstrap, 200, "before")
        wait_until(lambda: {*members[0].values, *members[1].values} == sent, 30, "all of it is read")
        before = described(brokers[0])
        rebalances = [(member.assignments, member.losses) for member in members]
        drain(brokers[0], before.coordinator.id)
        wait_until(lambda: described(brokers[0]).coordinator.id != before.coordinator.id, 20, "the coordinator moves")
        sent |= send(bootstrap, 200, "after")
        wait_until(lambda: {*members[0].values, *members[1].values} == sent, 30, "all of it is read")
        wait_until(lambda: committed(brokers[0], TOPIC) == len(sent), 20, "and committed at the new coordinator")
        after = described(brokers[0])
        assert is_stable(after)
        assert {each.member_id for each in after.members} == {each.member_id for each in before.members}
        assert [(member.assignments, member.losses) for member in members] == rebalances, "no rebalance: one generation"
        assert len(members[0].values) + len(members[1].values) == len(sent), "nothing was read twice"
    finally:
        for member in members:
            member.end()


def test_positions_in_a_deleted_topic_go_at_a_coordinator_that_never_held_a_partition_of_it(
    brokers: list[BrokerProcess],
) -> None:
    bootstrap = ",".join(broker.bootstrap for broker in brokers)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [f"lone-{number}" for number in range(6)]
    for name in [*names, TOPIC]:
        create_topic(bootstrap, name)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP})
    consumer.commit(offsets=[TopicPartition(name, 0, 5) for name in [*names, TOPIC]], asynchronous=False)
    consumer.close()
    coordinator = described(brokers[0]).coordinator.id
    leaders = {name: admin.list_topics(name, timeout=10).topics[name].partitions[0].leader for name in names}
    assert set(leaders.values()) == {1, 2}, "one of them is not the coordinator"
    assert coordinator in (1, 2)
    assert [committed(brokers[0], name) for name in names] == [5] * len(names)
    for deleted in admin.delete_topics(names).values():
        deleted.result(20)
    wait_until(lambda: all(committed(brokers[0], name) == -1 for name in names), 10, "their positions go")
    assert committed(brokers[0], TOPIC) == 5
