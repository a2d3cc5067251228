"""Autoscalers that drive a cluster: who asks for what the resource refuses is told of, where people look."""

import asyncio

import pytest
from automq_operator import kube
from automq_operator.kube import Object
from automq_operator.platforms.kubernetes.keepers import Keepers
from twins.kube_world import KubeWorld
from twins.virtual_time import run_virtual

BOUNDS = {"minReplicas": 2, "maxReplicas": 6}
WATERMARK = {"mode": "Watermark", "minReplicas": 3, "maxReplicas": 6, "networkBaselineMbps": 100}


def autoscaler(least: int | None, most: int, **target: str) -> Object:
    ref = {"apiVersion": kube.CLUSTER.api_version, "kind": kube.CLUSTER.kind, "name": "orders"} | target
    bounds = {"maxReplicas": most} | ({} if least is None else {"minReplicas": least})
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-traffic", "namespace": "shop"},
        "spec": {"scaleTargetRef": ref} | bounds,
    }


def after(found: Object, **scaling: object) -> KubeWorld:
    world = KubeWorld.of()
    world.create(autoscaling=BOUNDS | scaling)
    world.api.put(found)
    world.run(world.operator(), 30)
    return world


@pytest.mark.parametrize(("least", "most"), [(2, 7), (1, 6), (None, 6), (7, 9)])
def test_an_autoscaler_that_may_ask_for_what_the_resource_refuses_limits_scaling(least: int | None, most: int) -> None:
    world = after(autoscaler(least, most))
    limited = world.condition("ScalingLimited")
    assert (limited["status"], limited["reason"]) == ("True", "AutoscalerBounds")
    for part in ("by-traffic", f"{least or 1} to {most}", "2 to 6"):
        assert part in limited["message"]
    assert world.status["scaling"]["blockedBy"] == limited["message"]
    assert world.condition("Ready")["status"] == "True"
    assert [each for each in world.api.of("Event") if "by-traffic" in each["note"]]


@pytest.mark.parametrize(
    "found",
    [
        autoscaler(2, 6),
        autoscaler(3, 3),
        autoscaler(1, 900, name="others"),
        autoscaler(1, 900, kind="StatefulSet", apiVersion="apps/v1"),
    ],
    ids=["the same", "narrower", "of another cluster", "of another kind"],
)
def test_an_autoscaler_within_the_bounds_or_of_something_else_limits_nothing(found: Object) -> None:
    assert after(found).condition("ScalingLimited")["status"] == "False"


def test_beside_the_operators_own_watermarks_an_autoscaler_is_told_to_be_of_no_use() -> None:
    limited = after(autoscaler(3, 6), **WATERMARK).condition("ScalingLimited")
    assert "Watermark" in limited["message"]


def test_wider_bounds_in_the_resource_lift_it() -> None:
    world = after(autoscaler(2, 9))
    world.change(autoscaling={"minReplicas": 2, "maxReplicas": 9})
    world.run(world.operator(), 3)
    assert world.condition("ScalingLimited")["status"] == "False"


def test_without_the_right_to_see_autoscalers_all_else_goes_on_and_it_is_said() -> None:
    world = KubeWorld.of(forbidden=frozenset({"HorizontalPodAutoscaler"}))
    world.create()
    world.settle(world.operator())
    missing = world.condition("PermissionsMissing")
    assert (missing["status"], "autoscalers" in missing["message"]) == ("True", True)
    assert "volume" not in missing["message"]


def test_only_a_changed_range_of_an_autoscaler_wakes_its_cluster() -> None:
    async def go() -> list[int]:
        world = KubeWorld.of()
        world.create()
        keepers = Keepers(lambda _, name: world.operator(name), lambda: world.api.now)
        keepers.seen("shop", "orders")
        await asyncio.sleep(0)
        queues = [keepers.queue()]
        before = autoscaler(2, 6)
        for found, known in (
            (before | {"status": {"currentReplicas": 3}}, before),
            (autoscaler(1, 9, kind="Deployment", apiVersion="apps/v1"), None),
            (autoscaler(2, 7), before),
        ):
            keepers.told(kube.AUTOSCALER, found, known)
            queues.append(keepers.queue())
        await keepers.stop()
        return queues

    assert run_virtual(go()) == [0, 0, 0, 1]
