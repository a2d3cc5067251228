"""The balancer in a cluster: real metadata, sessions and heartbeats in virtual time, made-up load."""

import asyncio
from dataclasses import replace

import pytest
from automq_broker.engine.balancing import BalancerKnobs, NotTheController
from automq_broker.meta.commands import AssignStreams, SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.meta.topics import CORDON_CONFIG
from twins.balance_world import RULES, WAL_BYTES, BalanceWorld
from twins.virtual_time import run_virtual

OFF = BalancerKnobs(is_enabled=False, rules=RULES)


async def loaded(count: int, knobs: BalancerKnobs | None = None) -> BalanceWorld:
    """`count` brokers from 0, each with ten partitions of half a MiB/s; the first one holds the seat."""
    world = BalanceWorld(knobs=knobs)
    for node_id in range(count):
        await world.add(node_id)
    for node_id in range(count):
        await world.topic(f"topic-{node_id}", [0.5] * 10, node_id)
    return world


def test_a_broker_that_is_added_to_three_loaded_ones_carries_its_share_within_half_a_minute():
    async def scenario():
        world = await loaded(3)
        await asyncio.sleep(90)
        assert sum(world.opens.values()) == 0, "an even load is left alone"
        await world.add(3)
        assert await world.until_even(60) <= 30
        assert world.load_mib()[3] >= 3.375
        await world.cluster.settle()

    run_virtual(scenario())


def test_a_load_that_stands_still_is_moved_once_and_then_never_again():
    async def scenario():
        world = await loaded(2)
        await world.topic("hot", [3.0, 2.0, 1.0, 0.7, 0.3], 1, out_mib=2.0)
        await world.until_even(120)
        await asyncio.sleep(600)
        moved = world.opens.copy()
        assert max(moved.values()) == 1
        await asyncio.sleep(3600)
        assert world.opens == moved
        assert world.is_even()
        await world.cluster.settle()

    run_virtual(scenario())


def test_every_move_and_every_refusal_is_noted_with_its_reason_and_not_repeated():
    async def scenario():
        world = await loaded(2)
        await world.topic("hot", [3.0, 2.0, 1.0], 1)
        await world.add(2)
        await world.until_even(120)
        told = world.reasons(0)
        assert any(about.startswith("hot-") and "broker 1 carries" in why for about, why in told)
        await asyncio.sleep(200)
        settled = world.reasons(0)
        await asyncio.sleep(600)
        assert world.reasons(0) == settled
        assert ("network-out", "brokers carry 0.00 MiB/s to 0.00 MiB/s; up to 1.00 MiB/s nothing is moved") in settled
        assert world.reasons(1) == [], "only the controller decides"

    run_virtual(scenario())


def test_a_disabled_balancer_moves_nothing_until_it_is_enabled_or_asked():
    async def scenario():
        world = await loaded(1, OFF)
        await world.add(1)
        await asyncio.sleep(300)
        assert world.load_mib()[1] == 0
        preview = await world.holder.balancer.preview()
        assert preview.moves
        await asyncio.sleep(5)
        assert world.load_mib()[1] == 0, "a dry run changes nothing"
        made = await world.holder.balancer.balance()
        assert len(made.moves) == len(preview.moves) == 5
        await world.until_even(10)
        with pytest.raises(NotTheController, match="ask broker 0"):
            await world.owners[1].balancer.preview()

    run_virtual(scenario())


def test_brokers_that_are_listed_drained_or_slow_are_left_alone_and_the_reason_is_told():
    async def scenario():
        world = await loaded(1)
        for node_id in (1, 2, 3):
            await world.add(node_id)
        world.knobs = replace(world.knobs, excluded_nodes=frozenset({"1"}))
        world.owners[3].wal_used_bytes = WAL_BYTES * 4 // 5
        cordon = SetConfigs(resource_type=ResourceType.BROKER, resource_name="2", upserts={CORDON_CONFIG: "*"})
        await world.cluster.members[0].node.submit(cordon)
        await asyncio.sleep(300)
        assert world.load_mib() == {0: 5.0, 1: 0.0, 2: 0.0, 3: 0.0}
        told = dict(world.reasons(0))
        assert told["broker 1"] == "autobalancer.controller.exclude.broker.ids names it"
        assert told["broker 2"] == "it is being drained"
        assert told["broker 3"] == "it is slow: its write-ahead log is more than 75% full"
        assert told["all goals"] == "1 of 4 brokers take part, two are needed"
        world.owners[3].wal_used_bytes = 0
        await asyncio.sleep(60)
        assert 2.0 <= world.load_mib()[3] <= 3.0

    run_virtual(scenario())


def test_a_listed_topic_stays_where_it_is_and_its_load_counts():
    async def scenario():
        world = await loaded(1)
        world.knobs = replace(world.knobs, excluded_topics=frozenset({"topic-0"}))
        free = await world.topic("free", [0.5] * 10, 0)
        await world.add(1)
        await world.until_even(60)
        assert {world.owner_of(stream_id) for stream_id in free} == {1}

    run_virtual(scenario())


def test_what_a_person_has_just_put_somewhere_stays_there_for_a_while():
    async def scenario():
        world = await loaded(2)
        streams = list(world.rates)
        node = world.cluster.members[0].node
        await node.submit(AssignStreams(stream_ids=tuple(streams[:10]), node_id=1))
        await asyncio.sleep(100)
        assert {world.owner_of(each) for each in streams[:10]} == {1}
        await asyncio.sleep(400)
        assert world.is_even()

    run_virtual(scenario())


def test_the_next_controller_goes_on_when_the_balancing_one_dies():
    async def scenario():
        world = await loaded(3)
        world.knobs = replace(world.knobs, is_enabled=False)
        await world.topic("hot", [1.0] * 12, 1)
        world.kill(0)
        await asyncio.sleep(30)
        world.knobs = replace(world.knobs, is_enabled=True)
        await world.until_even(120)
        assert world.holder.balancer.moves_total.total() > 0

    run_virtual(scenario())


def test_what_a_controller_decided_that_had_lost_its_seat_is_not_carried_out_by_the_next_one():
    """Such a one saw the load as it was before it stood still; the next one looks for itself."""

    async def scenario():
        world = await loaded(3)
        world.knobs = replace(world.knobs, is_enabled=False)
        await world.topic("hot", [1.0] * 12, 1)
        await asyncio.sleep(20)
        old = world.holder
        others = [each.endpoint for each in world.cluster.members if each is not old.member]
        old.member.bucket.faults.outage = True
        world.cluster.network.isolate(old.member.endpoint, others)
        look = asyncio.ensure_future(old.balancer.balance())
        await asyncio.sleep(22)
        assert not look.done(), "it cannot know what became of its commit"
        assert [each.node_id for each in world.cluster.holders() if each is not old.member], "another one has the seat"
        old.member.bucket.faults.outage = False
        world.cluster.network.heal()
        assert (await look).moves == ()
        await asyncio.sleep(30)
        assert sum(world.opens.values()) == 0
        assert any("holds the head at epoch 2" in why for _, why in world.reasons(old.member.node_id))

    run_virtual(scenario())


def test_more_moves_than_one_batch_holds_go_batch_by_batch():
    async def scenario():
        world = BalanceWorld(knobs=BalancerKnobs(is_enabled=True, rules=replace(RULES, moves_max=10)))
        await world.add(0)
        await world.topic("many", [0.1] * 120, 0)
        await world.add(1)
        await world.until_even(120)
        assert 54 <= sum(world.opens.values()) <= 60
        assert world.holder.balancer.looks_total >= 6

    run_virtual(scenario())
