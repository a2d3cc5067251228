"""Settings that brokers take at run time: set where they differ from the spec, taken away again where it has them no more."""

from dataclasses import replace

from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import SetConfigs
from automq_operator.world import Memory, World

_SUBJECT = "settings"


def plan_configs(world: World, memory: Memory) -> Plan:
    """One step for all that differs; none while nothing does. It waits for nothing: no broker restarts for it."""
    wanted = dict(world.configs_wanted)
    if world.configs is None:
        old = Deferral(subject=_SUBJECT, gate="old brokers", reason=f"brokers are too old to take {_listed(wanted)}")
        return Plan(deferrals=(old,) if wanted else (), memory=memory)
    present = dict(world.configs)
    upserts = {name: value for name, value in wanted.items() if present.get(name) != value}
    deletes = sorted(name for name in memory.configs if name in present and name not in wanted)
    memory = replace(memory, configs=tuple(sorted({*wanted, *deletes})))
    if not upserts and not deletes:
        return Plan(memory=memory)
    told = [f"{name} is to be {value}" for name, value in upserts.items()]
    told += [f"{name} is no longer given" for name in deletes]
    step = SetConfigs(upserts=tuple(upserts.items()), deletes=tuple(deletes), reason="; ".join(told))
    return Plan(steps=(step,), memory=memory)


def _listed(wanted: dict[str, str]) -> str:
    return f"{', '.join(wanted)} without a restart"


__all__ = ["plan_configs"]
