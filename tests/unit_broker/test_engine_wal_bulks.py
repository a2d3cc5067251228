"""A whole engine on a log without a disk: paced groups, outages, losses accepted, and the switch from and to a disk."""

import asyncio
import uuid
from dataclasses import replace

import pytest
from automq_broker.assembly.knobs import engine_knobs
from automq_broker.engine import start as engine_start
from automq_broker.kernel.errors import Fenced, Refused
from automq_broker.lake.keys import WAL_PREFIX, parse_wal_bulk_key, wal_claim_key
from automq_broker.meta.commands import CreateTopic
from automq_broker.settings import load_settings
from automq_broker.settings.sources import Given
from twins.engine_world import KNOBS, Life, World
from twins.memory_bucket import Faults
from twins.moves_world import one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
OF_BULKS = engine_knobs(load_settings(environment={"AUTOMQ_S3_WAL_PATH": "s3"}))
PACED = replace(
    KNOBS,
    group_interval_s=OF_BULKS.group_interval_s,
    group_bytes_enough=64 << 10,
    groups_in_flight_max=OF_BULKS.groups_in_flight_max,
    wal_heartbeat_s=OF_BULKS.wal_heartbeat_s,
    idle_block_delay_s=OF_BULKS.idle_block_delay_s,
)


def diskless() -> World:
    return World(has_disk=False)


async def topic(life: Life) -> None:
    if life.control.state.topic(TOPIC) is None:
        await life.control.submit(CreateTopic(name=TOPIC, topic_id=uuid.UUID(int=1), partitions=1))
    while not life.running.engine.open_partitions.by_stream:
        await asyncio.sleep(0.01)


def appending(life: Life, size: int = 100) -> "asyncio.Future":
    return asyncio.ensure_future(life.running.engine.partition(TOPIC, 0).append(one_batch(b"x" * size)))


def bulks(world: World) -> int:
    return sum(parse_wal_bulk_key(key) is not None for key in world.store.keys(WAL_PREFIX))


def test_a_lone_append_waits_for_one_put_and_a_stream_of_them_makes_four_bulks_a_second():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            await asyncio.sleep(10)
            life.bucket.faults = Faults(latency_s=(0.05, 0.05))
            now = asyncio.get_running_loop().time
            begun = now()
            await appending(life)
            assert now() - begun == pytest.approx(0.05, abs=0.01)
            await asyncio.sleep(10)
            before, begun, waits = bulks(world), now(), []
            for _ in range(200):
                asked = now()
                append = appending(life)
                append.add_done_callback(lambda _, asked=asked: waits.append(now() - asked))
                await asyncio.sleep(0.05)
            await asyncio.sleep(1)
            assert 38 <= bulks(world) - before <= 42
            assert len(waits) == 200
            assert max(waits) <= 0.31

    run_virtual(scenario())


def test_a_group_that_is_large_enough_does_not_wait():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            await appending(life)
            begun = asyncio.get_running_loop().time()
            await appending(life, 70 << 10)
            assert asyncio.get_running_loop().time() - begun < 0.01

    run_virtual(scenario())


def test_an_outage_of_an_hour_ends_nothing_and_what_waited_is_acknowledged_behind_it():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            await appending(life)
            life.bucket.faults = Faults(outage=True)
            waiting = [appending(life) for _ in range(20)]
            await asyncio.sleep(3600)
            assert not life.supervisor.has_failed
            assert not any(each.done() for each in waiting)
            life.bucket.faults = Faults()
            places = await asyncio.gather(*waiting)
            assert [place.base_offset for place in places] == list(range(1, 21))

    run_virtual(scenario())


def test_an_idle_broker_costs_a_request_in_five_seconds():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            await appending(life)
            await asyncio.sleep(10)
            before = life.bucket.requests.total()
            await asyncio.sleep(600)
            controller = 600 / 3
            assert life.bucket.requests.total() - before <= 600 / 5 + controller + 5

    run_virtual(scenario())


