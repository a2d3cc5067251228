"""The process dies at every single effect between append and trim; nothing acknowledged is ever missing or doubled."""

import asyncio
import uuid

import pytest
from automq_broker.engine import start as engine_start
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from twins.engine_world import Fate, Life, World
from twins.virtual_time import run_virtual

TOPIC = "t"
PRODUCER = 7
ROUNDS = 4


def one_batch(value: bytes, sequence: int) -> bytearray:
    record = records.Record(0, 1_700_000_000_000, None, value, ())
    return bytearray(records.encode_batch([record], producer_id=PRODUCER, producer_epoch=0, base_sequence=sequence))


async def make_topic(life: Life) -> None:
    if life.control.state.topic(TOPIC) is None:
        await life.control.submit(CreateTopic(name=TOPIC, topic_id=uuid.UUID(int=1), partitions=2))
    while len(life.running.engine.open_partitions.by_stream) < 2:
        await asyncio.sleep(0.01)


async def produce(life: Life, acked: dict[int, list[bytes]], sent: dict[int, list[bytes]]) -> None:
    """Idempotent records to both partitions, with uploads in between; a retry repeats what was not acknowledged."""
    await make_topic(life)
    engine = life.running.engine
    for _ in range(ROUNDS):
        for index in (0, 1):
            log = sent.setdefault(index, [])
            done = acked.setdefault(index, [])
            if len(log) == len(done):
                log.append(f"{index}-{len(log)}".encode() * 40)
            sequence = len(done)
            await engine.partition(TOPIC, index).append(one_batch(log[sequence], sequence))
            done.append(log[sequence])
        await engine.uploader.upload_round()
        await asyncio.sleep(2)  # superblocks, idle blocks


async def read_back(life: Life, index: int) -> list[bytes]:
    partition = life.running.engine.partition(TOPIC, index)
    found: list[bytes] = []
    offset = 0
    while offset < partition.log.high_watermark:
        data = memoryview(b"".join(await partition.read(offset, 1 << 20)))
        for position, header in records.iter_headers(data):
            assert header.base_offset == offset, "offsets are contiguous"
            batch = data[position : position + header.size_bytes]
            found += [record.value for record in records.decode_records(batch, limit_bytes=1 << 20, limit_ratio=100)]
            offset = header.last_offset + 1
    return found


async def live_and_die(world: World, fate: Fate, acked: dict[int, list[bytes]], sent: dict[int, list[bytes]]) -> None:
    async with world.life(fate) as life:

        async def work() -> None:
            await life.start()
            await produce(life, acked, sent)
            await engine_start.stop(life.running, lambda _: None)

        task = asyncio.create_task(work())
        died = asyncio.create_task(fate.died.wait())
        await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()


async def check_after(world: World, acked: dict[int, list[bytes]], sent: dict[int, list[bytes]]) -> None:
    """Restart, look at everything, go on producing with retries, restart again, and look once more."""
    for _ in range(2):
        async with world.life() as life:
            await life.start()
            await make_topic(life)
            for index in (0, 1):
                found = await read_back(life, index)
                assert found[: len(acked.get(index, []))] == acked.get(index, []), "an acknowledged record is missing"
                assert found == sent.get(index, [])[: len(found)], "a record is doubled or foreign"
            await produce(life, acked, sent)
            for index in (0, 1):
                assert await read_back(life, index) == acked[index]


def effects_of_a_whole_life(*, has_disk: bool) -> int:
    async def scenario() -> int:
        fate = Fate()
        await live_and_die(World(has_disk=has_disk), fate, {}, {})
        return fate.count

    return run_virtual(scenario())


EFFECTS = 48
"""More than a life has; `test_the_list_is_whole` holds it to that."""


@pytest.mark.parametrize("has_disk", [True, False], ids=["disk", "bulks"])
def test_the_list_is_whole(has_disk: bool) -> None:
    assert 20 < effects_of_a_whole_life(has_disk=has_disk) <= EFFECTS


@pytest.mark.parametrize("has_disk", [True, False], ids=["disk", "bulks"])
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, EFFECTS + 1))
def test_nothing_acknowledged_is_lost_or_doubled(dies_at: int, applied: bool, has_disk: bool) -> None:
    async def scenario() -> None:
        world = World(has_disk=has_disk)
        acked: dict[int, list[bytes]] = {}
        sent: dict[int, list[bytes]] = {}
        await live_and_die(world, Fate(dies_at=dies_at, applied=applied), acked, sent)
        await check_after(world, acked, sent)

    run_virtual(scenario())
