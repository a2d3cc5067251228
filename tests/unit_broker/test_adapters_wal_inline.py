"""adapters/wal_device.py where a small write is done on the loop itself: still in order, still failing for good."""

import asyncio
import errno
import os
import threading
import uuid

import pytest
from automq_broker.adapters.wal_device import DirectWal
from automq_broker.adapters.wal_io import WalIo
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.meta.commands import CreateTopic
from automq_broker.ports import WalWriteFailed
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Fate, Life, MortalBucket
from twins.memory_bucket import MemoryStore

CAPACITY_BYTES = 4 << 20
SMALL = 4096
LARGE = 16384
TRIES = 20_000


class FastIo(WalIo):
    """A disk that answers at once; its writes can be held up, or fail, and it remembers who wrote where."""

    def __init__(self, path: str) -> None:
        with open(path, "wb") as file:
            file.truncate(CAPACITY_BYTES)
        super().__init__(path)
        self.platter = bytearray(CAPACITY_BYTES)
        self.written: list[tuple[int, bool]] = []
        """(position, was it written by the loop's own thread)."""
        self.may_go = threading.Event()
        self.may_go.set()
        self.is_broken = False

    def write(self, position, parts):
        """See WalIo.write."""
        self.may_go.wait(10)
        self.written.append((position, threading.current_thread() is threading.main_thread()))
        if self.is_broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        data = b"".join(parts)
        self.platter[position : position + len(data)] = data

    def read(self, position, length):
        """See WalIo.read."""
        return memoryview(bytes(self.platter[position : position + length]))


@pytest.fixture
def disk(tmp_path):
    return FastIo(str(tmp_path / "wal"))


def device_on(disk: FastIo) -> DirectWal:
    return DirectWal(
        disk,
        capacity_bytes=CAPACITY_BYTES,
        alignment_bytes=4096,
        handle="twin:1",
        lock_fd=os.open(disk.path, os.O_RDONLY),
        pacing=Pacing(),
    )


async def written(device: DirectWal, position: int, size: int = SMALL) -> None:
    done = asyncio.get_running_loop().create_future()
    device.write(
        position, memoryview(bytes(size)), lambda error: done.set_exception(error) if error else done.set_result(None)
    )
    await done


async def until_on_the_loop(disk: FastIo, device: DirectWal) -> None:
    """The device becomes known as fast by its small writes."""
    for _ in range(TRIES):
        await written(device, SMALL)
        if disk.written[-1][1]:
            disk.written.clear()
            return
    pytest.fail("no write was ever done on the loop")


def test_a_small_write_behind_one_still_in_the_thread_is_written_and_told_after_it(disk):
    async def main():
        device = device_on(disk)
        await until_on_the_loop(disk, device)
        told = []
        disk.may_go.clear()
        device.write(LARGE, memoryview(bytes(LARGE)), lambda error: told.append(("large", error)))
        device.write(SMALL, memoryview(bytes(SMALL)), lambda error: told.append(("small", error)))
        assert disk.written == [], "neither stopped the loop, neither overtook the other"
        disk.may_go.set()
        await device.close()
        assert disk.written == [(LARGE, False), (SMALL, False)]
        assert told == [("large", None), ("small", None)]

    asyncio.run(main())


def test_the_word_on_a_write_done_on_the_loop_never_comes_from_within_the_call(disk):
    async def main():
        device = device_on(disk)
        await until_on_the_loop(disk, device)
        told = []
        device.write(SMALL, memoryview(bytes(SMALL)), told.append)
        assert (disk.written, told) == ([(SMALL, True)], [])
        device.write(2 * SMALL, memoryview(bytes(SMALL)), lambda error: told.append("second"))
        await device.close()
        assert told == [None, "second"]

    asyncio.run(main())


def test_a_callback_that_raises_behind_a_write_on_the_loop_costs_the_others_nothing(disk):
    async def main():
        device = device_on(disk)
        await until_on_the_loop(disk, device)
        raised, told = [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context["exception"]))

        def breaks(error):
            raise ZeroDivisionError

        device.write(SMALL, memoryview(bytes(SMALL)), breaks)
        device.write(2 * SMALL, memoryview(bytes(SMALL)), told.append)
        await written(device, 3 * SMALL)
        assert told == [None]
        assert [type(error) for error in raised] == [ZeroDivisionError]
        await device.close()

    asyncio.run(main())


def test_after_a_write_failed_on_the_loop_no_later_one_is_tried(disk):
    async def main():
        device = device_on(disk)
        await until_on_the_loop(disk, device)
        disk.is_broken = True
        with pytest.raises(WalWriteFailed, match="EIO"):
            await written(device, SMALL)
        assert disk.written == [(SMALL, True)]
        disk.is_broken = False
        for size in (SMALL, LARGE):
            with pytest.raises(WalWriteFailed, match="EIO"):
                await written(device, 2 * LARGE, size)
        assert disk.written == [(SMALL, True)]
        await device.close()

    asyncio.run(main())


def test_a_failing_write_on_the_loop_stops_acks_and_ends_the_process(disk):
    async def main():
        device, fate = device_on(disk), Fate()
        bucket = MortalBucket(MemoryStore(), seed=1)
        bucket.fate = fate
        life = Life(1, device, bucket, fate, KNOBS)
        await life.start()
        opened = asyncio.get_running_loop().create_future()
        life.running.engine.on_partition_opened(opened.set_result)
        await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=1))
        partition = await opened
        batch = records.encode_batch([Record(timestamp=1_700_000_000_000, key=b"k", value=b"v")])
        acked = 0
        for _ in range(TRIES):
            await partition.append(batch)
            acked += 1
            if disk.written[-1][1]:
                break
            if acked % 300 == 0:
                await life.running.engine.uploader.upload_round()
        assert disk.written[-1][1], "acked by writes on the loop"
        disk.is_broken = True
        unheard = asyncio.ensure_future(partition.append(batch))
        assert isinstance(await life.supervisor.wait_failed(), WalWriteFailed)
        assert disk.written[-1][1], "it failed on the loop"
        later = asyncio.ensure_future(partition.append(batch))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not unheard.done()
        assert not later.done()
        assert partition.log.high_watermark == acked
        await life.vanish()
        await device.close()

    asyncio.run(main())
