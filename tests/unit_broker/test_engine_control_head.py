"""Unknown outcomes of head PUTs: every word that a store may say, and what must never follow from it."""

import asyncio
from random import Random

import pytest
from automq_broker.engine.control import ControlKnobs, OutcomeUnknown, Role
from automq_broker.engine.control_head import PatientBucket
from automq_broker.kernel.errors import Corrupt
from automq_broker.meta.snapshots import state_as_data
from twins.control_world import ControlWorld, register, topic
from twins.memory_bucket import Faults, MemoryBucket
from twins.virtual_time import run_virtual


@pytest.mark.parametrize(
    "script",
    [
        ["lost"],
        ["applied"],
        ["412"],
        ["applied412"],
        ["late"],
        ["lost", "lost", "lost"],
        ["412", "412", "applied412"],
        ["late", "412", "lost"],
        ["lost", "late", "late", "lost"],
        ["late"] * 6,
    ],
)
def test_a_commit_is_applied_exactly_once_whatever_the_store_answers(script):
    async def scenario():
        world = ControlWorld()
        control = await world.started()
        await register(control)
        bucket = world.bucket_of(control)
        before, first = len(world.history), len(bucket.attempts)
        bucket.script = list(script)
        created = await control.submit(topic(1))
        assert created.topic == control.state.topic("topic-1")
        assert len(world.history) == before + 1
        tries = bucket.attempts[first:]
        assert {each.data for each in tries} == {world.history[-1]}, "only the very same bytes are sent again"
        assert len({each.etag for each in tries}) == 1
        assert control.statistics().unknown_outcomes >= 1
        await control.submit(topic(2))
        await asyncio.sleep(5)  # late ones arrive now, and must find nothing to match
        assert world.heads()[-1].seq == len(world.history) - 1
        world.check_chain()
        other = await world.started(wal=control.state.cluster_id)
        assert state_as_data(other.state) == state_as_data(control.state)

    run_virtual(scenario())


def test_an_election_is_won_exactly_once_whatever_the_store_answers():
    async def scenario():
        for script in (["applied"], ["applied412"], ["lost", "applied412"], ["late", "late"], ["412"]):
            world = ControlWorld()
            first = await world.started()
            second = world.process(wal=first.state.cluster_id)
            world.bucket_of(second).script = list(script)
            await second.start()
            assert second.statistics().epoch == first.statistics().epoch + 1
            world.check_chain()

    run_virtual(scenario())


def test_after_another_head_the_answer_is_unknown_whether_it_was_applied_or_not():
    async def scenario():
        for word, is_applied in (("applied", True), ("lost", False)):
            world = ControlWorld()
            old = await world.started()
            await register(old)
            world.bucket_of(old).script = [word + "!"]
            waiting = asyncio.ensure_future(old.submit(topic(1)))
            await asyncio.sleep(1)
            new = await world.started(wal=old.state.cluster_id)
            world.bucket_of(old).faults.outage = False
            with pytest.raises(OutcomeUnknown):
                await waiting
            assert (new.state.topic("topic-1") is not None) == is_applied
            repeated = await new.submit(topic(1))
            assert repeated.topic.name == "topic-1"
            world.check_chain()

    run_virtual(scenario())


def test_a_put_of_a_dead_process_that_arrives_late_never_undoes_its_successor():
    async def scenario():
        world = ControlWorld()
        old = await world.started()
        await register(old)
        bucket = world.bucket_of(old)
        bucket.script, bucket.late_s = ["late"], 0.001
        waiting = asyncio.ensure_future(old.submit(topic(1)))
        await asyncio.sleep(0)
        new = world.process(wal=old.state.cluster_id)
        await new.start()
        await asyncio.sleep(1)
        with pytest.raises(OutcomeUnknown):
            await waiting
        world.check_chain()
        assert new.role is Role.HOLDER or old.role is Role.HOLDER

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(6))
def test_storms_of_412_and_timeouts_only_cost_time(seed):
    async def scenario():
        world = ControlWorld()
        faults = Faults(
            conflict=0.3, conflict_applied=0.2, timeout_applied=0.1, timeout_lost=0.1, unavailable=0.1, timeout_s=1.0
        )
        control = await world.started()
        await register(control)
        world.bucket_of(control).faults = faults
        rng = Random(seed)
        for begin in range(0, 60, 6):
            answers = await asyncio.gather(*(control.submit(topic(begin + each)) for each in range(6)))
            assert [each.topic.name for each in answers] == [f"topic-{begin + each}" for each in range(6)]
            await asyncio.sleep(rng.uniform(0, 5))
        world.check_chain()
        assert control.role is Role.HOLDER, "nobody else was there: the seat is never lost"
        world.bucket_of(control).faults = Faults()
        other = await world.started(wal=control.state.cluster_id)
        assert state_as_data(other.state) == state_as_data(control.state)

    run_virtual(scenario())


def test_damage_of_the_head_on_its_way_is_read_again_and_in_the_store_is_reported():
    async def scenario():
        world = ControlWorld()
        await world.started()
        good, head = world.history[-1], world.heads()[-1]
        bucket = MemoryBucket(world.store)
        patient = PatientBucket(bucket, Random(1), ControlKnobs())
        world.store.plant("meta/head", good[:-1] + b"?")
        with pytest.raises(Corrupt, match="CRC"):
            await patient.read_head()
        assert bucket.requests["get"] == 3
        world.store.plant("meta/head", good)
        assert (await patient.read_head()).head == head

    run_virtual(scenario())
