"""A whole cluster on one machine, hurt under load: what was acknowledged is there, once, and clients carry on."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from process.load import watched
from process.test_metrics import AFTER_A_DEATH
from twins.child_process import wait_until
from twins.up_process import UpProcess

TOPIC, PARTITIONS = "orders", 6


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[UpProcess]:
    """Three brokers, one topic, leaders on all of them; the parameter, if there is one, are settings."""
    up = UpProcess(tmp_path, settings=getattr(request, "param", ()))
    try:
        up.start()
        admin = AdminClient({"bootstrap.servers": up.bootstrap})
        for future in admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)]).values():
            future.result(30)
        yield up
        assert up.stop() == 0
    finally:
        up.end_leftovers()


class Load:
    """An idempotent producer that numbers its records; `acked` is what was acknowledged."""

    def __init__(self, bootstrap: str) -> None:
        self.acked: list[bytes] = []
        self.failed: list[str] = []
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5, "delivery.timeout.ms": 90_000}
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)  # a test that fails does not stop it
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(0.001):
            self._producer.produce(TOPIC, b"%d" % number, partition=number % PARTITIONS, on_delivery=self._delivered)
            self._producer.poll(0)
            number += 1
        self._producer.flush(90)

    def _delivered(self, error: object, message: object) -> None:
        if error is None:
            self.acked.append(message.value())  # type: ignore[attr-defined]
        else:
            self.failed.append(str(error))

    def stop(self) -> None:
        """Wait for every outstanding acknowledgement."""
        self._stopping.set()
        self._thread.join()


def leaders_by_partition(bootstrap: str) -> dict[int, int]:
    """Who serves each of the topic's partitions; -1 for nobody."""
    topic = AdminClient({"bootstrap.servers": bootstrap}).list_topics(TOPIC, 20).topics[TOPIC]
    return {index: partition.leader for index, partition in topic.partitions.items()}


def leaders(bootstrap: str) -> set[int]:
    """Who serves the topic's partitions."""
    return set(leaders_by_partition(bootstrap).values())


def read_all(bootstrap: str, count: int) -> list[bytes]:
    """Every record of the topic, until nothing came for a while beyond `count`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "check", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    found: list[bytes] = []
    silent = 0
    while silent < (2 if len(found) >= count else 30):
        messages = consumer.consume(1000, 1.0)
        silent = 0 if messages else silent + 1
        found += [message.value() for message in messages if message.error() is None]
    consumer.close()
    return found


@pytest.mark.parametrize("cluster", [(), ("s3.wal.path=s3",)], ids=["file", "s3"], indirect=True)
def test_a_killed_brokers_log_is_drained_beside_a_survivor_and_survivors_serve_with_nothing_lost_or_doubled(
    cluster: UpProcess,
) -> None:
    load = Load(cluster.bootstrap)
    cluster.wait_told("start broker 3", 10)
    while len(load.acked) < 1000:
        threading.Event().wait(0.1)
    with watched(lambda: cluster.metrics(1)) as first, watched(lambda: cluster.metrics(3)) as third:
        cluster.signal(2, signal.SIGKILL)
        cluster.wait_told("drain the log of broker 2 beside broker", 60)
        cluster.wait_told("broker 2: adopter done", 60)
        assert leaders(cluster.bootstrap) == {1, 3}
        cluster.wait_told("broker 2: recovered", 60)
    assert AFTER_A_DEATH - (first.names | third.names) == set()
    load.stop()
    assert load.failed == []
    found = read_all(cluster.bootstrap, len(load.acked))
    assert sorted(found) == sorted(load.acked)
    assert "fence broker 2" in cluster.log()


def test_a_frozen_broker_is_only_suspected_and_serves_again_when_it_thaws(cluster: UpProcess) -> None:
    pid = cluster.pid(3)
    cluster.signal(3, signal.SIGSTOP)
    cluster.wait_told("broker 3: suspect", 40)
    assert "fence broker 3" not in cluster.log()
    cluster.signal(3, signal.SIGCONT)
    load = Load(cluster.bootstrap)
    while len(load.acked) < 500:
        threading.Event().wait(0.1)
    load.stop()
    assert load.failed == []
    assert cluster.pid(3) == pid


def test_a_cluster_that_was_stopped_in_order_starts_with_every_partition_where_it_was(cluster: UpProcess) -> None:
    before = leaders_by_partition(cluster.bootstrap)
    assert set(before.values()) == {1, 2, 3}
    for _ in range(2):
        assert cluster.stop() == 0
        cluster.start()
        wait_until(lambda: -1 not in leaders_by_partition(cluster.bootstrap).values(), 30, "all partitions are open")
        assert leaders_by_partition(cluster.bootstrap) == before


def test_a_second_up_takes_the_brokers_of_a_killed_one_over(cluster: UpProcess) -> None:
    pids = [cluster.pid(node_id) for node_id in (1, 2, 3)]
    cluster.kill()
    cluster.start()
    assert [cluster.pid(node_id) for node_id in (1, 2, 3)] == pids
    cluster.signal(1, signal.SIGKILL)
    cluster.wait_told("broker 1: recovered", 60)
