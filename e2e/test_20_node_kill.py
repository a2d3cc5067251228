"""A node dies with a broker on it: nothing that was acknowledged is lost, whoever gets the log, and whoever dies meanwhile."""

import time
from typing import Any

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, id_of, kill_node, one_of_two, status
from e2e.cluster import layout, local, node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn
from e2e.pods import uid_of

pytestmark = pytest.mark.usefixtures("machines", "operator")

ALONE: dict[str, Any] = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "broker"}},
            }
        ]
    }
}
"""One broker on each node, as in production: a replacement finds no place beside the survivor, an adopter does."""
RARE_UPLOADS = {"s3.wal.upload.interval.ms": "600000"}


@pytest.mark.smoke
def test_a_dead_brokers_log_is_drained_beside_a_survivor_where_its_replacement_has_no_place(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    clients.fill(256, broker=id_of(pod, kubectl))
    victim = layout.node(brokers(kubectl)[pod])
    killed = kill_node(kubectl, victim)
    local.vouch_dead(victim)
    tainted = time.monotonic()
    took = clients.writable_after(killed, seconds=budgets.TAKEN_OVER)
    figure("node killed -> everything is writable, 256 MiB in the log", took, most=budgets.TAKEN_OVER_BY_TAINT)
    figure("of these after the taint", took - (tainted - killed))
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


def test_without_proof_nothing_is_forced_and_a_frozen_broker_that_thaws_harms_nothing(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders())
    pod = one_of_two(kubectl)
    victim, before = layout.node(brokers(kubectl)[pod]), uid_of(kubectl, pod)
    node.freeze(victim)
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.wait("amq/orders", "condition=FencingPending", seconds=30)
    time.sleep(20)
    assert uid_of(kubectl, pod) == before
    assert adopters(kubectl) == []
    node.thaw(victim)
    thawed = time.monotonic()
    figure("thawed -> everything is writable", clients.writable_after(thawed, seconds=120))
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=120)
    clients.judge()


def test_an_operator_that_dies_again_and_again_ends_the_takeover_all_the_same(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim = layout.node(brokers(kubectl)[pod])
    killed = kill_node(kubectl, victim)
    local.vouch_dead(victim)
    for _ in range(5):
        time.sleep(4)
        kubectl.run(
            "delete",
            "pods",
            "--selector=app.kubernetes.io/name=automq-operator",
            "--grace-period=0",
            "--force",
            "--wait=false",
        )
    figure("node killed, operators too -> everything is writable", clients.writable_after(killed, seconds=180))
    clients.judge()


def test_a_zone_that_lost_its_only_broker_says_so_and_has_it_back_from_its_own_log(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"config": RARE_UPLOADS}))
    pod, place = next((pod, place) for pod, place in brokers(kubectl).items() if place.startswith("b"))
    victim = layout.node(place)
    killed = kill_node(kubectl, victim)
    local.vouch_dead(victim)
    waiting.until(lambda: brokers(kubectl).get(pod) not in ("", None, place), f"{pod} is elsewhere", seconds=60)
    figure("only broker of a zone -> everything is writable", clients.writable_after(killed, seconds=180))
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=120)
    clients.judge()


def adopters(kubectl: Kubectl) -> list[str]:
    """Adopters' pods."""
    return [pod["metadata"]["name"] for pod in kubectl.list("pods", "--selector=app.kubernetes.io/component=adopter")]


def adopted(kubectl: Kubectl) -> bool:
    """Whether the operator tells of a log that an adopter drained."""
    stages = [stage["name"] for one in status(kubectl).get("recoveries", []) for stage in one["stages"]]
    return any("drain" in stage for stage in stages)
