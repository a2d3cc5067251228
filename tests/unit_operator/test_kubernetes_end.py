"""The end of a cluster in Kubernetes: in order, from every point at which an operator may be cut off, and with what is to go gone."""

from collections.abc import Callable

import pytest
from automq_operator import kube, names
from automq_operator.kube import UnavailableError
from automq_operator.platforms.kubernetes.keeper import Keeper
from twins.kube_world import KubeWorld


def running(**spec: object) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of()
    world.create(**spec)
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def is_gone(world: KubeWorld) -> bool:
    return ("AutoMQCluster", "shop", "orders") not in world.api.objects


def claims(world: KubeWorld) -> list[str]:
    return [each["metadata"]["name"] for each in world.api.of("PersistentVolumeClaim")]


def until_gone(world: KubeWorld, keeper: Keeper, turns: int = 60) -> None:
    for _ in range(turns):
        world.run(keeper, 1, seconds=1.0)
        if is_gone(world):
            world.pass_time()
            world.pass_time()
            return
    raise AssertionError((world.status["blocked"], world.api.writes[-8:]))


def deleted(policy: str, exit_codes: dict[str, int] | None = None) -> KubeWorld:
    world, keeper = running(deletionPolicy=policy)
    world.controllers.exit_codes = exit_codes or {}
    world.api.remove(world.resource)
    world.run(keeper, 1)
    assert ("AutoMQCluster", "shop", "orders") in world.api.objects, "it is held until its brokers have ended"
    world.run(keeper, 20, seconds=1.0)
    assert ("AutoMQCluster", "shop", "orders") not in world.api.objects
    return world


def test_a_deleted_cluster_ends_in_order_and_keeps_its_volumes() -> None:
    world = deleted("Retain")
    assert world.api.of("Pod") == []
    assert world.api.of("StatefulSet") == []
    assert len(world.api.of("PersistentVolumeClaim")) == 3


def test_a_cluster_that_is_deleted_with_its_volumes_loses_those_that_are_empty() -> None:
    world = deleted("Delete")
    assert world.api.of("PersistentVolumeClaim") == []
    assert world.api.of("PersistentVolume") == []


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("forbidden", ["", "Namespace", "Secret"])
def test_a_namespace_that_is_deleted_with_a_cluster_in_it_ends_and_the_volumes_stay(
    policy: str, forbidden: str
) -> None:
    """The namespace's Roles go with it, so what the operator may see there ends at some moment."""
    world, keeper = running(deletionPolicy=policy)
    world.api.end_namespace("shop")
    world.api.forbidden = frozenset({forbidden})
    world.run(keeper, 30)
    world.pass_time()
    world.pass_time()
    assert [key for key in world.api.objects if key[1] == "shop"] == []
    assert {each["spec"]["persistentVolumeReclaimPolicy"] for each in world.api.of("PersistentVolume")} == {"Retain"}


def test_a_volume_whose_broker_did_not_end_in_order_stays_whatever_the_policy() -> None:
    world = KubeWorld.of()
    world.create(deletionPolicy="Delete")
    keeper = world.operator()
    world.settle(keeper)
    world.controllers.exit_codes = {world.pod(1)["spec"]["nodeName"]: 1}
    world.api.remove(world.resource)
    world.run(keeper, 20, seconds=1.0)
    assert [each["metadata"]["name"] for each in world.api.of("PersistentVolumeClaim")] == ["wal-orders-broker-1"]


class KilledError(Exception):
    """The operator's process ended."""


def kill_at(world: KubeWorld, number: int, *, is_done: bool) -> Callable[[], None]:
    """The operator ends at its n-th write from now, before or after that is done; what is returned lifts it."""
    left, watch = [number], world.api.before_write

    def kill(verb: str, kind: kube.Kind, name: str) -> None:
        assert watch is not None
        if left[0] < 0 or (left[0] == 0 and not is_done):
            raise KilledError
        left[0] -= 1
        watch(verb, kind, name)

    def lift() -> None:
        world.api.before_write = watch

    world.api.before_write = kill
    return lift


