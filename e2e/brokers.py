"""What tests ask about the brokers of the cluster `orders`."""

import time
from typing import Any

from e2e import budgets
from e2e.cluster import layout, node, waiting
from e2e.cluster.kubectl import Kubectl

SELECTOR = "--selector=app.kubernetes.io/instance=orders,app.kubernetes.io/component=broker"


def brokers(kubectl: Kubectl) -> dict[str, str]:
    """Pod -> node, '' while it has none."""
    return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in kubectl.list("pods", SELECTOR)}


def starts(kubectl: Kubectl) -> dict[str, tuple[str, int]]:
    """Pod -> which one it is (uid), and how many times its container was started again."""
    found = {}
    for pod in kubectl.list("pods", SELECTOR):
        containers = pod["status"].get("containerStatuses", [])
        found[pod["metadata"]["name"]] = (pod["metadata"]["uid"], sum(one["restartCount"] for one in containers))
    return found


def id_of(pod: str, kubectl: Kubectl) -> int:
    """The node id of a broker's pod."""
    return int(kubectl.get("pod", pod)["metadata"]["labels"]["apps.kubernetes.io/pod-index"])


def status(kubectl: Kubectl) -> dict[str, Any]:
    """What the operator says."""
    found: dict[str, Any] = kubectl.get("amq", "orders").get("status", {})
    return found


def condition(kubectl: Kubectl, kind: str) -> str:
    """True, False, Unknown; '' when it is not there."""
    return next((one["status"] for one in status(kubectl).get("conditions", []) if one["type"] == kind), "")


def has_ready(kubectl: Kubectl, count: int) -> bool:
    """Whether exactly so many brokers are there, and all of them are well."""
    now = status(kubectl)
    is_there = now.get("replicas") == now.get("readyReplicas") == len(brokers(kubectl)) == count
    return is_there and condition(kubectl, "Ready") == "True"


def operators(kubectl: Kubectl, count: int) -> None:
    """So many operators, and no other is left."""
    kubectl.run("scale", "deployment/automq-operator", f"--replicas={count}")
    kubectl.run("rollout", "status", "deployment/automq-operator", "--timeout=60s", seconds=65)
    selector = "--selector=app.kubernetes.io/name=automq-operator"
    waiting.until(lambda: len(kubectl.list("pods", selector)) == count, f"{count} operators", seconds=60)


def kill_container(kubectl: Kubectl, pod: str) -> None:
    """SIGKILL to the broker's process, as the kernel does when memory is short."""
    container = kubectl.get("pod", pod)["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
    find = f"grep -l {container} /proc/[0-9]*/cgroup | cut -d/ -f3"
    place = layout.node(brokers(kubectl)[pod])
    pids = node.enter(place, "sh", "-c", find).split()
    assert pids, f"no process of {pod} on {place.name}"
    node.enter(place, "kill", "-KILL", *pids)


def one_of_two(kubectl: Kubectl) -> str:
    """A broker's pod in a zone that has another, away from the clients' network and, where that can be, from the operator."""
    places = brokers(kubectl)
    others = {pod["spec"].get("nodeName") for pod in kubectl.list("pods") if pod["metadata"]["name"] not in places}
    zones = [layout.node(place).zone for place in places.values()]
    fit = [pod for pod, place in places.items() if zones.count(layout.node(place).zone) > 1]
    assert fit, f"no broker can be lost where they stand: {places}"
    return min(fit, key=lambda pod: places[pod] in others)


def kill_node(kubectl: Kubectl, victim: layout.Node) -> float:
    """Its power goes, and Kubernetes notices (Ready=Unknown); when it went (monotonic). Raises TooLate."""
    node.kill(victim)
    killed = time.monotonic()
    kubectl.wait(f"node/{victim.name}", "condition=Ready=Unknown", seconds=budgets.NODE_NOT_READY)
    return killed
