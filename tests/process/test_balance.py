"""A broker that joins loaded ones gets its share by itself, while clients carry on."""

import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from automq_broker.cli import OK, run
from automq_broker.contract import admin
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from process.load import families, make_topic
from process.test_metrics import IN_CLUSTER
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

PARTITIONS = 12
PAUSE_S = 0.02
VALUE_BYTES = 2_000
SETTINGS = {
    "autobalancer.controller.network.in.usage.distribution.detect.threshold": "10000",
    "autobalancer.controller.goals": "kafka.autobalancer.goals.NetworkInUsageDistributionGoal",
}


class Load:
    """An idempotent producer that gives every partition the same, until it is told to stop."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.acked: Counter[int] = Counter()
        self.errors: list[str] = []
        self._topic = topic
        self._producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PAUSE_S):
            for partition in range(PARTITIONS):
                value = b"%08d" % number + b"x" * VALUE_BYTES
                self._producer.produce(self._topic, value, partition=partition, on_delivery=self._done)
            number += 1
            self._producer.poll(0)

    def _done(self, error, message) -> None:
        if error is None:
            self.acked[message.partition()] += 1
        else:
            self.errors.append(str(error))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(30) == 0


def leaders(bootstrap: str, topic: str) -> Counter[int]:
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=10).topics[topic]
    return Counter(row.leader for row in found.partitions.values())


def holder_of(brokers: list[BrokerProcess]) -> BrokerProcess:
    (holder,) = [broker for broker in brokers if broker.status()["controller"]["role"] == "holder"]
    return holder


def numbers(bootstrap: str, topic: str, partition: int, count: int) -> list[int]:
    """What was produced to a partition, from its beginning."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "r", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    found: list[int] = []
    deadline = time.monotonic() + 30
    while len(found) < count and time.monotonic() < deadline:
        for message in consumer.consume(500, 0.5):
            assert message.error() is None, message.error()
            found.append(int(message.value()[:8]))
    consumer.close()
    return found


def test_a_fourth_broker_gets_its_share_of_the_load_of_three_and_nothing_is_lost(tmp_path: Path) -> None:
    *brokers, fourth = cluster_processes(tmp_path, 4, settings=SETTINGS)
    for broker in brokers:
        broker.spawn()
    for broker in brokers:
        assert broker.process is not None
        broker.process.wait_ready(broker.is_ready, 40)
    make_topic(brokers[0].bootstrap, "busy", PARTITIONS)
    assert leaders(brokers[0].bootstrap, "busy") == {1: 4, 2: 4, 3: 4}
    load = Load(brokers[0].bootstrap, "busy")
    wait_until(lambda: len(load.acked) == PARTITIONS, 20, "the load has begun")
    fourth.start()
    wait_until(lambda: leaders(brokers[0].bootstrap, "busy") == {1: 3, 2: 3, 3: 3, 4: 3}, 90, "the load is even")
    holder = holder_of(brokers)
    moved = {name for name, lines in families(holder.metrics()).items() if any(value > 0 for _, value in lines)}
    assert {"automq_balancer_looks_total", "automq_balancer_moves_total", "automq_controller_sessions"} <= moved
    for broker in brokers:
        moved |= {name for name, lines in families(broker.metrics()).items() if any(value > 0 for _, value in lines)}
    assert moved >= IN_CLUSTER
    told = admin.Decisions.model_validate(holder.ask("/v1/decisions")).decisions
    assert len([each for each in told if each.kind == "balance" and each.decision.endswith("-> broker 4")]) == 3
    shares = admin.Brokers.model_validate(holder.ask("/v1/brokers")).brokers
    assert all(each.load is not None and each.load.silent_ms < 9000 for each in shares)
    load.stop()
    assert load.errors == []
    for partition in range(PARTITIONS):
        count = load.acked[partition]
        assert numbers(fourth.bootstrap, "busy", partition, count) == list(range(count))
    for broker in (*brokers, fourth):
        broker.stop()


def test_a_person_asks_what_would_be_moved_then_has_it_moved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-sixteen-characters")
    settings = {"autobalancer.controller.enable": "false", "automq.admin.token.file": str(token)}
    first, second = cluster_processes(tmp_path / "cluster", 2, settings=settings)
    first.start()
    make_topic(first.bootstrap, "idle", 6)
    second.start()

    def rebalance(*words: str) -> admin.Balanced:
        urls = [f"--admin=http://127.0.0.1:{broker.admin_port}" for broker in (second, first)]
        assert run(["cluster", "rebalance", *urls, f"--token-file={token}", "--json", *words]) == OK
        return admin.Balanced.model_validate_json(capsys.readouterr().out)

    wait_until(lambda: rebalance("--dry-run").moves != (), 60, "the load of both is known")
    assert leaders(first.bootstrap, "idle") == {1: 6}
    made = rebalance()
    assert [(move.source, move.target, move.goal) for move in made.moves] == [(1, 2, "leaders")] * 3
    wait_until(lambda: leaders(first.bootstrap, "idle") == {1: 3, 2: 3}, 30, "the moves are carried out")
    assert rebalance().moves == ()
    for broker in (first, second):
        broker.stop()
