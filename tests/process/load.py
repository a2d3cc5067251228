"""Small loads against a real broker process, with Kafka's C client, and the reading back of what was acknowledged."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families


def make_topic(bootstrap: str, topic: str, partitions: int = 1, **more: Any) -> None:
    """Create a topic and wait until it is there."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **more})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)


def produce(bootstrap: str, topic: str, values: list[bytes], **more: Any) -> list[bytes]:
    """Produce with idempotence; returns the values that were acknowledged, in order of their acks."""
    acked: list[bytes] = []

    def done(error: Any, message: Any) -> None:
        if error is None:
            acked.append(message.value())

    options = {"enable.idempotence": True, "linger.ms": 2, "queue.buffering.max.kbytes": 1 << 20}
    producer = Producer({"bootstrap.servers": bootstrap, **options, **more})
    for value in values:
        producer.produce(topic, value, on_delivery=done)
        producer.poll(0)
    producer.flush(60)
    return acked


def read_back(bootstrap: str, topic: str, count: int, *, timeout_s: float = 30, **more: Any) -> list[bytes]:
    """Up to `count` values of partition 0 from its beginning."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, **more})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    try:
        return list(_values(consumer, count, timeout_s))
    finally:
        consumer.close()


def _values(consumer: Consumer, count: int, timeout_s: float) -> Iterator[bytes]:
    deadline = time.monotonic() + timeout_s
    while count > 0 and time.monotonic() < deadline:
        for message in consumer.consume(min(count, 500), 0.2):
            assert message.error() is None, message.error()
            count -= 1
            yield message.value()


def families(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """A page of /metrics by sample name: labels and value of each line."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


class Moved:
    """Names of the samples that were ever above zero, gathered by a thread while it watches."""

    def __init__(self, scrape: Callable[[], str]) -> None:
        self._scrape = scrape
        self.names: set[str] = set()

    def look(self) -> None:
        """One scrape."""
        for name, lines in families(self._scrape()).items():
            if any(value > 0 for _, value in lines):
                self.names.add(name)


@contextmanager
def watched(scrape: Callable[[], str]) -> Iterator[Moved]:
    """Scrape again and again until the block ends, and once more. `scrape` returns the text of /metrics."""
    moved = Moved(scrape)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            moved.look()
            is_over.wait(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield moved
    finally:
        is_over.set()
        thread.join()
    moved.look()
