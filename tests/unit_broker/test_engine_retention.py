"""What a topic forgets, and when its bytes leave the bucket: by age, by size, by DeleteRecords, by its own deletion."""

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping

import pytest
from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.meta.commands import CreateTopic, DeleteTopic
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.virtual_time import LoopClock, run_virtual

MINUTE = 60
KNOBS_OF_A_MINUTE = dataclasses.replace(
    KNOBS, retention_interval_s=MINUTE, delete_interval_s=MINUTE, delete_grace_ms=10 * MINUTE * 1000
)
LOOK = 2 * MINUTE
"""After this long, every chore had its turn."""
GRACE = 12 * MINUTE

Configs = Mapping[str, Mapping[str, str]]


async def started(life: Life, topics: Configs) -> list[Partition]:
    """One partition of each topic."""
    await life.start()
    for number, (name, configs) in enumerate(topics.items(), 1):
        if life.control.state.topic(name) is None:
            await life.control.submit(
                CreateTopic(name=name, topic_id=uuid.UUID(int=number), partitions=1, configs=configs)
            )
    while len(life.running.engine.open_partitions.by_stream) < len(topics):
        await asyncio.sleep(0.01)
    return [life.running.engine.partition(name, 0) for name in topics]


async def write(partition: Partition, size: int = 1000, *, age_s: float = 0) -> bytes:
    """One record; its value."""
    value = bytes([partition.log.high_watermark % 256]) * size
    timestamp = LoopClock().now_ms() - int(age_s * 1000)
    await partition.append(records.encode_batch([Record(timestamp=timestamp, key=None, value=value)]))
    return value


async def upload(life: Life) -> None:
    await life.running.engine.uploader.upload_round()


def starts(partitions: list[Partition]) -> list[int]:
    return [partition.log.start_offset for partition in partitions]


def stored(life: Life) -> set[str]:
    return set(life.bucket.store.keys("data/"))


async def values_from(partition: Partition, offset: Offset) -> list[bytes]:
    found: list[bytes] = []
    while offset < partition.log.high_watermark:
        data = memoryview(b"".join(await partition.read(offset, 1 << 20)))
        for position, header in records.iter_headers(data):
            batch = data[position : position + header.size_bytes]
            decoded = records.decode_records(batch, limit_bytes=1 << 20, limit_ratio=100)
            found += [bytes(record.value or b"") for record in decoded]
            offset = Offset(header.last_offset + 1)
    return found


def test_each_topic_forgets_by_its_own_age() -> None:
    async def scenario() -> None:
        topics = {
            "an-hour": {"retention.ms": "3600000"},
            "two-hours": {"retention.ms": "7200000"},
            "for-ever": {"retention.ms": "-1"},
            "kept-by-key": {"retention.ms": "3600000", "cleanup.policy": "compact"},
            "a-week": {},
        }
        async with World().life(knobs=KNOBS_OF_A_MINUTE) as life:
            partitions = await started(life, topics)
            for _ in range(4):  # at 0, 30, 60 and 90 minutes
                for partition in partitions:
                    if partition.topic != "kept-by-key":
                        await write(partition)
                await upload(life)
                await asyncio.sleep(30 * MINUTE - LOOK)
                await asyncio.sleep(LOOK)
            await asyncio.sleep(5 * MINUTE)  # the batches are 125, 95, 65 and 35 minutes old
            assert starts(partitions) == [3, 1, 0, 0, 0]
            await asyncio.sleep(60 * MINUTE)
            assert starts(partitions) == [4, 3, 0, 0, 0]
            await asyncio.sleep(7 * 24 * 60 * MINUTE)
            assert starts(partitions) == [4, 4, 0, 0, 4]
            assert len(await values_from(partitions[2], Offset(0))) == 4

    run_virtual(scenario())


