"""From nothing to the first message: the operator by its chart, fifteen lines, and a Kafka that answers."""

import time
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.cluster.kubectl import Kubectl, Manifest
from e2e.conftest import Figure, Orders
from e2e.helm import CLUSTER, OPERATOR, Helm, operator_values
from e2e.platform import Platform
from e2e.pods import consume, produce


@pytest.mark.smoke
def test_the_first_message_is_acknowledged_after_helm_install_and_fifteen_lines_of_yaml(
    kubectl: Kubectl, helm: Helm, platform: Platform, orders: Orders, manifest: Callable[..., str], figure: Figure
) -> None:
    kubectl.apply(manifest("client"))
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    kubectl.run("delete", "crd", "automqclusters.automq.io", "--ignore-not-found", seconds=60)
    began = time.monotonic()
    helm.put("automq", OPERATOR, operator_values(platform, str(kubectl.namespace)))
    applied = time.monotonic()
    bootstrap = orders()
    produce(kubectl, bootstrap, range(1000))
    figure("helm install -> first thousand records", time.monotonic() - began, most=budgets.FIRST_MESSAGE)
    figure("of these after the resource was applied", time.monotonic() - applied)
    assert consume(kubectl, bootstrap) == list(range(1000))

    kubectl.run("delete", "amq", "orders", seconds=budgets.CLUSTER_ENDED)
    kubectl.run("wait", "statefulset", "--all", "--for=delete", "--timeout=30s", seconds=35)


def test_the_clusters_chart_makes_the_same_cluster(
    kubectl: Kubectl, helm: Helm, platform: Platform, manifest: Callable[..., str], orders_manifest: Manifest
) -> None:
    kubectl.apply(manifest("client"))
    helm.put("automq", OPERATOR, operator_values(platform, str(kubectl.namespace)))
    helm.put("orders", CLUSTER, orders_manifest["spec"])
    kubectl.wait("amq/orders", "condition=Ready", seconds=budgets.CLUSTER_READY)
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    produce(kubectl, kubectl.get("amq", "orders")["status"]["bootstrap"], range(100))
    helm.uninstall("orders")
    kubectl.run("wait", "statefulset", "--all", "--for=delete", "--timeout=60s", seconds=65)
