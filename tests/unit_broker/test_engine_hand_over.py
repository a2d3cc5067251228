"""A broker that stops among others hands its partitions over first; whatever goes wrong meanwhile loses nothing."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from automq_broker.engine import start as engine_start
from automq_broker.engine.hand_over import hand_over
from automq_broker.engine.recover import read_superblock
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.commands import (
    AssignStreams,
    CloseStream,
    Command,
    FenceNode,
    LiftFence,
    NodeStopped,
    OpenStream,
    StopCluster,
)
from automq_broker.meta.rows import NO_NODE, NodeStatus
from twins.engine_world import KNOBS, Fate
from twins.memory_bucket import Faults
from twins.moves_world import Cluster, Link, Node, in_cluster, one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
LIMIT_S = 7.5


async def some_nodes(cluster: Cluster, count: int, partitions: int) -> tuple[list[Node], list[int]]:
    """Nodes from 1 on; everything lies on the first, with one record in each partition."""
    nodes = [await cluster.start(node_id) for node_id in range(1, count + 1)]
    streams = await cluster.make_topic(TOPIC, partitions, owner=1)
    await nodes[0].serves(streams)
    await asyncio.gather(*(produce(nodes[0], index, b"%d" % index) for index in range(partitions)))
    return nodes, streams


async def produce(node: Node, index: int, value: bytes, sequence: int = -1) -> None:
    producer = 7 if sequence >= 0 else -1
    await node.running.engine.partition(TOPIC, index).append(one_batch(value, sequence=sequence, producer=producer))


async def go(node: Node) -> None:
    """What a broker does at SIGTERM."""
    partitions = node.running.engine.open_partitions
    now_ms = node.outside.clock.now_ms()
    are_given = await node.run(hand_over(node.link, partitions, node.node_id, LIMIT_S, now_ms))
    await node.run(engine_start.stop(node.running, lambda _: None, keeps_partitions=not are_given))


async def is_clean(node: Node) -> bool:
    superblock = await read_superblock(node.device)
    return superblock is not None and superblock.is_clean


def held(node: Node) -> set[int]:
    return set(node.running.engine.open_partitions.by_stream)


def test_a_stopping_broker_gives_its_partitions_evenly_to_the_others_and_ends_clean() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, second, third), streams = await some_nodes(cluster, 3, partitions=10)
        await go(first)
        assert len(held(second)) == len(held(third)) == 5
        for node in (second, third):
            for partition in node.running.engine.open_partitions.by_stream.values():
                assert await node.read_back(TOPIC, partition.index) == [b"%d" % partition.index]
        assert await is_clean(first)
        assert cluster.control.state.nodes[first.node_id].status is NodeStatus.STOPPED
        assert cluster.owners(streams) == {2, 3}

    run_virtual(in_cluster(scenario))


def test_partitions_whose_wave_has_not_come_are_served_meanwhile() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, second), streams = await some_nodes(cluster, 2, partitions=1000)
        first.bucket.faults = Faults(latency_s=(0.05, 0.1))
        going = asyncio.create_task(go(first))
        served_while_others_had_left = 0
        while not going.done():
            left = sorted(held(first))
            if left and len(left) < len(streams):
                try:
                    await produce(first, streams.index(left[-1]), b"late")
                    served_while_others_had_left += 1
                except ClientFault:
                    pass  # its wave came meanwhile
            await asyncio.sleep(0.001)
        await going
        waves = [each for each in first.link.sent if isinstance(each, AssignStreams)]
        assert [len(wave.stream_ids) for wave in waves] == [250] * 4
        assert served_while_others_had_left > 0
        await second.serves(streams)
        values = [await second.read_back(TOPIC, index) for index in range(len(streams))]
        assert sum(each[1:] == [b"late"] * (len(each) - 1) for each in values) == len(streams)
        assert sum(len(each) - 1 for each in values) == served_while_others_had_left

    run_virtual(in_cluster(scenario))


def test_heartbeats_that_find_their_way_late_do_not_come_after_the_last_word() -> None:
    async def scenario(cluster: Cluster) -> None:
        (node,), _ = await some_nodes(cluster, 1, partitions=2)
        running = node.running
        word = LiftFence(node_id=node.node_id, broker_epoch=running.broker_epoch)

        async def beat() -> None:
            while True:
                await running.metadata.submit(word)

        running.heartbeats = node.supervisor.start("heartbeats", beat())
        await go(node)
        await asyncio.sleep(1)
        assert not node.supervisor.has_failed
        assert cluster.control.state.nodes[node.node_id].status is NodeStatus.STOPPED

    run_virtual(in_cluster(scenario))


class SlowToOpen(Link):
    """The controller answers opens only once `may_open` is set."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        super().__init__(cluster.control, node.fate)
        self.may_open = asyncio.Event()
        self.asked = 0

    async def submit(self, command: Command[Any]) -> Any:
        if isinstance(command, OpenStream):
            self.asked += 1
            await self.may_open.wait()
        return await super().submit(command)


