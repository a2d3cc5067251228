"""An operator that watches: it sees what one that lists sees, knows who went, and never takes the past for the present."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from automq_operator import kube, names
from automq_operator.kube import UnavailableError
from automq_operator.observe.feeds import BROKEN_MAX_S, Watched
from automq_operator.platforms.kubernetes.keeper import Keeper
from automq_operator.platforms.kubernetes.keepers import Keepers
from twins.kube_world import KubeWorld
from twins.virtual_time import run_virtual

Scenario = Callable[[KubeWorld, Keeper, Watched], Coroutine[Any, Any, None]]


def watching(scenario: Scenario, **spec: object) -> KubeWorld:
    """A cluster that has settled, under an operator that watches."""

    async def go() -> KubeWorld:
        world = KubeWorld.of()
        world.create(**spec)
        views = Watched(world.api, lambda: world.api.now, (), lambda *_: None)
        keeper = world.operator(views=views)
        await world.go(keeper, 20)
        assert world.condition("Ready")["status"] == "True"
        await scenario(world, keeper, views)
        await views.stop()
        return world

    return run_virtual(go())


def test_a_node_that_is_declared_dead_gives_its_log_to_a_survivor() -> None:
    async def scenario(world: KubeWorld, keeper: Keeper, _: Watched) -> None:
        lost = world.pod(1)["spec"]["nodeName"]
        world.controllers.kill_node(lost)
        world.controllers.taint(lost, names.OUT_OF_SERVICE)
        await world.go(keeper, 60)

    world = watching(scenario, failover={"restartGraceSeconds": 10})
    assert world.brokers[1].status == "ACTIVE"
    assert len(world.status["recoveries"]) == 1
    assert world.harmed == []


def test_a_converged_cluster_is_neither_listed_nor_written() -> None:
    async def scenario(world: KubeWorld, keeper: Keeper, _: Watched) -> None:
        before = len(world.api.writes), world.api.lists
        await world.go(keeper, 20, seconds=1.0)
        assert (len(world.api.writes), world.api.lists) == before

    watching(scenario)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_brokers_that_stop_together_and_are_gone_at_once_are_known_by_their_last_words(exit_code: int) -> None:
    async def scenario(world: KubeWorld, keeper: Keeper, _: Watched) -> None:
        world.controllers.is_quick = True
        world.controllers.exit_codes = {world.pod(1)["spec"]["nodeName"]: exit_code}
        world.api.remove(world.resource)
        await world.go(keeper, 10, seconds=5.0)

    world = watching(scenario, deletionPolicy="Delete")
    assert world.api.of("AutoMQCluster") == []
    kept = [each["metadata"]["name"] for each in world.api.of("PersistentVolumeClaim")]
    assert kept == (["wal-orders-broker-1"] if exit_code else [])


@pytest.mark.parametrize("may_hold_pods", [False, True])
def test_what_happened_while_nobody_watched_makes_a_volume_clean_only_if_its_pod_was_held_for_that(
    may_hold_pods: bool,
) -> None:
    async def scenario(world: KubeWorld, keeper: Keeper, _: Watched) -> None:
        world.controllers.is_quick = True
        world.api.denied = frozenset() if may_hold_pods else frozenset({("patch", "Pod")})
        world.api.remove(world.resource)
        await world.go(keeper, 2 if may_hold_pods else 1, seconds=0.0)
        world.api.broken = {"Pod"}
        await world.api.announce()
        world.pass_time(5.0)
        world.api.broken = set()
        await asyncio.sleep(1.1)
        await world.go(keeper, 10)

    world = watching(scenario, deletionPolicy="Delete")
    assert len(world.api.of("PersistentVolumeClaim")) == (0 if may_hold_pods else 3)


def test_what_cannot_be_followed_is_not_decided_upon() -> None:
    async def scenario(world: KubeWorld, keeper: Keeper, _: Watched) -> None:
        world.api.broken = {"Node"}
        await world.api.announce()
        world.api.now += BROKEN_MAX_S + 1
        with pytest.raises(UnavailableError, match="nodes cannot be followed"):
            await keeper.turn()

    watching(scenario)


def test_a_resource_that_nobody_told_of_is_found_and_ended_all_the_same() -> None:
    """kopf was seen to start at a bad moment, to hear nothing for ever, and a deleted cluster then never ended."""

    async def live(world: KubeWorld, seconds: int) -> None:
        for _ in range(seconds):
            await world.api.announce()
            await asyncio.sleep(1.0)
            world.pass_time(1.0)

    async def go() -> None:
        world = KubeWorld.of()
        keepers = Keepers(lambda _, name: world.operator(name, views), lambda: world.api.now)
        views = Watched(world.api, lambda: world.api.now, (), keepers.told)
        views.follow(kube.CLUSTER)
        await live(world, 2)
        world.create()
        await live(world, 60)
        assert world.condition("Ready")["status"] == "True"
        world.api.remove(world.resource)
        await live(world, 60)
        assert world.api.of("AutoMQCluster") == []
        await keepers.stop()
        await views.stop()

    run_virtual(go())


def test_clusters_that_something_happened_to_are_a_queue_until_they_have_their_turn() -> None:
    async def go() -> None:
        world = KubeWorld.of()
        world.create("orders")
        world.create("sales", storage={"s3": {"bucket": "sales-kafka"}})
        keepers = Keepers(lambda _, name: world.operator(name), lambda: world.api.now)
        for name in ("orders", "sales"):
            keepers.seen("shop", name)
        assert keepers.queue() == 2
        await asyncio.sleep(0)
        assert keepers.queue() == 0, "their turns have begun"
        keepers.changed("shop", "orders")
        assert keepers.queue() == 1
        await keepers.stop()

    run_virtual(go())
