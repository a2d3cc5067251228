"""The end of a cluster where the operator watches all namespaces: it may hold pods until it has seen how they ended."""

import time

import pytest

from e2e import budgets
from e2e.aws import services
from e2e.brokers import SELECTOR, operators
from e2e.cluster import waiting
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.conftest import Figure, Orders
from e2e.helm import OPERATOR, Helm, operator_values
from e2e.load import LoadOn
from e2e.platform import Platform

pytestmark = pytest.mark.usefixtures("machines")

SEE_ITS_END = "automq.io/see-its-end"
"""The finalizer by which pods are held."""


@pytest.fixture
def operator(platform: Platform, kubectl: Kubectl, helm: Helm) -> None:
    """One for every namespace: its rights outlast that of the cluster."""
    values = operator_values(platform, str(kubectl.namespace)) | {"watchNamespaces": []}
    helm.put("automq", OPERATOR, values | {"replicas": 1, "uninstallCheck": {"enabled": False}})


@pytest.mark.usefixtures("operator")
def test_brokers_that_end_without_an_operator_stay_to_be_seen_and_no_volume_is_left(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(deletionPolicy="Delete"))
    clients.judge()
    claims = {each["metadata"]["uid"] for each in kubectl.list("pvc")}
    services.pause_s3()  # so that they cannot end before the operator is away
    try:
        kubectl.run("delete", "amq", "orders", "--wait=false")
        waiting.until(lambda: all(map(is_going, kubectl.list("pods", SELECTOR))), "brokers are told to end", seconds=30)
        operators(kubectl, 0)
    finally:
        services.resume_s3()
    waiting.until(lambda: all(map(has_ended, kubectl.list("pods", SELECTOR))), "brokers have ended", seconds=90)
    held = kubectl.list("pods", SELECTOR)
    assert len(held) == 3
    assert all(SEE_ITS_END in pod["metadata"]["finalizers"] for pod in held)

    operators(kubectl, 1)
    back = time.monotonic()
    waiting.until(lambda: kubectl.find("amq", "orders") is None, "the cluster has ended", seconds=budgets.CLUSTER_ENDED)
    figure("brokers ended without an operator, it is back -> gone", time.monotonic() - back)
    assert kubectl.list("pvc") == []
    assert claims.isdisjoint(each["spec"].get("claimRef", {}).get("uid") for each in kubectl.list("pv"))


def is_going(pod: Manifest) -> bool:
    """Whether it was told to end."""
    return "deletionTimestamp" in pod["metadata"]


def has_ended(pod: Manifest) -> bool:
    """Whether its kubelet says so."""
    return all("terminated" in each["state"] for each in pod["status"]["containerStatuses"])