def test_partitions_that_were_just_being_opened_are_closed_too_before_the_last_word() -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.node(1)
        node.link = link = SlowToOpen(cluster, node)
        await node.run(node.start())
        streams = await cluster.make_topic(TOPIC, 3, owner=1)
        while link.asked < 3:
            await asyncio.sleep(0.01)
        going = asyncio.create_task(go(node))
        await asyncio.sleep(1)
        link.may_open.set()
        await going
        await asyncio.sleep(1)
        assert not node.supervisor.has_failed
        assert cluster.control.state.nodes[node.node_id].status is NodeStatus.STOPPED
        assert cluster.owners(streams) == {NO_NODE}
        assert await is_clean(node)

    run_virtual(in_cluster(scenario))


class SlowToHearTheLastWord(Link):
    """The controller answers NodeStopped only after half a minute."""

    async def submit(self, command: Command[Any]) -> Any:
        if isinstance(command, NodeStopped):
            await asyncio.sleep(30)
        return await super().submit(command)


def test_a_controller_that_is_slow_to_hear_the_last_word_is_not_taken_for_a_lost_volume() -> None:
    async def scenario(cluster: Cluster) -> None:
        node = cluster.node(1, knobs=replace(KNOBS, wal_heartbeat_s=1.0))
        node.link = SlowToHearTheLastWord(cluster.control, node.fate)
        await node.run(node.start())
        streams = await cluster.make_topic(TOPIC, 1, owner=1)
        await node.serves(streams)
        await produce(node, 0, b"0")
        await go(node)
        assert not node.supervisor.has_failed
        assert await is_clean(node)

    run_virtual(in_cluster(scenario))


def test_the_last_broker_closes_its_partitions_at_once() -> None:
    async def scenario(cluster: Cluster) -> None:
        (only,), streams = await some_nodes(cluster, 1, partitions=3)
        begun = asyncio.get_running_loop().time()
        await go(only)
        assert asyncio.get_running_loop().time() - begun < 1
        assert cluster.owners(streams) == {NO_NODE}
        assert await is_clean(only)

    run_virtual(in_cluster(scenario))


def test_brokers_that_all_stop_at_once_do_not_wait_for_each_other() -> None:
    async def scenario(cluster: Cluster) -> None:
        nodes, streams = await some_nodes(cluster, 3, partitions=9)
        for owner, share in zip((1, 2, 3), (streams[:3], streams[3:6], streams[6:]), strict=True):
            await cluster.assign(share, owner)
        for node, share in zip(nodes, (streams[:3], streams[3:6], streams[6:]), strict=True):
            await node.serves(share)
        begun = asyncio.get_running_loop().time()
        await asyncio.gather(*(go(node) for node in nodes))
        assert asyncio.get_running_loop().time() - begun < 2
        assert cluster.owners(streams) == {NO_NODE}
        assert all([await is_clean(node) for node in nodes])

    run_virtual(in_cluster(scenario))


