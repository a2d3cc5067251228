"""How long brokers are out of service: real metadata and sessions in virtual time, the figures as Prometheus reads them."""

import asyncio
from uuid import UUID

import pytest
from automq_broker.admin.broker_samples import recovery_samples
from automq_broker.contract import metrics
from automq_broker.contract.metrics import Total
from automq_broker.engine.recoveries import Recoveries
from automq_broker.meta.commands import RescueDone, RescueNode
from automq_broker.meta.rows import NodeStatus
from twins.cluster_world import ClusterWorld, Member
from twins.virtual_time import run_virtual


def figures(recoveries: Recoveries, member: Member) -> dict[tuple[str, ...], object]:
    """(metric, labels...) -> value."""
    return {
        (sample.metric.name, *sample.labels): sample.value for sample in recovery_samples(recoveries, member.node.state)
    }


def test_a_dead_broker_is_counted_stage_by_stage_with_the_seconds_of_each():
    async def scenario():
        world = ClusterWorld()
        first, second, _ = await world.cluster(3)
        seen = Recoveries(first.node, world.clock)
        assert set(figures(seen, first).values()) == {Total(0, 0)}
        world.kill(second)
        while not seen.under_way():
            await asyncio.sleep(0.1)
        await asyncio.sleep(4)
        epoch = (
            await first.node.submit(RescueNode(node_id=1, expected_epoch=second.broker_epoch, rescue=UUID(int=5)))
        ).broker_epoch
        await asyncio.sleep(7)
        now = figures(seen, first)
        assert now[metrics.RECOVERY_AGE.name, "1", "RESCUING"] == pytest.approx(7, abs=0.5)
        assert now[metrics.RECOVERY_LEFT.name, "1"] == 0
        await first.node.submit(RescueDone(node_id=1, broker_epoch=epoch))
        after = figures(seen, first)
        assert (metrics.RECOVERY_AGE.name, "1", "RESCUING") not in after
        fenced, drained = (after[metrics.RECOVERY_STAGES.name, stage] for stage in ("FENCED", "RESCUING"))
        assert fenced == Total(1, pytest.approx(4, abs=0.5))
        assert drained == Total(1, pytest.approx(7, abs=0.5))

    run_virtual(scenario())


def test_a_silence_that_ends_is_counted_by_every_broker_from_when_it_saw_it():
    async def scenario():
        world = ClusterWorld()
        first, second, third = await world.cluster(3)
        seen = Recoveries(third.node, world.clock)
        world.network.isolate(second.endpoint, [first.endpoint])
        while not seen.under_way():
            await asyncio.sleep(0.1)
        await asyncio.sleep(5)
        late = Recoveries(third.node, world.clock)
        world.network.heal()
        while seen.under_way():
            await asyncio.sleep(0.1)
        whole, rest = seen.ended[NodeStatus.FENCED], late.ended[NodeStatus.FENCED]
        assert (whole.times, rest.times) == (1, 1)
        assert whole.seconds - rest.seconds == pytest.approx(5, abs=0.2)
        await world.settle()

    run_virtual(scenario())
