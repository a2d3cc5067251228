"""What uploads hold in memory: their own bytes within their own budget, and nothing of the caches."""

import asyncio
import dataclasses
import uuid

from automq_broker.cache.tail import TailCache
from automq_broker.engine.byte_gate import ByteGate
from automq_broker.engine.ring_reads import RingReads
from automq_broker.engine.upload_bodies import UploadBodies
from automq_broker.kernel.ids import Lsn, Offset, StreamId
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.memory_bucket import Faults
from twins.memory_wal import MemoryWal
from twins.virtual_time import run_virtual
from twins.wal_driver import fresh_writer

NOW = 1_700_000_000_000


def test_what_an_upload_gathered_keeps_no_buffer_of_the_cache_alive() -> None:
    async def scenario() -> None:
        device = MemoryWal(capacity_bytes=2 << 20)
        cache = TailCache(700, record_header_bytes=4, block_header_bytes=8)
        slab = bytearray(range(200)) + bytearray(range(200))
        view = memoryview(slab)
        cache.hold(Lsn(0), view[:112])
        cache.append(StreamId(1), Offset(0), Offset(0), Lsn(8), 100, 0, 1)
        bodies = UploadBodies(
            cache=cache,
            ring=RingReads(fresh_writer(device), device),
            allocate=lambda size: memoryview(bytearray(64)),  # smaller than a batch: it lies in two
        )
        found = await bodies.gather(list(cache.uncommitted(StreamId(1))))
        cache.hold(Lsn(4096), memoryview(bytes(300)))
        view.release()
        slab.append(0)  # raises BufferError while any view is alive
        assert b"".join(found[Lsn(8)]) == bytes(range(12, 112))

    run_virtual(scenario())


def test_objects_on_their_way_to_the_bucket_stay_within_their_memory_and_travel_together() -> None:
    async def scenario() -> None:
        knobs = dataclasses.replace(
            KNOBS, object_size_bytes_max=64 << 10, split_size_bytes=1, upload_bytes_max=160 << 10
        )
        world = World()
        async with world.life(knobs=knobs) as life:
            await filled(life, batches=40, value_bytes=20_000)
            uploader = life.running.engine.uploader
            life.bucket.faults = Faults(latency_s=(1.0, 1.0))
            upload = asyncio.create_task(uploader.upload_all())
            seen = []
            while not upload.done():
                seen.append(uploader.memory_bytes)
                await asyncio.sleep(0.1)
            await upload
            assert max(seen) <= 160 << 10
            assert max(seen) > 100 << 10, "two objects of three batches each were on their way together"
            assert uploader.memory_bytes == 0
            assert uploader.waiting_bytes == 0

    run_virtual(scenario())


async def filled(life: Life, *, batches: int, value_bytes: int) -> None:
    await life.start()
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=1))
    while not life.running.engine.open_partitions.by_stream:
        await asyncio.sleep(0.01)
    partition = life.running.engine.partition("t", 0)
    for _ in range(batches):
        await partition.append(records.encode_batch([Record(timestamp=NOW, key=None, value=bytes(value_bytes))]))


def test_the_gate_lets_in_what_fits_in_the_order_of_asking_and_a_larger_one_alone() -> None:
    async def scenario() -> None:
        gate = ByteGate(100)
        inside: list[int] = []

        async def pass_through(size: int) -> None:
            await gate.enter(size)
            inside.append(size)
            await asyncio.sleep(1)
            gate.leave(size)

        passing = [asyncio.create_task(pass_through(size)) for size in (60, 300, 10, 20)]
        await asyncio.sleep(0.5)
        assert inside == [60], "300 waits for an empty gate, and nobody overtakes it"
        await asyncio.sleep(1)
        assert inside == [60, 300]
        await asyncio.sleep(1)
        assert inside == [60, 300, 10, 20]
        await asyncio.gather(*passing)
        assert gate.used_bytes == 0

    run_virtual(scenario())
