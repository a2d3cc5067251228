"""What the end of a cluster leaves to do about its pods and volumes, seen so that any operator goes on where one was cut off.

Nothing but a pod tells how its container ended, and an orderly end is what allows to delete a volume. So while a cluster
ends with its volumes, its brokers' pods are held from before they are stopped until what they tell is on record.
"""

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.observe.frame import is_ending
from automq_operator.observe.look import Look
from automq_operator.observe.pods import node_id_of
from automq_operator.shapes.cluster import Cluster
from automq_operator.world import Disk, StaleObject


def is_held(pod: Object) -> bool:
    """Whether it stays when its container has ended, until the operator lets it go."""
    return names.POD_FINALIZER in pod["metadata"].get("finalizers", ())


def held_pods(look: Look, cluster: Cluster) -> tuple[StaleObject, ...]:
    """Pods that are to be held before anything is stopped, and those that can go since their end is final."""
    if not is_ending(look.resource):
        return ()
    brokers = [each for each in look.pods if node_id_of(each) is not None]
    ended = [each for each in brokers if is_held(each) and _is_over(each)]
    if ended:
        return tuple(_stale(each, "its end is on record") for each in ended)
    if not look.may_hold_pods or not cluster.has_volumes or cluster.spec.deletion_policy != "Delete":
        return ()
    alive = [each for each in brokers if "deletionTimestamp" not in each["metadata"] and each["spec"].get("nodeName")]
    return tuple(_stale(each, "how it ends must be seen") for each in alive if not is_held(each))


def _is_over(pod: Object) -> bool:
    """Whether its kubelet, or somebody by force, has said the last word on it."""
    metadata = pod["metadata"]
    is_confirmed = "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds") == 0
    return is_confirmed or pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _stale(pod: Object, why: str) -> StaleObject:
    return StaleObject(kind="Pod", name=pod["metadata"]["name"], why=why)


def disks(look: Look, clean: tuple[str, ...]) -> tuple[Disk, ...]:
    """Persistent volumes of claims that were seen to be clean, also when the claims are gone."""
    found = []
    for each in look.volumes or ():
        claim = each["spec"].get("claimRef") or {}
        before = each["metadata"].get("annotations", {}).get(names.RECLAIM)
        if claim.get("uid") in clean and before not in (None, "Retain"):
            is_kept = each["spec"].get("persistentVolumeReclaimPolicy") == "Retain"
            node_id = str(claim["name"]).rpartition("-")[2]
            trouble = str(each.get("status", {}).get("message") or "")
            name = str(each["metadata"]["name"])
            found.append(Disk(name=name, node_id=int(node_id), claim=claim["uid"], is_kept=is_kept, trouble=trouble))
    return tuple(sorted(found, key=lambda each: each.node_id))


__all__ = ["disks", "held_pods", "is_held"]
