"""The WAL takes another size at a start: up and down, cut short at every effect, and never while it holds records."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from automq_broker.engine import start as engine_start
from automq_broker.wal.format import RING_POSITION
from automq_broker.wal.superblock import ring_capacity
from twins.engine_world import CAPACITY_BYTES, Fate, Life, World
from twins.virtual_time import run_virtual
from unit_broker.test_engine_crash_points import make_topic, one_batch, read_back

GROWN, SHRUNK = 8 << 20, 2 << 20
SIZES = pytest.mark.parametrize("wanted", [GROWN, SHRUNK], ids=["grow", "shrink"])

Records = list[bytes]


def ring_of(life: Life) -> int:
    return life.running.admission.capacity_bytes


async def produce(life: Life, acked: Records, count: int = 3) -> None:
    """`count` more records of 100 KB to partition 0, so that a grown ring is written behind its old end."""
    await make_topic(life)
    for _ in range(count):
        value = f"{len(acked)}".encode().rjust(100_000, b".")
        await life.running.engine.partition("t", 0).append(one_batch(value, len(acked)))
        acked.append(value)


async def filled(world: World, acked: Records, *, is_stopped: bool) -> None:
    """One life that leaves records in the bucket (an orderly stop) or in the WAL alone (a crash)."""
    async with world.life() as life:
        await life.start()
        await produce(life, acked)
        if is_stopped:
            await engine_start.stop(life.running, lambda _: None)


async def lives_until(fate: Fate, work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(work())
    died = asyncio.ensure_future(fate.died.wait())
    await asyncio.wait({task, died}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()


@SIZES
def test_a_start_after_an_orderly_stop_takes_the_wanted_size(wanted: int) -> None:
    async def scenario() -> None:
        world, acked = World(), Records()
        await filled(world, acked, is_stopped=True)
        world.wanted_bytes = wanted
        async with world.life() as life:
            await life.start()
            assert ring_of(life) == ring_capacity(wanted)
            assert life.device.capacity_bytes == wanted
            for _ in range(20):  # around either ring, more than once
                await produce(life, acked, 5)
                await life.running.engine.uploader.upload_round()
                await asyncio.sleep(1)
            await produce(life, acked)
        async with world.life() as life:
            await life.start()
            await make_topic(life)
            assert ring_of(life) == ring_capacity(wanted)
            assert await read_back(life, 0) == acked

    run_virtual(scenario())


@SIZES
def test_a_log_that_holds_records_keeps_its_size_and_the_records(wanted: int, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        world, acked = World(), Records()
        await filled(world, acked, is_stopped=False)
        world.wanted_bytes = wanted
        async with world.life() as life:
            await life.start()
            await make_topic(life)
            assert ring_of(life) == ring_capacity(CAPACITY_BYTES)
            assert "keeps its size until a start after an orderly stop" in caplog.text
            assert await read_back(life, 0) == acked
            await engine_start.stop(life.running, lambda _: None)
        async with world.life() as life:
            await life.start()
            assert ring_of(life) == ring_capacity(wanted)
            await make_topic(life)
            assert await read_back(life, 0) == acked

    run_virtual(scenario())


def test_what_a_resize_that_was_called_off_left_behind_the_ring_is_given_back() -> None:
    async def scenario() -> None:
        world, acked = World(), Records()
        await filled(world, acked, is_stopped=False)
        world.platter += bytes(GROWN - CAPACITY_BYTES)  # grown, then the process died before the superblock
        world.wanted_bytes = CAPACITY_BYTES
        async with world.life() as life:
            await life.start()
            await make_topic(life)
            assert life.device.capacity_bytes == CAPACITY_BYTES == RING_POSITION + ring_of(life)
            assert await read_back(life, 0) == acked

    run_virtual(scenario())


def effects_of_a_start(wanted: int) -> int:
    async def scenario() -> int:
        world = World()
        await filled(world, Records(), is_stopped=True)
        world.wanted_bytes = wanted
        fate = Fate()
        async with world.life(fate) as life:
            await life.start()
        return fate.count

    return run_virtual(scenario())


EFFECTS = 14
"""At least as many as a resizing start has; `test_the_list_is_whole` holds it to that."""


@SIZES
def test_the_list_is_whole(wanted: int) -> None:
    assert 5 < effects_of_a_start(wanted) <= EFFECTS


@SIZES
@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, EFFECTS + 1))
def test_a_resize_cut_short_anywhere_is_made_up_for(wanted: int, dies_at: int, applied: bool) -> None:
    async def scenario() -> None:
        world, acked = World(), Records()
        await filled(world, acked, is_stopped=True)
        world.wanted_bytes = wanted
        fate = Fate(dies_at=dies_at, applied=applied)
        async with world.life(fate) as life:
            await lives_until(fate, life.start)
        async with world.life() as life:
            await life.start()
            assert ring_of(life) == ring_capacity(wanted)
            assert life.device.capacity_bytes == wanted
            await make_topic(life)
            assert await read_back(life, 0) == acked
            await produce(life, acked)
        async with world.life() as life:
            await life.start()
            await make_topic(life)
            assert await read_back(life, 0) == acked

    run_virtual(scenario())
