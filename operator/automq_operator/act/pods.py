"""Steps about pods: the destructive ones look once more at what they are about to harm."""

from automq_operator import kube, names
from automq_operator.act.hands import Hands
from automq_operator.kube import ConflictError, NotFoundError, Object
from automq_operator.loop import StepFailedError
from automq_operator.observe import pods as seen_pods
from automq_operator.observe.machines import ProviderError
from automq_operator.shapes.adopter import adopter
from automq_operator.steps import (
    CreateAdopter,
    DeleteAdopter,
    GrantRescue,
    ReleaseVolume,
    UntaintHost,
)
from automq_operator.world import PROOFS_ABOUT_HOSTS, InstanceState, Proof, Status


async def create_adopter(step: CreateAdopter, hands: Hands) -> None:
    """The same attempt has the same name: the second creation meets the first."""
    node_id = step.key.node_id
    hosts, preferred = _survivors(step, hands)
    zone = hands.cluster.zone_of(node_id)
    manifest = adopter(hands.cluster, step, beside=preferred, hosts=hosts)
    if zone and hands.cluster.has_volumes:
        manifest["spec"]["nodeSelector"] = manifest["spec"]["nodeSelector"] | {names.TOPOLOGY_ZONE: zone}
    try:
        await hands.api.create(kube.POD, manifest)
    except ConflictError:
        return


def _survivors(step: CreateAdopter, hands: Hands) -> tuple[list[str], str]:
    """Nodes of live brokers in the volume's zone. After a first attempt in vain any node that has the zone will do."""
    world = hands.world
    beside = world.instance(step.beside)
    if beside is None or step.attempt > 1:
        return [], ""
    zone = getattr(world.host(beside.host), "zone", "")
    hosts = set()
    for broker in world.brokers:
        instance = world.instance(broker.node_id)
        host = world.host(instance.host) if instance else None
        is_well = instance is not None and instance.state is InstanceState.RUNNING and broker.status is Status.ACTIVE
        if is_well and host is not None and host.is_ready and not host.is_leaving and host.zone == zone:
            hosts.add(host.name)
    return sorted(hosts | {beside.host}), beside.host


async def delete_adopter(step: DeleteAdopter, hands: Hands) -> None:
    """One whose machine is proven dead has nobody to confirm its end."""
    pod = hands.pod(step.uid)
    if pod is None:
        return
    found = next((each for each in hands.world.adopters if each.uid == step.uid), None)
    grace_s = 0 if found is not None and found.proof in PROOFS_ABOUT_HOSTS else None
    await hands.api.delete(kube.POD, hands.cluster.namespace, pod["metadata"]["name"], step.uid, grace_s)


async def still_dead(step: GrantRescue, hands: Hands) -> None:
    """SAFETY: the proof is looked up once more, past every cache; the controller refuses any epoch but the dead one's."""
    instance = hands.world.instance(step.key.node_id)
    if instance is None or instance.proof is not step.proof:
        raise StepFailedError("what was proof is none any more")
    pod = hands.pod(instance.uid)
    if pod is None:
        return
    try:
        now = await hands.api.get(kube.POD, hands.cluster.namespace, pod["metadata"]["name"])
    except NotFoundError:
        return
    if now["metadata"]["uid"] != instance.uid:
        return
    nodes = await _nodes(instance.host, hands)
    again = seen_pods.instance(now, step.key.node_id, nodes, hands.look.proofs)
    is_same = again is not None and again.proof is step.proof
    if not is_same and instance.host:
        raise StepFailedError("it has come back")


async def _nodes(host: str, hands: Hands) -> dict[str, Object] | None:
    if hands.look.nodes is None:
        return None
    try:
        return {host: await hands.api.get(kube.NODE, "", host)} if host else {}
    except NotFoundError:
        return {}


async def release_volume(step: ReleaseVolume, hands: Hands) -> None:
    """Take the volume from the dead: its pod first, since a pod that is there has it attached again; then its attachment.

    SAFETY: by force only with proof about the machine, and never on a machine that is ready.
    """
    namespace = hands.cluster.namespace
    pod = hands.pod(step.holder)
    if pod is not None:
        grace_s = 0 if step.proof in PROOFS_ABOUT_HOSTS else None
        if grace_s == 0:
            await declare_dead(str(pod["spec"].get("nodeName") or ""), step.proof, hands)
        await hands.api.delete(kube.POD, namespace, pod["metadata"]["name"], step.holder, grace_s)
        return
    for attachment in hands.look.attachments or ():
        if attachment["metadata"]["uid"] == step.holder:
            await declare_dead(str(attachment["spec"]["nodeName"]), step.proof, hands)
            await hands.api.delete(kube.ATTACHMENT, "", attachment["metadata"]["name"], step.holder)
            return
    raise StepFailedError("whoever held the volume is gone")


async def declare_dead(host: str, proof: Proof, hands: Hands) -> None:
    """End the machine and taint its node, where the resource asks for that. SAFETY: the node is looked at once more."""
    failover = hands.cluster.spec.failover
    nodes = await _nodes(host, hands)
    node = (nodes or {}).get(host)
    if seen_pods.is_ready(node):
        raise StepFailedError(f"node {host} is ready again")
    machine = dict(hands.world.memory.machines).get(host) or str((node or {}).get("spec", {}).get("providerID") or "")
    is_provider_sure = proof in (Proof.MACHINE_STOPPED, Proof.NODE_GONE)
    if failover.proof.terminate_instance and is_provider_sure and hands.provider is not None:
        try:
            await hands.provider.terminate(machine, failover.proof.region)
        except ProviderError as error:
            raise StepFailedError(f"the machine of node {host} cannot be ended: {error}") from error
    if failover.release.taint_node and node is not None:
        await _taint(node, hands)


async def _taint(node: Object, hands: Hands) -> None:
    taints = node["spec"].get("taints") or []
    if any(each["key"] == names.OUT_OF_SERVICE for each in taints):
        return
    own = {"key": names.OUT_OF_SERVICE, "value": names.OWN_TAINT, "effect": "NoExecute"}
    await _write_taints(node, [*taints, own], hands)


async def untaint_host(step: UntaintHost, hands: Hands) -> None:
    """Exactly the taint that the operator set."""
    node = await hands.api.get(kube.NODE, "", step.host)
    taints = node["spec"].get("taints") or []
    left = [each for each in taints if not seen_pods.is_own_taint(each)]
    if left != taints:
        await _write_taints(node, left, hands)


async def _write_taints(node: Object, taints: list[Object], hands: Hands) -> None:
    metadata = node["metadata"]
    tests = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
    ]
    change = {"op": "add", "path": "/spec/taints", "value": taints}
    await hands.api.patch(kube.NODE, "", metadata["name"], [*tests, change])


__all__ = [
    "create_adopter",
    "declare_dead",
    "delete_adopter",
    "release_volume",
    "still_dead",
    "untaint_host",
]
