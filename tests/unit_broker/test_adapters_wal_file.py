"""adapters/wal_file.py and wal_device.py on real files: durable, locked, in order, identified, zero-filled, failing for good."""

import asyncio
import errno
import mmap
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from automq_broker.adapters.slabs import SlabPool
from automq_broker.adapters.wal_file import grown_capacity, open_file_wal, volume_capacity
from automq_broker.adapters.wal_io import Durability, WalIo, check_alignment, direct_alignment
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.kernel.errors import Bug, Corrupt, Refused
from automq_broker.kernel.ids import NodeId
from automq_broker.ports import WalWriteFailed
from automq_broker.wal.recovery import read_superblocks, recover
from automq_broker.wal.ring import Ring
from automq_broker.wal.superblock import encode_superblock, new_superblock, zeroing_start
from automq_broker.wal.writer import WalWriter
from twins.wal_driver import VOLUME, batch, bodies, drive, header

MIB = 1 << 20
BROKER = Path(__file__).parents[2] / "broker"


def page(fill: int = 1, size: int = 4096) -> memoryview:
    memory = mmap.mmap(-1, size)
    memory[:] = bytes([fill]) * size
    return memoryview(memory)


async def written(device, position: int, data: memoryview) -> None:
    done = asyncio.get_running_loop().create_future()
    device.write(position, data, lambda error: done.set_exception(error) if error else done.set_result(None))
    await done


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "deep" / "wal")


def test_what_was_written_is_read_back_from_the_device(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=4 * MIB)
        assert (device.capacity_bytes, device.alignment_bytes) == (4 * MIB, 4096)
        await written(device, 8192, page(7, 8192))
        await device.sync()
        assert bytes(await device.read(4096, 16384)) == bytes(4096) + b"\7" * 8192 + bytes(4096)
        assert device.statistics()["bytes"] == 8192
        await device.close()
        assert os.path.getsize(path) == 4 * MIB

    asyncio.run(main())


def test_a_new_file_is_allocated_and_zero_filled_not_only_reserved(path):
    device = open_file_wal(path, capacity_bytes=4 * MIB)
    assert device.zeroed_bytes == 4 * MIB
    assert os.stat(path).st_blocks * 512 >= 4 * MIB
    device.release()


def test_callbacks_come_in_the_order_of_the_writes_on_the_loop(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=8 * MIB)
        loop = asyncio.get_running_loop()
        order, buffers = [], [page(number % 250 + 1) for number in range(400)]
        for number, buffer in enumerate(buffers):
            position = 4096 * (number if number % 7 else 1000 + number)

            def done(error, number=number):
                assert error is None
                assert asyncio.get_running_loop() is loop
                order.append(number)

            device.write(position, buffer, done)
        await device.close()
        assert order == list(range(400))
        again = open_file_wal(path)
        for number in (1, 6, 7, 399):
            position = 4096 * (number if number % 7 else 1000 + number)
            assert again.read_blocking(position, 4096) == buffers[number]
        again.release()
        # Writes that touch each other were merged.
        assert device.statistics()["writes"] < 400

    asyncio.run(main())


def test_memory_that_is_not_aligned_is_written_all_the_same(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=2 * MIB)
        await written(device, 4096, memoryview(bytearray(b"x" * 4097))[1:])
        assert bytes(await device.read(4096, 4096)) == b"x" * 4096
        assert device.warning is None or "direct" in device.warning
        await device.close()

    asyncio.run(main())


def test_misaligned_positions_and_writes_beyond_the_end_are_bugs(path):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    for position, size in ((100, 4096), (4096, 100), (2 * MIB, 4096)):
        with pytest.raises(Bug):
            device.write(position, page(size=size), lambda error: None)
    device.release()
    with pytest.raises(Bug, match="closed"):
        device.write(4096, page(), lambda error: None)


def test_one_callback_that_raises_costs_the_others_nothing(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=2 * MIB)
        raised = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context["exception"]))
        heard = []

        def breaks(error):
            raise ZeroDivisionError

        for number in range(6):
            device.write(4096 * number, page(), breaks if number % 2 else heard.append)
        await device.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert heard == [None] * 3
        assert len(raised) == 3

    asyncio.run(main())


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_after_one_failed_write_no_later_one_is_tried(path, code):
    async def main():
        device = open_file_wal(path, capacity_bytes=2 * MIB)
        real, calls = device._io.write, []

        def fails(position, parts):
            calls.append(position)
            if len(calls) == 2:
                raise OSError(code, os.strerror(code))
            real(position, parts)

        device._io.write = fails
        await written(device, 4096, page())
        with pytest.raises(WalWriteFailed, match=errno.errorcode[code]):
            await written(device, 8192, page())
        with pytest.raises(WalWriteFailed):
            await written(device, 12288, page())
        assert len(calls) == 2
        await device.close()

    asyncio.run(main())


