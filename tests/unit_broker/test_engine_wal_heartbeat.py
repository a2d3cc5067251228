"""An idle broker notices that its volume is gone; a busy or a paused one is not troubled."""

import asyncio
from dataclasses import replace

import pytest
from automq_broker.engine.recover import read_superblock
from automq_broker.ports import WalWriteFailed
from twins.engine_world import KNOBS, Life, World
from twins.memory_wal import WalFaults
from twins.virtual_time import run_virtual

BEATING = replace(KNOBS, wal_heartbeat_s=1.0, superblock_interval_s=1e6, superblock_bytes=1 << 30)


async def failure_of(life: Life, within_s: float) -> BaseException:
    async with asyncio.timeout(within_s):
        return await life.supervisor.wait_failed()


@pytest.mark.parametrize("faults", [WalFaults(write_fails=1.0), WalFaults(is_full=True)], ids=["EIO", "ENOSPC"])
def test_an_idle_broker_whose_volume_fails_ends_within_two_seconds(faults: WalFaults) -> None:
    async def scenario() -> None:
        async with World().life(knobs=BEATING) as life:
            await life.start()
            await asyncio.sleep(30)
            life.device.faults = faults
            assert isinstance(await failure_of(life, 2), WalWriteFailed)

    run_virtual(scenario())


def test_a_volume_that_answers_nothing_any_more_ends_the_process_after_ten_seconds() -> None:
    async def scenario() -> None:
        async with World().life(knobs=BEATING) as life:
            await life.start()
            life.device.faults = WalFaults(latency_s=1e6)
            begun = asyncio.get_running_loop().time()
            failure = await failure_of(life, 13)
            assert isinstance(failure, WalWriteFailed)
            assert "has not answered a write for 10 s" in str(failure)
            assert asyncio.get_running_loop().time() - begun > 10

    run_virtual(scenario())


def test_a_slow_volume_is_not_a_lost_one() -> None:
    async def scenario() -> None:
        async with World().life(knobs=BEATING) as life:
            await life.start()
            life.device.faults = WalFaults(latency_s=8.0)
            await asyncio.sleep(300)
            assert not life.supervisor.has_failed

    run_virtual(scenario())


def test_an_idle_log_is_written_to_every_second_and_needs_no_room_for_it() -> None:
    async def scenario() -> None:
        async with World().life(knobs=BEATING) as life:
            await life.start()
            free, writes = life.running.writer.free_bytes, life.device.writes_total
            await asyncio.sleep(100)
            assert 90 <= life.device.writes_total - writes <= 100
            assert life.running.writer.free_bytes == free

    run_virtual(scenario())


def test_heartbeats_change_nothing_that_a_recovery_looks_at() -> None:
    async def scenario() -> None:
        world = World()
        async with world.life(knobs=BEATING) as life:
            await life.start()
            before = await read_superblock(life.device)
            await asyncio.sleep(10)
            after = await read_superblock(life.device)
        assert before is not None
        assert after is not None
        assert after.counter > before.counter
        assert after.trim_lsn == before.trim_lsn
        assert not after.is_clean

    run_virtual(scenario())
