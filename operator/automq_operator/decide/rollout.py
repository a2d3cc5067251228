"""Rollouts: one broker at a time, emptied first, the controller's seat last, and only while all others are well."""

from dataclasses import replace

from automq_operator.decide.drain import is_anybody_else_there
from automq_operator.decide.proof import is_well
from automq_operator.decide.values import Deferral, Plan, Policy, Window
from automq_operator.decide.windows import is_open, opens_in
from automq_operator.steps import DrainBroker, Step, StopBroker, UncordonBroker
from automq_operator.world import Instance, InstanceState, Memory, Status, World

_SUBJECT = "rollout"


def plan_rollout(world: World, memory: Memory, now: float, policy: Policy, busy: str | None) -> Plan:
    """The next step towards `world.revision`, or a wanted restart. A broker that ended is started new by failover."""
    if memory.rolling is not None and _is_current(world, memory.rolling):
        return _give_back(world, memory, memory.rolling)
    due = [each for each in _wanted_instances(world) if _is_due(world, each)]
    if not due:
        # The last one may be away between its old form and its new: it is still to be given its partitions back.
        is_coming = any(slot.node_id == memory.rolling for slot in world.slots)
        return Plan(memory=memory if is_coming else replace(memory, rolling=None))
    free = [each for each in due if not _is_held(world, each, due, policy.paused)]
    gate, why = _why_halted(world, memory, now, policy, free, busy)
    if gate:
        reason = f"{len(due)} brokers are to be renewed, but {why}"
        return Plan(deferrals=(Deferral(subject=_SUBJECT, gate=gate, reason=reason),), memory=memory)
    target = min(free, key=lambda each: _turn(world, memory, each))
    return Plan(steps=_next_steps(world, target, len(due)), memory=replace(memory, rolling=target.node_id))


def _is_due(world: World, instance: Instance) -> bool:
    return instance.revision != world.revision or instance.wants_restart


def _is_held(world: World, instance: Instance, due: list[Instance], paused: frozenset[int]) -> bool:
    """It is paused; or one above it in its zone is, and the platform would renew that one along with it."""
    if instance.node_id in paused:
        return True
    if not world.rolls_downwards or instance.revision == world.revision:
        return False
    zones = {slot.node_id: slot.zone for slot in world.slots}
    return any(
        each.node_id in paused
        and each.node_id > instance.node_id
        and each.revision != world.revision
        and zones[each.node_id] == zones[instance.node_id]
        for each in due
    )


def _turn(world: World, memory: Memory, instance: Instance) -> tuple[bool, bool, int]:
    """The one that was begun first, the controller's holder last; or its zone last, where zones go from the top down."""
    node_id = instance.node_id
    is_begun = node_id == memory.rolling
    if not world.rolls_downwards:
        return not is_begun, node_id == world.controller, node_id
    zones = {slot.node_id: slot.zone for slot in world.slots}
    is_seat = world.controller is not None and zones.get(node_id) == zones.get(world.controller)
    return not is_begun, is_seat, -node_id


def _is_current(world: World, node_id: int) -> bool:
    instance, broker = world.instance(node_id), world.broker(node_id)
    is_there = is_well(world, instance) and broker is not None and broker.status is Status.ACTIVE
    return is_there and instance is not None and not _is_due(world, instance)


def _give_back(world: World, memory: Memory, node_id: int) -> Plan:
    """It is rolled: it may have partitions again, and only then the next one has its turn."""
    broker = world.broker(node_id)
    if broker is not None and broker.is_cordoned:
        return Plan(steps=(UncordonBroker(node_id=node_id, reason="it is rolled and well"),), memory=memory)
    return Plan(memory=replace(memory, rolling=None))


def _wanted_instances(world: World) -> list[Instance]:
    found = (world.instance(slot.node_id) for slot in world.slots)
    return [each for each in found if each is not None]


def _why_halted(
    world: World, memory: Memory, now: float, policy: Policy, free: list[Instance], busy: str | None
) -> tuple[str, str]:
    """Gate and reason why no broker is renewed now; "" and "" if one may be. What was begun waits for no window."""
    unwell, is_expected = _why_not_well(world, memory)
    growing = [str(each.node_id) for each in world.volumes if each.is_growing]
    is_begun, windows = memory.rolling is not None, policy.rollout.windows
    found = (
        ("not well", "" if is_expected else unwell),
        ("busy", busy or unwell),
        ("growing", f"the volumes of brokers {', '.join(growing)} are still growing" if growing else ""),
        ("paused", "" if free else f"brokers {', '.join(map(str, sorted(policy.paused)))} are paused"),
        ("moving", "" if is_begun or not world.partitions_moving else f"{world.partitions_moving} partitions move"),
        ("window", "" if is_begun or is_open(windows, now) else _why_closed(windows, now)),
    )
    return next((each for each in found if each[1]), ("", ""))


def _why_closed(windows: tuple[Window, ...], now: float) -> str:
    return f"the next maintenance window opens in {opens_in(windows, now) / 60:.0f} minutes"


def _why_not_well(world: World, memory: Memory) -> tuple[str, bool]:
    """A broker that is not well, since nothing more is risked then; and whether that is the renewal itself."""
    for slot in world.slots:
        instance, broker = world.instance(slot.node_id), world.broker(slot.node_id)
        if is_well(world, instance) and broker is not None and broker.status is Status.ACTIVE:
            continue
        has_failed = instance is not None and instance.state is InstanceState.ENDED and not instance.is_clean_end
        detail = f" ({instance.detail})" if instance is not None and instance.detail else ""
        is_newest = slot.node_id == memory.rolling
        newest = ", which was renewed last," if is_newest else ""
        return f"broker {slot.node_id}{newest} is not well{detail}", is_newest and not has_failed
    return "", True


def _next_steps(world: World, target: Instance, left: int) -> tuple[Step, ...]:
    broker = world.broker(target.node_id)
    assert broker is not None
    reason = f"it is on revision {target.revision or 'unknown'}, wanted is {world.revision} ({left} left)"
    if target.revision == world.revision:
        reason = f"its restart is wanted ({left} left)"
    can_move = is_anybody_else_there(world, target.node_id)
    if can_move and (broker.partitions_assigned or not broker.is_cordoned):
        return (DrainBroker(node_id=target.node_id, reason=reason),)
    if can_move and broker.partitions_open:
        return ()
    return (StopBroker(node_id=target.node_id, uid=target.uid, reason=reason),)


__all__ = ["plan_rollout"]
