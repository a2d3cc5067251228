"""Brokers whose write-ahead logs lie in a bucket: no volume comes, moves or goes, and any zone stands in for any other."""

from typing import Any

from automq_operator import kube, names
from automq_operator.platforms.kubernetes.keeper import Keeper
from twins.kube_world import KubeWorld

S3_LOG: dict[str, Any] = {"wal": {"type": "S3"}, "failover": {"restartGraceSeconds": 10}}


def running(**changes: Any) -> tuple[KubeWorld, Keeper]:
    world = KubeWorld.of(zones=("a", "b"))
    world.create(**(S3_LOG | changes))
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def test_a_cluster_comes_to_be_and_rests_without_any_volume() -> None:
    world, keeper = running()
    assert [broker.status for broker in world.brokers.values()] == ["ACTIVE"] * 3
    assert world.api.of("PersistentVolumeClaim") == []
    assert {each["walVolume"] for each in world.status["brokers"]} == {"bucket"}
    before = len(world.api.writes)
    world.run(keeper, 20)
    world.run(world.operator(), 5)
    assert world.api.writes[before:] == []


def test_without_a_right_beyond_its_namespaces_it_runs_all_the_same() -> None:
    world = KubeWorld.of(forbidden=frozenset({"Node", "PersistentVolume", "VolumeAttachment"}))
    world.create(**S3_LOG)
    world.settle(world.operator())
    assert len(world.brokers) == 3


def test_a_dead_brokers_log_is_drained_at_once_in_another_zone_while_its_pod_is_still_there() -> None:
    world, keeper = running(brokers={"replicas": 2})
    dead, epoch = world.pod(0)["spec"]["nodeName"], world.brokers[0].epoch
    zones = {
        world.controllers.node(world.pod(n)["spec"]["nodeName"])["metadata"]["labels"][names.TOPOLOGY_ZONE]
        for n in (0, 1)
    }
    assert zones == {"a", "b"}, "its only survivor is in the other zone"
    world.controllers.kill_node(dead)
    world.controllers.taint(dead, names.OUT_OF_SERVICE)
    uid = world.pod(0)["metadata"]["uid"]
    adopted = False
    for _ in range(60):
        world.run(keeper, 1)
        if world.adopters() and world.pod(0) is not None and world.pod(0)["metadata"]["uid"] == uid:
            adopted = True
    assert adopted, "nobody waited for the dead pod to go"
    assert world.brokers[0].status == "ACTIVE"
    assert world.brokers[0].epoch > epoch
    assert world.pod(0)["spec"]["nodeName"] != dead
    assert world.condition("WALRecovered")["status"] == "True"
    assert not [each for each in world.api.writes if each[1] == kube.ATTACHMENT.kind]
    assert world.harmed == []


def test_a_silent_node_proves_nothing_here_either() -> None:
    world, keeper = running()
    world.controllers.freeze_node(world.pod(1)["spec"]["nodeName"])
    uid = world.pod(1)["metadata"]["uid"]
    world.run(keeper, 120, seconds=5)
    assert world.pod(1)["metadata"]["uid"] == uid
    assert world.adopters() == []
    assert world.condition("FencingPending")["status"] == "True"
    assert world.harmed == []


def test_a_broker_whose_next_pod_finds_no_node_is_drained_by_a_survivor() -> None:
    world, keeper = running()
    world.controllers.kill_node(world.pod(2)["spec"]["nodeName"])
    world.api.remove(world.pod(2), is_forced=True)
    world.controllers.full = {f"n{number}" for number in range(1, 5)}
    world.run(keeper, 8)
    assert world.brokers[2].status == "FENCED", "its next pod may just be about to be placed"
    world.run(keeper, 8)
    assert world.brokers[2].status == "RESCUING"
    assert len(world.adopters()) == 1
    world.controllers.full = set()
    world.run(keeper, 20)
    assert world.brokers[2].status == "ACTIVE"
    assert world.condition("WALRecovered")["status"] == "True"
    assert world.harmed == []


def test_fewer_brokers_leave_nothing_behind_that_anybody_has_to_know_of() -> None:
    world, keeper = running(brokers={"replicas": 4})
    world.change(brokers={"replicas": 3})
    world.run(keeper, 40)
    assert world.pod(3) is None
    assert world.condition("WALRetained") == {}
    assert world.condition("Degraded")["status"] == "False"


def test_it_ends_in_order() -> None:
    world, keeper = running()
    world.api.remove(world.resource)
    world.run(keeper, 20, seconds=1.0)
    assert ("AutoMQCluster", "shop", "orders") not in world.api.objects
    assert world.api.of("Pod") == []


def test_two_clusters_never_share_a_place_for_logs() -> None:
    """A broker's log is found by its node id: in a shared place one cluster's brokers would end the other's."""
    world, _ = running(wal={"type": "S3", "s3": {"bucket": "logs"}})
    world.api.now += 5
    other = {"storage": {"s3": {"bucket": "payments-kafka"}}, "wal": {"type": "S3", "s3": {"bucket": "logs"}}}
    world.create("payments", **other)
    world.run(world.operator("payments"), 5)
    assert not [each for each in world.api.of("StatefulSet") if each["metadata"]["name"].startswith("payments")]
    conditions = world.api.objects["AutoMQCluster", "shop", "payments"]["status"]["conditions"]
    assert any("shop/orders" in each["message"] for each in conditions if each["type"] == "Ready")
