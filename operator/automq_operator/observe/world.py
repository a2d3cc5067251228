"""A look at the API server and the brokers' own answers as a World."""

from collections.abc import Mapping
from dataclasses import replace

from automq_broker.contract import admin

from automq_operator import broker_api, names
from automq_operator.broker_api import Metadata
from automq_operator.kube import Object
from automq_operator.observe import pods
from automq_operator.observe.autoscalers import refusal
from automq_operator.observe.ending import disks
from automq_operator.observe.frame import is_ending, wanted_count
from automq_operator.observe.look import Look
from automq_operator.observe.volumes import volumes_of
from automq_operator.shapes import zones
from automq_operator.shapes.cluster import Cluster
from automq_operator.shapes.config import dynamic, unknown_addresses
from automq_operator.shapes.pods import revision
from automq_operator.world import Host, Instance, Load, Memory, Slot, StaleObject, Volume, World


def held(look: Look) -> str:
    """Why nothing may be changed; "" if it may. What ends is let end whatever it says."""
    if is_ending(look.resource):
        return ""
    if look.rivals:
        first = min(look.rivals, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))["metadata"]
        return f"the bucket and prefix belong to {first['namespace']}/{first['name']}, which is older"
    if look.resource["spec"].get("paused"):
        return "spec.paused is true"
    return ""


def world_of(
    look: Look,
    cluster: Cluster,
    *,
    memory: Memory,
    stale: tuple[StaleObject, ...],
    metadata: Metadata | None,
    loads: tuple[Load, ...],
    now: float,
) -> World:
    """Everything at once."""
    nodes = None if look.nodes is None else {each["metadata"]["name"]: each for each in look.nodes}
    seen = _Seen(look, nodes, now)
    taints = frozenset(cluster.spec.disruption.drain_taints)
    adopters = [pods.adopter(each, nodes, look.proofs) for each in look.pods if pods.node_id_of(each) is None]
    volumes = volumes_of(look.claims, look.pods, look.volumes, seen.ghosts, look.departed)
    if not cluster.has_volumes:
        volumes = _logs(cluster, metadata, memory)
        seen.add_unplaced(metadata)
    ends = is_ending(look.resource)
    missing = unknown_addresses(cluster)
    return World(
        slots=() if ends else _slots(cluster, memory),
        revision=revision(cluster),
        is_metadata_known=metadata is not None,
        controller=metadata.cluster.controller.node_id if metadata else None,
        brokers=tuple(map(broker_api.as_seen, metadata.brokers)) if metadata else (),
        instances=tuple(seen.instances[each] for each in sorted(seen.instances)),
        volumes=volumes,
        disks=disks(look, memory.clean) if ends else (),
        hosts=_hosts(pods.hosts(look.nodes, look.pods, taints, hosts_in_use(look)), volumes),
        adopters=tuple(each for each in adopters if each is not None),
        loads=loads,
        configs=_in_force(metadata),
        configs_wanted=tuple(dynamic(cluster).items()),
        partitions=metadata.cluster.partitions if metadata else 0,
        partitions_moving=metadata.cluster.partitions_moving if metadata else 0,
        stale=stale,
        held=held(look),
        is_ending=ends,
        waits=f"addresses of {', '.join(missing)}" if missing and not ends else "",
        rolls_downwards=True,
        unplaced=pods.unplaced_brokers(look.pods),
        unseen=_unseen(look, cluster),
        refused=refusal(look.autoscalers or [], cluster.spec.autoscaling),
        memory=memory,
    )


def _in_force(metadata: Metadata | None) -> tuple[tuple[str, str], ...] | None:
    if metadata is None or metadata.cluster.configs is None:
        return None
    return tuple(sorted(metadata.cluster.configs.items()))


def _unseen(look: Look, cluster: Cluster) -> tuple[str, ...]:
    seen = {"nodes": look.nodes, "autoscalers": look.autoscalers}
    if cluster.has_volumes:
        seen |= {"persistent volumes": look.volumes, "volume attachments": look.attachments}
    return tuple(name for name, found in seen.items() if found is None)


def _logs(cluster: Cluster, metadata: Metadata | None, memory: Memory) -> tuple[Volume, ...]:
    """Logs in a bucket: of brokers that are wanted, and of those that are gone and were not seen to be emptied."""
    known = metadata.brokers if metadata else ()
    kept = {each.node_id for each in known if not (each.status is admin.BrokerStatus.STOPPED and each.is_clean)}
    node_ids = {slot.node_id for slot in _slots(cluster, memory)} | set(cluster.node_ids()) | kept
    return tuple(Volume(name=names.LOG_IN_BUCKET, node_id=each, uid=f"log/{each}") for each in sorted(node_ids))


def _slots(cluster: Cluster, memory: Memory) -> tuple[Slot, ...]:
    first = {zone.name: zone.base for zone in cluster.zones}
    wanted = zones.wanted_node_ids(wanted_count(cluster.spec, memory), cluster.spec.zones, first)
    return tuple(Slot(node_id=node_id, zone=zone) for node_id, zone in sorted(wanted.items()))


