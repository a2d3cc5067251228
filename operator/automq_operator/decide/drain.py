"""Drains: brokers that are to go are emptied first. Announced ends of machines cannot wait; scale-in can.

A broker is stopped only when it has nothing: no partition assigned, none open. What the operator drained, and is wanted
after all, gets its partitions back; a person's cordon is never touched.
"""

from dataclasses import replace

from automq_operator.decide.proof import is_usable, is_well
from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import DrainBroker, Step, StopBroker, UncordonBroker
from automq_operator.world import Broker, InstanceState, Memory, Status, World


def plan_drain(world: World, memory: Memory, busy: str | None, paused: frozenset[int] = frozenset()) -> Plan:
    """Empty brokers on machines that leave, at once, and brokers that are no longer wanted, unless `busy` says why not.

    Paused brokers are left as they are.
    """
    steps: list[Step] = []
    deferrals: list[Deferral] = []
    drains = set(memory.drains)
    for broker in world.brokers:
        reason, is_urgent = _why_it_leaves(world, broker)
        if not reason:
            continue
        if broker.node_id in paused:
            deferrals.append(
                Deferral(subject=f"broker {broker.node_id}", gate="paused", reason=f"{reason}, but paused")
            )
            continue
        if busy and not is_urgent:
            deferrals.append(Deferral(subject=f"broker {broker.node_id}", gate="busy", reason=f"{reason}, but {busy}"))
            continue
        drains.add(broker.node_id)
        steps.extend(_empty_then_stop(world, broker, reason))
    stays = {broker.node_id for broker in world.brokers if not _why_it_leaves(world, broker)[0]}
    for node_id in sorted((drains & stays) - paused):
        broker = next(each for each in world.brokers if each.node_id == node_id)
        if not broker.is_cordoned:
            drains.discard(node_id)
        elif broker.status is Status.ACTIVE:
            steps.append(UncordonBroker(node_id=node_id, reason="it was drained by the operator and is wanted"))
    drains &= {broker.node_id for broker in world.brokers}
    return Plan(steps=tuple(steps), deferrals=tuple(deferrals), memory=replace(memory, drains=tuple(sorted(drains))))


def _why_it_leaves(world: World, broker: Broker) -> tuple[str, bool]:
    """In words, and whether it is urgent; "" if it stays."""
    if broker.status is not Status.ACTIVE:
        return "", False
    instance = world.instance(broker.node_id)
    host = world.host(instance.host) if instance else None
    if host is not None and host.is_leaving and is_well(world, instance):
        return f"its machine {host.name} is about to end", True
    if instance is not None and instance.leaving and is_well(world, instance):
        return f"its pod is about to end ({instance.leaving})", True
    if all(slot.node_id != broker.node_id for slot in world.slots):
        return "it is no longer wanted", False
    return "", False


def _empty_then_stop(world: World, broker: Broker, reason: str) -> list[Step]:
    if broker.partitions_assigned or not broker.is_cordoned:
        return [DrainBroker(node_id=broker.node_id, reason=reason)]
    instance = world.instance(broker.node_id)
    is_wanted = any(slot.node_id == broker.node_id for slot in world.slots)
    if broker.partitions_open or instance is None or instance.state is not InstanceState.RUNNING or is_wanted:
        return []
    return [StopBroker(node_id=broker.node_id, uid=instance.uid, reason=f"{reason}, and it is empty")]


def is_anybody_else_there(world: World, node_id: int) -> bool:
    """Whether another ACTIVE broker on a usable machine could take partitions."""
    for broker in world.brokers:
        instance = world.instance(broker.node_id)
        if broker.node_id == node_id or broker.status is not Status.ACTIVE or broker.is_cordoned or instance is None:
            continue
        if is_well(world, instance) and not instance.leaving and is_usable(world.host(instance.host)):
            return True
    return False


__all__ = ["is_anybody_else_there", "plan_drain"]