def test_a_short_write_is_a_failure(path, monkeypatch):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    monkeypatch.setattr(os, "pwritev", lambda fd, parts, position: 512, raising=False)
    with pytest.raises(OSError, match="short write: 512 of 4096"):
        device._io.write(4096, [page()])
    device.release()


def test_reading_past_the_end_or_from_a_bad_sector_is_corrupt(path, monkeypatch):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    with pytest.raises(Corrupt, match="it ends at"):
        device.read_blocking(2 * MIB - 4096, 8192)

    def bad_sector(fd, buffers, position):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", bad_sector, raising=False)
    with pytest.raises(Corrupt, match="position 4096 cannot be read"):
        device.read_blocking(4096, 4096)
    monkeypatch.undo()
    device.release()


def test_two_processes_cannot_use_one_wal_but_a_reader_may_look(path):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    with pytest.raises(Refused, match="another process uses it"):
        open_file_wal(path)
    looking = open_file_wal(path, is_read_only=True)
    assert looking.handle == device.handle
    assert bytes(looking.read_blocking(0, 4096)) == bytes(4096)
    looking.release()
    device.release()
    open_file_wal(path).release()


def test_the_identity_stays_with_the_file_and_not_with_its_bytes(path):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    handle = device.handle
    device.release()
    again = open_file_wal(path)
    assert again.handle == handle
    again.release()
    Path(path + ".copy").write_bytes(Path(path).read_bytes())
    Path(path).unlink()
    Path(path + ".copy").rename(path)
    copied = open_file_wal(path)
    assert copied.handle != handle
    copied.release()
    Path(path).unlink()
    recreated = open_file_wal(path, capacity_bytes=2 * MIB)
    assert recreated.handle.rpartition(":")[2] != handle.rpartition(":")[2]
    recreated.release()
    named = open_file_wal(path, handle="vol-0123")
    assert named.handle == "vol-0123"
    named.release()


def test_an_existing_wal_keeps_its_size_until_it_is_resized(path):
    async def main():
        open_file_wal(path, capacity_bytes=2 * MIB).release()
        device = open_file_wal(path, capacity_bytes=6 * MIB)
        assert device.capacity_bytes == 2 * MIB
        device.resize(6 * MIB)
        assert (device.capacity_bytes, os.path.getsize(path)) == (6 * MIB, 6 * MIB)
        device.start_zeroing(2 * MIB)
        await written(device, 6 * MIB - 4096, page(9))
        assert device.zeroed_bytes == 6 * MIB
        assert bytes(await device.read(6 * MIB - 4096, 4096)) == b"\x09" * 4096
        await device.close()
        device = open_file_wal(path)
        device.resize(3 * MIB)
        assert os.path.getsize(path) == 3 * MIB
        device.release()

    asyncio.run(main())


def test_a_log_that_has_its_volume_to_itself_takes_95_percent_and_never_less_than_it_has(path):
    os.makedirs(os.path.dirname(path))
    volume = os.statvfs(os.path.dirname(path))
    step = 64 << 20
    free = volume.f_bavail * volume.f_frsize
    measured = grown_capacity(path)
    assert measured % step == 0
    assert abs(measured - free * 0.95) < 2 * step
    # A file is counted as what it takes, so a log that was measured once is measured the same again.
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, step)
    assert abs(grown_capacity(path) - measured) <= step
    # A file that is larger than its volume has room for (sparse here) keeps its size.
    os.truncate(path, 2 * measured)
    assert grown_capacity(path) == 2 * measured


def test_no_room_on_the_volume_is_one_clear_line_and_leaves_nothing(path):
    with pytest.raises(Refused, match=r"no room for \d+ bytes.*s3.wal.capacity"):
        open_file_wal(path, capacity_bytes=1 << 52)
    assert os.path.getsize(path) == 0
    assert volume_capacity(path) > MIB


