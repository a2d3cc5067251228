"""What an upload round costs in writes of the head: objects are committed together, unless the ring waits for them."""

import asyncio
import dataclasses
import uuid

import pytest
from automq_broker.meta.commands import CreateTopic, DeleteTopic
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual

OBJECTS = 4
FOUR_OBJECTS = dataclasses.replace(KNOBS, object_size_bytes_max=16 << 10, upload_bytes_max=16 << 10)


async def with_four_objects_waiting(life: Life) -> None:
    """Four partitions, each with as much as one object takes."""
    await life.start()
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=OBJECTS))
    engine = life.running.engine
    while len(engine.open_partitions.by_stream) < OBJECTS:
        await asyncio.sleep(0.01)
    batch = records.encode_batch([Record(timestamp=1, key=b"k", value=bytes(12 << 10))])
    for index in range(OBJECTS):
        await engine.partition("t", index).append(batch)


async def head_writes_of_a_round(life: Life) -> int:
    before = life.bucket.requests["put_if_match"]
    await life.running.engine.uploader.upload_round()
    assert len(life.control.state.objects) == OBJECTS
    assert life.running.engine.uploader.waiting_bytes == 0
    return life.bucket.requests["put_if_match"] - before


def test_the_objects_of_a_round_share_writes_of_the_head() -> None:
    async def scenario() -> None:
        async with World().life(knobs=FOUR_OBJECTS) as life:
            await with_four_objects_waiting(life)
            life.bucket.faults = Faults(latency_s=(0.2, 0.2))
            assert await head_writes_of_a_round(life) <= 2, "the ids' lease, and the commits"

    run_virtual(scenario())


@pytest.mark.parametrize("reason", ["pressed", "slow"])
def test_a_round_that_the_ring_waits_for_or_that_is_slow_lets_go_of_it_object_by_object(reason: str) -> None:
    async def scenario() -> None:
        async with World().life(knobs=FOUR_OBJECTS) as life:
            await with_four_objects_waiting(life)
            uploader = life.running.engine.uploader
            life.bucket.faults = Faults(latency_s=(4.0, 4.0) if reason == "slow" else (0.2, 0.2))
            task = asyncio.ensure_future(uploader.upload_round())
            waiting = {uploader.waiting_bytes}
            while not task.done():
                if reason == "pressed":
                    uploader.press()
                await asyncio.sleep(0.05)
                waiting.add(uploader.waiting_bytes)
            await task
            assert len(waiting) == 1 + OBJECTS, "everything, then less with every object, then nothing"

    run_virtual(scenario())


def test_what_a_deleted_topic_left_is_not_uploaded_over_and_over_while_the_deletion_is_on_its_way_here() -> None:
    async def scenario() -> None:
        async with World().life(knobs=FOUR_OBJECTS) as life:
            await with_four_objects_waiting(life)
            (follower,) = (task for task in asyncio.all_tasks() if task.get_name() == "partitions")
            follower.cancel()  # this broker hears of nothing any more
            await life.control.submit(DeleteTopic(topic_id=uuid.UUID(int=1), now_ms=1))
            uploader, began = life.running.engine.uploader, asyncio.get_running_loop().time()
            for _ in range(20):
                await uploader.upload_round()
            assert uploader.waiting_bytes, "only who hears of the deletion may forget them"
            assert asyncio.get_running_loop().time() - began > 1.0

    run_virtual(scenario())
