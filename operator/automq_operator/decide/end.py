"""The end of a whole cluster: its brokers stop in order, which empties their logs; then volumes go or stay; then all is let go.

Volumes whose brokers were not seen to end in order stay whatever the policy says: they may hold what is nowhere else.
"""

from dataclasses import replace

from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import DeleteAdopter, DeleteVolume, LetGo, Step
from automq_operator.world import Status, World


def plan_end(world: World, *, is_deleting_volumes: bool) -> Plan:
    """The platform stops all brokers by itself, since none is wanted; this waits for them."""
    memory = replace(world.memory, clean=_clean(world))
    steps: list[Step] = [
        DeleteAdopter(uid=each.uid, node_id=each.key.node_id, reason="the cluster ends") for each in world.adopters
    ]
    left = sorted(each.node_id for each in world.instances)
    if left or world.adopters or world.stale:
        there = [f"broker {each}" for each in left] + [
            f"an adopter of broker {each.key.node_id}" for each in world.adopters
        ]
        there += [f"{each.kind} {each.name}" for each in world.stale]
        waits = Deferral(subject="end", gate="brokers", reason=f"still there: {', '.join(there)}")
        return Plan(steps=tuple(steps), deferrals=(waits,), memory=memory)
    if is_deleting_volumes:
        found = [each for each in world.volumes if each.uid in memory.clean]
        reason = "its broker ended in order, and the cluster is deleted with its volumes"
        steps += [DeleteVolume(node_id=each.node_id, uid=each.uid, reason=reason) for each in found]
        kept = sorted(each.node_id for each in world.volumes if each.uid not in memory.clean)
        if found:
            return Plan(steps=tuple(steps), memory=memory)
        if kept:
            names = ", ".join(map(str, kept))
            waits = Deferral(
                subject="end", gate="volumes kept", reason=f"not seen to be empty: those of brokers {names}"
            )
            return Plan(steps=(*steps, LetGo(reason="all brokers have ended")), deferrals=(waits,), memory=memory)
    return Plan(steps=(*steps, LetGo(reason="all brokers have ended")), memory=memory)


def _clean(world: World) -> tuple[str, ...]:
    """Volumes known to be clean: the broker ended in order, or had done so before and its volume is in no use since."""
    found = set(world.memory.clean)
    for volume in world.volumes:
        broker, instance = world.broker(volume.node_id), world.instance(volume.node_id)
        if instance is not None:
            if instance.is_clean_end:
                found.add(volume.uid)
            else:
                found.discard(volume.uid)
        elif volume.was_left_clean or (broker is not None and broker.status is Status.STOPPED and broker.is_clean):
            found.add(volume.uid)
    return tuple(sorted(found & {each.uid for each in world.volumes}))


__all__ = ["plan_end"]
