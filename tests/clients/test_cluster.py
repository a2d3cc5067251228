"""Three broker processes on one bucket: any of them creates, produces, consumes; the controller may die."""

import threading
import time
from pathlib import Path

import pytest
from clients.confluent import create_topic, read_partition
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from twins.brokers import cluster_processes
from twins.child_process import wait_until

PARTITIONS = 6


@pytest.fixture
def brokers(tmp_path: Path):
    started = cluster_processes(tmp_path, 3)
    for broker in started:
        broker.spawn()
    for broker in started:
        assert broker.process is not None
        broker.process.wait_ready(broker.is_ready, 40)
    yield started
    for broker in started:
        if broker.process is not None and broker.process.is_running:
            broker.terminate()


def leaders(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    return {index: row.leader for index, row in admin.list_topics(timeout=10).topics[topic].partitions.items()}


def holder_of(brokers):
    (holder,) = [broker for broker in brokers if broker.status()["controller"]["role"] == "holder"]
    return holder


def test_any_broker_creates_produces_and_consumes_for_all(brokers):
    for number, broker in enumerate(brokers):
        create_topic(broker.bootstrap, f"topic-{number}", partitions=PARTITIONS)
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        described = admin.list_topics(timeout=10)
        assert sorted(described.brokers) == [1, 2, 3]
        assert described.controller_id in (1, 2, 3)
    for number in range(3):
        seen = [leaders(broker, f"topic-{number}") for broker in brokers]
        assert seen[0] == seen[1] == seen[2]
        assert sorted(seen[0].values()) == [1, 1, 2, 2, 3, 3]
    failures = []
    producer = Producer({"bootstrap.servers": brokers[1].bootstrap, "enable.idempotence": True})
    for index in range(600):
        topic, partition = f"topic-{index % 3}", index % PARTITIONS
        producer.produce(
            topic, str(index).encode(), partition=partition, callback=lambda error, _: error and failures.append(error)
        )
    assert producer.flush(30) == 0
    assert failures == []
    values = []
    for number in range(3):
        for partition in range(PARTITIONS):
            values += [int(m.value()) for m in read_partition(brokers[2].bootstrap, f"topic-{number}", partition)]
    assert sorted(values) == list(range(600))


def test_when_the_controller_is_killed_the_next_topic_is_made_in_time_and_producers_see_no_error(brokers):
    create_topic(brokers[0].bootstrap, "steady", partitions=PARTITIONS)
    holder = holder_of(brokers)
    others = [broker for broker in brokers if broker is not holder]
    node_id = int(holder.settings["node.id"])
    elsewhere = [index for index, leader in leaders(others[0], "steady").items() if leader != node_id]
    failures, acked, stop = [], [], threading.Event()

    def produce():
        producer = Producer({"bootstrap.servers": others[0].bootstrap, "message.timeout.ms": 5000})
        while not stop.is_set():
            for partition in elsewhere:
                producer.produce(
                    "steady",
                    b"x",
                    partition=partition,
                    callback=lambda error, message: (failures if error else acked).append(error or message.offset()),
                )
            producer.poll(0.01)
        producer.flush(10)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        time.sleep(0.5)
        holder.kill()
        begun = time.monotonic()
        create_topic(others[1].bootstrap, "after", partitions=PARTITIONS)
        assert time.monotonic() - begun <= 15
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert len(acked) > 100
    holder.start(40)
    assert {broker.status()["controller"]["role"] for broker in brokers} == {"holder", "follower"}


def test_a_broker_with_another_secret_ends_with_one_clear_line(brokers, tmp_path):
    (stranger,) = cluster_processes(tmp_path / "stranger", 1, bucket=str(tmp_path / "bucket"))
    secret = tmp_path / "another-secret"
    secret.write_text("another secret, long enough")
    stranger.settings |= {"node.id": "9", "automq.inter.broker.secret.file": str(secret)}
    process = stranger.spawn()
    wait_until(lambda: not process.is_running, 30, "the stranger's end")
    assert process.exit_code == 1
    lines = [line for line in process.log().splitlines() if line.startswith("automq: ")]
    assert len(lines) == 1
    assert "automq.inter.broker.secret.file" in lines[0]
    assert "Traceback" not in process.log()
