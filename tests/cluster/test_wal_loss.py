"""The volume of a dead broker is gone for good: nothing goes on in silence, and one decision brings its partitions back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from twins.child_process import wait_until
from twins.up_process import UpProcess

TOPIC, PARTITIONS, VICTIM = "orders", 6, 2


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[UpProcess]:
    up = UpProcess(tmp_path)
    try:
        up.start()
        admin = AdminClient({"bootstrap.servers": up.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result(30)
        yield up
        assert up.stop() == 0
    finally:
        up.end_leftovers()


def automq_cluster(cluster: UpProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "automq_broker", "cluster", *words, "--data", str(cluster.data)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def produce(bootstrap: str, partitions: range, value: bytes) -> None:
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "delivery.timeout.ms": 60_000})
    for partition in partitions:
        producer.produce(
            TOPIC, value, partition=partition, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    assert producer.flush(60) == 0
    assert failures == []


def end_offsets(bootstrap: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends"})
    try:
        return [
            consumer.get_watermark_offsets(TopicPartition(TOPIC, number), timeout=30)[1] for number in range(PARTITIONS)
        ]
    finally:
        consumer.close()


def lose_the_log(cluster: UpProcess) -> set[int]:
    """Kill the victim while `automq up` is frozen, and take its volume away; returns the partitions it had."""
    found = json.loads(automq_cluster(cluster, "brokers", "--json").stdout)["brokers"]
    assert found[VICTIM - 1]["partitions_open"] > 0
    metadata = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(TOPIC, 20).topics[TOPIC]
    assert cluster.process is not None
    os.kill(cluster.process.pid, signal.SIGSTOP)
    cluster.signal(VICTIM, signal.SIGKILL)
    for file in (cluster.data / "brokers" / str(VICTIM) / "wal").iterdir():
        file.unlink()
    os.kill(cluster.process.pid, signal.SIGCONT)
    return {each.id for each in metadata.partitions.values() if each.leader == VICTIM}


def test_a_lost_log_holds_its_partitions_until_the_loss_is_accepted_and_then_costs_only_its_tail(
    cluster: UpProcess,
) -> None:
    produce(cluster.bootstrap, range(PARTITIONS), b"only in the log")
    lost = lose_the_log(cluster)
    assert automq_cluster(cluster, "accept-wal-loss", str(VICTIM)).returncode != 0  # nobody there to agree
    accepted: list[dict[str, object]] = []

    def is_accepted() -> bool:
        answer = automq_cluster(cluster, "accept-wal-loss", str(VICTIM), "--yes", "--json")
        if answer.returncode == 0:
            accepted.extend(json.loads(answer.stdout)["lost"])
        return answer.returncode == 0

    wait_until(is_accepted, 60, "the session of the dead broker ran out and its loss was accepted", every_s=1.0)
    named = {each["partition"]: each["committed_end"] for each in accepted if each["topic"] == TOPIC}
    assert named == dict.fromkeys(lost, 0)
    produce(cluster.bootstrap, range(PARTITIONS), b"goes on")
    assert end_offsets(cluster.bootstrap) == [1 if number in lost else 2 for number in range(PARTITIONS)]
