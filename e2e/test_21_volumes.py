"""What can be wrong with a dead broker's volume: the cloud does not give it back, or it is not the one that it was."""

import json
import time
from collections.abc import Callable

import pytest

from e2e import budgets
from e2e.brokers import brokers, has_ready, id_of, kill_node, one_of_two, status
from e2e.cluster import layout, local, waiting
from e2e.cluster.kubectl import Kubectl
from e2e.conftest import Figure, Orders
from e2e.csi.disks import Disks
from e2e.load import LoadOn
from e2e.pods import produce, uid_of, volume_of
from e2e.test_20_node_kill import ALONE, RARE_UPLOADS, adopted, adopters

pytestmark = pytest.mark.usefixtures("machines", "operator")

STUCK_SECONDS = 45.0
TOKEN = "/etc/automq/secrets/admin.token"
ADMIN = "http://127.0.0.1:9644"


def test_a_volume_that_the_cloud_does_not_detach_is_waited_for_and_drained_once_it_does(
    kubectl: Kubectl, orders: Orders, load: LoadOn, figure: Figure, disks: Disks
) -> None:
    clients = load(orders(brokers={"template": {"affinity": ALONE}, "config": RARE_UPLOADS}))
    pod = one_of_two(kubectl)
    victim, others = layout.node(brokers(kubectl)[pod]), active(kubectl) - {id_of(pod, kubectl)}
    disks.inject({"ControllerUnpublishVolume": {"error": "ABORTED"}})
    kill_node(kubectl, victim)
    local.vouch_dead(victim)
    waiting.until(lambda: adopters(kubectl), "an adopter waits for the volume", seconds=budgets.TAKEN_OVER)
    time.sleep(STUCK_SECONDS)
    assert not adopted(kubectl)
    assert active(kubectl) == others
    disks.inject({})
    healed = time.monotonic()
    figure("stuck volume is free -> everything is writable", clients.writable_after(healed, seconds=180))
    waiting.until(lambda: adopted(kubectl), "the recovery is told", seconds=budgets.TAKEN_OVER)
    clients.judge()


def test_an_empty_volume_in_the_place_of_a_lost_one_is_refused_until_the_loss_is_accepted(
    kubectl: Kubectl, orders: Orders, manifest: Callable[..., str], figure: Figure
) -> None:
    kubectl.apply(manifest("client"))
    bootstrap = orders(brokers={"config": RARE_UPLOADS})
    kubectl.wait("pod/client", "condition=Ready", seconds=budgets.POD_RUNS)
    produce(kubectl, bootstrap, range(1000))
    pod = one_of_two(kubectl)
    node_id, claim = id_of(pod, kubectl), f"wal-{pod}"
    lost, before = volume_of(kubectl, claim), uid_of(kubectl, pod)
    kubectl.run("delete", "pvc", claim, "--wait=false")
    kill_node(kubectl, victim := layout.node(brokers(kubectl)[pod]))
    local.vouch_dead(victim)
    waiting.until(lambda: uid_of(kubectl, pod) not in ("", before), "there is a new pod", seconds=budgets.TAKEN_OVER)
    waiting.until(lambda: "WAL volume" in said(kubectl, pod), "it refuses the volume", seconds=budgets.BROKER_READY)
    assert volume_of(kubectl, claim) != lost
    assert not has_ready(kubectl, 3)

    survivor = next(each for each in brokers(kubectl) if id_of(each, kubectl) in active(kubectl))
    answer = json.loads(automq(kubectl, survivor, "accept-wal-loss", str(node_id), "--yes", "--json"))
    accepted = time.monotonic()
    assert {each["topic"] for each in answer["lost"]} >= {"numbers"}
    waiting.until(lambda: has_ready(kubectl, 3), "three brokers are well", seconds=180)
    figure("WAL loss accepted -> three brokers are well", time.monotonic() - accepted)
    produce(kubectl, bootstrap, range(1000, 2000))


def active(kubectl: Kubectl) -> set[int]:
    """The brokers that serve, as the operator tells."""
    return {each["id"] for each in status(kubectl)["brokers"] if each["state"] == "ACTIVE"}


def said(kubectl: Kubectl, pod: str) -> str:
    """Why its container ended last."""
    found = kubectl.find("pod", pod) or {}
    states = [
        one.get(kind, {}) for one in found["status"].get("containerStatuses", []) for kind in ("state", "lastState")
    ]
    return " ".join(state["terminated"].get("message", "") for state in states if "terminated" in state)


def automq(kubectl: Kubectl, pod: str, *arguments: str) -> str:
    """`automq cluster ...` inside a broker's pod, as an administrator runs it."""
    return kubectl.execute(pod, ["automq", "cluster", *arguments, "--admin", ADMIN, "--token-file", TOKEN])
