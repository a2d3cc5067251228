"""All planners together: failover before drain before rollout before scale. What is lower waits while what is higher works."""

from dataclasses import replace

from automq_operator.decide.configs import plan_configs
from automq_operator.decide.drain import plan_drain
from automq_operator.decide.end import plan_end
from automq_operator.decide.failover import plan_failover
from automq_operator.decide.hosts import plan_hosts, with_machines
from automq_operator.decide.objects import plan_objects, plan_retire
from automq_operator.decide.rollout import plan_rollout
from automq_operator.decide.scale import plan_scale
from automq_operator.decide.values import Deferral, Plan, Policy
from automq_operator.steps import Step, node_of
from automq_operator.world import Memory, World


def plan(world: World, now: float, policy: Policy) -> Plan:
    """The whole plan for this moment; at most one step about each broker, that of the highest planner."""
    if world.held:
        return Plan(deferrals=(Deferral(subject="cluster", gate="held", reason=world.held),), memory=world.memory)
    objects = plan_objects(world)
    if world.is_ending:
        end = plan_end(world, is_deleting_volumes=policy.ends_with_volumes)
        return merge((objects, end), end.memory)
    failover = plan_failover(world, now, policy.failover, policy.paused)
    if policy.failover.remembers_machines:
        failover = replace(failover, memory=with_machines(world, failover.memory))
    hosts = plan_hosts(world)
    busy = _why_busy(failover)
    if not world.is_metadata_known:
        return merge((objects, failover, hosts), failover.memory)
    drain = plan_drain(world, failover.memory, busy, policy.paused)
    busy = busy or _why_draining(drain)
    rollout = plan_rollout(world, drain.memory, now, policy, busy)
    busy = busy or _why_rolling(rollout)
    scale = plan_scale(world, rollout.memory, now, policy.scale, busy)
    configs = plan_configs(world, scale.memory)
    retire = plan_retire(world) if policy.retires_volumes else Plan()
    return merge((objects, failover, hosts, configs, drain, rollout, scale, retire), configs.memory)


def merge(plans: tuple[Plan, ...], memory: Memory) -> Plan:
    """Steps of all plans in their order; a broker that has one from a higher plan gets none from a lower one."""
    steps: list[Step] = []
    deferrals: list[Deferral] = []
    taken: set[int] = set()
    for each in plans:
        chosen = [step for step in each.steps if node_of(step) not in taken]
        steps += chosen
        taken |= {node for step in chosen if (node := node_of(step)) is not None}
        deferrals += each.deferrals
    return Plan(steps=tuple(steps), deferrals=tuple(deferrals), memory=memory)


def _why_busy(failover: Plan) -> str | None:
    """The recovery that everything else waits for, a suspicion included: it may become one at any moment."""
    under_way = [each for each in failover.memory.recoveries if not each.is_done]
    if under_way:
        first = under_way[0]
        return f"broker {first.key.node_id} is being recovered ({first.stage})"
    if failover.steps:
        return "a broker is being started"
    return None


def _why_draining(drain: Plan) -> str | None:
    return f"broker {drain.memory.drains[0]} is being drained" if drain.memory.drains else None


def _why_rolling(rollout: Plan) -> str | None:
    if rollout.memory.rolling is not None:
        return f"broker {rollout.memory.rolling} is being rolled"
    # What waits for a person or a time may wait for long.
    waits = [each.reason for each in rollout.deferrals if each.gate not in ("window", "paused")]
    return waits[0] if waits else None


__all__ = ["merge", "plan"]
