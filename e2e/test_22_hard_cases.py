"""The cases that failover is judged by, under load: who is wrong about a death, who dies meanwhile, and who decides."""

import time

import pytest

from e2e import budgets
from e2e.brokers import brokers, condition, has_ready, id_of, kill_node, one_of_two, status
from e2e.cluster import layout, local, node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn
from e2e.pods import uid_of, where
from e2e.test_20_node_kill import ALONE, RARE_UPLOADS, adopted, adopters

pytestmark = pytest.mark.usefixtures("machines", "operator")

SPOT_TAINT = "aws-node-termination-handler/spot-itn"
SPOT_NOTICE_SECONDS = 30.0
"""EC2 gives 120."""
LEASE_OVER_SECONDS = 30.0


def test_a_broker_that_somebody_called_dead_too_early_harms_nothing_when_it_thaws(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim = layout.node(brokers(kubectl)[pod])
    node.freeze(victim)
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.wait("amq/orders", "condition=FencingPending", seconds=30)
    local.vouch_dead(victim)
    waiting.until(lambda: adopters(kubectl), "an adopter is queued", seconds=budgets.TAKEN_OVER)
    time.sleep(15)  # its disk is in use: the detach is refused, and nobody else gets it
    node.thaw(victim)
    thawed = time.monotonic()
    figure("called dead, thawed -> everything is writable", clients.writable_after(thawed, seconds=180))
    kubectl.run("taint", "node", victim.name, f"{local.OUT_OF_SERVICE}-")
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=180)
    clients.judge()


def test_a_broker_that_is_cut_off_keeps_its_volume_until_its_death_is_proven(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim, before = layout.node(brokers(kubectl)[pod]), uid_of(kubectl, pod)
    node.cut_off(victim)
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    kubectl.wait("amq/orders", "condition=FencingPending", seconds=30)
    time.sleep(20)
    assert uid_of(kubectl, pod) == before
    assert adopters(kubectl) == []

    node.kill(victim)
    local.vouch_dead(victim)
    proven = time.monotonic()
    took = clients.writable_after(proven, seconds=budgets.TAKEN_OVER)
    figure("cut off, then proven dead -> everything is writable", took, most=budgets.TAKEN_OVER)
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


def test_a_spot_node_is_left_before_it_goes(kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure) -> None:
    clients = load(orders(brokers={"config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim, node_id = layout.node(brokers(kubectl)[pod]), id_of(pod, kubectl)
    kubectl.run("taint", "node", victim.name, f"{SPOT_TAINT}=soon:NoSchedule")
    try:
        told = time.monotonic()
        waiting.until(lambda: partitions(kubectl, node_id) == 0, "it has no partitions", seconds=SPOT_NOTICE_SECONDS)
        figure("Spot notice -> its broker has no partitions", time.monotonic() - told)
        time.sleep(max(0.0, told + SPOT_NOTICE_SECONDS - time.monotonic()))
        kill_node(kubectl, victim)
        stall = clients.longest_stall(told)
        local.vouch_dead(victim)
        waiting.until(lambda: where(kubectl, pod) not in ("", victim.name), "it is elsewhere", seconds=120)
        waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=120)
        clients.judge()
        assert not adopted(kubectl)
        figure("Spot node left and lost, longest produce stall", stall, most=budgets.STALL)
    finally:
        kubectl.run("taint", "node", victim.name, f"{SPOT_TAINT}-")


def test_an_adopter_whose_own_node_dies_is_followed_by_another(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    """Both nodes of a zone are lost, the second one while it drains the log of the first. Then the first comes back."""
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    first = layout.node(brokers(kubectl)[pod])
    second = next(one for one in layout.NODES if one.zone == first.zone and one != first)
    kill_node(kubectl, first)
    local.vouch_dead(first)
    waiting.until(lambda: adopters(kubectl), "an adopter is queued", seconds=budgets.TAKEN_OVER)
    kill_node(kubectl, second)
    local.vouch_dead(second)
    for one in (first, second):
        local.switch_on(one)
        kubectl.run("taint", "node", one.name, f"{local.OUT_OF_SERVICE}-")
    back = time.monotonic()
    figure("both nodes are back -> everything is writable", clients.writable_after(back, seconds=300))
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=300)
    clients.judge()


def test_of_two_operators_one_works_and_the_other_goes_on_where_it_died(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"replicas": 4}))
    two_operators(kubectl)
    kubectl.run("scale", "amq/orders", "--replicas=3")
    waiting.until(lambda: "drains" in memory(kubectl), "a broker is being drained", seconds=60)
    first = holder(kubectl)
    kubectl.run("delete", "pod", first, "--grace-period=0", "--force", "--wait=false")
    died = time.monotonic()
    waiting.until(lambda: holder(kubectl) not in ("", first), "the other one holds the Lease", seconds=60)
    figure("operator killed -> the other one holds the Lease", time.monotonic() - died, most=LEASE_OVER_SECONDS)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are left", seconds=budgets.SCALED)
    stall = clients.longest_stall(died)
    clients.judge()
    figure("operator killed in a drain, longest produce stall", stall, most=budgets.STALL)


def test_with_two_operators_a_deleted_cluster_still_ends_in_order_however_slowly(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    spec = {"config": RARE_UPLOADS}
    clients = load(orders(brokers=spec))
    clients.fill(128, broker=id_of(one_of_two(kubectl), kubectl))
    two_operators(kubectl)
    before = set(brokers(kubectl))
    began = time.monotonic()
    kubectl.run("delete", "amq", "orders", "--wait=false")
    kubectl.run("delete", "pod", holder(kubectl), "--grace-period=0", "--force", "--wait=false")
    while before & set(brokers(kubectl)):
        assert kubectl.find("amq", "orders") is not None, "it was let go while brokers were there"
        time.sleep(0.2)
    waiting.until(lambda: kubectl.find("amq", "orders") is None, "the cluster has ended", seconds=budgets.CLUSTER_ENDED)
    figure("deleted with two operators, one killed -> gone", time.monotonic() - began)
    # Volumes of brokers that nobody saw end are kept; the others' logs are in the bucket. The clients will tell.
    orders(brokers=spec)
    clients.judge()


def two_operators(kubectl: Kubectl) -> None:
    """One more, which waits for the Lease."""
    kubectl.run("scale", "deployment/automq-operator", "--replicas=2")
    kubectl.run("rollout", "status", "deployment/automq-operator", "--timeout=60s", seconds=65)
    assert condition(kubectl, "Ready") == "True"


def holder(kubectl: Kubectl) -> str:
    """The pod of the operator that works."""
    found = kubectl.find("lease", "automq-operator") or {}
    return str(found.get("spec", {}).get("holderIdentity", ""))


def memory(kubectl: Kubectl) -> str:
    """What the operator remembers, as text, without what is empty."""
    return str({key: value for key, value in status(kubectl).get("memory", {}).items() if value})


def partitions(kubectl: Kubectl, node_id: int) -> int:
    """How many the broker serves."""
    return sum(int(one["partitions"]) for one in status(kubectl)["brokers"] if one["id"] == node_id)
