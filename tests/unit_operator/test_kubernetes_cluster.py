"""A cluster's life in Kubernetes: it comes to be, rests, is changed, scaled, and ends."""

import asyncio
import copy
from contextlib import suppress

from automq_operator import names
from automq_operator.kube import ConflictError, UnavailableError
from twins.kube_world import KubeWorld


def running(**spec: object) -> tuple[KubeWorld, object]:
    world = KubeWorld.of()
    world.create(**spec)
    keeper = world.operator()
    world.settle(keeper)
    return world, keeper


def test_a_resource_becomes_brokers_that_serve() -> None:
    world, _ = running()
    assert [broker.status for broker in world.brokers.values()] == ["ACTIVE"] * 3
    status = world.status
    assert (status["replicas"], status["readyReplicas"], status["clusterId"]) == (3, 3, "kafka-1")
    assert status["bootstrap"] == "orders-bootstrap.shop.svc:9092"
    assert status["zones"] == [{"name": "", "base": 0}]
    assert world.condition("Degraded")["status"] == "False"


def test_what_is_as_it_is_to_be_is_left_alone() -> None:
    world, keeper = running()
    before = len(world.api.writes)
    objects = copy.deepcopy(world.api.objects)
    world.run(keeper, 30, seconds=1.0)
    assert world.api.writes[before:] == []
    world.run(world.operator(), 5)
    assert world.api.writes[before:] == [], "nor does a fresh operator find anything to do"
    assert set(world.api.objects) == set(objects)


def test_volumes_are_kept_when_their_claims_go() -> None:
    world, _ = running()
    policies = [each["spec"]["persistentVolumeReclaimPolicy"] for each in world.api.of("PersistentVolume")]
    assert policies == ["Retain"] * 3


def test_what_somebody_else_changes_is_mended() -> None:
    world, keeper = running()
    service = world.api.objects["Service", "shop", "orders-bootstrap"]
    service["spec"]["ports"][0]["port"] = 1
    del world.api.objects["PodDisruptionBudget", "shop", "orders"]
    world.settle(keeper)
    assert world.api.objects["Service", "shop", "orders-bootstrap"]["spec"]["ports"][0]["port"] == 9092
    assert ("PodDisruptionBudget", "shop", "orders") in world.api.objects


def test_a_cluster_grows_and_shrinks_by_one_emptied_broker_at_a_time_and_its_clean_volume_goes() -> None:
    world, keeper = running()
    world.change(brokers={"replicas": 5})
    world.settle(keeper)
    assert len(world.api.of("PersistentVolumeClaim")) == 5
    world.change(brokers={"replicas": 3})
    seen = set()
    for _ in range(60):
        world.run(keeper, 1)
        stateful_set = world.api.of("StatefulSet")[0]
        seen.add(stateful_set["spec"]["replicas"])
        for node_id in range(stateful_set["spec"]["replicas"], 5):
            assert world.brokers[node_id].open == 0, "it is emptied before it is stopped"
    assert seen == {5, 4, 3}
    assert sorted(each["metadata"]["name"] for each in world.api.of("PersistentVolumeClaim")) == [
        f"wal-orders-broker-{each}" for each in range(3)
    ]
    assert world.harmed == []


def test_a_broker_that_is_being_emptied_is_looked_at_again_soon() -> None:
    """Nobody tells of partitions that leave: with its usual pause of 30 s a rollout of three brokers took two minutes."""
    world, keeper = running(brokers={"replicas": 4})
    assert not asyncio.run(keeper.turn())
    world.change(brokers={"replicas": 3})
    for _ in range(3):
        assert asyncio.run(keeper.turn())
        world.brokers[3].open = world.brokers[3].assigned = 4


def test_a_volume_that_is_not_known_to_be_clean_stays_and_is_named() -> None:
    world, keeper = running()
    world.change(brokers={"replicas": 2})
    for _ in range(40):
        world.run(keeper, 1)
        if world.brokers[2].status == "STOPPED":
            world.brokers[2].clean = False
    assert len(world.api.of("PersistentVolumeClaim")) == 3
    assert "2" in world.condition("WALRetained")["message"]


def test_a_change_of_settings_renews_one_broker_at_a_time_from_the_highest_down() -> None:
    world, keeper = running()
    before = {node: world.pod(node)["metadata"]["uid"] for node in range(3)}
    world.change(brokers={"replicas": 3, "config": {"num.partitions": "7"}})
    order = []
    for _ in range(120):
        world.run(keeper, 1)
        down = [node for node, broker in world.brokers.items() if broker.status != "ACTIVE"]
        assert len(down) <= 1
        for node in range(3):
            pod = world.pod(node)
            if pod is not None and pod["metadata"]["uid"] != before[node] and node not in order:
                order.append(node)
    assert order == [2, 1, 0]
    world.settle(keeper)
    assert len(world.api.of("ConfigMap")) == 1, "the old configuration is gone"
    assert not any(broker.cordoned for broker in world.brokers.values())
    assert world.api.of("StatefulSet")[0]["spec"]["updateStrategy"]["rollingUpdate"]["partition"] == 100_000


