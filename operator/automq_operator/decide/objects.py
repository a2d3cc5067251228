"""What the platform has to bring into line: objects that are not as they are to be, volumes that nobody needs any more."""

from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import ApplyObject, DeleteObject, DeleteVolume, Step
from automq_operator.world import Status, World


def plan_objects(world: World) -> Plan:
    """Apply and delete, in the given order. This waits for nothing: a broker that is to come needs them first."""
    steps: list[Step] = []
    for each in world.stale:
        if each.uid:
            steps.append(DeleteObject(kind=each.kind, name=each.name, uid=each.uid, reason=each.why))
        else:
            steps.append(ApplyObject(kind=each.kind, name=each.name, reason=each.why))
    waits = (Deferral(subject="cluster", gate="platform", reason=f"waits for {world.waits}"),) if world.waits else ()
    return Plan(steps=tuple(steps), deferrals=waits, memory=world.memory)


def plan_retire(world: World) -> Plan:
    """Delete the volumes of brokers that are gone for good, once the metadata say that the bucket holds all of it."""
    wanted = {slot.node_id for slot in world.slots}
    steps: list[Step] = []
    for volume in world.volumes:
        broker = world.broker(volume.node_id)
        if volume.node_id in wanted or volume.holder is not None or broker is None:
            continue
        if world.instance(volume.node_id) is not None or any(
            each.key.node_id == volume.node_id for each in world.adopters
        ):
            continue
        if broker.status is Status.STOPPED and broker.is_clean and not broker.partitions_open:
            reason = "the broker is no longer wanted, and the bucket holds all of its log"
            steps.append(DeleteVolume(node_id=volume.node_id, uid=volume.uid, reason=reason))
    return Plan(steps=tuple(steps), memory=world.memory)


__all__ = ["plan_objects", "plan_retire"]