def _hosts(found: tuple[Host, ...], volumes: tuple[Volume, ...]) -> tuple[Host, ...]:
    """Volumes that can be used anywhere have no zone, and then zones of nodes mean nothing for them."""
    if any(each.zone for each in volumes):
        return found
    return tuple(replace(each, zone="") for each in found)


def hosts_in_use(look: Look) -> frozenset[str]:
    """Nodes that a pod of the cluster is on, or that a volume of it is attached to."""
    bound = {each["spec"].get("volumeName", "") for each in look.claims}
    used = {str(each["spec"].get("nodeName") or "") for each in look.pods}
    used |= {str(each["spec"]["nodeName"]) for each in look.attachments or () if _volume_of(each) in bound}
    return frozenset(used - {""})


def suspects(look: Look, memory: Memory) -> dict[str, tuple[str, str]]:
    """Machine and volume handle of every node in use that is not ready: about these a provider is asked.

    The machine is the one that was remembered while the node was ready; only where none was, what the node says now.
    """
    nodes = {each["metadata"]["name"]: each for each in look.nodes or ()}
    known, handles = dict(memory.machines), _handles(look)
    found = {}
    for name in sorted(hosts_in_use(look)):
        node = nodes.get(name)
        machine = known.get(name) or str((node or {}).get("spec", {}).get("providerID") or "")
        if machine and not pods.is_ready(node):
            found[name] = (machine, handles.get(name, ""))
    return found


def _handles(look: Look) -> dict[str, str]:
    """Handle of a volume of the cluster by the node that its pod is on, or that it is attached to."""
    of_volume = {
        each["metadata"]["name"]: str(each["spec"].get("csi", {}).get("volumeHandle", ""))
        for each in look.volumes or ()
    }
    of_claim = {each["metadata"]["name"]: of_volume.get(each["spec"].get("volumeName", "")) for each in look.claims}
    found = {}
    for each in look.attachments or ():
        found[str(each["spec"]["nodeName"])] = of_volume.get(_volume_of(each))
    for pod in look.pods:
        for each in pod["spec"].get("volumes") or ():
            claim = (each.get("persistentVolumeClaim") or {}).get("claimName", "")
            if claim in of_claim:
                found[str(pod["spec"].get("nodeName") or "")] = of_claim[claim]
    return {host: handle for host, handle in found.items() if handle}


class _Seen:
    """Instances of all brokers: of their pods, and of the dead of which only the volume is left."""

    def __init__(self, look: Look, nodes: Mapping[str, Object] | None, now: float) -> None:
        self.instances: dict[int, Instance] = {}
        self.ghosts: dict[str, str] = {}
        self._look = look
        self._now = now
        attached = {_volume_of(each): each for each in look.attachments or ()}
        by_node = {node_id: each for each in look.pods if (node_id := pods.node_id_of(each)) is not None}
        bound = {each["metadata"]["name"]: each["spec"].get("volumeName", "") for each in look.claims}
        for node_id, pod in by_node.items():
            found = pods.instance(pod, node_id, nodes, look.proofs)
            if found is not None:
                self.instances[node_id] = found
        if look.attachments is None:
            return
        # Where not even the living have attachments, the lack of one says nothing.
        driver_of = {each["metadata"]["name"]: _driver(each) for each in look.volumes or ()}
        drivers = {driver_of.get(volume, "") for volume in attached} - {""}
        for claim, volume in bound.items():
            node_id = int(claim.rpartition("-")[2]) if claim.rpartition("-")[2].isdigit() else -1
            if node_id < 0 or node_id in self.instances or not volume:
                continue
            if attached.get(volume) is None and driver_of.get(volume, "") not in drivers:
                continue
            left = pods.leftover(by_node.get(node_id), node_id, attached.get(volume), nodes, now, look.proofs)
            if left is not None:
                self.instances[node_id] = left
                if volume in attached:
                    self.ghosts[volume] = left.uid

    def add_unplaced(self, metadata: Metadata | None) -> None:
        """Silent brokers with logs in a bucket whose next pod waits for a node: of the last one nothing is left."""
        known = metadata.brokers if metadata else ()
        silent = {each.node_id for each in known if each.status is admin.BrokerStatus.FENCED}
        for pod in self._look.pods:
            node_id = pods.node_id_of(pod)
            if node_id is None or node_id not in silent or node_id in self.instances:
                continue
            found = pods.unplaced(pod, node_id, self._now)
            if found is not None:
                self.instances[node_id] = found


def _driver(volume: Object) -> str:
    return str(volume["spec"].get("csi", {}).get("driver", ""))


def _volume_of(attachment: Object) -> str:
    return str(attachment["spec"].get("source", {}).get("persistentVolumeName", ""))


__all__ = ["held", "hosts_in_use", "suspects", "world_of"]
