"""The sweep over a bucket with uploads that were never committed: few go by themselves, many wait for somebody's consent."""

import asyncio
import dataclasses
import uuid

import pytest
from automq_broker.kernel.errors import NotMine
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.keys import data_key
from automq_broker.lake.sweep import Brake
from automq_broker.meta.commands import CreateTopic, RetireBlock
from automq_broker.wire import records
from automq_broker.wire.records import Record
from twins.engine_world import KNOBS, Life, World
from twins.memory_bucket import LIST_PAGE
from twins.virtual_time import run_virtual

KNOBS_OF_AN_HOUR = dataclasses.replace(KNOBS, sweep_interval_s=3600)


async def with_orphans(life: Life, count: int) -> set[str]:
    """One committed object beside `count` orphans of the same block of ids; the committed key."""
    await life.start()
    await life.control.submit(CreateTopic(name="t", topic_id=uuid.UUID(int=1), partitions=1))
    engine = life.running.engine
    while not engine.open_partitions.by_stream:
        await asyncio.sleep(0.01)
    await engine.partition("t", 0).append(records.encode_batch([Record(timestamp=1, key=b"k", value=b"v")]))
    await engine.uploader.upload_round()
    committed = set(life.bucket.store.keys("data/"))
    first = max(life.control.state.objects) + 1
    for object_id in range(first, first + count):
        life.bucket.store.plant(data_key(ObjectId(object_id)), b"orphan")
    return committed


def consent(orphans: int, size_bytes: int) -> Brake:
    return Brake(fraction_max=0, orphans_free=orphans, bytes_max=size_bytes)


def test_a_few_orphans_go_by_themselves_once_their_block_is_old() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            committed = await with_orphans(life, 20)
            await asyncio.sleep(1.5 * 3600)
            assert len(life.bucket.store.keys("data/")) == 21, "somebody may still commit them"
            await asyncio.sleep(2.5 * 3600)
            assert set(life.bucket.store.keys("data/")) == committed

    run_virtual(scenario())


def test_many_wait_for_consent_to_no_fewer_and_no_less() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            committed = await with_orphans(life, 30)
            sweeper = life.running.sweeper
            await asyncio.sleep(5 * 3600)
            assert len(life.bucket.store.keys("data/")) == 31
            for too_little in (consent(0, 0), consent(29, 180), consent(30, 179)):
                plan = await sweeper.sweep_consented(too_little)
                assert (len(plan.orphans), plan.size_bytes, plan.delete) == (30, 180, ())
                assert plan.held_back
            assert len((await sweeper.sweep_consented(consent(30, 180))).delete) == 30
            assert set(life.bucket.store.keys("data/")) == committed
            assert (await sweeper.sweep_consented(consent(30, 180))).orphans == ()

    run_virtual(scenario())


def test_consent_retires_nothing_so_what_may_still_be_committed_is_never_taken() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            await with_orphans(life, 30)
            await asyncio.sleep(60)
            plan = await life.running.sweeper.sweep_consented(consent(1000, 1 << 30))
            assert plan.orphans == ()
            assert len(life.bucket.store.keys("data/")) == 31

    run_virtual(scenario())


def test_an_upload_under_a_retired_id_goes_on_under_a_new_block_and_not_under_the_rest_of_the_old_one() -> None:
    """Blocks are retired by the controller's clock, which may be ahead of the clock of the node that holds them."""

    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            await with_orphans(life, 0)
            engine, state = life.running.engine, life.control.state
            await life.control.submit(RetireBlock(first=ObjectId(next(iter(state.blocks)))))
            await engine.partition("t", 0).append(records.encode_batch([Record(timestamp=2, key=b"k", value=b"w")]))
            await engine.uploader.upload_all(lambda _: None)
            assert max(state.objects) == next(iter(state.blocks)), "the first id of the new block"
            assert len(life.bucket.store.keys("data/")) == 3, "two objects, and the one that was refused"

    run_virtual(scenario())


async def upload_one_more(life: Life, value: bytes) -> "asyncio.Task[None]":
    """A record and its upload, on its way."""
    engine = life.running.engine
    await engine.partition("t", 0).append(records.encode_batch([Record(timestamp=2, key=b"k", value=value)]))
    return asyncio.create_task(engine.uploader.upload_round())


def check_whole(life: Life, count: int) -> None:
    """The metadata name so many objects, and all of them are there."""
    named = {data_key(object_id) for object_id in life.control.state.objects}
    assert len(named) == count
    assert named <= set(life.bucket.store.keys("data/"))


def test_an_object_that_is_stored_and_not_committed_yet_survives_the_sweep() -> None:
    """Whoever holds the lease of its id may still commit it, however long the answer to its PUT takes."""

    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            await with_orphans(life, 0)
            life.bucket.faults.late_s = 60
            upload = await upload_one_more(life, b"w")
            await asyncio.sleep(30)
            assert len(life.bucket.store.keys("data/")) == 2
            assert not upload.done()
            assert (await life.running.sweeper.sweep_consented(consent(1000, 1 << 30))).orphans == ()
            assert await life.running.sweeper.sweep_orphans() == 0
            await upload
            check_whole(life, 2)

    run_virtual(scenario())


def test_an_object_that_is_committed_while_the_bucket_is_listed_survives_the_sweep() -> None:
    async def scenario() -> None:
        async with World().life(knobs=KNOBS_OF_AN_HOUR) as life:
            await with_orphans(life, 0)
            for number in range(2 * LIST_PAGE):
                life.bucket.store.plant(f"data/zz/{number}", b"no program of ours wrote this")
            life.bucket.faults.late_s = 60
            upload = await upload_one_more(life, b"w")
            await asyncio.sleep(58)
            assert not upload.done()
            life.bucket.faults.latency_s = (5, 5)
            sweep = asyncio.create_task(life.running.sweeper.sweep_orphans())
            await upload
            assert not sweep.done(), "three pages and the end take longer than a commit"
            assert await sweep == 0
            check_whole(life, 2)

    run_virtual(scenario())


def test_an_object_that_is_committed_just_before_its_block_is_retired_survives_the_sweep() -> None:
    """What the metadata said before the retirement is not what the listing may be judged by."""

    async def scenario() -> None:
        knobs = dataclasses.replace(KNOBS_OF_AN_HOUR, id_block_age_ms=10_000)
        async with World().life(knobs=knobs) as life:
            await with_orphans(life, 0)
            await asyncio.sleep(60)
            life.bucket.faults.latency_s = (10, 10)
            upload = await upload_one_more(life, b"w")
            while len(life.bucket.store.keys("data/")) == 1:  # leased anew and stored, ten seconds each
                await asyncio.sleep(0.1)
            await asyncio.sleep(5)
            leases = len(life.control.state.blocks)
            assert not upload.done(), "the commit is on its way"
            assert await life.running.sweeper.sweep_orphans() == 0
            assert upload.done()
            assert len(life.control.state.blocks) < leases, "the sweep found the block old"
            check_whole(life, 2)

    run_virtual(scenario())


def test_only_the_controller_sweeps() -> None:
    async def scenario() -> None:
        async with World().life() as life:
            await life.start()
            await life.control.stop()
            with pytest.raises(NotMine):
                await life.running.sweeper.sweep_consented(consent(1, 1))

    run_virtual(scenario())
