"""Scaling by network watermark: more brokers above the high mark soon, fewer below the low mark late.

Utilisation is a mean of ratios (each broker's larger direction over its own baseline), so mixed machines count right. It
is looked at only when a whole window was seen, and never while anything recovers, rolls, drains or moves: then figures
tell of the disturbance.
"""

from dataclasses import replace
from math import ceil

from automq_operator.decide.values import Deferral, Plan, ScalePolicy
from automq_operator.steps import ScaleTo
from automq_operator.world import Memory, Scaling, Status, World

_SUBJECT = "scaling"


def plan_scale(world: World, memory: Memory, now: float, policy: ScalePolicy, busy: str | None) -> Plan:
    """At most one change of the number of brokers; who asks for too many or too few is told of first."""
    plan = _by_watermark(world, memory, now, policy, busy)
    if not world.refused:
        return plan
    refused = Deferral(subject=_SUBJECT, gate="bounds", reason=world.refused)
    return replace(plan, deferrals=(refused, *plan.deferrals))


def _by_watermark(world: World, memory: Memory, now: float, policy: ScalePolicy, busy: str | None) -> Plan:
    """Samples are remembered even when nothing may change."""
    if policy.maximum <= policy.minimum:
        return Plan(memory=memory)
    sample, lack = _sample(world, now, policy)
    # A disturbance ends the window: what follows it must be seen whole.
    kept = () if busy else _within(memory.scaling.samples, now, max(policy.window_s, policy.in_window_s))
    samples = kept if sample is None else (*kept, (now, sample))
    scaling = replace(memory.scaling, samples=samples)
    plan = Plan(memory=replace(memory, scaling=scaling))
    why_not = busy or lack
    if why_not:
        return replace(plan, deferrals=(Deferral(subject=_SUBJECT, gate="busy", reason=why_not),))
    return _decide(world, scaling, now, policy, plan)


def _sample(world: World, now: float, policy: ScalePolicy) -> tuple[float | None, str | None]:
    """The mean utilisation of all ACTIVE brokers, or why there is none."""
    active = {each.node_id for each in world.brokers if each.status is Status.ACTIVE}
    loads = [each for each in world.loads if each.node_id in active]
    fresh = [each for each in loads if now - each.measured_at <= policy.stale_s]
    if not active or len(fresh) < len(active):
        return None, f"fresh figures of {len(active) - len(fresh)} brokers are missing"
    if any(each.baseline <= 0 for each in fresh):
        return None, "the network baseline of a broker is not known"
    return sum(each.utilisation for each in fresh) / len(fresh), None


def _within(samples: tuple[tuple[float, float], ...], now: float, window_s: float) -> tuple[tuple[float, float], ...]:
    """Those of the window, and the one before it: it shows that the window was seen from its beginning."""
    begin = sum(at <= now - window_s for at, _ in samples)
    return samples[max(begin - 1, 0) :]


def _mean(scaling: Scaling, now: float, window_s: float) -> float | None:
    """Mean over the window; None until the whole window was seen."""
    samples = scaling.samples
    if not samples or samples[0][0] > now - window_s + window_s / 10:
        return None
    within = [value for at, value in samples if at > now - window_s]
    return sum(within) / len(within) if within else None


def _decide(world: World, scaling: Scaling, now: float, policy: ScalePolicy, plan: Plan) -> Plan:
    count = len(world.slots)
    since_s = now - scaling.changed_at if scaling.changed_at is not None else float("inf")
    mean = _mean(scaling, now, policy.window_s)
    if mean is None:
        return _defer(plan, "window", f"utilisation was not seen for {policy.window_s:.0f} s yet")
    if mean > policy.high:
        return _scale_out(world, mean, count, since_s, policy, plan, scaling, now)
    longest = _mean(scaling, now, policy.in_window_s)
    if longest is not None and longest < policy.low and mean < policy.low:
        return _scale_in(longest, count, since_s, policy, plan, scaling, now)
    return plan


def _scale_out(
    world: World, mean: float, count: int, since_s: float, policy: ScalePolicy, plan: Plan, scaling: Scaling, now: float
) -> Plan:
    seen = f"utilisation {mean:.0%} is above {policy.high:.0%}"
    target = (policy.high + policy.low) / 2
    wanted = min(ceil(count * mean / target), count + policy.out_step, policy.maximum)
    usable = min(wanted, max(world.partitions, count))
    if usable <= count:
        limit = (
            f"{policy.maximum} brokers are the most"
            if wanted <= count
            else f"{world.partitions} partitions use no more"
        )
        return _defer(plan, "limit", f"{seen}, but {limit}")
    if since_s < policy.out_pause_s:
        return _defer(plan, "pause", f"{seen}, but the last change was {since_s:.0f} s ago")
    return _change(
        plan, scaling, now, ScaleTo(count=usable, reason=f"{seen}; {usable} brokers bring it near {target:.0%}")
    )


def _scale_in(
    mean: float, count: int, since_s: float, policy: ScalePolicy, plan: Plan, scaling: Scaling, now: float
) -> Plan:
    seen = f"utilisation {mean:.0%} is below {policy.low:.0%}"
    if count <= policy.minimum:
        return plan
    after = mean * count / (count - 1)
    if after >= policy.high * policy.in_margin:
        return _defer(plan, "simulation", f"{seen}, but {count - 1} brokers would be at {after:.0%}")
    if since_s < policy.in_pause_s:
        return _defer(plan, "pause", f"{seen}, but the last change was {since_s:.0f} s ago")
    return _change(
        plan, scaling, now, ScaleTo(count=count - 1, reason=f"{seen}; {count - 1} brokers will be at {after:.0%}")
    )


def _change(plan: Plan, scaling: Scaling, now: float, step: ScaleTo) -> Plan:
    changed = replace(scaling, samples=(), desired=step.count, changed_at=now)
    return replace(plan, steps=(step,), memory=replace(plan.memory, scaling=changed))


def _defer(plan: Plan, gate: str, reason: str) -> Plan:
    return replace(plan, deferrals=(Deferral(subject=_SUBJECT, gate=gate, reason=reason),))


__all__ = ["plan_scale"]
