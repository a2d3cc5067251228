"""What can happen to a cluster, drawn from a seed: to processes, to the bucket, to the network between brokers."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from chaos.proxy import Effect, Rule, Way


class Kind(StrEnum):
    """A fault; those with a length end by themselves, the others are for the cluster to mend."""

    KILL = "kill -9"
    KILL_CONTROLLER = "kill -9 of the controller"
    KILL_TWO = "kill -9 of two at once"
    TERMINATE = "SIGTERM"
    PAUSE = "SIGSTOP"
    PAUSE_CONTROLLER = "SIGSTOP of the controller"
    S3_STOP = "S3 stopped"
    NET_DELAY = "network: delay"
    NET_RESET = "network: resets"
    NET_DROP = "network: one way dropped"


SUDDEN = frozenset({Kind.KILL, Kind.KILL_CONTROLLER, Kind.KILL_TWO, Kind.TERMINATE})
"""Faults without a length: recovery is counted from their beginning, that of the others from their end."""

_WEIGHTS = {
    Kind.KILL: 3,
    Kind.KILL_CONTROLLER: 3,
    Kind.KILL_TWO: 1,
    Kind.TERMINATE: 2,
    Kind.PAUSE: 2,
    Kind.PAUSE_CONTROLLER: 2,
    Kind.S3_STOP: 2,
    Kind.NET_DELAY: 1,
    Kind.NET_RESET: 1,
    Kind.NET_DROP: 2,
}
_CALM = 0.15
_NETWORK = {Kind.NET_DELAY: Effect.DELAY, Kind.NET_RESET: Effect.RESET, Kind.NET_DROP: Effect.DROP}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that happens. `nodes` is empty where the controller is meant, whoever that is then."""

    kind: Kind
    nodes: tuple[int, ...] = ()
    seconds: float = 0.0
    rule: Rule | None = None

    def __str__(self) -> str:
        parts: list[str] = [self.kind]
        if self.nodes:
            parts.append(f"broker {' and '.join(map(str, self.nodes))}")
        if self.rule is not None:
            pair = f"{self.rule.caller or 'all'} -> {self.rule.called or 'all'}"
            parts.append(f"{pair}, {' and '.join(sorted(self.rule.ways))}")
            if self.rule.delay_s:
                parts.append(f"by {self.rule.delay_s:.2f} s")
        if self.seconds:
            parts.append(f"for {self.seconds:.1f} s")
        return " ".join(parts)


def draw(rng: Random, node_ids: list[int], *, has_s3: bool, longest_s: float) -> Fault | None:
    """The next fault, or None: a calm while. `longest_s` bounds how long a fault lasts."""
    if rng.random() < _CALM:
        return None
    weights = {kind: weight for kind, weight in _WEIGHTS.items() if has_s3 or kind is not Kind.S3_STOP}
    kind = rng.choices(list(weights), list(weights.values()))[0]
    # Short ones are more frequent: most networks and processes come back soon, and a session is 9 s.
    seconds = 0.0 if kind in SUDDEN else 1 + (longest_s - 1) * rng.random() ** 2
    match kind:
        case Kind.KILL_TWO:
            return Fault(kind=kind, nodes=tuple(sorted(rng.sample(node_ids, 2))))
        case Kind.KILL | Kind.TERMINATE | Kind.PAUSE:
            return Fault(kind=kind, nodes=(rng.choice(node_ids),), seconds=seconds)
        case Kind.NET_DELAY | Kind.NET_RESET | Kind.NET_DROP:
            return Fault(kind=kind, seconds=seconds, rule=_draw_rule(rng, node_ids, _NETWORK[kind]))
        case _:
            return Fault(kind=kind, seconds=seconds)


def _draw_rule(rng: Random, node_ids: list[int], effect: Effect) -> Rule:
    """Between two brokers, from or to one of them, or everywhere."""
    caller, called = rng.sample(node_ids, 2)
    either = rng.randrange(4)
    return Rule(
        effect=effect,
        caller=caller if either in (0, 1) else None,
        called=called if either in (0, 2) else None,
        ways=frozenset({rng.choice(list(Way))}) if effect is Effect.DROP else frozenset(Way),
        delay_s=rng.uniform(0.05, 1.5) if effect is Effect.DELAY else 0.0,
    )


__all__ = ["SUDDEN", "Fault", "Kind", "draw"]
