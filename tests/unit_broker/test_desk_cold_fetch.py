"""A fetch of several partitions that only the bucket has: they wait together, within the limits of one answer."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

from automq_broker.desk import fetch
from automq_broker.desk.context import RequestContext
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from automq_broker.wire.apis.k01_fetch import FetchPartition, FetchRequest, FetchTopic
from automq_broker.wire.records import Record
from twins.engine_world import Life, World
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual

PARTITIONS = 4
BATCH = records.encode_batch([Record(timestamp=1_700_000_000_000, key=b"k", value=b"v" * 1000)])


async def start(life: Life) -> list[Any]:
    await life.start()
    if life.control.state.topic("t") is None:
        await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=PARTITIONS))
    while len(life.running.engine.open_partitions.by_stream) < PARTITIONS:
        await asyncio.sleep(0.01)
    return [life.running.engine.partition("t", index) for index in range(PARTITIONS)]


async def stored(world: World) -> None:
    """A batch per partition, each in an object of its own, and nothing of it in a cache."""
    async with world.life() as life:
        for partition in await start(life):
            await partition.append(BATCH)
            await life.running.engine.uploader.upload_round()


async def fetched(life: Life, max_bytes: int) -> list[Any]:
    wants = [
        FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1 << 20) for index in range(PARTITIONS)
    ]
    request = FetchRequest(
        max_bytes=max_bytes, min_bytes=1, max_wait_ms=500, topics=[FetchTopic(topic="t", partitions=wants)]
    )
    desk: Any = SimpleNamespace(
        engine=life.running.engine, settings=SimpleNamespace(fetch_max_bytes=1 << 30, fetch_max_wait_ms=500)
    )
    context = RequestContext(
        api_version=12,
        client_id="reader",
        correlation_id=1,
        listener="PLAINTEXT",
        client_host="twin",
        principal="User:ANONYMOUS",
        connection_id=1,
        desk=desk,
    )
    response = await fetch.handle(request, context)
    return list(response.responses[0].partitions)


def test_partitions_of_one_fetch_wait_for_the_bucket_at_the_same_time() -> None:
    async def scenario() -> None:
        world = World()
        await stored(world)
        async with world.life() as life:
            await start(life)
            life.bucket.faults = Faults(latency_s=(1.0, 1.0))
            started = asyncio.get_running_loop().time()
            rows = await fetched(life, 1 << 30)
            assert [sum(map(len, row.records)) for row in rows] == [len(BATCH)] * PARTITIONS
            assert asyncio.get_running_loop().time() - started < 3, "an index and a block: two GETs one after the other"

    run_virtual(scenario())


def test_a_partition_beyond_the_limit_of_the_answer_shows_its_watermarks_alone() -> None:
    async def scenario() -> None:
        world = World()
        await stored(world)
        async with world.life() as life:
            await start(life)
            rows = await fetched(life, 1)
            assert [sum(map(len, row.records)) for row in rows] == [len(BATCH), 0, 0, 0]
            assert [(row.error_code, row.high_watermark) for row in rows] == [(0, 1)] * PARTITIONS

    run_virtual(scenario())
