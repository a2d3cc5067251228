"""A fetch of several partitions: those that only the bucket has wait together, all within the limits of one answer."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import Any

import pytest
from automq_broker.desk import fetch
from automq_broker.desk.context import RequestContext
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from automq_broker.wire.apis.k01_fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
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


async def fetched(life: Life, max_bytes: int, *, min_bytes: int = 1, is_on_this_machine: bool = False) -> list[Any]:
    wants = [
        FetchPartition(partition=index, fetch_offset=0, partition_max_bytes=1 << 20) for index in range(PARTITIONS)
    ]
    request = FetchRequest(
        max_bytes=max_bytes, min_bytes=min_bytes, max_wait_ms=500, topics=[FetchTopic(topic="t", partitions=wants)]
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
        is_on_this_machine=is_on_this_machine,
        desk=desk,
    )
    answer = fetch.handle(request, context)
    response = answer if isinstance(answer, FetchResponse) else await answer
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


def test_a_consumer_that_leaves_takes_no_block_away_from_another_that_waits_for_it_too() -> None:
    async def scenario() -> None:
        world = World()
        await stored(world)
        async with world.life() as life:
            await start(life)
            life.bucket.faults = Faults(latency_s=(1.0, 1.0))
            leaving = asyncio.ensure_future(fetched(life, 1 << 30))
            staying = asyncio.ensure_future(fetched(life, 1 << 30))
            await asyncio.sleep(1.5)  # the index is there, the blocks are on their way
            leaving.cancel()
            assert [sum(map(len, row.records)) for row in await staying] == [len(BATCH)] * PARTITIONS

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


@pytest.mark.parametrize(("min_bytes", "is_on_this_machine", "answered"), [(1, False, 4), (1, True, 2), (2, True, 4)])
def test_a_client_on_the_same_machine_is_answered_in_pieces_unless_it_asks_for_a_least(
    min_bytes: int, is_on_this_machine: bool, answered: int
) -> None:
    large = records.encode_batch([Record(timestamp=1_700_000_000_000, key=b"k", value=b"v" * 900_000)])

    async def scenario() -> None:
        world = World()
        async with world.life() as life:
            for partition in await start(life):
                await partition.append(large)
            started = asyncio.get_running_loop().time()
            rows = await fetched(life, 1 << 30, min_bytes=min_bytes, is_on_this_machine=is_on_this_machine)
            assert asyncio.get_running_loop().time() - started < 0.5, "it waited although there was enough"
            sizes = sorted(sum(map(len, row.records)) for row in rows)
            assert sizes == [0] * (PARTITIONS - answered) + [len(large)] * answered

    run_virtual(scenario())
