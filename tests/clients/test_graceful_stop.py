"""A broker of three is told to stop under load: clients see retriable errors at most, and every record is elsewhere."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.confluent import create_topic, read_partition
from confluent_kafka import KafkaError, Message, Producer
from twins.broker_process import BrokerProcess
from twins.brokers import cluster_processes
from twins.child_process import wait_until

PARTITIONS = 12
TOPIC = "steady"


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[list[BrokerProcess]]:
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


class Load:
    """An idempotent producer to every partition, until told to end; what was acknowledged, and what failed."""

    def __init__(self, bootstrap: str) -> None:
        self.acked: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        self.failures: list[KafkaError] = []
        self.errors: list[KafkaError] = []
        self._stop = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "error_cb": self.errors.append,
            }
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        """Wait until everything that was sent is acknowledged."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            for partition in range(PARTITIONS):
                value = b"%d-%d" % (partition, number)
                self._producer.produce(TOPIC, value, partition=partition, callback=self._delivered)
            number += 1
            self._producer.poll(0.005)
        self._producer.flush(30)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failures.append(error)
        else:
            self.acked[message.partition()].append(message.value())


@pytest.mark.parametrize("is_controller", [True, False], ids=["the controller", "another broker"])
def test_sigterm_under_load(brokers: list[BrokerProcess], is_controller: bool) -> None:
    create_topic(brokers[0].bootstrap, TOPIC, partitions=PARTITIONS)
    by_role = {broker.status()["controller"]["role"] == "holder": broker for broker in brokers}
    leaving = by_role[is_controller]
    staying = [broker for broker in brokers if broker is not leaving]
    load = Load(",".join(broker.bootstrap for broker in brokers))
    wait_until(lambda: all(len(acked) > 50 for acked in load.acked.values()), 20, "the load runs")
    begun = time.monotonic()
    assert leaving.terminate() == 0
    assert time.monotonic() - begun < 8
    counts = {partition: len(acked) for partition, acked in load.acked.items()}
    wait_until(
        lambda: all(len(acked) > counts[partition] + 50 for partition, acked in load.acked.items()),
        15,
        "every partition takes records elsewhere",
    )
    load.end()
    assert load.failures == []
    assert not [error for error in load.errors if error.fatal()]
    for partition, acked in load.acked.items():
        found = [message.value() for message in read_partition(staying[0].bootstrap, TOPIC, partition)]
        assert found == acked
    leaving.start(40)