def end_cut_off(policy: str, number: int, *, is_done: bool) -> bool:
    """An operator that is killed at that write of an end, a minute without any, and another one; False if there is none."""
    world, keeper = running(deletionPolicy=policy)
    before = {each["metadata"]["uid"] for each in world.api.of("PersistentVolume")}
    world.api.remove(world.resource)
    lift = kill_at(world, number, is_done=is_done)
    was_killed = False
    try:
        world.run(keeper, 40, seconds=1.0)
    except KilledError:
        was_killed = True
    lift()
    for _ in range(30):
        world.pass_time()
    until_gone(world, world.operator())
    after = {each["metadata"]["uid"] for each in world.api.of("PersistentVolume")}
    assert (claims(world) == [], after) == ((True, set()) if policy == "Delete" else (False, before)), number
    assert world.api.of("Pod") == []
    assert world.harmed == []
    return was_killed


@pytest.mark.parametrize("is_done", [False, True], ids=["before it was done", "after it was done"])
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_an_end_that_is_cut_off_at_any_write_is_brought_to_its_end_by_the_next_operator(
    policy: str, is_done: bool
) -> None:
    """Every write of it, not some: it is done when an operator was not killed any more."""
    number = 0
    while end_cut_off(policy, number, is_done=is_done):
        number += 1
    assert number > (10 if policy == "Delete" else 2)


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "PersistentVolume", "Pod", "StatefulSet"])
def test_while_something_of_it_cannot_be_changed_the_resource_stays_and_says_so_and_then_nothing_is_left(
    kind: str,
) -> None:
    world, keeper = running(deletionPolicy="Delete")
    watch = world.api.before_write

    def refuse(verb: str, what: kube.Kind, name: str) -> None:
        if what.kind == kind:
            raise UnavailableError("etcdserver: request timed out")
        assert watch is not None
        watch(verb, what, name)

    world.api.before_write = refuse
    world.api.remove(world.resource)
    world.run(keeper, 30)
    assert not is_gone(world)
    assert names.FINALIZER in world.resource["metadata"]["finalizers"]
    assert world.condition("Degraded")["reason"] == "StepFailed"
    world.api.before_write = watch
    until_gone(world, world.operator())
    assert (claims(world), world.api.of("PersistentVolume"), world.api.of("Pod")) == ([], [], [])


def test_a_disk_that_cannot_be_deleted_yet_keeps_the_resource_and_is_named() -> None:
    world, keeper = running(deletionPolicy="Delete")
    world.controllers.is_reclaiming = False
    world.api.remove(world.resource)
    world.run(keeper, 40)
    assert claims(world) == []
    assert not is_gone(world)
    (blocked,) = world.status["blocked"]
    assert all(each["metadata"]["name"] in blocked["reason"] for each in world.api.of("PersistentVolume"))
    assert "still attached" in blocked["reason"]
    world.controllers.is_reclaiming = True
    until_gone(world, world.operator())
    assert world.api.of("PersistentVolume") == []


def test_a_claim_that_somebody_deletes_meanwhile_leaves_no_disk_behind() -> None:
    world, keeper = running(deletionPolicy="Delete")
    world.api.remove(world.resource)
    while world.api.of("Pod"):
        world.run(keeper, 1)
    for each in world.api.of("PersistentVolumeClaim"):
        world.api.remove(each)
    until_gone(world, keeper)
    assert world.api.of("PersistentVolume") == []


def test_pods_are_held_only_while_a_cluster_ends_with_its_volumes_and_none_for_ever() -> None:
    world, keeper = running(deletionPolicy="Delete")
    assert not [each for each in world.api.of("Pod") if each["metadata"].get("finalizers")]
    world.api.remove(world.resource)
    world.run(keeper, 2)
    assert {tuple(each["metadata"]["finalizers"]) for each in world.api.of("Pod")} == {(names.POD_FINALIZER,)}
    world.api.end_namespace("shop")
    world.run(keeper, 20)
    world.pass_time()
    world.pass_time()
    assert [key for key in world.api.objects if key[1] == "shop"] == []