def uids(world: KubeWorld) -> dict[int, str]:
    return {node: world.pod(node)["metadata"]["uid"] for node in range(3)}


def test_one_broker_is_restarted_by_an_annotation_of_its_pod_and_only_once() -> None:
    world, keeper = running()
    before = uids(world)
    world.pod(1)["metadata"]["annotations"][names.RESTART_BROKER] = "true"
    for _ in range(60):
        world.run(keeper, 1)
        if world.brokers[1].status != "ACTIVE":
            assert world.brokers[1].open == 0, "it was emptied first"
    after = uids(world)
    assert [node for node in range(3) if after[node] != before[node]] == [1]
    assert not any(broker.cordoned for broker in world.brokers.values())
    assert world.harmed == ["delete Pod orders-broker-1"], "its pod alone, and with its time to end"
    assert world.condition("Ready")["status"] == "True"


def test_outside_the_windows_the_change_of_an_image_waits_and_is_said_to() -> None:
    world, keeper = running(maintenanceWindows=[{"start": "03:00", "minutes": 60}])
    before = uids(world)
    world.change(image="automq/broker:0.2.0")
    world.run(keeper, 20)
    assert uids(world) == before
    assert world.condition("RolloutHalted")["reason"] == "OutsideWindow"
    world.api.now += 86_400 - (world.api.now - 3.1 * 3600) % 86_400
    world.run(keeper, 100)
    assert not uids(world).items() & before.items()
    assert world.condition("RolloutHalted") == {}


def test_a_paused_broker_keeps_its_pod_while_the_others_are_renewed() -> None:
    world, keeper = running(brokers={"replicas": 3, "paused": [0]})
    before = uids(world)
    world.change(image="automq/broker:0.2.0")
    world.run(keeper, 100)
    assert [node for node in range(3) if uids(world)[node] == before[node]] == [0]
    assert world.condition("RolloutHalted")["reason"] == "BrokerPaused"


def test_a_replacement_without_a_node_blocks_the_drain_and_a_new_broker_does_not() -> None:
    world, keeper = running()
    drained = world.pod(0)["spec"]["nodeName"]
    world.controllers.node(drained)["spec"]["taints"] = [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    ]
    world.change(brokers={"replicas": 4})
    world.run(keeper, 1)
    assert world.condition("DisruptionBlocked") == {}
    world.run(keeper, 20)
    assert world.condition("DisruptionBlocked") == {}
    world.controllers.full = {f"n{number}" for number in range(1, 5)}
    world.api.remove(world.pod(0))
    world.run(keeper, 10)
    blocked = world.condition("DisruptionBlocked")
    assert blocked["status"] == "True"
    assert "0 nodes are available" in blocked["message"]
    assert drained in blocked["message"]
    world.controllers.full = set()
    world.run(keeper, 30)
    assert world.condition("DisruptionBlocked") == {}


def test_a_broker_that_crashes_in_the_middle_of_a_rollout_comes_back_as_it_was() -> None:
    world, keeper = running()
    world.controllers.crashing.add("orders-broker-2")
    world.change(brokers={"replicas": 3, "config": {"num.partitions": "7"}})
    world.run(keeper, 5)
    old = world.pod(0)["metadata"]["annotations"][names.REVISION]
    world.api.remove(world.pod(0))
    world.run(keeper, 10)
    assert world.pod(0)["metadata"]["annotations"][names.REVISION] == old
    config = next(v["configMap"]["name"] for v in world.pod(0)["spec"]["volumes"] if "configMap" in v)
    assert ("ConfigMap", "shop", config) in world.api.objects, "and finds its configuration"


def test_paused_nothing_is_changed_and_it_is_said() -> None:
    world, keeper = running()
    world.change(paused=True, brokers={"replicas": 5})
    world.run(keeper, 10)
    assert world.api.of("StatefulSet")[0]["spec"]["replicas"] == 3
    assert world.condition("ReconciliationPaused")["status"] == "True"
    world.change(paused=False)
    world.settle(keeper)
    assert len(world.brokers) == 5


def test_the_second_cluster_on_a_bucket_and_prefix_is_refused_and_makes_nothing() -> None:
    world, keeper = running()
    world.api.now += 5
    world.create("copy")
    second = world.operator("copy")
    world.run(second, 5)
    conditions = world.api.objects["AutoMQCluster", "shop", "copy"].get("status", {}).get("conditions", ())
    assert any("shop/orders" in each["message"] for each in conditions if each["type"] == "Ready")
    assert not [each for each in world.api.of("StatefulSet") if each["metadata"]["name"].startswith("copy")]
    world.run(keeper, 3)
    assert world.condition("Ready")["status"] == "True", "the first one is not disturbed"


