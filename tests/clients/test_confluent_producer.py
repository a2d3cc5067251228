"""confluent-kafka (librdkafka 2.16) as a producer and a plain consumer."""

import time
from collections.abc import Callable

import pytest
from clients.confluent import create_topic, read_partition
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

Fresh = Callable[[str], str]


def test_an_idempotent_producer_gets_one_offset_per_record(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("idempotent")
    create_topic(bootstrap, topic, partitions=3)
    delivered: list[tuple[int, int]] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:
        assert error is None
        delivered.append((message.partition() or 0, message.offset() or 0))

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 5})
    for number in range(3000):
        producer.produce(topic, value=f"{number}", partition=number % 3, on_delivery=on_delivery)
        producer.poll(0)
    assert producer.flush(30) == 0
    assert sorted(delivered) == [(partition, offset) for partition in range(3) for offset in range(1000)]
    for partition in range(3):
        values = [int(message.value() or b"") for message in read_partition(bootstrap, topic, partition)]
        assert values == list(range(partition, 3000, 3))


def test_acks_zero_and_one_are_served(bootstrap: str, fresh: Fresh) -> None:
    for acks in ("0", "1"):
        topic = fresh(f"acks-{acks}")
        create_topic(bootstrap, topic)
        producer = Producer({"bootstrap.servers": bootstrap, "acks": acks})
        for number in range(100):
            producer.produce(topic, value=f"{number}")
        assert producer.flush(30) == 0
        assert len(read_partition(bootstrap, topic, 0, count=100)) == 100


def test_a_record_above_max_message_bytes_is_refused_and_the_next_goes_through(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("too-large")
    create_topic(bootstrap, topic, config={"max.message.bytes": "20000"})
    outcomes: list[int | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 10_000_000, "linger.ms": 0})
    for size in (30_000, 10_000):
        producer.produce(topic, value=b"x" * size, on_delivery=lambda e, _: outcomes.append(e.code() if e else None))
        producer.flush(30)
    assert outcomes == [KafkaError.MSG_SIZE_TOO_LARGE, None]


def test_log_append_time_is_the_brokers_clock(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("append-time")
    create_topic(bootstrap, topic, config={"message.timestamp.type": "LogAppendTime"})
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4"})
    before_ms = int(time.time() * 1000)
    for number in range(10):
        producer.produce(topic, value=f"{number}", timestamp=1_000_000)
    assert producer.flush(30) == 0
    for message in read_partition(bootstrap, topic, 0):
        kind, timestamp_ms = message.timestamp()
        assert kind == TIMESTAMP_LOG_APPEND_TIME
        assert before_ms - 1000 <= timestamp_ms <= int(time.time() * 1000) + 1000


def test_a_waiting_consumer_sees_a_new_record_at_once(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("long-poll")
    create_topic(bootstrap, topic)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": fresh("g"), "fetch.wait.max.ms": 5000})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    assert consumer.poll(1.0) is None
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    producer.produce(topic, value=b"wake up")
    producer.flush(10)
    acked_at = time.monotonic()
    message = consumer.poll(10)
    waited_s = time.monotonic() - acked_at
    consumer.close()
    assert message is not None
    assert message.value() == b"wake up"
    assert waited_s < 1.0, "the fetch must end with the record, not with its 5 s wait"


def test_an_offset_beyond_the_end_is_out_of_range(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("out-of-range")
    create_topic(bootstrap, topic)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": fresh("g"), "auto.offset.reset": "error"})
    consumer.assign([TopicPartition(topic, 0, 1234)])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    error = message.error()
    assert error is not None
    assert error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)


def test_an_unknown_topic_is_reported_when_it_may_not_be_created(bootstrap: str, fresh: Fresh) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": fresh("g"), "allow.auto.create.topics": False})
    consumer.subscribe([fresh("nobody-made-this")])
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    error = message.error()
    assert error is not None
    assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_deleted_topic_that_comes_back_under_its_name_is_empty(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("recreated")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for _ in range(2):
        create_topic(bootstrap, topic)
        producer = Producer({"bootstrap.servers": bootstrap})
        producer.produce(topic, value=b"only one")
        assert producer.flush(30) == 0
        assert len(read_partition(bootstrap, topic, 0)) == 1
        admin.delete_topics([topic])[topic].result(30)


def test_creating_an_existing_topic_says_so(bootstrap: str, fresh: Fresh) -> None:
    topic = fresh("exists")
    create_topic(bootstrap, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    with pytest.raises(KafkaException) as caught:
        admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    assert caught.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
