"""The ground that every other test stands on: nodes, network, disks that move, and the broker's real image."""

import time
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.aws.instances import Instances
from e2e.aws.volumes import machine_of
from e2e.cluster import layout, local, node
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import NODES, ZONES
from e2e.csi.disks import Disks
from e2e.platform import Platform
from e2e.pods import attachments, roll_out, volume_of, where


@pytest.mark.usefixtures("machines")
def test_four_nodes_are_ready_in_two_zones_and_ec2_knows_their_instances(cluster: Kubectl) -> None:
    nodes = {each["metadata"]["name"]: each for each in cluster.list("nodes")}
    assert sorted(nodes) == ["a1", "a2", "b1", "b2"]
    assert all(local.is_ready(one) for one in NODES)
    zones = [nodes[one.name]["metadata"]["labels"]["topology.kubernetes.io/zone"] for one in NODES]
    assert zones == [ZONES[0], ZONES[0], ZONES[1], ZONES[1]]
    for one in NODES:
        assert nodes[one.name]["spec"]["providerID"] == f"aws:///{one.zone}/{Instances().id_of(one)}"


def test_a_pod_reaches_another_by_its_services_name_across_nodes(
    kubectl: Kubectl, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("client"), manifest("page"))
    kubectl.wait("pod/page", "condition=Ready", seconds=budgets.POD_RUNS)
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    assert where(kubectl, "client") != where(kubectl, "page")
    answer = kubectl.execute("client", ["curl", "-sS", "--retry-connrefused", "--retry", "5", "http://page:8080/"])
    assert "Directory listing" in answer


@pytest.mark.usefixtures("machines")
def test_a_pod_moves_with_its_disk_when_its_node_dies(
    kubectl: Kubectl, disks: Disks, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("ledger"))
    roll_out(kubectl, "ledger", seconds=budgets.POD_RUNS)
    assert where(kubectl, "ledger-0") == "a1"
    volume = volume_of(kubectl, "disk-ledger-0")
    assert machine_of(volume) == Instances().id_of(layout.node("a1"))
    began = time.time()

    node.kill(layout.node("a1"))
    kubectl.wait("node/a1", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    local.vouch_dead(layout.node("a1"))
    kubectl.wait("pod/ledger-0", "jsonpath={.spec.nodeName}=a2", seconds=budgets.VOLUME_MOVED)
    kubectl.wait("pod/ledger-0", "condition=Ready", seconds=budgets.VOLUME_MOVED)

    assert kubectl.execute("ledger-0", ["cat", "/disk/starts"]).split() == ["a1", "a2"]
    assert machine_of(volume) == Instances().id_of(layout.node("a2"))
    moves = [("ControllerUnpublishVolume", "a1"), ("ControllerPublishVolume", "a2")]
    assert attachments(disks, volume, since=began) == moves


def test_the_brokers_image_serves_kcat_inside_the_cluster(
    kubectl: Kubectl, platform: Platform, manifest: Callable[..., str]
) -> None:
    kubectl.apply(manifest("broker", bucket=platform.bucket(str(kubectl.namespace))), manifest("client"))
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    roll_out(kubectl, "broker", seconds=budgets.BROKER_READY)

    kubectl.execute("client", ["sh", "-c", "seq 1000 | kcat -b broker:9092 -t numbers -P -X acks=all"])
    read = ["kcat", "-b", "broker:9092", "-t", "numbers", "-C", "-e", "-q", "-o", "beginning"]
    assert kubectl.execute("client", read).split() == [str(number) for number in range(1, 1001)]
