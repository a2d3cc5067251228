"""Machines: their names are remembered while they are there, and what was said of them is taken back."""

from dataclasses import replace

from automq_operator.decide.values import Plan
from automq_operator.steps import UntaintHost
from automq_operator.world import Memory, World


def plan_hosts(world: World) -> Plan:
    """A host that the operator declared out of service is let back in once nothing of the cluster is left on it."""
    reason = "nothing of the cluster is left on it"
    steps = [
        UntaintHost(host=each.name, reason=reason) for each in world.hosts if each.is_tainted and not each.is_in_use
    ]
    return Plan(steps=tuple(steps), memory=world.memory)


def with_machines(world: World, memory: Memory) -> Memory:
    """SAFETY: the machine of a host is taken down while that host is ready, and kept until all have left the host.

    A host of the same name that comes later, on another machine, proves nothing about those that ran on the first.
    """
    known = dict(world.memory.machines)
    used = {each.host for each in world.instances} | {each.host for each in world.adopters}
    found = {}
    for name in sorted(used - {""}):
        host = world.host(name)
        if host is not None and host.is_ready and host.machine:
            found[name] = host.machine
        elif name in known:
            found[name] = known[name]
    return replace(memory, machines=tuple(found.items()))


__all__ = ["plan_hosts", "with_machines"]
