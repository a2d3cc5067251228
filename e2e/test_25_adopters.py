"""Adopters that should not be: created in error, without a place, hung while no operator looks. No living broker pays."""

import json
import time
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.brokers import brokers, condition, has_ready, id_of, kill_node, one_of_two, operators, status
from e2e.cluster import layout, local, node, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.load import LoadOn
from e2e.pods import uid_of, where
from e2e.test_20_node_kill import ALONE, RARE_UPLOADS, adopted, adopters

pytestmark = pytest.mark.usefixtures("machines", "operator")

PRIORITY_CLASS = "AUTOMQ_OPERATOR_ADOPTER_PRIORITY_CLASS"
MISTAKE = "orders-adopt-by-mistake"
WATCHED_SECONDS = 20.0
"""The scheduler tries a pod again within a few seconds after each change in the cluster."""
DEADLINE_SECONDS = 20
"""Of an adopter here; without the test they have 900."""

# Python needs longer to start than this loop to see it: the process stands still before it has read anything of the log.
_HANG = """
for _ in $(seq 3000); do
  for found in $(grep -las 'broker-epoc[h]' /proc/[0-9]*/cmdline); do
    kill -STOP "$(basename "$(dirname "$found")")" && exit 0
  done
  sleep 0.02
done
exit 1
"""


def test_neither_a_wrong_adopter_nor_one_without_a_place_costs_a_living_broker_its_pod(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, manifest: Callable[..., str]
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    before = uids(kubectl)
    operators(kubectl, 0)
    kubectl.apply(manifest("adopter", **mistake(kubectl, pod)))
    watch(kubectl, before, WATCHED_SECONDS)
    assert where(kubectl, MISTAKE) == ""
    operators(kubectl, 1)
    waiting.until(lambda: adopters(kubectl) == [], "the operator deletes it", seconds=60)
    assert uids(kubectl) == before

    victim = layout.node(brokers(kubectl)[pod])
    survivor = next(one for one in layout.NODES if one.zone == victim.zone and one != victim)
    left = f"{free_millicores(kubectl, survivor.name) - 50}m"
    kubectl.apply(manifest("filler", node=survivor.name, cpu=left))
    kubectl.wait("pod/filler", "condition=Ready", seconds=budgets.POD_RUNS)
    kill_node(kubectl, victim)
    local.vouch_dead(victim)
    waiting.until(lambda: adopters(kubectl), "an adopter is queued", seconds=budgets.TAKEN_OVER)
    kubectl.wait("amq/orders", "condition=WALUnavailable", seconds=120)
    del before[pod]
    watch(kubectl, before, WATCHED_SECONDS)
    assert not adopted(kubectl)

    kubectl.run("delete", "pod", "filler", "--wait=false")
    room = time.monotonic()
    took = clients.writable_after(room, seconds=budgets.TAKEN_OVER)
    figure("the survivor's node has room again -> everything is writable", took)
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    assert before.items() <= uids(kubectl).items()
    clients.judge()


def test_an_adopter_that_hangs_while_no_operator_is_there_makes_way_for_the_broker_itself(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim = layout.node(brokers(kubectl)[pod])
    survivor = next(one for one in layout.NODES if one.zone == victim.zone and one != victim)
    hanging = node.start(survivor, "sh", "-c", _HANG)
    kill_node(kubectl, victim)
    local.vouch_dead(victim)
    waiting.until(lambda: hanging.poll() is not None, "the adopter stands still", seconds=budgets.TAKEN_OVER)
    assert hanging.returncode == 0
    operators(kubectl, 0)
    (name,) = adopters(kubectl)
    # Its machine is back, and the broker's next pod waits for the volume that the adopter holds.
    local.switch_on(victim)
    kubectl.run("taint", "node", victim.name, f"{local.OUT_OF_SERVICE}-")
    time.sleep(5)
    assert where(kubectl, pod) == ""

    kubectl.patch("pod", name, {"spec": {"activeDeadlineSeconds": DEADLINE_SECONDS}})
    shortened = time.monotonic()
    took = clients.writable_after(shortened, seconds=DEADLINE_SECONDS + budgets.TAKEN_OVER)
    figure("hung adopter's deadline shortened, no operator there -> everything is writable", took)
    assert kubectl.get("pod", name)["status"]["reason"] == "DeadlineExceeded"
    assert where(kubectl, pod) != ""

    operators(kubectl, 1)
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=budgets.CLUSTER_READY)
    waiting.until(lambda: adopters(kubectl) == [], "the hung one is gone", seconds=60)
    assert condition(kubectl, "WALRecovered") == "True"
    clients.judge()


def uids(kubectl: Kubectl) -> dict[str, str]:
    """Broker's pod -> which one it is."""
    return {pod: uid_of(kubectl, pod) for pod in brokers(kubectl)}


def watch(kubectl: Kubectl, before: dict[str, str], seconds: float) -> None:
    """For so long each of these pods must be the one that it was."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert before.items() <= uids(kubectl).items()
        time.sleep(1)


def mistake(kubectl: Kubectl, pod: str) -> dict[str, str]:
    """An adopter for a broker that lives: what is asked of the operator's chart and of the broker's status."""
    (container,) = kubectl.get("deployment", "automq-operator")["spec"]["template"]["spec"]["containers"]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    node_id = id_of(pod, kubectl)
    told = next(each for each in status(kubectl)["brokers"] if each["id"] == node_id)
    about = {"nodeId": node_id, "brokerEpoch": told["epoch"], "volume": told["walVolume"]}
    about |= {"grantedEpoch": told["epoch"] + 1, "beside": node_id, "attempt": 1}
    return {"priority_class": given[PRIORITY_CLASS], "claim": f"wal-{pod}", "about": json.dumps(about)}


def free_millicores(kubectl: Kubectl, name: str) -> int:
    """What no pod on that node has asked for."""
    there = kubectl.list("pods", "--all-namespaces", f"--field-selector=spec.nodeName={name}")
    asked = [
        container.get("resources", {}).get("requests", {}).get("cpu", "0")
        for pod in there
        for container in pod["spec"]["containers"]
    ]
    return _millicores(kubectl.get("node", name)["status"]["allocatable"]["cpu"]) - sum(map(_millicores, asked))


def _millicores(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(float(text) * 1000)
