"""A broker with data for the commands that work on what it leaves behind, and the command line as a user calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from twins.broker_process import BrokerProcess

SETTINGS = {"num.partitions": "2", "s3.wal.capacity": str(64 << 20)}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


def automq(*arguments: object, text: str = "", timeout_s: float = 60) -> Ended:
    """Run `automq` with these arguments and `text` on standard input."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUTOMQ_")}
    ended = subprocess.run(
        [sys.executable, "-m", "automq_broker", *map(str, arguments)],
        input=text.encode(),
        capture_output=True,
        timeout=timeout_s,
        env=environment,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def started(directory: Path, bucket: str | None = None, **settings: str) -> BrokerProcess:
    """A running broker below `directory`."""
    broker = BrokerProcess(directory, bucket=bucket, settings={**SETTINGS, **settings})
    broker.start()
    return broker


def produce(broker: BrokerProcess, topic: str, values: Sequence[str], partition: int = 0) -> None:
    """Acknowledged records, in order."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.bootstrap, "enable.idempotence": True})
    for value in values:
        producer.produce(topic, value.encode(), partition=partition)
    assert producer.flush(20) == 0


def consume(broker: BrokerProcess, topic: str, partition: int = 0) -> dict[int, str]:
    """Every record of a partition by offset."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "reader", "enable.auto.commit": False})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
        found: dict[int, str] = {}
        while low < high and consumer.position([TopicPartition(topic, partition)])[0].offset < high:
            message = consumer.poll(10)
            if message is None:
                raise AssertionError(f"{topic}-{partition} stops behind {max(found, default=None)} of [{low}, {high})")
            assert message.error() is None
            found[message.offset()] = message.value().decode()
            if message.offset() + 1 == high:
                break
        return found
    finally:
        consumer.close()


def data_objects(directory: Path) -> list[Path]:
    """The objects in a directory bucket, oldest first."""
    return sorted((directory / "data" / "bucket" / "data").glob("*/*"), key=lambda path: path.name)
