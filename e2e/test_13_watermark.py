"""Brokers come and go with the traffic, under load: by the operator's own watermarks, and by Kubernetes' autoscaler."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, id_of, status
from e2e.cluster import waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.custom_metrics import custom_metrics
from e2e.load import LoadOn

pytestmark = pytest.mark.usefixtures("machines", "operator")

WATERMARK: dict[str, Any] = {
    "mode": "Watermark",
    "minReplicas": 3,
    "maxReplicas": 4,
    "networkBaselineMbps": 4,
    "windows": {"scaleInSeconds": 60, "pauseAfterScaleInSeconds": 60},
}
"""A network so slow that the clients can fill it; they move about 1 megabit per second through each of three brokers."""
PRESSING_RATE = 1500.0


def test_a_cluster_grows_above_the_high_mark_and_shrinks_below_the_low_one(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(autoscaling=WATERMARK))
    before = set(brokers(kubectl))
    clients.press(PRESSING_RATE)
    began = time.monotonic()
    waiting.until(lambda: wanted(kubectl) == 4, "a fourth broker is wanted", seconds=budgets.WATERMARK_SHARE)
    figure("high mark crossed -> more brokers are wanted", time.monotonic() - began)
    waiting.until(lambda: share(kubectl, before) >= 3, "the new broker has its share", seconds=budgets.WATERMARK_SHARE)
    took = time.monotonic() - began
    figure("high mark crossed -> the new broker carries its share", took, most=budgets.WATERMARK_SHARE)

    clients.ease()
    began = time.monotonic()
    waiting.until(lambda: wanted(kubectl) == 3, "three brokers are wanted", seconds=budgets.WATERMARK_IN)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are left", seconds=budgets.SCALED)
    figure("low mark crossed -> three brokers", time.monotonic() - began)
    stall = clients.longest_stall(began)
    clients.judge()
    figure("scale-in by watermark, longest produce stall", stall, most=budgets.STALL)


def test_kubernetes_own_autoscaler_scales_by_what_the_status_says(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, manifest: Callable[..., str]
) -> None:
    clients = load(orders(autoscaling={"networkBaselineMbps": WATERMARK["networkBaselineMbps"]}))
    with custom_metrics(kubectl):
        kubectl.apply(manifest("autoscaler"))
        kubectl.wait("hpa/orders", "condition=ScalingActive", seconds=150)
        clients.press(PRESSING_RATE)
        began = time.monotonic()
        waiting.until(lambda: has_ready(kubectl, 4), "four brokers are well", seconds=budgets.AUTOSCALED)
        figure("traffic grows -> an HPA has a fourth broker", time.monotonic() - began)
        clients.ease()
        began = time.monotonic()
        waiting.until(lambda: has_ready(kubectl, 3), "three brokers are left", seconds=budgets.AUTOSCALED)
        figure("traffic shrinks -> an HPA has three brokers", time.monotonic() - began)
        stall = clients.longest_stall(began)
    clients.judge()
    figure("scale-in by an HPA, longest produce stall", stall, most=budgets.STALL)


def wanted(kubectl: Kubectl) -> int | None:
    """How many brokers the operator wants; None while it has not decided yet."""
    desired: int | None = status(kubectl).get("scaling", {}).get("desired")
    return desired


def share(kubectl: Kubectl, before: set[str]) -> int:
    """Partitions of the brokers whose pods were not there before."""
    new = {id_of(pod, kubectl) for pod in set(brokers(kubectl)) - before}
    return sum(int(broker["partitions"]) for broker in status(kubectl)["brokers"] if broker["id"] in new)
