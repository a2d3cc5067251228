"""The clients of a chaos run, one process each, on librdkafka as its users run it; each writes a history of what it saw.

    python -m chaos.clients producer|reader|member|last HISTORY BOOTSTRAP TOPIC PARTITIONS [NUMBER RATE]

SIGTERM asks for an orderly end: a producer waits for the fate of every record, a consumer reads until nothing comes.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from chaos.history import (
    NUMBERS_PER_PRODUCER,
    Acked,
    Assigned,
    Committed,
    Failed,
    Polled,
    Recorder,
    Role,
    Sent,
)
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

GROUP: Final = "chaos"
VALUE_BYTES: Final = 200
_IN_FLIGHT_MAX = 20_000
_FLUSH_S = 120.0
_SILENCE_S = 8.0
_LOST_S = 30.0
"""Who heard nothing for a while before the end was asked for looks for its brokers, or for its group, for so long."""

_LAST_S = 120.0
_COMMIT_S = 1.0
_POLLS_MAX = 500
_NUMBER_WIDTH = 20

_COMMON: Final[dict[str, Any]] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 500,
    "topic.metadata.refresh.interval.ms": 10_000,
    "topic.metadata.refresh.fast.interval.ms": 100,
    "log_level": 2,
}


def encode_value(value: int) -> bytes:
    """What is produced: the number, and filling."""
    return b"%0*d" % (_NUMBER_WIDTH, value) + b"." * (VALUE_BYTES - _NUMBER_WIDTH)


class NumberingProducer:
    """An idempotent producer whose every record is in its history. Never gives a record up: liveness is asked elsewhere."""

    def __init__(self, bootstrap: str, topic: str, recorder: Recorder, number: int) -> None:
        self._topic = topic
        self._recorder = recorder
        self._next = number * NUMBERS_PER_PRODUCER
        self.unanswered = 0
        self._producer = Producer(
            {
                **_COMMON,
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 0,
                "retry.backoff.ms": 50,
                "error_cb": self._error,
            }
        )

    def send(self, partition: int) -> None:
        """One more record."""
        value, self._next = self._next, self._next + 1
        self._recorder.tell(Sent(time.monotonic(), partition, value))
        self.unanswered += 1

        def delivered(error: KafkaError | None, message: Message) -> None:
            self.unanswered -= 1
            if error is not None:
                self._recorder.tell(Failed(time.monotonic(), partition, value, str(error)))
            else:
                self._recorder.tell(Acked(time.monotonic(), partition, value, message.offset() or 0))

        self._producer.produce(self._topic, encode_value(value), partition=partition, on_delivery=delivered)

    def poll(self, timeout_s: float) -> None:
        """Let answers in."""
        self._producer.poll(timeout_s)

    def end(self) -> None:
        """Wait for every answer; what has none after two minutes is told as failed."""
        left = self._producer.flush(_FLUSH_S)
        if left:
            self._recorder.tell(Failed(time.monotonic(), -1, -1, f"{left} records without an answer at the end"))

    def _error(self, error: KafkaError) -> None:
        if error.fatal():
            self._recorder.tell(Failed(time.monotonic(), -1, -1, f"fatal: {error}"))


class _Ending:
    """Set by SIGTERM."""

    def __init__(self) -> None:
        self.is_asked = False
        self.asked_at = 0.0
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.is_asked = True
        self.asked_at = time.monotonic()


def produce(recorder: Recorder, bootstrap: str, topic: str, partitions: int, number: int, rate: float) -> None:
    """Records at an even rate, round robin; a cluster that is slow only makes them wait, up to a bound."""
    ending, producer = _Ending(), NumberingProducer(bootstrap, topic, recorder, number)
    began, sent = time.monotonic(), 0
    while not ending.is_asked:
        due = int((time.monotonic() - began) * rate)
        while sent < due and producer.unanswered < _IN_FLIGHT_MAX:
            producer.send((sent + number) % partitions)
            sent += 1
        producer.poll(0.01)
    producer.end()


def consume(recorder: Recorder, bootstrap: str, topic: str, partitions: int, role: Role) -> None:
    """Read until nothing comes after the end was asked for; the last reader asks itself, and reads to every end."""
    ending = _Ending()
    consumer = Consumer(
        {
            **_COMMON,
            "bootstrap.servers": bootstrap,
            "group.id": GROUP if role is Role.MEMBER else f"{GROUP}-{role}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest" if role is Role.MEMBER else "error",
            "enable.partition.eof": role is Role.LAST,
            "session.timeout.ms": 10_000,
            "fetch.error.backoff.ms": 50,
        }
    )
    reading = _Reading(consumer, recorder, topic, role)
    if role is Role.MEMBER:
        consumer.subscribe([topic], on_assign=reading.assigned)
    else:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
    deadline = time.monotonic() + _LAST_S
    while not _is_over(reading, ending, role, partitions, deadline):
        reading.step()
    reading.commit()
    consumer.close()


def _is_over(reading: "_Reading", ending: _Ending, role: Role, partitions: int, deadline: float) -> bool:
    now = time.monotonic()
    if role is not Role.LAST:
        if not ending.is_asked or now - reading.heard_at <= _SILENCE_S:
            return False
        was_lost = ending.asked_at - reading.heard_at > _SILENCE_S
        return not was_lost or now - ending.asked_at > _LOST_S
    if now > deadline:
        reading.recorder.tell(Failed(now, -1, -1, f"{partitions - len(reading.ended)} partitions had no end"))
        return True
    return len(reading.ended) == partitions


class _Reading:
    """One consumer's polls, told in order."""

    def __init__(self, consumer: Consumer, recorder: Recorder, topic: str, role: Role) -> None:
        self.recorder = recorder
        self.heard_at = time.monotonic()
        self.ended: set[int] = set()
        self._consumer = consumer
        self._topic = topic
        self._role = role
        self._next: dict[int, int] = {}
        self._polled: dict[int, list[tuple[int, int]]] = {}
        self._committed_at = time.monotonic()

    def assigned(self, _: Consumer, given: list[TopicPartition]) -> None:
        """Called inside a poll: what came before it belongs to the former assignment."""
        self._tell_polled()
        self._next.clear()
        self.heard_at = time.monotonic()
        self.recorder.tell(Assigned(self.heard_at, tuple(each.partition for each in given)))

    def step(self) -> None:
        """Some records, one by one, and now and then a commit."""
        timeout_s = 0.2  # for the first alone
        for _ in range(_POLLS_MAX):
            message = self._consumer.poll(timeout_s)
            if message is None:
                break
            self._take(message)
            timeout_s = 0.0
        self._tell_polled()
        now = time.monotonic()
        if now - self._committed_at > _COMMIT_S:
            self._committed_at = now
            self.commit()

    def _take(self, message: Message) -> None:
        partition, error = message.partition() or 0, message.error()
        if error is None:
            value = int((message.value() or b"")[:_NUMBER_WIDTH])
            self._polled.setdefault(partition, []).append((message.offset() or 0, value))
        elif error.code() == KafkaError._PARTITION_EOF:
            self.ended.add(partition)
        elif (
            error.code() != KafkaError._RESOLVE
        ):  # a name that is not known for a moment: librdkafka asks again by itself
            self.recorder.tell(Failed(time.monotonic(), partition, -1, str(error)))

    def _tell_polled(self) -> None:
        now = time.monotonic()
        for partition, records in self._polled.items():
            offsets, values = zip(*records, strict=True)
            self.recorder.tell(Polled(now, partition, offsets, values))
            self._next[partition] = offsets[-1] + 1
            self.heard_at = now
        self._polled.clear()

    def commit(self) -> None:
        """Commit what was told; an offset counts only when the coordinator has confirmed it."""
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._next.items()]
        if not offsets or self._role is not Role.MEMBER:
            return
        try:
            confirmed = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException:
            return  # a rebalance, or a coordinator that moves: nothing was promised
        for each in confirmed or ():
            if each.error is None:
                self.recorder.tell(Committed(time.monotonic(), each.partition, each.offset))


def main() -> None:
    """Command line of one client."""
    kind, path, bootstrap, topic, partitions, *more = sys.argv[1:]
    role = Role(kind)
    recorder = Recorder(Path(path), role, GROUP if role is Role.MEMBER else "")
    try:
        if role is Role.PRODUCER:
            produce(recorder, bootstrap, topic, int(partitions), int(more[0]), float(more[1]))
        else:
            consume(recorder, bootstrap, topic, int(partitions), role)
    finally:
        recorder.close()


if __name__ == "__main__":
    main()