def test_of_two_clusters_of_one_second_the_one_that_has_brokers_keeps_the_bucket() -> None:
    world, keeper = running()
    world.create("copy")
    first, second = (world.api.objects["AutoMQCluster", "shop", name]["metadata"] for name in ("orders", "copy"))
    second |= {"uid": "a" + first["uid"], "creationTimestamp": first["creationTimestamp"]}
    assert second["uid"] < first["uid"]
    world.run(world.operator("copy"), 5)
    assert not [each for each in world.api.of("StatefulSet") if each["metadata"]["name"].startswith("copy")]
    world.run(keeper, 3)
    assert world.condition("Ready")["status"] == "True"


def test_load_above_the_watermark_adds_brokers_and_spec_is_not_written() -> None:
    world = KubeWorld.of()
    world.create(
        autoscaling={"mode": "Watermark", "minReplicas": 3, "maxReplicas": 6, "networkBaselineMbps": 100},
    )
    keeper = world.operator()
    world.run(keeper, 10)
    world.traffic = 12_000_000.0
    world.run(keeper, 80)
    assert world.resource["spec"]["brokers"]["replicas"] == 3
    assert world.status["scaling"]["desired"] == 5
    assert len(world.brokers) == 5
    assert world.status["scaling"]["utilisationPercent"] == 96


def test_a_watermark_without_a_known_baseline_changes_nothing_and_says_why() -> None:
    world = KubeWorld.of()
    for number in range(4):
        del world.controllers.node(f"n{number + 1}")["metadata"]["labels"]["node.kubernetes.io/instance-type"]
    world.create(autoscaling={"mode": "Watermark", "minReplicas": 3, "maxReplicas": 6})
    world.traffic = 1e9
    world.run(world.operator(), 60)
    assert len(world.brokers) == 3
    assert "baseline" in world.condition("ScalingLimited")["message"]


def test_brokers_are_not_renewed_for_a_larger_log_before_their_file_systems_have_grown() -> None:
    world, keeper = running()
    before = {node: world.pod(node)["metadata"]["uid"] for node in range(3)}
    world.controllers.is_resizing = False
    world.change(wal={"size": "20Gi"})
    world.run(keeper, 30)
    assert {node: world.pod(node)["metadata"]["uid"] for node in range(3)} == before
    assert any("still growing" in each["reason"] for each in world.status["blocked"])
    world.controllers.is_resizing = True
    world.run(keeper, 60)
    assert not {node: world.pod(node)["metadata"]["uid"] for node in range(3)}.items() & before.items()


def test_zones_get_their_ranges_once() -> None:
    world = KubeWorld.of(nodes=4, zones=("a", "b"))
    world.create(zones=["a", "b"], brokers={"replicas": 4})
    keeper = world.operator()
    world.settle(keeper)
    assert sorted(world.brokers) == [0, 1, 1000, 1001]
    assert world.status["zones"] == [{"name": "a", "base": 0}, {"name": "b", "base": 1000}]
    assert world.status["zoneSpread"] == "a: 2, b: 2"


def test_without_permission_for_nodes_and_volumes_a_cluster_runs_all_the_same() -> None:
    world = KubeWorld.of(forbidden=frozenset({"Node", "PersistentVolume", "VolumeAttachment"}))
    world.create()
    world.settle(world.operator())
    assert len(world.brokers) == 3


def test_an_api_server_that_fails_half_of_all_writes_is_outlasted() -> None:
    world = KubeWorld.of(seed=7, fault_rate=0.5)
    world.create()
    keeper = world.operator()
    for _ in range(60):
        with suppress(UnavailableError, ConflictError):
            world.run(keeper, 1)
        world.pass_time()
    world.api.fault_rate = 0.0
    world.settle(keeper)
    assert len(world.api.of("Pod")) == 3
    assert world.harmed == []


def test_without_the_right_to_see_nodes_a_cluster_works_and_says_what_is_off() -> None:
    world = KubeWorld.of(forbidden=frozenset({"Node", "PersistentVolume", "VolumeAttachment"}))
    world.create()
    keeper = world.operator()
    world.settle(keeper)
    assert world.condition("Ready")["status"] == "True"
    missing = world.condition("PermissionsMissing")
    assert (missing["status"], missing["reason"]) == ("True", "NotGranted")
    assert "nodes, persistent volumes, volume attachments" in missing["message"]
    world.api.forbidden = frozenset()
    world.run(keeper, 60)
    assert world.condition("PermissionsMissing") == {}
