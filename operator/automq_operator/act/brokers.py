"""Steps that start and stop brokers. StatefulSets run them, and renew those of a zone from the highest node id down."""

from automq_operator import kube
from automq_operator.act.hands import Hands
from automq_operator.act.pods import declare_dead
from automq_operator.kube import Object
from automq_operator.loop import StepFailedError
from automq_operator.shapes import brokers
from automq_operator.steps import StartBroker, StopBroker
from automq_operator.world import PROOFS_ABOUT_HOSTS


async def carry_out(step: StartBroker | StopBroker, hands: Hands) -> None:
    """Raises StepFailedError or kube.KubeError."""
    match step:
        case StartBroker():
            await _start(step, hands)
        case StopBroker():
            await _stop(step, hands)


async def _start(step: StartBroker, hands: Hands) -> None:
    """The StatefulSet starts brokers; what ended for good, or never runs in its form, only stands in the way."""
    instance = hands.world.instance(step.node_id)
    pod = hands.pod(instance.uid) if instance is not None else None
    if instance is None or pod is None or instance.proof is None or not instance.host:
        return
    is_of_dead_machine = instance.proof in PROOFS_ABOUT_HOSTS
    if pod.get("status", {}).get("phase") in ("Failed", "Succeeded") or is_of_dead_machine:
        if is_of_dead_machine:
            await declare_dead(instance.host, instance.proof, hands)
        await _delete(pod, hands, 0 if is_of_dead_machine else None)
    elif instance.restarts_in_place and instance.is_stuck and instance.revision != hands.world.revision:
        await _renew(step.node_id, pod, hands)


async def _renew(node_id: int, pod: Object, hands: Hands) -> None:
    """In the wanted form, whatever its place. Where a lower partition would take healthy ones along, the StatefulSet is
    told first to leave all pods alone and to make those that are missing in the new form."""
    stateful_set = hands.stateful_set(hands.cluster.zone_of(node_id))
    if stateful_set is None:
        return
    index = node_id - hands.cluster.base_of(node_id)
    strategy = stateful_set["spec"].get("updateStrategy", {})
    if strategy.get("type") == brokers.ON_DELETE["type"]:
        # ORDER: its controller must know before the pod goes, else that comes back in the form before.
        if stateful_set.get("status", {}).get("observedGeneration") == stateful_set["metadata"].get("generation"):
            await _delete(pod, hands)
    elif not _is_free_above(node_id, hands):
        await _change(stateful_set, "/spec/updateStrategy", brokers.ON_DELETE, hands)
    elif strategy.get("rollingUpdate", {}).get("partition", 0) > index:
        await _change(stateful_set, "/spec/updateStrategy/rollingUpdate/partition", index, hands)


def _is_free_above(node_id: int, hands: Hands) -> bool:
    """Whether those above it in its zone are in the wanted form, or cannot run in theirs either."""
    zone = hands.cluster.zone_of(node_id)
    above = [
        each for each in hands.world.instances if each.node_id > node_id and hands.cluster.zone_of(each.node_id) == zone
    ]
    return all(each.revision == hands.world.revision or (each.restarts_in_place and each.is_stuck) for each in above)


async def _stop(step: StopBroker, hands: Hands) -> None:
    """One that is wanted comes back, in its new form if there is one; one that is not goes with the last place of its
    StatefulSet."""
    cluster = hands.cluster
    pod = hands.pod(step.uid)
    stateful_set = hands.stateful_set(cluster.zone_of(step.node_id))
    if pod is None or stateful_set is None:
        raise StepFailedError("it is gone already")
    instance = hands.world.instance(step.node_id)
    is_wanted = any(slot.node_id == step.node_id for slot in hands.world.slots)
    index = step.node_id - cluster.base_of(step.node_id)
    if is_wanted and instance is not None and instance.revision == hands.world.revision:
        await _delete(pod, hands)
    elif is_wanted:
        await _change(stateful_set, "/spec/updateStrategy/rollingUpdate/partition", index, hands)
    elif stateful_set["spec"]["replicas"] == index + 1:
        await _change(stateful_set, "/spec/replicas", index, hands)
    else:
        raise StepFailedError("brokers with higher node ids of its zone have to go first")


async def _change(stateful_set: Object, path: str, value: object, hands: Hands) -> None:
    """Only of the one that was seen, as it was seen."""
    metadata = stateful_set["metadata"]
    tests = [
        {"op": "test", "path": f"/metadata/{each}", "value": metadata[each]} for each in ("uid", "resourceVersion")
    ]
    change = {"op": "add", "path": path, "value": value}
    await hands.api.patch(kube.STATEFUL_SET, hands.cluster.namespace, metadata["name"], [*tests, change])


async def _delete(pod: Object, hands: Hands, grace_s: int | None = None) -> None:
    metadata = pod["metadata"]
    await hands.api.delete(kube.POD, hands.cluster.namespace, metadata["name"], metadata["uid"], grace_s)


__all__ = ["carry_out"]
