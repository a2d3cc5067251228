"""What of a cluster's objects is not as it is to be, in the order in which it is to be mended."""

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.observe.certificates import stale_certificates
from automq_operator.observe.ending import held_pods
from automq_operator.observe.frame import existing_of, is_ending
from automq_operator.observe.look import Look
from automq_operator.shapes import config
from automq_operator.shapes.cluster import Cluster, Manifest
from automq_operator.shapes.config import size_bytes, unknown_addresses
from automq_operator.shapes.drift import difference
from automq_operator.shapes.manifests import manifests
from automq_operator.world import StaleObject


def wanted_objects(look: Look, cluster: Cluster) -> list[Manifest]:
    """All that is to exist. StatefulSets wait until every broker's address is known; at the end only they are wanted."""
    found = manifests(cluster, existing_of(look, cluster))
    if is_ending(look.resource):
        alive = {each["metadata"]["name"] for each in look.stateful_sets}
        return [each for each in found if each["kind"] == "StatefulSet" and each["metadata"]["name"] in alive]
    found += _older_configurations(look, cluster)
    if unknown_addresses(cluster):
        return [each for each in found if each["kind"] != "StatefulSet"]
    return found


def _older_configurations(look: Look, cluster: Cluster) -> list[Manifest]:
    """Configurations that pods still use, with files for brokers that were added since."""
    used, present = _used(look), config.config_map(cluster)["metadata"]["name"]
    found = []
    for each in look.objects:
        name = each["metadata"]["name"]
        text = each.get("data", {}).get(names.COMMON_KEY) if each["kind"] == "ConfigMap" else None
        if text is not None and name != present and name in used:
            manifest = config.of_nodes(cluster, text, cluster.node_ids())
            found.append(manifest | {"data": manifest["data"] | each["data"]})
    return found


def _used(look: Look) -> set[str]:
    """ConfigMaps that a pod mounts, or that a StatefulSet gives to those that come back."""
    specs = [each["spec"] for each in look.pods]
    specs += [each["spec"]["template"]["spec"] for each in look.stateful_sets]
    return {
        volume["configMap"]["name"] for spec in specs for volume in spec.get("volumes") or () if "configMap" in volume
    }


def stale_objects(look: Look, cluster: Cluster, wanted: list[Manifest], now: float) -> tuple[StaleObject, ...]:
    """What differs or is missing, then what is to go, then what volumes need.

    ORDER: the resource itself comes first and alone: no broker exists before its zone's node ids are on record, nor
    without the finalizer that lets it end in order. At the end pods come first and alone: none is stopped that is not held.
    """
    held = held_pods(look, cluster)
    if held:
        return held
    unclaimed = _unclaimed(look, cluster)
    if unclaimed:
        return (StaleObject(kind="AutoMQCluster", name=cluster.name, why=unclaimed),)
    live = {(each["kind"], each["metadata"]["name"]): each for each in (*look.objects, *look.stateful_sets)}
    found = []
    if look.secret is None and not is_ending(look.resource):
        name = names.internal_secret(cluster.name)
        found.append(StaleObject(kind="Secret", name=name, why="it is missing"))
    if cluster.has_authority and not is_ending(look.resource):
        found += stale_certificates(look, cluster, now)
    for manifest in wanted:
        key = manifest["kind"], manifest["metadata"]["name"]
        where = difference(manifest, live[key]) if key in live else "it is missing"
        if where:
            why = where if key not in live else f"{where} differs"
            found.append(StaleObject(kind=key[0], name=key[1], why=why))
    if is_ending(look.resource):
        return tuple(found)
    return (*found, *_superfluous(look, wanted), *_volumes(look, cluster))


def _unclaimed(look: Look, cluster: Cluster) -> str:
    metadata = look.resource["metadata"]
    if is_ending(look.resource):
        return ""
    if names.FINALIZER not in metadata.get("finalizers", []):
        return "it is new"
    known = {each["name"] for each in look.resource.get("status", {}).get("zones") or ()}
    new = sorted(each.name for each in cluster.zones if each.name not in known)
    return f"zone {new[0] or 'of all nodes'} is new" if new else ""


def _superfluous(look: Look, wanted: list[Manifest]) -> list[StaleObject]:
    kept = {(each["kind"], each["metadata"]["name"]) for each in wanted}
    used = _used(look)
    found = []
    for each in look.objects:
        key = each["kind"], each["metadata"]["name"]
        if key not in kept and not (key[0] == "ConfigMap" and key[1] in used):
            why = "it is no longer part of the cluster"
            found.append(StaleObject(kind=key[0], name=key[1], why=why, uid=each["metadata"]["uid"]))
    return found


def _volumes(look: Look, cluster: Cluster) -> list[StaleObject]:
    """Claims that are to grow; persistent volumes that would be deleted with their claim."""
    size = size_bytes(cluster.spec.wal.size)
    persistent = {each["metadata"]["name"]: each for each in look.volumes or ()}
    found = []
    for claim in look.claims:
        name, spec = claim["metadata"]["name"], claim["spec"]
        if "deletionTimestamp" in claim["metadata"]:
            continue
        if size_bytes(spec["resources"]["requests"]["storage"]) < size:
            found.append(
                StaleObject(kind="PersistentVolumeClaim", name=name, why=f"it grows to {cluster.spec.wal.size}")
            )
        volume: Object | None = persistent.get(spec.get("volumeName", ""))
        if volume is not None and volume["spec"].get("persistentVolumeReclaimPolicy") != "Retain":
            why = "it would be deleted with its claim"
            found.append(StaleObject(kind="PersistentVolume", name=volume["metadata"]["name"], why=why))
    return found


__all__ = ["stale_objects", "wanted_objects"]
