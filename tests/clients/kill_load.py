"""Load for the kill loop: one idempotent librdkafka producer that knows which of its records were acked, and a reader
that compares the log with that.

Every value is a running number, so after any number of crashes the log must hold each acked number exactly once, and
no number twice.
"""

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from clients.confluent import read_partition
from confluent_kafka import KafkaError, Message, Producer


@dataclass(slots=True)
class Load:
    """Produces numbers 0, 1, 2, … round-robin over the partitions from its own thread until `finish`."""

    bootstrap: str
    topic: str
    partitions: int
    records_per_second: int
    acked: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    sent: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to produce; a broker that is away only makes the records wait."""
        self._thread = threading.Thread(target=self._produce, name="kill-load", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Stop producing, wait until every record's fate is known."""
        assert self._thread is not None
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "the producer did not finish"

    def wait_acked_beyond(self, count: int, timeout_s: float) -> float:
        """Wait for acks beyond `count`; returns the seconds that it took."""
        start = time.monotonic()
        while len(self.acked) <= count:
            assert not self.failures, self.failures[:5]
            assert time.monotonic() - start < timeout_s, f"no new ack within {timeout_s} s ({len(self.acked)} so far)"
            time.sleep(0.005)
        return time.monotonic() - start

    def _produce(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 2,
                "message.timeout.ms": 0,  # never give up: a record without a fate would weaken the test
                "reconnect.backoff.ms": 10,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "socket.timeout.ms": 10000,
                "log_level": 2,
            }
        )
        start = time.monotonic()
        while not self._stop.is_set():
            due = int((time.monotonic() - start) * self.records_per_second)
            while self.sent < due and len(producer) < 50_000:
                self._send(producer, self.sent)
                self.sent += 1
            producer.poll(0.005)
        if (left := producer.flush(60)) != 0:
            self.failures.append(f"{left} records without a fate 60 s after the last kill")

    def _send(self, producer: Producer, number: int) -> None:
        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self.acked.add(number)
            else:
                self.failures.append(str(error))

        value = b"%d" % number + b"." * (number % 200)
        producer.produce(self.topic, value=value, partition=number % self.partitions, on_delivery=on_delivery)


def compare_with_log(load: Load) -> str:
    """Read everything back; returns an empty string, or what is missing, doubled or out of order."""
    found: Counter[int] = Counter()
    disorder: list[str] = []
    for partition in range(load.partitions):
        messages = read_partition(load.bootstrap, load.topic, partition, timeout_s=120)
        numbers = [int((message.value() or b"").rstrip(b".")) for message in messages]
        disorder += [f"{a} before {b} in {partition}" for a, b in itertools.pairwise(numbers) if a >= b]
        found.update(numbers)
    missing = sorted(load.acked - found.keys())
    doubled = sorted(number for number, times in found.items() if times > 1)
    complaints = [
        f"{len(items)} {title}: {items[:10]}"
        for title, items in (("acked but missing", missing), ("doubled", doubled), ("out of order", disorder))
        if items
    ]
    return "; ".join(complaints)
