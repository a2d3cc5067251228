"""What tests ask about pods and their disks."""

from typing import Any

from e2e.cluster.kubectl import Kubectl
from e2e.csi.disks import Disks


def roll_out(kubectl: Kubectl, name: str, *, seconds: float) -> None:
    """Wait until every pod of the StatefulSet is Ready. Raises KubectlError."""
    kubectl.run("rollout", "status", f"statefulset/{name}", f"--timeout={seconds:.0f}s", seconds=seconds + 5)


def where(kubectl: Kubectl, pod: str) -> str:
    """The node of a pod; '' while it has none, or is not there."""
    found = kubectl.find("pod", pod)
    return found["spec"].get("nodeName", "") if found else ""


def uid_of(kubectl: Kubectl, pod: str) -> str:
    """Which pod this is: the next one of the same name has another; '' while there is none."""
    found = kubectl.find("pod", pod)
    return found["metadata"]["uid"] if found else ""


def volume_of(kubectl: Kubectl, claim: str) -> str:
    """The id of the disk behind a claim."""
    name = kubectl.get("pvc", claim)["spec"]["volumeName"]
    handle: str = kubectl.get("pv", name)["spec"]["csi"]["volumeHandle"]
    return handle


def attachments(disks: Disks, volume: str, *, since: float) -> list[tuple[Any, Any]]:
    """What was attached and detached, in order, refusals left out."""
    calls = ("ControllerPublishVolume", "ControllerUnpublishVolume")
    return [
        (event["event"], event["node"])
        for event in disks.events()
        if event["at"] >= since and event["event"] in calls and event.get("volume") == volume and "refused" not in event
    ]


def produce(kubectl: Kubectl, bootstrap: str, numbers: range) -> None:
    """From the pod `client`, each number a record of topic `numbers`; returns when all are acknowledged."""
    # kcat gives up at the first refused connection, and nodes learn of a Service's endpoints a moment after it has them.
    answers = f"for n in $(seq 50); do kcat -b {bootstrap} -L > /dev/null 2>&1 && break; sleep 0.2; done"
    feed = f"seq {numbers.start} {numbers.stop - 1}"
    send = f"kcat -b {bootstrap} -t numbers -P -X acks=all -X enable.idempotence=true"
    kubectl.execute("client", ["sh", "-c", f"{answers}; {feed} | {send}"], seconds=60)


def consume(kubectl: Kubectl, bootstrap: str) -> list[int]:
    """Every record of topic `numbers`, in the order of the numbers: one that is there twice is seen twice.

    Raises KubectlError when a partition does not answer within ten seconds.
    """
    read = ["timeout", "10", "kcat", "-b", bootstrap, "-t", "numbers", "-C", "-e", "-q", "-o", "beginning"]
    return sorted(map(int, kubectl.execute("client", read, seconds=60).split()))
