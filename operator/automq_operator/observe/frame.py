"""The resource as it stands, with what its status remembers, as the cluster that manifests and plans are made from."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pydantic import TypeAdapter, ValidationError

from automq_operator import names
from automq_operator.kube import Object
from automq_operator.observe.certificates import trusted_by_clients
from automq_operator.observe.look import Look
from automq_operator.observe.pods import instance
from automq_operator.shapes import brokers, config, zones
from automq_operator.shapes.cluster import BOOTSTRAP, Cluster, Installation, Zone
from automq_operator.shapes.manifests import Existing
from automq_operator.shapes.pods import revision
from automq_operator.spec import AutoMQClusterSpec
from automq_operator.world import Memory

MEMORY: Final = TypeAdapter(Memory)


class UnreadableError(Exception):
    """The spec is not understood, though the API server took it; the message says what of it."""


def memory_of(resource: Object) -> Memory:
    """What was remembered; what is not understood is no memory, which costs time alone."""
    try:
        return MEMORY.validate_python(resource.get("status", {}).get("memory") or {})
    except ValidationError:
        return Memory()


def spec_of(resource: Object) -> AutoMQClusterSpec:
    """Raises UnreadableError."""
    try:
        return AutoMQClusterSpec.model_validate(resource["spec"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("spec", *first["loc"])))
        raise UnreadableError(f"{place}: {first['msg']}") from error


def bases_of(resource: Object, spec: AutoMQClusterSpec) -> dict[str, int]:
    """First node id of each zone: what the status says, and the next free ranges for new zones."""
    known = {each["name"]: each["base"] for each in resource.get("status", {}).get("zones") or ()}
    return zones.bases(spec.zones, known)


def wanted_count(spec: AutoMQClusterSpec, memory: Memory) -> int:
    """How many brokers are to run."""
    scaling, count = spec.autoscaling, spec.brokers.replicas
    if scaling.mode == "Watermark" and memory.scaling.desired is not None:
        count = memory.scaling.desired
    return min(max(count, scaling.min_replicas), scaling.max_replicas)


def is_ending(resource: Object) -> bool:
    """Whether it was deleted."""
    return "deletionTimestamp" in resource["metadata"]


def cluster_of(look: Look, installation: Installation, memory: Memory) -> Cluster:
    """SAFETY: brokers that exist are not taken away here: a zone shrinks by the step that stops an emptied broker.

    The version that the cluster was made with stays until the spec names one. Raises UnreadableError.
    """
    resource = look.resource
    spec, metadata = spec_of(resource), resource["metadata"]
    first = bases_of(resource, spec)
    wanted = zones.wanted_node_ids(wanted_count(spec, memory), spec.zones, first)
    alive = {_zone(each): int(each["spec"].get("replicas", 0)) for each in look.stateful_sets}
    found = []
    for zone, base in first.items():
        count = sum(each == zone for each in wanted.values())
        is_used = zone in (spec.zones or [""]) or alive.get(zone, 0)
        if is_used:
            replicas = 0 if is_ending(resource) else max(count, alive.get(zone, 0))
            found.append(Zone(name=zone, base=base, replicas=replicas))
    kept_version = resource.get("status", {}).get("version") or installation.version
    cluster = Cluster(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        spec=spec,
        zones=tuple(found),
        installation=replace(installation, version=kept_version),
        restart=metadata.get("annotations", {}).get(names.RESTART, ""),
        addresses=_addresses(look.objects, spec, metadata["name"]),
        authorities=trusted_by_clients(look.authority),
    )
    return replace(cluster, configuration=config.kept(cluster, _configurations(look)))


def _configurations(look: Look) -> Iterator[str]:
    """What the StatefulSets' pods read, as far as it is there."""
    texts = {each["metadata"]["name"]: each.get("data", {}).get(names.COMMON_KEY) for each in look.objects}
    for each in look.stateful_sets:
        for volume in each["spec"]["template"]["spec"].get("volumes") or ():
            text = texts.get(volume.get("configMap", {}).get("name", ""))
            if text is not None:
                yield text


def existing_of(look: Look, cluster: Cluster) -> dict[str, Existing]:
    """What of the StatefulSets stays: the size in their claim templates, and how far a rollout is.

    A new form of the pods starts with the partition above all, and one that every pod has ends there.
    """
    wanted = revision(cluster)
    found = {}
    for each in look.stateful_sets:
        zone, spec = _zone(each), each["spec"]
        template = spec["template"]["metadata"].get("annotations", {}).get(names.REVISION)
        pods = [pod for pod in look.pods if pod["metadata"].get("labels", {}).get(names.ZONE_LABEL, "") == zone]
        brokers_there = [pod for pod in pods if _is_broker(pod)]
        are_current = all(pod["metadata"].get("annotations", {}).get(names.REVISION) == wanted for pod in brokers_there)
        claims = spec.get("volumeClaimTemplates") or ()
        size = claims[0]["spec"]["resources"]["requests"]["storage"] if claims else None
        # One that is missing may still come back in its old form.
        is_over = are_current and len(brokers_there) >= spec.get("replicas", 0)
        is_kept = template == wanted and not is_over
        strategy = spec.get("updateStrategy", {})
        partition = strategy.get("rollingUpdate", {}).get("partition", brokers.ABOVE_ALL)
        kept = brokers.rolling(partition if is_kept else brokers.ABOVE_ALL)
        if strategy.get("type") == brokers.ON_DELETE["type"] and _is_one_made_anew(each, brokers_there, wanted):
            kept = brokers.ON_DELETE
        found[zone] = Existing(strategy=kept, claim_size=size)
    return found


def _is_one_made_anew(stateful_set: Object, pods: list[Object], wanted: str) -> bool:
    """Whether one that cannot run in its old form is still there, or the one after it is not there yet."""
    if len(pods) < stateful_set["spec"].get("replicas", 0) or any(
        "deletionTimestamp" in each["metadata"] for each in pods
    ):
        return True
    seen = (instance(pod, 0, None) for pod in pods)
    return any(each.is_stuck and each.revision != wanted for each in seen if each is not None)


def _is_broker(pod: Object) -> bool:
    return bool(pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == names.CONTAINER)


def _zone(obj: Object) -> str:
    return str(obj["metadata"].get("labels", {}).get(names.ZONE_LABEL, ""))


def _addresses(objects: list[Object], spec: AutoMQClusterSpec, cluster: str) -> dict[tuple[str, int], tuple[str, int]]:
    """What Services of brokers were given: a load balancer's name or address, and a node port."""
    found = {}
    bootstraps = {names.outer_bootstrap_service(cluster, each.name): each.name for each in spec.listeners}
    listeners = set(bootstraps.values())
    for each in objects:
        node_id = each["metadata"].get("labels", {}).get(names.NODE_LABEL)
        is_bootstrap = each["metadata"]["name"] in bootstraps
        if each["kind"] != "Service" or not (is_bootstrap or node_id is not None):
            continue
        port = each["spec"]["ports"][0]
        if port["name"] in listeners:
            ingress: Object = next(iter(each.get("status", {}).get("loadBalancer", {}).get("ingress") or ()), {})
            host = ingress.get("hostname") or ingress.get("ip") or ""
            number = BOOTSTRAP if is_bootstrap else int(node_id)
            found[port["name"], number] = (host, int(port.get("nodePort", 0)))
    return found


__all__ = [
    "MEMORY",
    "UnreadableError",
    "bases_of",
    "cluster_of",
    "existing_of",
    "is_ending",
    "memory_of",
    "spec_of",
    "wanted_count",
]
