"""Deltas and snapshots: spilled, cut, loaded, swept; crashes between any two of their steps."""

import asyncio
from random import Random
from uuid import UUID

import pytest
from automq_broker.engine.control import ControlKnobs, Role
from automq_broker.engine.control_chores import sweep
from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_offline import read_cluster
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.lake.keys import delta_key, snapshot_key
from automq_broker.meta.commands import CreateTopic
from automq_broker.meta.snapshots import state_as_data
from automq_broker.ports import NotFound
from twins.control_world import ControlWorld, register, topic
from twins.memory_bucket import Faults, MemoryBucket
from twins.virtual_time import run_virtual

SMALL = ControlKnobs(inline_bytes_max=700, snapshot_commits=20, renew_interval_s=0.5)


def patient(world, **faults):
    return PatientBucket(MemoryBucket(world.store, faults=Faults(**faults)), Random(1), ControlKnobs())


async def filled(knobs=SMALL, commits=30):
    world = ControlWorld(knobs)
    control = await world.started()
    await register(control)
    for number in range(commits):
        await control.submit(topic(number, partitions=20))
    return world, control


def test_what_does_not_fit_into_the_head_moves_to_delta_objects():
    async def scenario():
        world, control = await filled(ControlKnobs(inline_bytes_max=700))
        head = world.heads()[-1]
        assert len(head.deltas) > 3
        assert list(head.deltas) == world.keys("meta/delta/")
        assert max(len(each.inline) for each in world.heads()) <= 700
        loaded = await load_state(patient(world), head, SMALL)
        assert state_as_data(loaded.state) == state_as_data(control.state)
        world.check_chain()

    run_virtual(scenario())


def test_one_huge_batch_is_one_delta():
    async def scenario():
        world, control = await filled(ControlKnobs(), commits=0)
        names = [Random(number).randbytes(120).hex() for number in range(600)]
        await asyncio.gather(
            *(
                control.submit(CreateTopic(name=name, topic_id=UUID(int=number + 1), partitions=2))
                for number, name in enumerate(names)
            )
        )
        assert len(world.heads()[-1].deltas) == 1
        assert world.heads()[-1].inline == b""
        _, state = await read_cluster(MemoryBucket(world.store), Random(1))
        assert state_as_data(state) == state_as_data(control.state)

    run_virtual(scenario())


def test_a_snapshot_takes_the_place_of_what_it_holds_and_the_rest_is_swept():
    async def scenario():
        world, control = await filled(commits=100)
        await asyncio.sleep(3)
        head = world.heads()[-1]
        statistics = control.statistics()
        assert statistics.snapshots >= 3
        assert statistics.swept > 0
        assert set(world.keys()) == {"meta/head", head.snapshot, *head.deltas}
        loaded = await load_state(patient(world), head, SMALL)
        assert state_as_data(loaded.state) == state_as_data(control.state)
        assert loaded.commits < 40
        second = await world.started(wal=control.state.cluster_id)
        assert state_as_data(second.state) == state_as_data(control.state)
        world.check_chain()

    run_virtual(scenario())


def test_commits_go_on_while_a_snapshot_is_stored():
    async def scenario():
        world = ControlWorld(ControlKnobs(inline_bytes_max=500, snapshot_commits=10, renew_interval_s=0.5))
        control = await world.started(faults=Faults(latency_s=(0.01, 0.3)))
        await register(control)
        for number in range(60):
            await control.submit(topic(number, partitions=5))
        await asyncio.sleep(5)
        assert control.statistics().snapshots >= 2
        _, state = await read_cluster(MemoryBucket(world.store), Random(1))
        assert state_as_data(state) == state_as_data(control.state)
        assert len(list(state.topics())) == 60

    run_virtual(scenario())


def test_size_alone_is_a_reason_for_a_snapshot():
    async def scenario():
        world, control = await filled(ControlKnobs(snapshot_bytes=1_500, renew_interval_s=0.5), commits=20)
        await asyncio.sleep(2)
        assert control.statistics().snapshots >= 1
        assert world.heads()[-1].snapshot

    run_virtual(scenario())


def test_a_crash_between_the_delta_and_the_head_leaves_garbage_that_the_next_life_sweeps():
    async def scenario():
        world, control = await filled(ControlKnobs(inline_bytes_max=700))
        before = state_as_data(control.state)
        bucket = world.bucket_of(control)
        bucket.script = ["lost!"]
        waiting = asyncio.ensure_future(
            asyncio.gather(*(control.submit(topic(number, partitions=300)) for number in range(100, 140)))
        )
        await asyncio.sleep(0.5)
        control._task.cancel()
        await asyncio.wait([waiting])
        referenced = {*world.heads()[-1].deltas}
        orphans = set(world.keys("meta/delta/")) - referenced
        assert len(orphans) == 1
        second = await world.started(wal=control.state.cluster_id)
        assert state_as_data(second.state) == before
        await second.submit(topic(500))
        await asyncio.sleep(1)
        third = await world.started(wal=control.state.cluster_id)
        await asyncio.sleep(1)
        assert not orphans & set(world.keys("meta/delta/"))
        assert third.state.topic("topic-500") is not None

    run_virtual(scenario())


