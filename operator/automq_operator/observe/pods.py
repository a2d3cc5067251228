"""Pods, nodes, claims and attachments as a World has them: who runs, who is silent, who is dead and by whose word."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.shapes.adopter import read_about
from automq_operator.world import Adopter, AdopterState, Host, Instance, InstanceState, Proof

_CANNOT_START: Final = frozenset(
    {
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "ImageInspectError",
        "RegistryUnavailable",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Why a container waits that did not begin to run, in the kubelet's own words."""
_NEVER_RAN: Final = _CANNOT_START | {"CrashLoopBackOff"}
_NONE: Final[Mapping[str, Proof]] = {}
_QUICK_END_S: Final = 60.0
_DETACHED_S: Final = 20.0
"""So long a pod without a node waits before the missing attachment of its volume counts: one may just come to be."""


def seconds(stamp: str | None) -> float:
    """A time of the API's; 0 for none."""
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def hosts(
    nodes: list[Object] | None,
    pods: list[Object],
    drain_taints: frozenset[str],
    used: frozenset[str] = frozenset(),
) -> tuple[Host, ...]:
    """Nodes in use, and those that leave or that the operator itself called dead: a cluster is about few of all.

    Without permission to see them: those of the pods, taken for ready, so that nothing is proof.
    """
    if nodes is None:
        seen = {_node_name(pod): pod["metadata"]["labels"].get(names.ZONE_LABEL, "") for pod in pods if _node_name(pod)}
        return tuple(Host(name=name, zone=zone) for name, zone in sorted(seen.items()))
    found = [_host(each, drain_taints, used) for each in nodes if each["metadata"]["name"] in used or _is_marked(each)]
    return tuple(sorted((each for each in found if each.is_in_use or each.is_leaving or each.is_tainted), key=_name))


def _is_marked(node: Object) -> bool:
    return "deletionTimestamp" in node["metadata"] or bool(node.get("spec", {}).get("taints"))


def _name(host: Host) -> str:
    return host.name


def _host(node: Object, drain_taints: frozenset[str], used: frozenset[str]) -> Host:
    metadata, taints = node["metadata"], node.get("spec", {}).get("taints") or ()
    return Host(
        name=metadata["name"],
        zone=metadata.get("labels", {}).get(names.TOPOLOGY_ZONE, ""),
        is_ready=_condition(node, "Ready").get("status") == "True",
        is_leaving="deletionTimestamp" in metadata or any(taint["key"] in drain_taints for taint in taints),
        machine=str(node.get("spec", {}).get("providerID") or ""),
        is_tainted=any(map(is_own_taint, taints)),
        is_in_use=metadata["name"] in used,
    )


def matters(obj: Object) -> tuple[object, ...]:
    """What of a node, a volume or an attachment can change a plan: nodes report much that cannot."""
    spec, metadata = obj.get("spec", {}), obj["metadata"]
    ready = _condition(obj, "Ready").get("status")
    attached = obj.get("status", {}).get("attached")
    reclaim = spec.get("persistentVolumeReclaimPolicy")
    return ready, spec.get("taints"), metadata.get("deletionTimestamp"), attached, reclaim


def proof_of(node: Object | None, name: str = "", proofs: Mapping[str, Proof] = _NONE) -> Proof | None:
    """What somebody says about a machine: the out-of-service taint, or its provider. Silence says nothing.

    SAFETY: the operator's own taint is no proof, else its first error would prove itself.
    """
    taints = node.get("spec", {}).get("taints") or () if node is not None else ()
    if any(each["key"] == names.OUT_OF_SERVICE and not is_own_taint(each) for each in taints):
        return Proof.OUT_OF_SERVICE
    return proofs.get(name)


def is_ready(node: Object | None) -> bool:
    """Whether its kubelet says so, and was heard of late."""
    return bool(_condition(node, "Ready").get("status") == "True")


def is_own_taint(taint: Object) -> bool:
    """Whether the operator set it."""
    return bool(taint["key"] == names.OUT_OF_SERVICE and taint.get("value") == names.OWN_TAINT)


def node_id_of(pod: Object) -> int | None:
    """A broker pod's node id; None for other pods."""
    labels = pod["metadata"].get("labels", {})
    if labels.get("app.kubernetes.io/component") != names.CONTAINER:
        return None
    index = labels.get(names.POD_INDEX) or str(pod["metadata"]["name"]).rpartition("-")[2]
    return int(index) if index.isdigit() else None


