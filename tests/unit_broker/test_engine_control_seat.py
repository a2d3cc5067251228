"""Elections: who may stand when, what a start refuses, two controllers on one bucket."""

import asyncio
from collections import Counter
from random import Random
from uuid import UUID

import pytest
from automq_broker.engine.control import ControlKnobs, OutcomeUnknown, Role
from automq_broker.kernel.errors import NotMine, Refused
from automq_broker.meta.commands import AllocateProducerIds
from automq_broker.meta.snapshots import state_as_data
from twins.control_world import ControlWorld, register, topic
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual


def kill(control):
    """The process is gone: its loop ends in the middle of whatever it does."""
    control._task.cancel()


def test_the_same_node_on_the_same_wal_takes_the_seat_without_waiting():
    async def scenario():
        world = ControlWorld()
        first = await world.started()
        kill(first)
        begun = world.clock.monotonic()
        await world.started(wal=first.state.cluster_id)
        assert world.clock.monotonic() == begun

    run_virtual(scenario())


@pytest.mark.parametrize("change", [{"node_id": 1}, {"volume_uuid": UUID(int=1)}, {"wal": ""}])
def test_everybody_else_waits_for_the_session(change):
    async def scenario():
        world = ControlWorld(ControlKnobs(session_s=9.0, renew_interval_s=1.0))
        first = await world.started()
        kill(first)
        begun = world.clock.monotonic()
        await world.started(**({"wal": first.state.cluster_id} | change))
        assert 9.0 <= world.clock.monotonic() - begun <= 11.0

    run_virtual(scenario())


def test_a_holder_that_promised_to_renew_seldom_is_given_three_of_its_intervals():
    async def scenario():
        world = ControlWorld(ControlKnobs(session_s=9.0, renew_interval_s=30.0))
        kill(await world.started(0))
        begun = world.clock.monotonic()
        await world.started(1)
        assert 90.0 <= world.clock.monotonic() - begun <= 92.0

    run_virtual(scenario())


def test_a_holder_that_lives_keeps_its_seat():
    async def scenario():
        world = ControlWorld()
        first = await world.started(0)
        other = asyncio.ensure_future(world.process(1).start())
        await asyncio.sleep(300)
        assert not other.done()
        assert first.role is Role.HOLDER
        kill(first)
        await asyncio.wait_for(other, 12)

    run_virtual(scenario())


def test_of_many_candidates_one_wins_and_the_others_wait_for_it():
    async def scenario():
        world = ControlWorld()
        kill(await world.started(0))
        candidates = [world.process(node_id) for node_id in range(1, 7)]
        starts = [asyncio.ensure_future(each.start()) for each in candidates]
        await asyncio.sleep(60)
        assert Counter(each.role for each in candidates) == {Role.HOLDER: 1, Role.LOADING: 5}
        world.check_chain()
        for each in starts:
            each.cancel()

    run_virtual(scenario())


