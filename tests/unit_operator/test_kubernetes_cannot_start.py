"""Pods that never begin to run: they are kept, it is said why, and another form of them replaces them."""

import pytest
from automq_operator import names
from automq_operator.platforms.kubernetes.keeper import Keeper
from twins.kube_world import KubeWorld

BAD = "automq/broker:no-such"
FIRST = "automq/broker:0.1.0"
GOOD = "automq/broker:0.2.0"


def cluster(**spec: object) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of()
    world.controllers.missing_images.add(BAD)
    world.create(**({"failover": {"restartGraceSeconds": 10}} | spec))
    return world, world.operator()


def uids(world: KubeWorld) -> dict[int, str]:
    return {node: pod["metadata"]["uid"] for node in range(3) if (pod := world.pod(node)) is not None}


def events(world: KubeWorld) -> list[str]:
    return [each["note"] for each in world.api.of("Event")]


def is_settled(world: KubeWorld) -> bool:
    are_active = len(world.brokers) == 3 and all(each.status == "ACTIVE" for each in world.brokers.values())
    return are_active and not world.adopters() and world.condition("Ready").get("status") == "True"


def until_settled(world: KubeWorld, keeper: Keeper, turns: int = 120) -> None:
    for _ in range(turns):
        world.run(keeper, 1)
        if is_settled(world):
            return
    raise AssertionError((world.status["blocked"], world.brokers, world.api.writes[-8:]))


def test_brokers_whose_image_is_missing_keep_their_pods_and_the_kubelets_reason_is_told() -> None:
    world, keeper = cluster(image=BAD)
    world.run(keeper, 10)
    before, writes = uids(world), len(world.api.writes)
    world.run(keeper, 60)
    assert uids(world) == before
    assert not [each for each in world.api.writes[writes:] if each[1] in ("Pod", "StatefulSet")]
    told = world.condition("PodsCannotStart")
    assert (told["status"], told["reason"]) == ("True", "ImagePullBackOff")
    assert BAD in told["message"]
    assert [note for note in events(world) if "cannot start" in note and BAD in note]


def test_another_image_is_all_that_a_new_cluster_with_a_missing_one_needs() -> None:
    world, keeper = cluster(image=BAD)
    world.run(keeper, 20)
    world.change(image=GOOD)
    until_settled(world, keeper)
    assert {each["spec"]["containers"][0]["image"] for each in world.api.of("Pod")} == {GOOD}
    assert world.condition("PodsCannotStart") == {}


@pytest.mark.parametrize("then", [GOOD, FIRST], ids=["another", "the one before"])
def test_a_rollout_to_a_missing_image_stops_at_its_first_broker_and_goes_on_from_another(then: str) -> None:
    world, keeper = cluster(image=FIRST)
    world.settle(keeper)
    before = uids(world)
    world.change(image=BAD)
    world.run(keeper, 60)
    stuck = uids(world)
    assert [node for node in range(3) if stuck[node] != before[node]] == [2]
    world.run(keeper, 40)
    assert uids(world) == stuck, "it is made once"
    assert world.condition("PodsCannotStart")["reason"] == "ImagePullBackOff"
    world.change(image=then)
    until_settled(world, keeper)
    assert world.harmed == []


def test_a_broker_that_ends_at_each_start_keeps_its_pod_and_is_made_anew_in_another_form_alone() -> None:
    world, keeper = cluster()
    world.settle(keeper)
    world.controllers.crashing.add("orders-broker-2")
    world.change(brokers={"replicas": 3, "config": {"num.partitions": "7"}})
    world.run(keeper, 60)
    stuck = uids(world)
    world.run(keeper, 40)
    assert uids(world) == stuck
    world.controllers.crashing.clear()
    world.change(brokers={"replicas": 3, "config": {"num.partitions": "8"}})
    until_settled(world, keeper)


@pytest.mark.parametrize("node_id", range(3))
def test_a_broker_that_ends_at_each_start_is_the_first_that_gets_another_form(node_id: int) -> None:
    world, keeper = cluster()
    world.settle(keeper)
    world.controllers.crashing.add(f"orders-broker-{node_id}")
    world.run(keeper, 60)
    before = uids(world)
    image = {each["spec"]["containers"][0]["image"] for each in world.api.of("Pod")}
    world.change(image=GOOD)
    for _ in range(60):
        world.run(keeper, 1)
        if uids(world).get(node_id, before[node_id]) != before[node_id]:
            break
    others = [node for node in range(3) if node != node_id]
    assert [uids(world)[node] for node in others] == [before[node] for node in others]
    assert world.pod(node_id)["spec"]["containers"][0]["image"] == GOOD not in image
    world.controllers.crashing.clear()
    world.run(keeper, 60)
    until_settled(world, keeper)
    assert {each["spec"]["containers"][0]["image"] for each in world.api.of("Pod")} == {GOOD}
    strategy = world.api.of("StatefulSet")[0]["spec"]["updateStrategy"]
    assert strategy["type"] == "RollingUpdate"
    assert world.harmed == []


def dead_broker(world: KubeWorld, keeper: Keeper) -> None:
    lost = str(world.pod(1)["spec"]["nodeName"])
    world.controllers.kill_node(lost)
    world.controllers.taint(lost, names.OUT_OF_SERVICE)
    for _ in range(60):
        world.run(keeper, 1)
        if any(each["spec"].get("nodeName") for each in world.adopters()):
            world.run(keeper, 3)
            return
    raise AssertionError("no adopter")


def test_an_adopter_whose_image_is_missing_is_kept_and_told_of_and_made_anew_only_for_another_image() -> None:
    world, keeper = cluster()
    world.settle(keeper)
    world.change(image=BAD)
    world.run(keeper, 1)
    dead_broker(world, keeper)
    (adopter,) = [each["metadata"]["uid"] for each in world.adopters()]
    writes = len(world.api.writes)
    world.run(keeper, 60)
    assert [each["metadata"]["uid"] for each in world.adopters()] == [adopter]
    assert not [each for each in world.api.writes[writes:] if each[1] == "Pod"]
    told = world.condition("PodsCannotStart")
    assert "broker 1" in told["message"]
    assert any("the adopter cannot start: ImagePullBackOff" in each["reason"] for each in world.status["blocked"])
    world.change(image=GOOD)
    until_settled(world, keeper)
    assert adopter not in [each["metadata"]["uid"] for each in world.api.of("Pod")]
    assert world.harmed == []


def test_an_adopter_goes_on_by_itself_once_its_image_is_there() -> None:
    world, keeper = cluster()
    world.settle(keeper)
    world.change(image=BAD)
    world.run(keeper, 1)
    dead_broker(world, keeper)
    world.controllers.missing_images.clear()
    until_settled(world, keeper)
    assert [each["attempts"] for each in world.status["memory"]["recoveries"]] == [1]
    assert world.harmed == []
