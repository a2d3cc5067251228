"""The end of a whole cluster: its brokers stop in order, which empties their logs; then volumes go or stay; then all is let go.

Volumes whose brokers were not seen to end in order stay whatever the policy says: they may hold what is nowhere else. The
others are gone, with what the platform has behind them, before the cluster is let go: nobody would come back for them.
"""

from dataclasses import replace

from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import DeleteAdopter, DeleteVolume, LetGo, Step
from automq_operator.world import Memory, Status, World


def plan_end(world: World, *, is_deleting_volumes: bool) -> Plan:
    """The platform stops all brokers by itself, since none is wanted; this waits for them."""
    memory = replace(world.memory, clean=_clean(world))
    adopters = tuple(
        DeleteAdopter(uid=each.uid, node_id=each.key.node_id, reason="the cluster ends") for each in world.adopters
    )
    there = _still_there(world)
    if there:
        waits = Deferral(subject="end", gate="brokers", reason=f"still there: {', '.join(there)}")
        return Plan(steps=adopters, deferrals=(waits,), memory=memory)
    go = LetGo(reason="all brokers have ended")
    if not is_deleting_volumes:
        return Plan(steps=(go,), memory=memory)
    return _delete_volumes(world, memory) or Plan(steps=(go,), deferrals=_kept(world, memory), memory=memory)


def _still_there(world: World) -> list[str]:
    there = [f"broker {each}" for each in sorted(each.node_id for each in world.instances)]
    there += [f"an adopter of broker {each.key.node_id}" for each in world.adopters]
    return there + [f"{each.kind} {each.name}" for each in world.stale]


def _delete_volumes(world: World, memory: Memory) -> Plan | None:
    """The next step to rid the platform of those that are clean; None when they are gone."""
    found = {each.uid: each.node_id for each in world.volumes if each.uid in memory.clean}
    disks = [each for each in world.disks if each.claim in memory.clean]
    found |= {each.claim: each.node_id for each in disks if each.is_kept}
    reason = "its broker ended in order, and the cluster is deleted with its volumes"
    steps: list[Step] = [DeleteVolume(node_id=node_id, uid=uid, reason=reason) for uid, node_id in found.items()]
    going = [f"{each.name}{f' ({each.trouble})' if each.trouble else ''}" for each in disks]
    waits = (Deferral(subject="end", gate="volumes", reason=f"being deleted: {', '.join(going)}"),) if going else ()
    return Plan(steps=tuple(steps), deferrals=waits, memory=memory) if steps or going else None


def _kept(world: World, memory: Memory) -> tuple[Deferral, ...]:
    kept = sorted(each.node_id for each in world.volumes if each.uid not in memory.clean)
    if not kept:
        return ()
    reason = f"not seen to be empty: those of brokers {', '.join(map(str, kept))}"
    return (Deferral(subject="end", gate="volumes kept", reason=reason),)


def _clean(world: World) -> tuple[str, ...]:
    """Volumes known to be clean: the broker ended in order, or had done so before and its volume is in no use since.

    They are remembered until nothing is left of them.
    """
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
    return tuple(sorted(found & ({each.uid for each in world.volumes} | {each.claim for each in world.disks})))


__all__ = ["plan_end"]