def test_two_first_starts_make_one_cluster():
    async def scenario():
        world = ControlWorld()
        both = [world.process(0), world.process(1)]
        starts = [asyncio.ensure_future(each.start()) for each in both]
        await asyncio.wait(starts, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(1)
        assert len({head.cluster_id for head in world.heads()}) == 1
        world.check_chain()
        for each in starts:
            each.cancel()

    run_virtual(scenario())


def test_a_first_start_beside_a_faster_one_that_works_already_is_not_refused():
    async def scenario():
        world = ControlWorld(ControlKnobs(inline_bytes_max=0))
        slow = world.process(1, faults=Faults(latency_s=(1.0, 1.0)))
        start = asyncio.ensure_future(slow.start())
        await asyncio.sleep(1.5)  # it has found no head, and asks whether the prefix is empty
        fast = await world.started(0)
        await register(fast)
        assert world.keys("meta/delta/")
        kill(fast)
        await start
        assert slow.state.cluster_id == fast.state.cluster_id

    run_virtual(scenario())


def test_the_prefix_of_another_cluster_is_refused():
    async def scenario():
        world = ControlWorld()
        first = await world.started()
        with pytest.raises(Refused, match=f"belongs to cluster {first.state.cluster_id}, the WAL to cluster other"):
            await world.process(wal="other").start()

    run_virtual(scenario())


def test_a_wal_without_its_cluster_in_the_bucket_is_refused():
    async def scenario():
        with pytest.raises(Refused, match="wrong bucket or prefix"):
            await ControlWorld().process(wal="some-cluster").start()

    run_virtual(scenario())


@pytest.mark.parametrize("key", ["data/10/00000000000000000001", "meta/snapshot/x", "meta/delta/x", "wal/0/x"])
def test_a_lost_head_is_never_replaced_by_an_empty_one(key):
    async def scenario():
        world = ControlWorld()
        world.store.plant(key, b"x")
        with pytest.raises(Refused, match="no head"):
            await world.process().start()
        assert world.keys("") == [key]

    run_virtual(scenario())


def test_a_head_of_a_newer_release_is_refused_by_name():
    async def scenario():
        world = ControlWorld()
        world.store.plant("meta/head", b"AMQHEAD 7 x\n{}")
        with pytest.raises(Refused, match="head format 7"):
            await world.process().start()

    run_virtual(scenario())


def test_a_deposed_controller_says_who_the_new_one_is_and_comes_back_when_that_is_gone():
    async def scenario():
        world = ControlWorld()
        old = await world.started(0)
        reloaded = []
        old.subscribe(lambda records: None, reloaded.append)
        await register(old)
        new = await world.started(0, wal=old.state.cluster_id, endpoint="new:1", volume_uuid=UUID(int=0xD000))
        with pytest.raises(OutcomeUnknown):
            await old.submit(topic(1))
        with pytest.raises(NotMine, match="node 0 at new:1"):
            await old.submit(topic(1))
        assert old.role is Role.CANDIDATE
        await new.submit(topic(2))
        kill(new)
        await asyncio.sleep(15)
        assert old.role is Role.HOLDER
        assert reloaded == [old.state]
        assert old.state.topic("topic-2") is not None
        await old.submit(topic(3))
        world.check_chain()

    run_virtual(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_two_controllers_never_both_commit(seed):
    """Both believe in themselves, the store misbehaves: one chain of heads, no id given twice, no answer taken back."""

    async def scenario():
        rng = Random(seed)
        world = ControlWorld(ControlKnobs(session_s=2.0, renew_interval_s=0.5, watch_interval_s=0.3))
        faults = Faults(
            conflict=0.1, conflict_applied=0.1, timeout_applied=0.1, timeout_lost=0.1, timeout_s=1.0, latency_s=(0, 0.2)
        )
        first = await world.started()
        epoch = await register(first)
        # The same WAL twice: each may take the seat at once, which is the worst that a broken lock could do.
        second = world.process(wal=first.state.cluster_id)
        for control in (first, second):
            world.bucket_of(control).faults = faults
        starting = asyncio.ensure_future(second.start())
        given, unknown = [], 0
        for _ in range(60):
            control = rng.choice([first, second])
            try:
                block = await control.submit(AllocateProducerIds(node_id=0, broker_epoch=epoch, count=10))
            except OutcomeUnknown:
                unknown += 1
            except NotMine:
                await asyncio.sleep(rng.uniform(0, 1))
            else:
                given.extend(range(block.first, block.end))
            world.bucket_of(control).script = rng.choices(["ok", "late", "applied", "412"], k=2)
        assert len(given) == len(set(given)), "an id was given twice"
        assert given
        starting.cancel()
        for control in (first, second):
            world.bucket_of(control).faults = Faults()
            world.bucket_of(control).script = []
        await asyncio.sleep(5)
        world.check_chain()
        kill(first)
        if second._task is not None:
            kill(second)
        final = await world.started(wal=first.state.cluster_id)
        assert final.state.next_producer_id > max(given)
        assert final.state.next_producer_id <= len(given) + unknown * 10

    run_virtual(scenario())


def test_two_nodes_take_over_from_each_other_and_agree_in_the_end():
    async def scenario():
        world = ControlWorld()
        controls = [await world.started(0)]
        await register(controls[0])
        cluster_id = controls[0].state.cluster_id
        for round_number in range(1, 5):
            await controls[-1].submit(topic(round_number))
            kill(controls[-1])
            controls.append(await world.started(round_number, wal=cluster_id))
        assert [each.name for each in controls[-1].state.topics()] == [f"topic-{number}" for number in range(1, 5)]
        assert world.heads()[-1].epoch == 5
        world.check_chain()
        again = await world.started(4, wal=cluster_id)
        assert state_as_data(again.state) == state_as_data(controls[-1].state)

    run_virtual(scenario())
