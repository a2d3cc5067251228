"""What must stay small however much waits: upload rounds, lookups over the tail, producers that fell silent."""

import asyncio
import dataclasses
import uuid

import pytest
from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import ClientFault
from automq_broker.log.record_faults import RecordFaults
from automq_broker.meta.commands import CreateTopic
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.virtual_time import run_virtual

NOW = 1_700_000_000_000


async def partitions(life: Life, count: int) -> list[Partition]:
    await life.start()
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=count))
    engine = life.running.engine
    while len(engine.open_partitions.by_stream) < count:
        await asyncio.sleep(0.01)
    return [engine.partition("t", index) for index in range(count)]


def batch(timestamp: int = NOW, **fields: int) -> bytes:
    return records.encode_batch([Record(timestamp=timestamp, key=b"k", value=b"v" * 20)], **fields)


def test_an_upload_round_is_bounded_and_the_rest_follows_without_being_asked() -> None:
    async def scenario() -> None:
        async with World().life(knobs=dataclasses.replace(KNOBS, upload_batches_max=10)) as life:
            one, two = await partitions(life, 2)
            for _ in range(8):
                await asyncio.gather(one.append(batch()), two.append(batch()))
            uploader, cache = life.running.engine.uploader, life.running.cache
            before = uploader.waiting_bytes
            assert before == uploader.waiting_bytes_of(one.stream_id) + uploader.waiting_bytes_of(two.stream_id)
            await uploader.upload_round()
            left = [sum(1 for _ in cache.uncommitted(each.stream_id)) for each in (one, two)]
            assert sum(left) == 6, "ten of sixteen went"
            assert 0 < uploader.waiting_bytes < before
            await asyncio.sleep(5)  # far less than the upload interval
            assert uploader.waiting_bytes == 0
            assert uploader.rounds_total == 2

    run_virtual(scenario())


def test_lookups_by_time_read_across_bucket_and_tail_and_while_batches_move_between_them() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            (partition,) = await partitions(life, 1)
            engine = life.running.engine
            for number in range(40):
                await partition.append(batch(NOW + 10 * number))
                if number in (9, 19):
                    await engine.uploader.upload_round()

            async def look() -> list[int | None]:
                asked = [NOW + 10 * number - 5 for number in (0, 9, 10, 25, 39, 40)]
                found = [await engine.timestamps.first_at_or_after(partition, timestamp) for timestamp in asked]
                newest = await engine.timestamps.newest(partition)
                return [None if each is None else each.offset for each in [*found, newest]]

            expected = [0, 9, 10, 25, 39, None, 39]
            assert await look() == expected
            upload = asyncio.create_task(engine.uploader.upload_round())
            assert await asyncio.gather(*(look() for _ in range(20))) == [expected] * 20
            await upload
            assert await look() == expected

    run_virtual(scenario())


def test_bytes_behind_a_batch_are_not_stored() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            (partition,) = await partitions(life, 1)
            log = partition.log
            for is_compacted in (False, True):
                log.configure(dataclasses.replace(log.settings, is_compacted=is_compacted))
                whole = batch()
                placed = await partition.append(bytearray(whole + whole[:40]))
                (stored,) = await partition.read(placed.base_offset, 1 << 20)
                assert len(stored) == len(whole)
                broken = bytearray(whole + b"x")
                broken[len(whole) - 1] ^= 1
                with pytest.raises(ClientFault, match="CRC"):
                    partition.append(broken)

    run_virtual(scenario())


def test_a_batch_that_meets_a_full_ring_is_judged_as_at_any_other_time() -> None:
    async def scenario() -> None:
        knobs = dataclasses.replace(KNOBS, upload_interval_s=20)
        async with World().life(knobs=knobs) as life:
            (partition,) = await partitions(life, 1)
            life.bucket.faults.outage = True
            large = records.encode_batch([Record(timestamp=NOW, key=b"k", value=b"v" * (256 << 10))])
            waiting = []
            while not life.running.admission.waiting:
                waiting.append(partition.append(large))
                await asyncio.sleep(0.01)
            far_off = records.encode_batch([Record(timestamp=NOW), Record(timestamp=4_000_000_000_000)])
            with pytest.raises(RecordFaults) as refusal:
                partition.append(far_off)
            assert [index for index, _ in refusal.value.faults] == [1]
            with pytest.raises(ClientFault, match="base offset"):
                partition.append((1).to_bytes(8, "big") + batch()[8:])
            corrected = partition.append(batch(timestamp_type=1))
            assert not corrected.done()
            life.bucket.faults.outage = False
            placed = await asyncio.gather(*waiting, corrected)
            assert [each.base_offset for each in placed] == list(range(len(waiting) + 1))
            (stored,) = await partition.read(placed[-1].base_offset, 1)
            assert not records.read_batch_header(stored).is_log_append_time

    run_virtual(scenario())


def test_producers_that_were_silent_for_the_expiration_time_are_forgotten() -> None:
    async def scenario() -> None:
        async with World().life(knobs=dataclasses.replace(KNOBS, producer_check_interval_s=60)) as life:
            (partition,) = await partitions(life, 1)
            log = partition.log
            log.configure(dataclasses.replace(log.settings, producer_id_expiration_ms=600_000))
            await partition.append(batch(producer_id=1, producer_epoch=0, base_sequence=0))
            await asyncio.sleep(500)
            await partition.append(batch(producer_id=2, producer_epoch=0, base_sequence=0))
            await asyncio.sleep(200)
            assert [row.producer_id for row in log.producers.active()] == [2]

    run_virtual(scenario())
