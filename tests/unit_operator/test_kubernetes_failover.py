"""A broker's end in Kubernetes: what is proof, what is not, and that any operator goes on where the last one was cut off."""

import asyncio

import pytest
from automq_operator import kube, names
from automq_operator.kube import UnavailableError
from automq_operator.platforms.kubernetes.keeper import Keeper
from twins.kube_world import KubeWorld


def running(nodes: int = 4, zones: tuple[str, ...] = ("a",), **spec: object) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of(nodes, zones)
    world.create(**({"failover": {"restartGraceSeconds": 10}} | spec))
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def node_of(world: KubeWorld, node_id: int) -> str:
    return str(world.pod(node_id)["spec"]["nodeName"])


def is_recovered(world: KubeWorld) -> bool:
    return all(each.status == "ACTIVE" for each in world.brokers.values()) and not world.adopters()


def until_recovered(world: KubeWorld, keeper: Keeper, turns: int = 60) -> None:
    for _ in range(turns):
        world.run(keeper, 1)
        if is_recovered(world):
            return
    raise AssertionError((world.status["recoveries"], world.status["blocked"], world.brokers))


def test_a_node_that_somebody_declared_out_of_service_gives_its_brokers_log_to_a_survivor() -> None:
    world, keeper = running()
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    world.run(keeper, 10)
    assert world.brokers[1].status == "FENCED"
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    seen: list[str] = []
    for _ in range(40):
        world.run(keeper, 1)
        for adopter in world.adopters():
            node = adopter["spec"].get("nodeName")
            if node and node not in seen:
                seen.append(node)
        if is_recovered(world):
            break
    assert is_recovered(world)
    world.run(keeper, 2)
    assert seen
    assert lost not in seen
    assert world.harmed == []
    (recovery,) = world.status["recoveries"]
    stages = [each["name"] for each in recovery["stages"]]
    assert stages.index("adopter waits for the volume") < stages.index("replacement starts"), stages
    assert recovery["stage"] == "done"


@pytest.mark.parametrize("is_frozen", [False, True], ids=["dead", "frozen"])
def test_a_silent_node_alone_is_no_proof(is_frozen: bool) -> None:
    world, keeper = running()
    lost = node_of(world, 1)
    uid = world.pod(1)["metadata"]["uid"]
    (world.controllers.freeze_node if is_frozen else world.controllers.kill_node)(lost)
    world.run(keeper, 100)
    assert world.condition("FencingPending")["status"] == "True"
    assert world.pod(1)["metadata"]["uid"] == uid
    assert world.adopters() == []
    assert world.brokers[1].status == "FENCED"
    assert world.harmed == []


def test_a_broker_that_crashes_again_and_again_is_drained_beside_a_survivor() -> None:
    world, keeper = running()
    world.controllers.crashing.add("orders-broker-1")
    world.run(keeper, 30)
    assert world.brokers[1].clean or world.brokers[1].open == 0
    world.controllers.crashing.clear()
    until_recovered(world, keeper)
    assert world.harmed == []


class KilledError(Exception):
    """The operator's process ended."""


@pytest.mark.parametrize("survives", range(14))
def test_an_operator_that_is_killed_anywhere_is_continued_by_the_next_one(survives: int) -> None:
    """It dies at its n-th write after the node's end; another one with no memory of its own goes on."""
    world, keeper = running()
    lost = node_of(world, 1)
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    left, watch = [survives], world.api.before_write

    def kill(verb: str, kind: kube.Kind, name: str) -> None:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1
        assert watch is not None
        watch(verb, kind, name)

    world.api.before_write = kill
    try:
        world.run(keeper, 40)
    except KilledError:
        world.api.before_write = watch
    world.pass_time(5.0)
    until_recovered(world, world.operator())
    assert world.harmed == []
    assert world.brokers[1].epoch > 3


@pytest.mark.parametrize("seed", range(12))
def test_calls_that_fail_or_whose_answers_are_lost_do_no_harm(seed: int) -> None:
    world, keeper = running()
    world.api._random.seed(seed)
    lost = node_of(world, seed % 3)
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    world.api.fault_rate = 0.4
    for _ in range(60):
        try:
            world.run(keeper, 1)
        except UnavailableError:
            world.pass_time()
        if seed % 2:
            keeper = world.operator()
    world.api.fault_rate = 0.0
    until_recovered(world, keeper)
    assert world.harmed == []


def test_a_zone_without_a_survivor_says_so_and_waits() -> None:
    world, keeper = _zoned()
    lost = node_of(world, 1000)
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    world.run(keeper, 30)
    assert world.condition("WALUnavailable")["status"] == "True"
    world.controllers.add_node("n9", "b")
    until_recovered(world, keeper)
    assert world.harmed == []


def test_an_adopter_that_fits_beside_no_survivor_runs_anywhere_in_the_zone_or_says_what_is_missing() -> None:
    world, keeper = running()
    lost = node_of(world, 1)
    survivors = {node_of(world, node_id) for node_id in (0, 2)}
    spare = ({"n1", "n2", "n3", "n4"} - survivors - {lost}).pop()
    world.controllers.full = survivors | {spare}
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    world.run(keeper, 30)
    assert "nodes are available" in world.condition("WALUnavailable")["message"]
    assert world.condition("WALUnavailable")["reason"] == "Unschedulable"
    world.controllers.full = survivors
    until_recovered(world, keeper)
    assert [each["attempts"] for each in world.status["memory"]["recoveries"]] == [2]
    assert world.harmed == []


def _zoned() -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of(3, ("a", "b", "a"))
    world.create(zones=["a", "b"], brokers={"replicas": 3}, failover={"restartGraceSeconds": 0})
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def test_announced_ends_of_nodes_move_partitions_early() -> None:
    world, keeper = running()
    world.controllers.taint(node_of(world, 1), "karpenter.sh/disrupted")
    world.run(keeper, 2)
    assert world.brokers[1].cordoned
    assert world.brokers[1].open == 0


@pytest.mark.parametrize("why", ["EvictionByEvictionAPI", "PreemptionByScheduler", "DeletionByTaintManager"])
@pytest.mark.parametrize("is_taken_back", [False, True], ids=["it ends", "it is taken back"])
def test_the_announced_end_of_a_pod_moves_partitions_early_and_its_next_one_has_some_again(
    why: str, is_taken_back: bool
) -> None:
    world, keeper = running()
    pod = world.pod(1)
    world.controllers.disrupted[pod["metadata"]["uid"]] = why
    world.pass_time()
    world.run(keeper, 2)
    assert (world.brokers[1].cordoned, world.brokers[1].open) == (True, 0)
    assert [node for node in (0, 2) if world.brokers[node].cordoned] == []
    assert world.condition("Progressing")["status"] == "True"
    assert [each for each in world.api.of("Event") if why in each["note"]]
    if is_taken_back:
        world.controllers.disrupted.clear()
    else:
        world.api.remove(pod)
    world.run(keeper, 20)
    assert (world.brokers[1].cordoned, world.brokers[1].status) == (False, "ACTIVE")
    assert (world.pod(1)["metadata"]["uid"] == pod["metadata"]["uid"]) == is_taken_back
    assert world.adopters() == []


def test_a_delete_that_means_another_object_of_the_same_name_is_refused() -> None:
    world, _ = running()
    pod = world.pod(1)
    with pytest.raises(kube.ConflictError):
        asyncio.run(world.api.delete(kube.POD, "shop", pod["metadata"]["name"], "another"))
