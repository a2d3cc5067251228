"""What happens to brokers every day, under load: containers and pods end, nodes are drained."""

import time

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, kill_container, one_of_two
from e2e.cluster import waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn
from e2e.pods import uid_of

pytestmark = pytest.mark.usefixtures("machines", "operator")


def test_a_broker_whose_container_was_killed_serves_again(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    pod = one_of_two(kubectl)
    before = uid_of(kubectl, pod)
    kill_container(kubectl, pod)
    began = time.monotonic()
    figure("container killed -> serves", clients.writable_after(began, seconds=60), most=budgets.CONTAINER_BACK)
    assert uid_of(kubectl, pod) == before
    clients.judge()


def test_a_broker_whose_pod_was_deleted_hands_over_and_comes_back(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    pod = one_of_two(kubectl)
    before, began = uid_of(kubectl, pod), time.monotonic()
    kubectl.run("delete", "pod", pod, "--wait=false")
    waiting.until(lambda: uid_of(kubectl, pod) not in ("", before), "a new pod", seconds=60)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    figure("pod deleted -> three brokers are well", time.monotonic() - began)
    stall = clients.longest_stall(began)
    clients.judge()
    figure("pod deleted, longest produce stall", stall, most=budgets.STALL)


def test_a_drained_node_is_left_without_anybody_waiting_for_long(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    place, began = brokers(kubectl)[one_of_two(kubectl)], time.monotonic()
    options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={budgets.NODE_DRAINED:.0f}s"]
    kubectl.run("drain", place, *options, seconds=budgets.NODE_DRAINED + 5)
    figure("node drained", time.monotonic() - began)
    waiting.until(
        lambda: has_ready(kubectl, 3) and place not in brokers(kubectl).values(),
        "three brokers are well elsewhere",
        seconds=budgets.CLUSTER_READY,
    )
    stall = clients.longest_stall(began)
    clients.judge()
    figure("node drained, longest produce stall", stall, most=budgets.STALL)
