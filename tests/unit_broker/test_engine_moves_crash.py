"""The source or the target of a move dies at any of its effects, and comes back: nothing acknowledged is lost or doubled.

There and back and there again, with idempotent records sent in between; every life that ends is followed by another one
on the same disk, and what was ordered before is neither ordered again nor forgotten.
"""

import asyncio
import contextlib

import pytest
from twins.engine_world import Fate
from twins.moves_world import Cluster, Node, in_cluster, one_batch
from twins.virtual_time import run_virtual

TOPIC = "t"
PRODUCER = 7
OWNERS = (1, 2, 1, 2)
RECORDS_A_STAY = 3
PATIENCE_S = 60.0

SOURCE_EFFECTS = 28
TARGET_EFFECTS = 24
"""More than the lives have; `test_the_lists_are_whole` holds them to that."""


class Journey:
    """A partition on its way between two nodes, and the producer that follows it."""

    def __init__(self, cluster: Cluster, first: Fate, second: Fate) -> None:
        self.cluster = cluster
        self.fates = {1: first, 2: second}
        self.nodes: dict[int, Node] = {}
        self.streams: list[int] = []
        self.sent: list[bytes] = []
        self.acked: list[bytes] = []
        self.high_watermark = 0

    async def run(self) -> None:
        """Every stay in turn. Raises TimeoutError if one does not come about."""
        for owner in OWNERS:
            goal = len(self.acked) + RECORDS_A_STAY
            is_ordered = False
            async with asyncio.timeout(PATIENCE_S):
                while len(self.acked) < goal:
                    await self._live()
                    if not is_ordered:
                        await self._order(owner)
                        is_ordered = True
                    await self._unless_somebody_dies(self.nodes[owner], goal)
        await self._live()
        assert await self.nodes[OWNERS[-1]].read_back(TOPIC, 0) == self.acked == self.sent

    async def _order(self, owner: int) -> None:
        if self.streams:
            await self.cluster.assign(self.streams, owner)
        else:
            self.streams = await self.cluster.make_topic(TOPIC, 1, owner)

    async def _live(self) -> None:
        """Bury who died and start who is not there, until both nodes run."""
        while dead := [node_id for node_id in self.fates if not self._is_up(node_id)]:
            for node_id in dead:
                if node_id in self.nodes:
                    await self.nodes[node_id].die()
                    self.fates[node_id] = Fate()
                node = self.nodes[node_id] = self.cluster.node(node_id, self.fates[node_id])
                await node.lives_or_dies(node.run(node.start()))

    def _is_up(self, node_id: int) -> bool:
        return node_id in self.nodes and not self.nodes[node_id].fate.is_dead

    async def _unless_somebody_dies(self, node: Node, goal: int) -> None:
        """Produce at `node` up to `goal` records. A node that ends by itself, not by its fate, is an error."""
        ends = [asyncio.ensure_future(each.fate.died.wait()) for each in self.nodes.values()]
        failures = [asyncio.ensure_future(each.supervisor.wait_failed()) for each in self.nodes.values()]
        work = node.run(self._produce(node, goal))
        await asyncio.wait({work, *ends, *failures}, return_when=asyncio.FIRST_COMPLETED)
        for failure in failures:
            if failure.done():
                raise failure.result()
        if work.done():
            work.result()
        for wait in (work, *ends, *failures):
            wait.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await wait

    async def _produce(self, node: Node, goal: int) -> None:
        """A record is sent until it is acknowledged; a retry repeats the very same one."""
        await node.serves(self.streams)
        partition = node.running.engine.partition(TOPIC, 0)
        assert partition.log.high_watermark >= self.high_watermark, "the high watermark went back"
        while len(self.acked) < goal:
            sequence = len(self.acked)
            if len(self.sent) == sequence:
                self.sent.append(b"r%d" % sequence * 50)
            await partition.append(one_batch(self.sent[sequence], sequence=sequence, producer=PRODUCER))
            self.acked.append(self.sent[sequence])
        self.high_watermark = partition.log.high_watermark


def travel(source: Fate, target: Fate) -> None:
    run_virtual(in_cluster(lambda cluster: Journey(cluster, source, target).run()))


def test_the_lists_are_whole() -> None:
    source, target = Fate(), Fate()
    travel(source, target)
    assert 20 < source.count <= SOURCE_EFFECTS
    assert 15 < target.count <= TARGET_EFFECTS


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, SOURCE_EFFECTS + 1))
def test_a_source_may_die_at_every_effect_of_a_move(dies_at: int, applied: bool) -> None:
    travel(Fate(dies_at=dies_at, applied=applied), Fate())


@pytest.mark.parametrize("applied", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("dies_at", range(1, TARGET_EFFECTS + 1))
def test_a_target_may_die_at_every_effect_of_a_move(dies_at: int, applied: bool) -> None:
    travel(Fate(), Fate(dies_at=dies_at, applied=applied))


@pytest.mark.parametrize("source_dies_at", range(5, SOURCE_EFFECTS + 1))
def test_both_may_die(source_dies_at: int) -> None:
    for target_dies_at in range(4 + source_dies_at % 3, TARGET_EFFECTS + 1, 3):
        travel(
            Fate(dies_at=source_dies_at, applied=source_dies_at % 2 == 0),
            Fate(dies_at=target_dies_at, applied=target_dies_at % 2 == 0),
        )