def test_the_ring_turns_over_and_over_in_a_bounded_number_of_bulks():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            for _ in range(12):  # of a ring of 3 MiB
                await asyncio.gather(*(appending(life, 90_000) for _ in range(10)))
                await life.running.engine.uploader.upload_round()
                await asyncio.sleep(3)
            assert bulks(world) <= 3
            await engine_start.stop(life.running, lambda _: None)
        async with world.life(knobs=PACED) as life:
            await life.start()
            assert life.running.recovered_batches == 0
            assert life.running.engine.partition(TOPIC, 0).log.end_offset == 120

    run_virtual(scenario())


def test_a_second_process_of_the_same_node_ends_the_first_and_has_all_of_its_records():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as first:
            await first.start()
            await topic(first)
            await asyncio.gather(*(appending(first) for _ in range(5)))
            async with world.life(knobs=PACED) as second:
                await second.start()
                assert second.running.recovered_batches == 5
                lost = appending(first)
                failure = await first.supervisor.wait_failed()
                assert isinstance(failure, Fenced)
                assert not lost.done()

    run_virtual(scenario())


def start_on(world: World, *, has_disk: bool):
    world.has_disk = has_disk
    return world.life(knobs=PACED)


@pytest.mark.parametrize("has_disk", [True, False], ids=["to bulks", "to a disk"])
def test_another_kind_of_log_is_refused_until_the_old_one_is_drained(has_disk):
    async def scenario():
        world = World()
        async with start_on(world, has_disk=has_disk) as life:
            await life.start()
            await topic(life)
            await appending(life)
        async with start_on(world, has_disk=not has_disk) as life:
            with pytest.raises(Refused, match="owns 1 open streams whose tail may lie on WAL volume"):
                await life.start()
        async with start_on(world, has_disk=has_disk) as life:
            await life.start()
            await engine_start.stop(life.running, lambda _: None)
        for kind in (not has_disk, has_disk, not has_disk):
            async with start_on(world, has_disk=kind) as life:
                await life.start()
                end = life.running.engine.partition(TOPIC, 0).log.end_offset
                assert (await appending(life)).base_offset == end
                await engine_start.stop(life.running, lambda _: None)

    run_virtual(scenario())


def test_a_log_that_was_deleted_is_given_up_only_on_demand_and_its_records_are_named():
    async def scenario():
        world = diskless()
        async with world.life(knobs=PACED) as life:
            await life.start()
            await topic(life)
            await asyncio.gather(*(appending(life) for _ in range(3)))
            await life.running.engine.uploader.upload_round()
            await asyncio.gather(*(appending(life) for _ in range(2)))
        del world.store.objects[wal_claim_key(1)]
        async with world.life(knobs=PACED) as life:
            with pytest.raises(Refused, match=r"--accept-wal-loss: t-0 \(stream \d+\) at 3"):
                await life.start()
        async with world.life(knobs=PACED) as life:
            await life.start(accept_wal_loss=True)
            await topic(life)
            assert (await appending(life)).base_offset == 3
            await asyncio.sleep(10)
            assert bulks(world) == 1, "what was given up is swept"

    run_virtual(scenario())


def test_settings_name_the_bucket_of_a_log_without_a_disk():
    def settings(path: str):
        given = Given(key="s3.wal.path", value=path, origin="a test")
        return load_settings(environment={"AUTOMQ_S3_DATA_BUCKETS": "0@s3://data-bucket?region=r"}, flags=[given])

    assert settings("s3").wal_bucket_uri == "0@s3://data-bucket?region=r"
    assert settings("0@s3").wal_bucket_uri == "0@s3://data-bucket?region=r"
    assert settings("0@s3://other?region=r").wal_bucket_uri == "0@s3://other?region=r"
    assert settings("file:///var/wal").wal_bucket_uri is None
    assert settings("0@file:///var/wal").wal_bucket_uri is None