def test_a_sweep_leaves_alone_what_is_referenced_and_what_may_be_on_its_way():
    async def scenario():
        world, _control = await filled(ControlKnobs(inline_bytes_max=700))
        head = world.heads()[-1]
        newer = [delta_key(head.seq + 1, "x"), snapshot_key(head.seq + 1, "x"), "meta/delta/strange"]
        older = [delta_key(head.seq, "x"), snapshot_key(1, "x")]
        for key in (*newer, *older):
            world.store.plant(key, b"x")
        assert await sweep(patient(world), head) == 2
        assert set(world.keys()) == {"meta/head", *head.deltas, *newer}

    run_virtual(scenario())


def test_a_loader_that_meets_a_missing_key_reads_the_head_again():
    async def scenario():
        world, control = await filled(commits=15)
        old = world.heads()[-1]
        world.store.objects.pop(old.deltas[0])
        with pytest.raises(NotFound):
            await load_state(patient(world), old, SMALL)
        lost = world.process(1, wal=control.state.cluster_id)
        control._task.cancel()
        starting = asyncio.ensure_future(lost.start())
        await asyncio.sleep(100)
        assert not starting.done(), "never empty, never the end of the process"
        assert lost.role is Role.LOADING
        starting.cancel()

    run_virtual(scenario())


def test_a_reader_follows_a_head_that_moves_on_while_it_reads():
    async def scenario():
        world, control = await filled(commits=60)
        bucket = MemoryBucket(world.store, faults=Faults(latency_s=(0.2, 0.6)), seed=3)
        reading = asyncio.ensure_future(read_cluster(bucket, Random(2)))
        for number in range(100, 180):
            await control.submit(topic(number, partitions=20))
            await asyncio.sleep(0.02)
        head, state = await reading
        again = await load_state(patient(world), world.heads()[-1], SMALL)
        assert head.seq > 60
        assert len(list(state.topics())) <= len(list(again.state.topics()))

    run_virtual(scenario())


def test_bytes_flipped_on_their_way_are_read_again():
    async def scenario():
        world, control = await filled(commits=60)
        await asyncio.sleep(2)
        head = world.heads()[-1]
        for seed in range(8):
            bucket = MemoryBucket(world.store, faults=Faults(corrupt_read=0.15, short_read=0.2), seed=seed)
            loaded = await load_state(PatientBucket(bucket, Random(seed), ControlKnobs()), head, SMALL)
            assert state_as_data(loaded.state) == state_as_data(control.state)

    run_virtual(scenario())


def test_a_line_that_damages_nearly_every_answer_only_takes_time():
    async def scenario():
        world, control = await filled(commits=60)
        await asyncio.sleep(2)
        bucket = MemoryBucket(world.store, faults=Faults(corrupt_read=0.9), seed=3)
        loaded = await load_state(PatientBucket(bucket, Random(3), ControlKnobs()), world.heads()[-1], SMALL)
        assert state_as_data(loaded.state) == state_as_data(control.state)

    run_virtual(scenario())


class FirstDamaged(MemoryBucket):
    """The first answer has one bit flipped, in the byte at `position`."""

    def __init__(self, store, position):
        super().__init__(store)
        self.position = position

    async def get(self, key, start=0, end=None):
        data = await super().get(key, start, end)
        if self.position is None:
            return data
        flipped = bytearray(data)
        flipped[self.position] ^= 0x40
        self.position = None
        return bytes(flipped)


@pytest.mark.parametrize("position", [8, 12], ids=["version of the snapshot", "section of its first frame"])
def test_what_looks_like_a_newer_release_is_read_again(position):
    async def scenario():
        world, control = await filled(commits=60)
        await asyncio.sleep(2)
        bucket = PatientBucket(FirstDamaged(world.store, position), Random(1), ControlKnobs())
        loaded = await load_state(bucket, world.heads()[-1], SMALL)
        assert state_as_data(loaded.state) == state_as_data(control.state)

    run_virtual(scenario())


def test_bytes_damaged_in_the_store_are_reported_with_their_key():
    async def scenario():
        world, control = await filled(commits=60)
        await asyncio.sleep(2)
        for number in range(100, 115):
            await control.submit(topic(number, partitions=20))
        head = world.heads()[-1]
        for key in (head.snapshot, head.deltas[0]):
            good = world.store.data(key)
            world.store.plant(key, good[:-3] + b"???")
            with pytest.raises(Corrupt, match=key):
                await load_state(patient(world), head, SMALL)
            world.store.plant(key, good)

    run_virtual(scenario())


def test_tools_read_beside_a_live_controller_and_change_nothing():
    async def scenario():
        world, control = await filled(commits=5)
        before = dict(world.store.objects)
        head, state = await read_cluster(MemoryBucket(world.store), Random(1))
        assert head == world.heads()[-1]
        assert state_as_data(state) == state_as_data(control.state)
        assert dict(world.store.objects) == before
        with pytest.raises(Refused, match="no cluster"):
            await read_cluster(MemoryBucket(), Random(1))
        with pytest.raises(Refused, match="403"):
            await read_cluster(MemoryBucket(faults=Faults(denied=True)), Random(1))

    run_virtual(scenario())


def test_an_incarnation_number_may_be_anything():
    async def scenario():
        world = ControlWorld(SMALL)
        control = await world.started(incarnation=UUID(int=(1 << 128) - 1))
        await register(control)
        for number in range(50):
            await control.submit(topic(number, partitions=20))
        await asyncio.sleep(2)
        assert control.statistics().swept > 0

    run_virtual(scenario())
