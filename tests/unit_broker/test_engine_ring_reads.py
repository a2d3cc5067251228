"""More small batches than the tail cache holds: they are served and uploaded from the ring, in few reads."""

import asyncio
import uuid

from automq_broker.engine import start as engine_start
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from twins.engine_world import Life, World
from twins.virtual_time import run_virtual

PARTITIONS = 3
BATCHES = 1000
VALUE_BYTES = 600


def batch(number: int) -> bytearray:
    return bytearray(records.encode_batch([records.Record(0, 1_700_000_000_000, None, value(number), ())]))


def value(number: int) -> bytes:
    return f"{number:06d}".encode() * (VALUE_BYTES // 6)


async def fill(life: Life) -> None:
    """Every partition's batches in turn, so that none lies beside another of its own."""
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=PARTITIONS))
    while len(life.running.engine.open_partitions.by_stream) < PARTITIONS:
        await asyncio.sleep(0.01)
    for start in range(0, BATCHES, 50):
        await asyncio.gather(
            *(
                life.running.engine.partition("t", index).append(batch(number))
                for number in range(start, start + 50)
                for index in range(PARTITIONS)
            )
        )


async def read_back(life: Life, index: int) -> list[bytes]:
    partition = life.running.engine.partition("t", index)
    found: list[bytes] = []
    while len(found) < partition.log.high_watermark:
        data = memoryview(b"".join(await partition.read(len(found), 1 << 20)))
        for position, header in records.iter_headers(data):
            one = data[position : position + header.size_bytes]
            found += [record.value for record in records.decode_records(one, limit_bytes=1 << 20, limit_ratio=100)]
    return found


def test_batches_that_left_the_cache_are_fetched_and_uploaded_from_the_ring_in_few_reads() -> None:
    expected = [value(number) for number in range(BATCHES)]

    async def scenario() -> None:
        world = World()
        async with world.life() as life:
            await life.start()
            await fill(life)
            assert life.running.cache.statistics().evicted_blocks > 10, "the cache must be too small for this test"
            for index in range(PARTITIONS):
                assert await read_back(life, index) == expected
            before = life.device.reads_total
            await engine_start.stop(life.running, lambda _: None)
            assert life.device.reads_total - before < 20, "thousands of batches, a handful of reads"
        async with world.life() as life:
            await life.start()
            for index in range(PARTITIONS):
                assert await read_back(life, index) == expected, "what was uploaded is what was produced"

    run_virtual(scenario())