def test_a_partition_keeps_at_least_its_size_and_what_only_the_log_holds_counts() -> None:
    async def scenario() -> None:
        world = World()
        async with world.life(knobs=KNOBS_OF_A_MINUTE) as life:
            (partition,) = await started(life, {"t": {"retention.bytes": "3300"}})
            written = []
            for _ in range(5):
                written.append(await write(partition))
                await upload(life)
            await asyncio.sleep(LOOK)
            assert starts([partition]) == [1], "three of about 1.07 kB are less than the limit"
            for _ in range(2):
                written.append(await write(partition))
            await asyncio.sleep(LOOK)
            assert starts([partition]) == [3]
            for _ in range(6):
                written.append(await write(partition))
            await asyncio.sleep(LOOK)
            assert starts([partition]) == [5], "what is not in the bucket yet is never cut"
        async with world.life(knobs=KNOBS_OF_A_MINUTE) as life:
            (partition,) = await started(life, {"t": {}})
            assert starts([partition]) == [5]
            assert await values_from(partition, Offset(5)) == written[5:]

    run_virtual(scenario())


def test_what_a_topic_forgot_leaves_the_bucket_after_the_grace_and_only_when_nobody_else_lives_in_it() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_A_MINUTE) as life:
            short, long = await started(life, {"short": {"retention.ms": "3600000"}, "long": {}})
            await write(short)
            await upload(life)
            (alone,) = stored(life)
            await write(short)
            await write(long)
            await upload(life)
            (shared,) = stored(life) - {alone}
            await asyncio.sleep(60 * MINUTE + LOOK)
            assert starts([short, long]) == [2, 0]
            assert stored(life) == {alone, shared}, "somebody may still read it"
            await asyncio.sleep(GRACE)
            assert stored(life) == {shared}
            with pytest.raises(ClientFault) as refusal:
                await short.read(Offset(0), 1 << 20)
            assert refusal.value.code == ErrorCode.OFFSET_OUT_OF_RANGE
            assert len(await values_from(long, Offset(0))) == 1

    run_virtual(scenario())


@pytest.mark.parametrize("uploaded", [0, 2, 4], ids=["nothing committed", "a part committed", "all committed"])
def test_records_deleted_beyond_the_committed_end_are_gone_for_good_and_no_other(uploaded: int) -> None:
    async def scenario() -> None:
        world, topics = World(), {"t": {}, "other": {}}
        async with world.life(knobs=KNOBS_OF_A_MINUTE) as life:
            partition, other = await started(life, topics)
            written = []
            for number in range(6):
                written.append(await write(partition))
                if number + 1 == uploaded:
                    await upload(life)
            await write(other)
            await life.running.engine.advance_start(partition, Offset(4))
            assert starts([partition, other]) == [4, 0]
            assert life.running.engine.uploader.waiting_bytes_of(other.stream_id), "nobody asked for it"
            with pytest.raises(ClientFault) as refusal:
                await life.running.engine.advance_start(partition, Offset(7))
            assert refusal.value.code == ErrorCode.OFFSET_OUT_OF_RANGE
        async with world.life(knobs=KNOBS_OF_A_MINUTE) as life:
            partition, other = await started(life, topics)
            assert starts([partition, other]) == [4, 0]
            assert await values_from(partition, Offset(4)) == written[4:]
            assert len(await values_from(other, Offset(0))) == 1

    run_virtual(scenario())


def test_a_deleted_topic_leaves_the_bucket_after_the_grace_and_its_name_begins_anew() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_A_MINUTE) as life:
            partition, other = await started(life, {"t": {}, "other": {}})
            await write(partition)
            await upload(life)
            gone = stored(life)
            await write(other)
            await upload(life)
            await write(partition)  # in the log alone
            await life.control.submit(DeleteTopic(topic_id=partition.topic_id, now_ms=LoopClock().now_ms()))
            await asyncio.sleep(LOOK)
            assert gone < stored(life)
            await upload(life)
            await asyncio.sleep(GRACE)
            assert not gone & stored(life)
            await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=9), partitions=1))
            await asyncio.sleep(LOOK)
            again = life.running.engine.partition("t", 0)
            assert again.log.high_watermark == 0
            assert len(await values_from(other, Offset(0))) == 1

    run_virtual(scenario())
