"""aiokafka 0.14: an asyncio client that still speaks the older versions of most APIs."""

import asyncio
from collections.abc import Callable

import pytest

Fresh = Callable[[str], str]


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_a_group_consumes_what_an_idempotent_producer_sent(bootstrap: str, fresh: Fresh, codec: str | None) -> None:
    asyncio.run(_roundtrip(bootstrap, fresh("aiokafka"), fresh("g"), codec))


async def _roundtrip(bootstrap: str, topic: str, group: str, codec: str | None) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, enable_idempotence=True, compression_type=codec, linger_ms=5
    ) as producer:
        sent = [await producer.send(topic, b"v%d" % n, key=b"k%d" % n, headers=[("h", b"x")]) for n in range(100)]
        offsets = [(await future).offset for future in sent]
    assert offsets == list(range(100))
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    async with consumer:
        found = [await asyncio.wait_for(consumer.getone(), 15) for _ in range(100)]
        await consumer.commit()
    assert [(record.offset, record.key, record.value) for record in found] == [
        (n, b"k%d" % n, b"v%d" % n) for n in range(100)
    ]
    again = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    async with again:
        partition = next(iter(await _assigned(again)))
        assert await again.position(partition) == 100, "the second member starts at the committed offset"


async def _assigned(consumer: object) -> set[object]:
    for _ in range(100):
        if assignment := set(consumer.assignment()):  # type: ignore[attr-defined]
            return assignment
        await asyncio.sleep(0.1)
    raise AssertionError("no partition was assigned within 10 s")


def test_admin_creates_describes_and_deletes(bootstrap: str, fresh: Fresh) -> None:
    asyncio.run(_admin(bootstrap, fresh("aiokafka-admin")))


async def _admin(bootstrap: str, topic: str) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)])
        (described,) = await admin.describe_topics([topic])
        assert len(described["partitions"]) == 3
        await admin.delete_topics([topic])
        assert topic not in await admin.list_topics()
    finally:
        await admin.close()
