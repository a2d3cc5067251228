"""Small steps with confluent-kafka that several suites take: make a topic, read a partition to its end."""

import time
import uuid
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


def create_topic(bootstrap: str, topic: str, *, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
    """Create `topic` and return when the broker has said that it exists."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    created = admin.create_topics([NewTopic(topic, partitions, 1, config=dict(config or {}))])
    created[topic].result(30)


def read_partition(
    bootstrap: str, topic: str, partition: int, *, count: int | None = None, timeout_s: float = 30
) -> list[Message]:
    """Every record of a partition in offset order, up to its end (or until there are `count`)."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reader-{uuid.uuid4().hex}",
            "enable.auto.commit": False,
            "enable.partition.eof": count is None,
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    messages: list[Message] = []
    deadline = time.monotonic() + timeout_s
    try:
        while count is None or len(messages) < count:
            assert time.monotonic() < deadline, f"{topic}-{partition}: {len(messages)} records after {timeout_s} s"
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                break
            else:
                raise AssertionError(f"{topic}-{partition}: {error}")
    finally:
        consumer.close()
    return messages
