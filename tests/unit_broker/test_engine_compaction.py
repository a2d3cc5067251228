"""Compaction as the engine carries it out: by the user's settings, and never to be noticed by whoever reads."""

import asyncio
import dataclasses
import random
import uuid

import pytest
from automq_broker.assembly.knobs import engine_knobs
from automq_broker.engine.partition import Partition
from automq_broker.kernel.ids import Offset
from automq_broker.lake.compaction import CompactionKnobs
from automq_broker.lake.values import ObjectKind
from automq_broker.meta.commands import CreateTopic
from automq_broker.settings import from_assignments, load_settings
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual

ROUNDS = 8
SET = "s3.stream.set.object.compaction"
FAR = CompactionKnobs(own_bytes=1 << 30, force_age_ms=10**12)
"""Neither size nor age ever calls for anything."""


async def started(life: Life, partitions: int = 3) -> list[Partition]:
    await life.start()
    if life.control.state.topic("t") is None:
        await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=partitions))
    engine = life.running.engine
    while len(engine.open_partitions.by_stream) < partitions:
        await asyncio.sleep(0.01)
    return [engine.partition("t", index) for index in range(partitions)]


async def uploaded(life: Life) -> dict[int, list[bytes]]:
    """Eight stream-set objects with a batch of every partition; what was written, by partition."""
    rng, written = random.Random(7), {}
    partitions = await started(life)
    for _ in range(ROUNDS):
        for partition in partitions:
            value = rng.randbytes(rng.randrange(1000, 3000))
            written.setdefault(partition.index, []).append(value)
            await partition.append(records.encode_batch([Record(timestamp=1, key=b"k", value=value)]))
        await life.running.engine.uploader.upload_round()
    assert kinds(life) == [ObjectKind.STREAM_SET] * ROUNDS
    return written


def kinds(life: Life) -> list[ObjectKind]:
    return [row.kind for row in life.control.state.objects.values()]


async def read_back(life: Life) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for partition in await started(life):
        offset = Offset(0)
        while offset < partition.log.high_watermark:
            answer = await life.running.engine.reader.read(partition, offset, 1 << 20)
            data = memoryview(b"".join(answer.segments))
            for position, header in records.iter_headers(data):
                batch = data[position : position + header.size_bytes]
                decoded = records.decode_records(batch, limit_bytes=1 << 20, limit_ratio=100)
                found.setdefault(partition.index, []).extend(bytes(one.value or b"") for one in decoded)
                offset = Offset(header.last_offset + 1)
    return found


def test_what_outputs_share_is_read_once_and_many_objects_at_a_time() -> None:
    async def scenario() -> None:
        knobs = dataclasses.replace(KNOBS, compaction=dataclasses.replace(FAR, own_bytes=12 << 10))
        async with World().life(knobs=knobs) as life:
            await uploaded(life)
            life.bucket.faults = Faults(latency_s=(1.0, 1.0))
            before, began = life.bucket.requests["get"], asyncio.get_running_loop().time()
            assert await life.running.compactor.compact() == 1
            assert kinds(life) == [ObjectKind.STREAM] * 3
            asked = life.bucket.requests["get"] - before
            assert asked == ROUNDS * 2 + 3, "data and index of every input, and the producers' state of every output"
            assert asyncio.get_running_loop().time() - began < asked, "not one after the other"

    run_virtual(scenario())


@pytest.mark.parametrize(
    ("limits", "wait_s", "left"),
    [
        (FAR, 10_000, ROUNDS),
        (dataclasses.replace(FAR, own_bytes=12 << 10), 0, 3),
        (dataclasses.replace(FAR, force_age_ms=3_600_000), 3000, ROUNDS),
        (dataclasses.replace(FAR, force_age_ms=3_600_000), 3700, 1),
        (dataclasses.replace(FAR, own_bytes=6 << 10, inputs_max=4), 0, 3 + 4),
    ],
    ids=["nothing calls for it", "streams that gathered enough", "not old enough", "old", "a few at a time"],
)
def test_shared_objects_are_compacted_by_size_and_age_and_read_back_the_same(
    limits: CompactionKnobs, wait_s: float, left: int
) -> None:
    async def scenario() -> None:
        knobs = dataclasses.replace(KNOBS, compaction=limits, compaction_interval_s=1e9)
        world = World()
        async with world.life(knobs=knobs) as life:
            written = await uploaded(life)
            await asyncio.sleep(wait_s)
            assert await life.running.compactor.compact() == (left < ROUNDS)
            assert len(kinds(life)) == left
            await asyncio.sleep(knobs.delete_grace_ms / 1000 + 1)
            await life.running.sweeper.delete_expired()
            assert len(life.bucket.store.keys("data/")) == left
        async with world.life(knobs=knobs) as life:
            assert await read_back(life) == written

    run_virtual(scenario())


def test_the_settings_of_compaction_reach_its_plans() -> None:
    given = {f"{SET}.stream.split.size": "8388608", f"{SET}.force.split.minutes": "30", f"{SET}.max.num": "500"}
    settings = load_settings(
        config_file=None, environment=None, flags=from_assignments([f"{name}={value}" for name, value in given.items()])
    )
    chosen = engine_knobs(settings).compaction
    assert (chosen.own_bytes, chosen.force_age_ms, chosen.inputs_max) == (8 << 20, 1_800_000, 500)
