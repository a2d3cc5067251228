"""An orderly stop comes to its end whatever the device still has to answer; a full ring forgets who gave up waiting."""

import asyncio
import uuid

import pytest
from automq_broker.engine import start as engine_start
from automq_broker.engine.admission import Admission
from automq_broker.engine.partition import Partition
from automq_broker.engine.recover import read_superblock
from automq_broker.kernel.ids import StreamId
from automq_broker.meta.commands import CreateTopic, DeleteTopic
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.memory_wal import WalFaults
from twins.virtual_time import run_virtual

SLOW_DISK = WalFaults(latency_s=0.05)
TOPIC_ID = uuid.UUID(int=1)


def batch() -> bytes:
    return records.encode_batch([Record(timestamp=1_700_000_000_000, key=b"k", value=b"v" * 20)])


async def served(life: Life) -> Partition:
    await life.start()
    if life.control.state.topic("t") is None:
        await life.control.submit(CreateTopic(name="t", topic_id=TOPIC_ID, partitions=1))
    while not life.running.engine.open_partitions.by_stream:
        await asyncio.sleep(0.01)
    return life.running.engine.partition("t", 0)


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize("pause_ms", range(0, 300, 15))
def test_a_stop_waits_for_superblocks_and_idle_blocks_on_their_way_and_leaves_a_clean_wal(
    pause_ms: int, is_deleted: bool
) -> None:
    async def scenario() -> None:
        world = World()
        async with world.life() as life:
            life.device.faults = SLOW_DISK
            partition = await served(life)
            await partition.append(batch())
            if is_deleted:
                await life.control.submit(DeleteTopic(topic_id=TOPIC_ID, now_ms=1_700_000_000_000))
            else:
                await life.running.engine.uploader.upload_round()
            await asyncio.sleep(pause_ms / 1000)
            await asyncio.wait_for(engine_start.stop(life.running, lambda _: None), 10)
            assert not life.supervisor.has_failed
            assert life.device.in_flight == 0
            superblock = await read_superblock(life.device)
            assert superblock is not None
            assert superblock.is_clean
            await asyncio.sleep(5)
            assert await read_superblock(life.device) == superblock, "nothing is written behind the clean mark"
        if not is_deleted:
            async with world.life() as life:
                partition = await served(life)
                assert life.running.recovered_batches == 0
                assert partition.log.high_watermark == 1

    run_virtual(scenario())


class Ring:
    """Admission over a ring of 100 bytes, and what became of each append."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.entered: list[str] = []
        self.gave_up: list[str] = []
        self.admission = Admission(
            knobs=KNOBS, capacity_bytes=100, free_bytes=lambda: self.free_bytes, press=lambda: None
        )

    def ask(self, name: str, size_bytes: int, *, timeout_s: float) -> None:
        """An append of a client's topic."""

        def enter() -> None:
            self.free_bytes -= size_bytes
            self.entered.append(name)

        self.admission.enter_or_wait(
            size_bytes,
            stream_id=StreamId(1),
            is_internal=False,
            deadline=asyncio.get_running_loop().time() + timeout_s,
            enter=enter,
            give_up=lambda: self.gave_up.append(name),
        )


def test_who_gave_up_behind_a_waiting_head_is_not_counted_any_more() -> None:
    async def scenario() -> None:
        ring = Ring(free_bytes=20)
        ring.ask("head", 50, timeout_s=30)
        ring.ask("second", 50, timeout_s=1)
        ring.ask("third", 50, timeout_s=1)
        assert ring.admission.waiting == 3
        await asyncio.sleep(2)
        assert ring.gave_up == ["second", "third"]
        assert ring.admission.waiting == 1
        ring.free_bytes = 90
        ring.admission.drained(70)
        assert ring.entered == ["head"]
        assert ring.admission.waiting == 0

    run_virtual(scenario())


def test_a_small_append_enters_at_once_when_the_large_one_before_it_gives_up() -> None:
    async def scenario() -> None:
        ring = Ring(free_bytes=60)
        ring.ask("large", 60, timeout_s=1)
        ring.ask("small", 5, timeout_s=30)
        assert ring.entered == []
        await asyncio.sleep(1)
        assert (ring.gave_up, ring.entered) == (["large"], ["small"])

    run_virtual(scenario())