@pytest.mark.parametrize("size", [0, 4096, MIB])
def test_a_capacity_that_holds_no_ring_is_refused(path, size):
    with pytest.raises(Refused, match="at least"):
        open_file_wal(path, capacity_bytes=size)


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match=r"Not a directory|File exists"):
        open_file_wal(str(tmp_path / "file" / "wal"), capacity_bytes=2 * MIB)


def test_the_background_filling_stays_ahead_of_the_writer_and_never_touches_what_was_written(path, monkeypatch):
    monkeypatch.setattr("automq_broker.adapters.wal_file.AHEAD_BYTES", 2 * MIB)

    async def main():
        device = open_file_wal(path, capacity_bytes=24 * MIB)
        assert device.zeroed_bytes == 2 * MIB
        device.start_zeroing(device.zeroed_bytes)
        writes = [written(device, position, page(5, MIB)) for position in range(0, 24 * MIB, MIB)]
        await asyncio.gather(*writes)
        assert device.zeroed_bytes == 24 * MIB
        for position in range(0, 24 * MIB, MIB):
            assert bytes(await device.read(position, 4096)) == b"\5" * 4096
        await device.close()

    asyncio.run(main())


def test_a_failed_zero_filling_fails_the_writes(path, monkeypatch):
    monkeypatch.setattr("automq_broker.adapters.wal_file.AHEAD_BYTES", MIB)

    async def main():
        device = open_file_wal(path, capacity_bytes=24 * MIB)

        def fails(position, parts):
            raise OSError(errno.EIO, "Input/output error")

        device._io.write = fails
        device.start_zeroing(device.zeroed_bytes)
        with pytest.raises(WalWriteFailed, match="zero-filling failed: EIO"):
            await written(device, 20 * MIB, page())
        await device.close()

    asyncio.run(main())


def test_a_file_system_without_direct_io_gets_dsync_and_one_warning(path, monkeypatch, caplog):
    real = os.open

    def no_direct(name, flags, *rest, **more):
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", no_direct)

    async def main():
        device = open_file_wal(path, capacity_bytes=2 * MIB)
        assert device._io.durability in (Durability.DSYNC, Durability.FULLFSYNC)
        assert "no direct I/O" in device.warning
        await written(device, 4096, page(3))
        await device.sync()
        assert bytes(await device.read(4096, 4096)) == b"\3" * 4096
        await device.close()

    asyncio.run(main())
    assert sum("no direct I/O" in record.message for record in caplog.records) <= 1


def test_a_file_system_that_refuses_direct_writes_only_later_is_noticed(path, monkeypatch):
    device = open_file_wal(path, capacity_bytes=2 * MIB)
    if device._io.durability is not Durability.DIRECT:
        pytest.skip("no direct I/O here")
    direct, real = device._io._fd, os.pwritev

    def refuses(fd, parts, position):
        if fd == direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(fd, parts, position)

    monkeypatch.setattr(os, "pwritev", refuses)
    device._io.write(4096, [page(4)])
    assert "refuses direct I/O" in device.warning
    assert bytes(device.read_blocking(4096, 4096)) == b"\4" * 4096
    device.release()


def test_shared_memory_works_with_or_without_direct_io():
    if not os.path.isdir("/dev/shm"):
        pytest.skip("no tmpfs here")
    path = f"/dev/shm/wal-test-{os.getpid()}"
    try:
        device = open_file_wal(path, capacity_bytes=2 * MIB)
        device._io.write(4096, [page(4)])
        assert bytes(device.read_blocking(4096, 4096)) == b"\4" * 4096
        device.release()
    finally:
        for name in (path, path + ".id"):
            Path(name).unlink(missing_ok=True)


def test_a_device_with_coarser_blocks_than_ours_is_refused(path):
    assert check_alignment("x", 512) == 4096
    with pytest.raises(Refused, match="16384"):
        check_alignment("x", 16384)
    open_file_wal(path, capacity_bytes=2 * MIB).release()
    assert direct_alignment(path) >= 1
    assert direct_alignment("/nowhere") == 4096


def test_pacing_slows_the_writer_and_lets_merged_writes_count_as_one(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=2 * MIB, pacing=Pacing(iops=100))
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(12):
            await written(device, 8192 * number, page())
        assert loop.time() - started > 0.08
        await device.close()

    asyncio.run(main())


