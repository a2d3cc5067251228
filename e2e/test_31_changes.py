"""A running cluster is changed, under load: another image, another setting. One broker at a time, and nobody waits for long."""

import time
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, status
from e2e.cluster import node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.layout import NODES
from e2e.conftest import Figure, Orders
from e2e.load import Load, LoadOn
from e2e.platform import Platform
from e2e.pods import uid_of

pytestmark = pytest.mark.usefixtures("machines", "operator")


def test_another_image_is_rolled_out_one_broker_at_a_time(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, platform: Platform
) -> None:
    clients = load(orders())
    image = f"{platform.broker_image}-next"
    for one in NODES:
        node.enter(one, "ctr", "--namespace", "k8s.io", "images", "tag", "--force", platform.broker_image, image)
    roll(kubectl, clients, {"image": image}, "image changed", figure)
    assert {pod["spec"]["containers"][0]["image"] for pod in pods(kubectl)} == {image}


def test_another_setting_is_rolled_out_one_broker_at_a_time(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    roll(kubectl, clients, {"brokers": {"config": {"log.retention.ms": "3600000"}}}, "setting changed", figure)


def roll(kubectl: Kubectl, clients: Load, spec: dict[str, Any], what: str, figure: Figure) -> None:
    """Change the spec, wait until every broker is another one and well, and judge; at no time two are away."""
    before = {pod: uid_of(kubectl, pod) for pod in brokers(kubectl)}
    began = time.monotonic()
    kubectl.patch("amq", "orders", {"spec": spec})
    fewest = len(before)

    def is_rolled() -> bool:
        nonlocal fewest
        fewest = min(fewest, sum(one["state"] == "ACTIVE" for one in status(kubectl)["brokers"]))
        return all(uid_of(kubectl, pod) not in ("", uid) for pod, uid in before.items()) and has_ready(kubectl, 3)

    waiting.until(is_rolled, "every broker is another one and well", seconds=budgets.ROLLED, every_seconds=0.5)
    figure(f"{what} -> every broker is another one and well", time.monotonic() - began, most=budgets.ROLLED)
    stall = clients.longest_stall(began)
    clients.judge()
    assert fewest >= len(before) - 1
    figure(f"{what}, longest produce stall", stall, most=budgets.STALL)


def pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    """The brokers' pods."""
    return [kubectl.get("pod", pod) for pod in brokers(kubectl)]
