"""Java's producer and consumer on a cluster whose brokers are restarted one by one and then killed: they notice nothing."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from clients.confluent import create_topic, read_partition
from clients.tooling import require_kafka_jars
from twins import kafka_peer
from twins.child_process import wait_until
from twins.readiness import speaks_kafka
from twins.up_process import UpProcess

pytestmark = pytest.mark.clients

TOPIC, PARTITIONS = "orders", 6
RECORDS_PER_SECOND = "500"


class Verifiable:
    """One of Kafka's verifiable clients; `events` is what it told, a JSON object a line."""

    def __init__(self, name: str, log: Path, bootstrap: str, *arguments: str, settings: Mapping[str, str]) -> None:
        self.events: list[dict[str, object]] = []
        self._log = log
        config = log.with_suffix(".properties")
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = kafka_peer.java_command(
            f"org.apache.kafka.tools.{name}",
            *("--bootstrap-server", bootstrap, "--topic", TOPIC, "--command-config", str(config), *arguments),
            properties={"org.slf4j.simpleLogger.defaultLogLevel": "error"},
        )
        with open(log, "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.events += (json.loads(line) for line in self._process.stdout if line.startswith("{"))

    def values(self, event: str) -> list[str]:
        """The records that events of this name are about."""
        return [str(each["value"]) for each in list(self.events) if each["name"] == event]

    def errors(self) -> str:
        """What it logged as an error: whatever a client does not mend by itself."""
        return self._log.read_text()

    def stop(self) -> None:
        """As Ctrl-C ends it, with everything settled."""
        assert self._process.poll() is None, f"it ended by itself: {self.errors()}"
        self._process.terminate()
        self._process.wait(60)
        self._reader.join()

    def kill(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[UpProcess]:
    require_kafka_jars()
    up = UpProcess(tmp_path)
    try:
        up.start()
        create_topic(up.bootstrap, TOPIC, partitions=PARTITIONS)
        yield up
        assert up.stop() == 0
    finally:
        up.end_leftovers()


@pytest.fixture
def producer(cluster: UpProcess, tmp_path: Path) -> Iterator[Verifiable]:
    # The tool turns retries off, which no producer in use does: Kafka's own defaults are put back.
    settings = {"retries": "2147483647", "enable.idempotence": "true"}
    options = ("--throughput", RECORDS_PER_SECOND)
    started = Verifiable(
        "VerifiableProducer", tmp_path / "producer.log", cluster.bootstrap, *options, settings=settings
    )
    yield started
    started.kill()


@pytest.fixture
def consumer(cluster: UpProcess, tmp_path: Path) -> Iterator[Verifiable]:
    options = ("--group-id", "java", "--verbose")
    started = Verifiable("VerifiableConsumer", tmp_path / "consumer.log", cluster.bootstrap, *options, settings={})
    yield started
    started.kill()


def stored(cluster: UpProcess) -> list[str]:
    found = [read_partition(cluster.bootstrap, TOPIC, index) for index in range(PARTITIONS)]
    return [message.value().decode() for messages in found for message in messages]


def wait_acked(producer: Verifiable, more: int) -> None:
    before = len(producer.values("producer_send_success"))
    wait_until(lambda: len(producer.values("producer_send_success")) >= before + more, 90, f"{more} more acknowledged")


def restart(cluster: UpProcess, node_id: int) -> None:
    """SIGTERM: it hands its partitions over and ends, and is started again on its log."""
    told = f"start broker {node_id}: "
    before = cluster.log().count(told)
    cluster.signal(node_id, signal.SIGTERM)
    port = cluster.ports(node_id).kafka
    wait_until(lambda: cluster.log().count(told) > before and speaks_kafka(port), 60, f"broker {node_id} is back")


def test_restarts_one_by_one_and_a_takeover_show_no_error_lose_nothing_and_double_nothing(
    cluster: UpProcess, producer: Verifiable, consumer: Verifiable
) -> None:
    wait_acked(producer, 500)
    for node_id in (1, 2, 3):
        restart(cluster, node_id)
        wait_acked(producer, 500)
    cluster.signal(2, signal.SIGKILL)
    cluster.wait_told("broker 2: recovered", 90)
    wait_acked(producer, 500)
    producer.stop()
    acked = producer.values("producer_send_success")
    refused = [each for each in producer.events if each["name"] == "producer_send_error"]
    # The tool sends from one thread and is closed by another: what it was sending at its own end is no broker's refusal.
    assert [each for each in refused if each["message"] != "Producer closed while send in progress"] == []
    assert sorted(stored(cluster)) == sorted(acked), "each once"
    wait_until(lambda: set(consumer.values("record_data")) >= set(acked), 60, "the group has seen everything")
    consumer.stop()
    assert producer.errors() + consumer.errors() == ""