def test_brokers_that_are_all_to_stop_keep_their_partitions_and_open_them_again_when_they_are_back() -> None:
    async def scenario(cluster: Cluster) -> None:
        nodes, streams = await some_nodes(cluster, 3, partitions=9)
        shares = {1: streams[:3], 2: streams[3:6], 3: streams[6:]}
        for node in nodes:
            await cluster.assign(shares[node.node_id], node.node_id)
        for node in nodes:
            await node.serves(shares[node.node_id])
        await cluster.control.submit(StopCluster(until_ms=nodes[0].outside.clock.now_ms() + 60_000))
        for node in nodes:  # one after the other: each of the first two would have had heirs
            await go(node)
            assert await is_clean(node)
        again = [await cluster.start(node_id) for node_id in (1, 2, 3)]
        for node in again:
            await node.serves(shares[node.node_id])

    run_virtual(in_cluster(scenario))


def test_a_target_that_falls_silent_is_replaced_by_another() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, second, third), streams = await some_nodes(cluster, 3, partitions=4)
        first.bucket.faults = Faults(outage=True)  # nothing can be uploaded, so nothing can be closed yet
        going = asyncio.create_task(go(first))
        await asyncio.sleep(0.5)
        epoch = second.running.broker_epoch
        await cluster.control.submit(FenceNode(node_id=second.node_id, broker_epoch=epoch))
        first.bucket.faults = Faults()
        await going
        await third.serves(streams)
        assert await is_clean(first)

    run_virtual(in_cluster(scenario))


def test_what_is_created_on_a_stopping_broker_is_sent_on() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, second), streams = await some_nodes(cluster, 2, partitions=2)
        first.bucket.faults = Faults(outage=True)
        going = asyncio.create_task(go(first))
        await asyncio.sleep(0.5)
        late = await cluster.make_topic("late", 2, owner=1)
        first.bucket.faults = Faults()
        await going
        await second.serves([*streams, *late])

    run_virtual(in_cluster(scenario))


def test_without_the_bucket_it_gives_up_in_time_and_the_next_life_has_everything() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, second), streams = await some_nodes(cluster, 2, partitions=2)
        cluster.bucket.faults = Faults(outage=True)
        for node in (first, second):
            node.bucket.faults = Faults(outage=True)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(go(first), 15)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(15)
        await first.die()
        assert not await is_clean(first)
        second.bucket.faults = cluster.bucket.faults = Faults()
        again = await cluster.start(1)
        await second.serves(streams)
        assert [await second.read_back(TOPIC, index) for index in range(2)] == [[b"0"], [b"1"]]
        assert not again.supervisor.has_failed

    run_virtual(in_cluster(scenario))


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
def test_a_second_signal_at_any_moment_loses_nothing(applied: bool) -> None:
    """The process ends at every effect of the hand-over and of the stop, and comes back."""

    async def life(cluster: Cluster, dies_at: int) -> bool:
        fate = Fate()
        first, second = await cluster.start(1, fate), await cluster.start(2)
        streams = await cluster.make_topic(TOPIC, 2, owner=1)
        await first.serves(streams)
        await asyncio.gather(*(produce(first, index, b"%d" % index, 0) for index in range(2)))
        fate.applied, fate.dies_at = applied, fate.count + dies_at
        work = first.run(go(first))
        has_lived = await first.lives_or_dies(work)
        if not has_lived:
            await go(await cluster.start(1))
        async with asyncio.timeout(60):
            await second.serves(streams)
        assert [await second.read_back(TOPIC, index) for index in range(2)] == [[b"0"], [b"1"]]
        return has_lived

    lives = itertools.takewhile(
        lambda dies_at: not run_virtual(in_cluster(lambda cluster: life(cluster, dies_at))), itertools.count(1)
    )
    assert len(list(lives)) >= 8


def test_every_partition_is_closed_once() -> None:
    async def scenario(cluster: Cluster) -> None:
        (first, _), streams = await some_nodes(cluster, 2, partitions=20)
        await go(first)
        closes = [each.stream_id for each in first.link.sent if isinstance(each, CloseStream)]
        assert sorted(closes) == sorted(streams)

    run_virtual(in_cluster(scenario))