CHILD = """
    import asyncio, sys
    sys.path[:0] = {paths!r}
    from twins.wal_driver import VOLUME, batch, header, drive
    from automq_broker.adapters.slabs import SlabPool
    from automq_broker.adapters.wal_file import grown_capacity, open_file_wal
    from automq_broker.wal.recovery import read_superblocks, recover
    from automq_broker.wal.superblock import claimed, encode_superblock, zeroing_start
    from automq_broker.wal.writer import WalWriter

    async def main():
        device = open_file_wal({path!r})
        pool = SlabPool(1 << 20, 4 << 20)
        superblock = drive(read_superblocks(), device.read_blocking)
        superblock = claimed(superblock, superblock.wal_epoch + 1)
        page = pool.take()[:4096]
        page[:] = encode_superblock(superblock)
        claim = asyncio.get_running_loop().create_future()
        device.write(superblock.position, page, claim.set_result)
        assert await claim is None
        await device.sync()
        numbers = []
        deliver = lambda found: numbers.extend(record.header.base_offset for record in found)
        recovered = drive(recover(superblock, deliver), device.read_blocking)
        device.start_zeroing(zeroing_start(superblock, recovered.end_lsn))
        number = numbers[-1] + 1 if numbers else 0
        writer = WalWriter(recovered.ring, superblock.wal_epoch, pool.take)
        groups = []
        def done(write, error):
            assert error is None, error
            writer.completed(write)
            while groups and groups[0][0] <= writer.durable_lsn:
                print(groups.pop(0)[1], flush=True)
        while True:
            for _ in range(1 + number % 5):
                writer.append(header(base=number), batch(61 + number * 7919 % 40_000, base=number, fill=number))
                number += 1
            for write in writer.cut(writer.durable_lsn):
                device.write(write.position, write.data, lambda error, write=write: done(write, error))
            groups.append((writer.appended_lsn, number))
            while len(groups) > 3:
                await asyncio.sleep(0)

    asyncio.run(main())
"""


@pytest.mark.parametrize("lives", [4])
def test_what_a_killed_process_acked_is_on_the_disk(path, lives):
    device = open_file_wal(path, capacity_bytes=200 * MIB)
    first = new_superblock(
        cluster_id="c", node_id=NodeId(1), volume_uuid=VOLUME, generation=99, wal_epoch=1,
        device_bytes=device.capacity_bytes, zeroed_bytes=device.zeroed_bytes,
    )  # fmt: skip
    device._io.write(first.position, [memoryview(encode_superblock(first))])
    device.release()
    code = textwrap.dedent(CHILD.format(paths=[str(BROKER), str(BROKER.parent / "tests")], path=path))
    acked = 0
    for life in range(lives):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        wanted = acked + 60 + 37 * life
        for line in child.stdout:
            acked = int(line)
            if acked >= wanted:
                break
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split("\n")[:-1]
        assert child.wait() == -signal.SIGKILL, "the child failed by itself"
        acked = int(rest[-1]) if rest else acked
        assert acked >= wanted
        device = open_file_wal(path)
        records = []
        superblock = drive(read_superblocks(), device.read_blocking)
        recovered = drive(recover(superblock, records.extend), device.read_blocking)
        device.release()
        assert [record.header.base_offset for record in records] == list(range(len(records)))
        assert len(records) >= acked
        for number, body in enumerate(bodies(records)):
            assert body == batch(61 + number * 7919 % 40_000, base=number, fill=number)
        assert recovered.end_lsn <= zeroing_start(superblock, recovered.end_lsn)


def test_the_writer_and_the_pool_go_together(path):
    async def main():
        device = open_file_wal(path, capacity_bytes=8 * MIB)
        pool = SlabPool(MIB, 4 * MIB)
        first = new_superblock(
            cluster_id="c", node_id=NodeId(1), volume_uuid=VOLUME, generation=99, wal_epoch=1,
            device_bytes=device.capacity_bytes,
        )  # fmt: skip
        await written(device, first.position, memoryview(encode_superblock(first)))
        writer = WalWriter(Ring.fresh(first), 1, pool.take)
        for base in range(40):
            writer.append(header(base=base), batch(100_000, base=base))
            for write in writer.cut(writer.durable_lsn):
                await written(device, write.position, write.data)
                writer.completed(write)
                del write
        assert pool.reused_total > 0
        found = []
        drive(recover(drive(read_superblocks(), device.read_blocking), found.extend), device.read_blocking)
        assert bodies(found) == [bytes(batch(100_000, base=base)) for base in range(40)]
        await device.close()

    asyncio.run(main())


def test_io_on_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        WalIo(str(tmp_path / "nothing"))
