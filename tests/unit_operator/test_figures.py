"""What the alerts stand on: figures about each cluster that follow its state, and go with it."""

import asyncio

import pytest
from automq_operator.report.levels import OF_RESOURCES
from automq_operator.report.metrics import REGISTRY
from twins.kube_world import KubeWorld

RESOURCE = "shop/orders"


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Other tests of this process had clusters of the same name."""
    for each in OF_RESOURCES:
        each.clear()


def figure(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"automq_operator_{name}", {"resource": RESOURCE, **labels})


def test_conditions_waits_and_recoveries_of_a_silent_node_are_seen_as_figures() -> None:
    world = KubeWorld.of()
    world.create()
    keeper = world.operator()
    world.settle(keeper)
    assert figure("condition", type="Ready") == 1
    assert figure("condition", type="Degraded") == 0
    assert figure("condition", type="FencingPending") is None
    world.controllers.kill_node(world.pod(1)["spec"]["nodeName"])
    world.run(keeper, 60)
    assert figure("condition", type="Ready") == 0
    assert figure("condition", type="FencingPending") == 1
    assert figure("waiting", gate="no proof") == 1
    assert figure("last_turn_timestamp_seconds") == keeper_time(world)


def keeper_time(world: KubeWorld) -> float:
    """The last turn was two seconds before the world's present time."""
    return world.api.now - 2.0


def test_what_no_longer_holds_has_no_figure_and_a_cluster_that_is_gone_has_none_at_all() -> None:
    world = KubeWorld.of()
    world.create()
    keeper = world.operator()
    world.settle(keeper)
    name = world.pod(1)["spec"]["nodeName"]
    world.controllers.kill_node(name)
    world.run(keeper, 60)
    world.controllers.taint(name, "node.kubernetes.io/out-of-service")
    world.run(keeper, 3)
    assert figure("condition", type="FencingPending") is None
    assert figure("waiting", gate="no proof") is None
    assert figure("recoveries") == 1
    world.settle(keeper)
    assert figure("recoveries") == 0
    world.api.remove(world.resource)
    world.run(keeper, 40)
    asyncio.run(keeper.keep())
    left = [each for family in REGISTRY.collect() for each in family.samples if each.labels.get("resource") == RESOURCE]
    assert left == []
