"""More brokers and fewer, by kubectl and under load."""

import time

import pytest

from e2e import budgets
from e2e.brokers import has_ready, status
from e2e.cluster import waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn
from e2e.pods import volume_of

pytestmark = pytest.mark.usefixtures("machines", "operator")


@pytest.mark.smoke
def test_a_cluster_grows_to_five_brokers_and_shrinks_to_three(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    began = time.monotonic()
    scale(kubectl, 5)
    figure("3 -> 5 brokers, all well", time.monotonic() - began)
    waiting.until(lambda: everybody_leads(kubectl), "all five have partitions", seconds=budgets.SCALED)
    figure("3 -> 5 brokers, all with partitions", time.monotonic() - began, most=budgets.SCALED)

    began = time.monotonic()
    scale(kubectl, 3)
    figure("5 -> 3 brokers", time.monotonic() - began)
    stall = clients.longest_stall(began)
    clients.judge()
    figure("5 -> 3 brokers, longest produce stall", stall, most=budgets.STALL)
    waiting.until(lambda: len(claims(kubectl)) == 3, "the volumes of the others are gone", seconds=budgets.SCALED)


def scale(kubectl: Kubectl, count: int) -> None:
    """As a person does it; returns when so many brokers are there and well."""
    kubectl.run("scale", "amq/orders", f"--replicas={count}")
    waiting.until(lambda: has_ready(kubectl, count), f"{count} brokers are well", seconds=budgets.SCALED)


def everybody_leads(kubectl: Kubectl) -> bool:
    """Whether each broker has partitions."""
    return all(broker["partitions"] for broker in status(kubectl)["brokers"])


def claims(kubectl: Kubectl) -> list[str]:
    """The logs' volumes."""
    return [claim["metadata"]["name"] for claim in kubectl.list("pvc")]


def test_a_broker_that_left_comes_again_under_the_same_number_on_a_new_volume(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"replicas": 4}))
    began = time.monotonic()
    before = volumes(kubectl)
    scale(kubectl, 3)
    scale(kubectl, 4)
    waiting.until(lambda: everybody_leads(kubectl), "all four have partitions", seconds=budgets.SCALED)
    figure("4 -> 3 -> 4 brokers, all with partitions", time.monotonic() - began)
    assert volumes(kubectl).keys() == before.keys()
    assert len(set(volumes(kubectl).values()) & set(before.values())) == 3
    stall = clients.longest_stall(began)
    clients.judge()
    figure("4 -> 3 -> 4 brokers, longest produce stall", stall, most=budgets.STALL)


def volumes(kubectl: Kubectl) -> dict[str, str]:
    """Claim -> its volume."""
    return {claim: volume_of(kubectl, claim) for claim in claims(kubectl)}
