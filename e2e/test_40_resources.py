"""Resources: what cannot work is refused with the reason, what is deleted ends in order, what comes back finds its data."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import condition, has_ready, status
from e2e.cluster import waiting
from e2e.cluster.kubectl import Kubectl, KubectlError, Manifest
from e2e.conftest import Figure, Orders, merged
from e2e.load import LoadOn

pytestmark = pytest.mark.usefixtures("operator")

Change = dict[str, Any]

NEVER: dict[str, tuple[Change, str]] = {
    "a missing bucket": ({"storage": {"s3": None}}, "spec.storage.s3: Required value"),
    "a field that there is not": ({"brokers": {"count": 3}}, 'unknown field "spec.brokers.count"'),
    "no brokers": ({"brokers": {"replicas": 0}}, "greater than or equal to 1"),
    "more brokers than allowed": ({"autoscaling": {"maxReplicas": 2}}, "outside autoscaling.minReplicas and maxRep"),
    "bounds the wrong way round": (
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
        "minReplicas is above maxReplicas",
    ),
    "watermarks too near": (
        {"autoscaling": {"mode": "Watermark", "highWatermark": 0.5, "lowWatermark": 0.4}},
        "each scale-in would be followed by a scale-out",
    ),
    "a setting of the operator's": ({"brokers": {"config": {"node.id": "7"}}}, "the operator itself gives to brokers"),
    "a port of the brokers'": ({"listeners": [{"name": "plain", "port": 9091}]}, "belong to the brokers themselves"),
    "one port twice": ({"listeners": [{"name": "one"}, {"name": "two"}]}, "two listeners have the same port"),
    "TLS without a certificate": ({"listeners": [{"name": "plain", "tls": True}]}, "security.tls names no certificate"),
    "a machine ended without proof": (
        {"failover": {"proof": {"terminateInstance": True}}},
        "terminateInstance needs cloudApi EC2",
    ),
    "a node port without names": (
        {"listeners": [{"name": "outside", "type": "NodePort", "port": 9094}]},
        "needs advertised.hostTemplate",
    ),
    "a log of an unknown kind": ({"wal": {"type": "Tape"}}, 'Unsupported value: "Tape"'),
}
LATER: dict[str, tuple[Change, str]] = {
    "another bucket": ({"storage": {"s3": {"bucket": "another"}}}, "storage.s3.bucket cannot be changed"),
    "another prefix": ({"storage": {"s3": {"prefix": "another"}}}, "storage.s3.prefix cannot be changed"),
    "a smaller volume": ({"wal": {"size": "1Gi"}}, "wal.size may only grow"),
    "another class": ({"wal": {"storageClassName": "another"}}, "wal.storageClassName cannot be changed"),
    "a raw device": ({"wal": {"volumeMode": "Block"}}, "wal.volumeMode cannot be changed"),
    "no zones any more": ({"zones": []}, "a cluster with zones cannot become one without"),
}
"""What is refused of a resource that is there."""


def test_what_cannot_work_is_refused_with_its_reason(kubectl: Kubectl, orders_manifest: Manifest) -> None:
    for what, (change, reason) in NEVER.items():
        spec = merged(orders_manifest["spec"], change)
        assert reason in refusal(kubectl, {**orders_manifest, "spec": spec}), what
    assert kubectl.list("amq") == []


def test_what_a_cluster_cannot_become_is_refused_with_the_reason(kubectl: Kubectl, orders_manifest: Manifest) -> None:
    spec = merged(orders_manifest["spec"], {"paused": True})
    kubectl.apply({**orders_manifest, "spec": spec})
    for what, (change, reason) in LATER.items():
        assert reason in refusal(kubectl, {**orders_manifest, "spec": merged(spec, change)}), what
    kubectl.patch("amq", "orders", {"spec": {"autoscaling": {"mode": "Watermark", "minReplicas": 3}}})
    with pytest.raises(KubectlError, match="in autoscaling mode Watermark the operator decides"):
        kubectl.run("scale", "amq/orders", "--replicas=5")


def test_a_bucket_belongs_to_the_resource_that_had_it_first(kubectl: Kubectl, orders_manifest: Manifest) -> None:
    kubectl.apply({**orders_manifest, "spec": merged(orders_manifest["spec"], {"paused": True})})
    waiting.until(lambda: condition(kubectl, "ReconciliationPaused") == "True", "orders is seen", seconds=20)
    time.sleep(1.0)  # ages are told in seconds
    kubectl.apply({**orders_manifest, "metadata": {"name": "copy"}})
    kubectl.wait("amq/copy", "condition=ReconciliationPaused", seconds=20)
    told = {one["type"]: one for one in kubectl.get("amq", "copy")["status"]["conditions"]}
    assert "/orders, which is older" in told["ReconciliationPaused"]["message"]
    assert kubectl.list("statefulsets") == []


@pytest.mark.parametrize(("policy", "left"), [("Delete", 0), ("Retain", 3)])
@pytest.mark.usefixtures("machines")
def test_a_cluster_that_is_deleted_ends_in_order_and_its_volumes_go_or_stay(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, policy: str, left: int
) -> None:
    clients = load(orders(deletionPolicy=policy))
    clients.judge()
    began = time.monotonic()
    kubectl.run("delete", "amq", "orders", seconds=budgets.CLUSTER_ENDED)
    figure(f"deleted with policy {policy} -> gone", time.monotonic() - began, most=budgets.CLUSTER_ENDED)
    waiting.until(lambda: len(kubectl.list("pvc")) == left, f"{left} volumes are left", seconds=30)
    waiting.until(lambda: kubectl.list("statefulsets") == [], "its parts are gone", seconds=30)


@pytest.mark.usefixtures("machines")
def test_a_resource_that_is_made_again_finds_its_data_and_its_clients_go_on(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(deletionPolicy="Retain"))
    cluster = status(kubectl)["clusterId"]
    kubectl.run("delete", "amq", "orders", seconds=budgets.CLUSTER_ENDED)
    began = time.monotonic()
    orders(deletionPolicy="Retain")
    assert status(kubectl)["clusterId"] == cluster
    figure("made again -> everything is writable", clients.writable_after(began, seconds=120))
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    clients.judge()


def test_an_autoscaler_that_may_ask_for_more_brokers_than_the_resource_allows_is_told_of(
    kubectl: Kubectl, orders: Orders, manifest: Callable[..., str]
) -> None:
    orders(autoscaling={"maxReplicas": 3})
    kubectl.apply(manifest("autoscaler"))
    waiting.until(lambda: condition(kubectl, "ScalingLimited") == "True", "it is told", seconds=60)
    told = next(one for one in status(kubectl)["conditions"] if one["type"] == "ScalingLimited")
    assert told["reason"] == "AutoscalerBounds"
    assert "HorizontalPodAutoscaler orders may ask for 3 to 4 brokers" in told["message"]
    kubectl.patch("hpa", "orders", {"spec": {"maxReplicas": 3}})
    waiting.until(lambda: condition(kubectl, "ScalingLimited") == "False", "nothing is limited", seconds=60)


def refusal(kubectl: Kubectl, manifest: Manifest) -> str:
    """What the API server has against it; '' if nothing."""
    try:
        kubectl.apply(manifest)
    except KubectlError as error:
        return str(error)
    return ""