def instance(
    pod: Object, node_id: int, nodes: Mapping[str, Object] | None, proofs: Mapping[str, Proof] = _NONE
) -> Instance | None:
    """What runs or ran in a pod; None while it has no node, for then it can hold and harm nothing."""
    host = _node_name(pod)
    if not host:
        return None
    node = None if nodes is None else nodes.get(host)
    is_ready = nodes is None or (node is not None and _condition(node, "Ready").get("status") == "True")
    state, since, detail, is_reported = _container(pod)
    proof = Proof.CONTAINERS_TERMINATED if state is InstanceState.ENDED and is_reported and is_ready else None
    if not is_ready:
        # The kubelet's last word is old: what ended may have been started again since.
        state, proof = InstanceState.SILENT, proof_of(node, host, proofs)
        since = seconds(_condition(node, "Ready").get("lastTransitionTime")) if node is not None else since
        detail = "its node is gone" if node is None else "its node is not ready"
    last = _terminated(pod)
    return Instance(
        node_id=node_id,
        uid=pod["metadata"]["uid"],
        host=host,
        state=state,
        since=since,
        proof=proof,
        detail=detail,
        revision=pod["metadata"].get("annotations", {}).get(names.REVISION, ""),
        quick_ends=_quick_ends(pod, last) if state is InstanceState.ENDED else 0,
        is_clean_end=state is InstanceState.ENDED and is_reported and last.get("exitCode") == 0,
        wants_restart=pod["metadata"].get("annotations", {}).get(names.RESTART_BROKER, "false") != "false",
        restarts_in_place=proof is Proof.CONTAINERS_TERMINATED and _is_restarted(pod),
        cannot_start=_cannot_start(pod) if is_ready else "",
        leaving=_leaving(pod),
    )


def _leaving(pod: Object) -> str:
    """Why Kubernetes is about to end it, in its own word: evicted, preempted, deleted for a taint; "" if it is not."""
    told = _condition(pod, "DisruptionTarget")
    return str(told.get("reason") or "DisruptionTarget") if told.get("status") == "True" else ""


def _is_restarted(pod: Object) -> bool:
    """Whether its kubelet starts its container again by itself."""
    is_over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
    return not is_over and "deletionTimestamp" not in pod["metadata"]


def _cannot_start(pod: Object) -> str:
    """Why its container did not begin to run; a pull that fails and the pause before the next are told as the same."""
    waiting = _status(pod).get("state", {}).get("waiting", {})
    reason = str(waiting.get("reason", ""))
    if reason not in _CANNOT_START or not _is_restarted(pod):
        return ""
    reason = {"ErrImagePull": "ImagePullBackOff"}.get(reason, reason)
    message = " ".join(str(waiting.get("message", "")).split())[:500]
    return f"{reason}: {message}" if message else reason


def ended_in_order(pod: Object) -> bool:
    """Whether the kubelet's last word on a pod that is gone is that its container ended with 0."""
    state, _, _, is_reported = _container(pod)
    return state is InstanceState.ENDED and is_reported and _terminated(pod).get("exitCode") == 0


def _container(pod: Object) -> tuple[InstanceState, float, str, bool]:
    """State, since when, why, and whether the kubelet itself says so."""
    created = seconds(pod["metadata"].get("creationTimestamp"))
    status = _status(pod)
    if not status:
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            return InstanceState.ENDED, created, str(pod["status"].get("reason", "it ended")), False
        return InstanceState.RUNNING, created, "it is being started", False
    state = status.get("state", {})
    if "running" in state:
        return InstanceState.RUNNING, seconds(state["running"].get("startedAt")) or created, "", True
    last = _terminated(pod)
    if "terminated" in state or state.get("waiting", {}).get("reason") in _NEVER_RAN:
        why = state.get("waiting", {}).get("reason") or last.get("reason", "")
        code = f", exit code {last['exitCode']}" if "exitCode" in last else ""
        text = str(last.get("message", "")).strip().splitlines()[-1:]
        return (
            InstanceState.ENDED,
            seconds(last.get("finishedAt")) or created,
            f"{why}{code}{': ' + text[0] if text else ''}",
            True,
        )
    return InstanceState.RUNNING, created, "it is being started", False


def _status(pod: Object) -> Object:
    return next(iter(pod.get("status", {}).get("containerStatuses") or ()), {})


def _terminated(pod: Object) -> Object:
    status = _status(pod)
    found: Object = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated") or {}
    return found


def _quick_ends(pod: Object, last: Object) -> int:
    lasted_s = seconds(last.get("finishedAt")) - seconds(last.get("startedAt"))
    return int(_status(pod).get("restartCount", 0)) if last and lasted_s < _QUICK_END_S else 0


