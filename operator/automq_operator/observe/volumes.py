"""Claims and persistent volumes as a World has them: whose logs they are, where they can be used, and who has them."""

from collections.abc import Mapping, Sequence

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.observe.pods import ended_in_order
from automq_operator.shapes.config import size_bytes
from automq_operator.world import Volume


def volumes_of(
    claims: list[Object],
    pods: list[Object],
    persistent: list[Object] | None,
    ghosts: Mapping[str, str],
    departed: Sequence[Object] = (),
) -> tuple[Volume, ...]:
    """Every broker's claim with who holds it. `ghosts` are attachments to dead nodes, uid by persistent volume.

    `departed` are pods that are gone, in the order in which they went.
    """
    left_clean = {claim: ended_in_order(pod) for pod in departed for claim in _claims(pod)}
    by_name = {each["metadata"]["name"]: each for each in persistent or ()}
    holders = {
        claim: pod["metadata"]["uid"]
        for pod in pods
        if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        for claim in _claims(pod)
    }
    found = []
    for claim in claims:
        name = claim["metadata"]["name"]
        node_id = name.rpartition("-")[2]
        if not name.startswith(f"{names.CLAIM}-") or not node_id.isdigit():
            continue
        bound = claim.get("spec", {}).get("volumeName", "")
        found.append(
            Volume(
                name=name,
                node_id=int(node_id),
                zone=_zone(by_name.get(bound)),
                # Whoever was given the claim waits as long as the volume is attached to a dead node.
                holder=ghosts.get(bound) or holders.get(name),
                uid=claim["metadata"]["uid"],
                was_left_clean=left_clean.get(name, False),
                is_growing=is_growing(claim),
            )
        )
    return tuple(sorted(found, key=lambda each: each.node_id))


def is_growing(claim: Object) -> bool:
    """What was asked for is more than what the file system has. The kubelet says so last, after it has resized that."""
    has = claim.get("status", {}).get("capacity", {}).get("storage")
    return has is not None and size_bytes(has) < size_bytes(claim["spec"]["resources"]["requests"]["storage"])


def _zone(volume: Object | None) -> str:
    """Where a persistent volume can be used; "" if anywhere, or unknown."""
    affinity = (volume or {}).get("spec", {}).get("nodeAffinity", {}).get("required", {})
    for term in affinity.get("nodeSelectorTerms") or ():
        for each in term.get("matchExpressions") or ():
            if str(each["key"]).endswith("/zone") and len(each.get("values") or ()) == 1:
                return str(each["values"][0])
    return ""


def _claims(pod: Object) -> list[str]:
    found = (each.get("persistentVolumeClaim") for each in pod.get("spec", {}).get("volumes") or ())
    return [str(each["claimName"]) for each in found if each]


__all__ = ["is_growing", "volumes_of"]
