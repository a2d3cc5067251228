"""A producer that ticks: small records at an even rate to chosen partitions, and when each was sent and acknowledged."""

import threading
import time
from collections.abc import Sequence
from itertools import cycle

from chaos.figures import Answer
from confluent_kafka import KafkaError, Message, Producer


class Ticker:
    """Begins at once; `stop` waits for every answer. `errors` are records that were given up: there must be none."""

    def __init__(self, bootstrap: str, topic: str, partitions: Sequence[int], *, per_second: float = 500) -> None:
        self.errors: list[str] = []
        self._answers: list[Answer] = []
        self._topic = topic
        self._partitions = partitions
        self._pause_s = 1 / per_second
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 0,
                "message.timeout.ms": 120_000,
                "retry.backoff.ms": 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.refresh.fast.interval.ms": 50,
                "log_level": 2,
            }
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="ticker")
        self._thread.start()

    def answers(self) -> list[Answer]:
        """What was acknowledged so far, by time."""
        return sorted(self._answers.copy(), key=lambda answer: answer.acked)

    def stop(self) -> list[Answer]:
        """No more records; all that were sent have their answer."""
        self._stopping.set()
        self._thread.join()
        return self.answers()

    def _tick(self) -> None:
        for partition in cycle(self._partitions):
            if self._stopping.is_set():
                break
            self._send(partition, time.monotonic())
            self._producer.poll(self._pause_s)
        self._producer.flush(120)

    def _send(self, partition: int, sent: float) -> None:
        def answered(error: KafkaError | None, _: Message) -> None:
            if error is None:
                self._answers.append(Answer(sent, time.monotonic(), partition))
            else:
                self.errors.append(str(error))

        self._producer.produce(self._topic, b"." * 100, partition=partition, on_delivery=answered)


__all__ = ["Ticker"]