def adopter(pod: Object, nodes: Mapping[str, Object] | None, proofs: Mapping[str, Proof] = _NONE) -> Adopter | None:
    """An adopter's pod; None if it is none."""
    try:
        key, about = read_about(pod)
    except (KeyError, ValueError):
        return None
    host = _node_name(pod)
    state, since, detail = _adopter_state(pod)
    node = None if nodes is None else nodes.get(host)
    return Adopter(
        key=key,
        uid=pod["metadata"]["uid"],
        granted_epoch=about["grantedEpoch"],
        beside=about["beside"],
        host=host,
        state=state,
        since=since,
        attempt=about["attempt"],
        is_placed=bool(host),
        cannot_start=_cannot_start(pod) if nodes is None or is_ready(node) else "",
        revision=pod["metadata"].get("annotations", {}).get(names.REVISION, ""),
        proof=proof_of(node, host, proofs),
        detail=detail,
    )


def _adopter_state(pod: Object) -> tuple[AdopterState, float, str]:
    status, created = pod.get("status", {}), seconds(pod["metadata"].get("creationTimestamp"))
    last = _terminated(pod)
    match status.get("phase"):
        case "Succeeded":
            return AdopterState.SUCCEEDED, seconds(last.get("finishedAt")) or created, ""
        case "Failed":
            why = str(last.get("message") or status.get("message") or status.get("reason") or last.get("reason", ""))
            return AdopterState.FAILED, seconds(last.get("finishedAt")) or created, why[:500]
        case "Running":
            running = _status(pod).get("state", {}).get("running", {})
            return AdopterState.RUNNING, seconds(running.get("startedAt")) or created, ""
        case _:
            return AdopterState.PENDING, created, str(_condition(pod, "PodScheduled").get("message", ""))


def leftover(
    pod: Object | None,
    node_id: int,
    attachment: Object | None,
    nodes: Mapping[str, Object] | None,
    now: float,
    proofs: Mapping[str, Proof] = _NONE,
) -> Instance | None:
    """The dead of which only the volume is left. `pod` has no node yet or is missing.

    Attached to a machine that is proven dead: its end is proven with it. Attached nowhere: nobody writes to it.
    """
    if nodes is None:
        return None
    if attachment is not None:
        host = str(attachment["spec"]["nodeName"])
        node = nodes.get(host)
        proof = proof_of(node, host, proofs)
        if proof is None or (node is not None and _condition(node, "Ready").get("status") == "True"):
            return None
        return Instance(
            node_id=node_id,
            uid=attachment["metadata"]["uid"],
            host=host,
            state=InstanceState.ENDED,
            since=seconds(attachment["metadata"].get("creationTimestamp")),
            proof=proof,
            detail="its volume is still attached to its node",
        )
    return None if pod is None else unplaced(pod, node_id, now, Proof.DETACHED)


def unplaced(pod: Object, node_id: int, now: float, proof: Proof = Proof.UNPLACED) -> Instance | None:
    """The dead before a pod that waits for a node; None while that wait is short, since then one may just come to be."""
    created = seconds(pod["metadata"].get("creationTimestamp"))
    if now - created < _DETACHED_S:
        return None
    why = str(_condition(pod, "PodScheduled").get("message", ""))
    return Instance(
        node_id=node_id,
        uid=pod["metadata"]["uid"],
        host="",
        state=InstanceState.ENDED,
        since=created,
        proof=proof,
        detail=f"its next pod waits: {why}" if why else "its next pod waits for a node",
    )


def unplaced_brokers(found: list[Object]) -> tuple[tuple[int, str], ...]:
    """Brokers whose pod the scheduler has no node for, with its words."""
    waiting = []
    for pod in found:
        node_id, scheduled = node_id_of(pod), _condition(pod, "PodScheduled")
        is_going = "deletionTimestamp" in pod["metadata"]
        if node_id is not None and not _node_name(pod) and not is_going and scheduled.get("status") == "False":
            waiting.append((node_id, str(scheduled.get("message", ""))))
    return tuple(sorted(waiting))


def _node_name(pod: Object) -> str:
    return str(pod.get("spec", {}).get("nodeName") or "")


def _condition(obj: Object | None, kind: str) -> dict[str, Any]:
    conditions = (obj or {}).get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == kind), {})


__all__ = [
    "adopter",
    "ended_in_order",
    "hosts",
    "instance",
    "is_own_taint",
    "is_ready",
    "leftover",
    "matters",
    "node_id_of",
    "proof_of",
    "seconds",
    "unplaced",
    "unplaced_brokers",
]
