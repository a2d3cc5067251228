"""What one pass over all nodes knows of the others: who drains already, who may not begin, and whether the brake is on."""

from dataclasses import dataclass

from automq_operator.decide.cases import Case, is_at_work, survivors
from automq_operator.decide.values import FailoverPolicy
from automq_operator.steps import Step


@dataclass(slots=True, kw_only=True)
class Round:
    """Filled in at its beginning, and by what is begun in it."""

    now: float
    policy: FailoverPolicy
    at_work: dict[int, str]
    """Zone of every node whose log is being drained."""
    busy_survivors: frozenset[int]
    braked: str | None

    def limit(self, case: Case) -> str | None:
        """Why one more log may not be drained now; names what is waited for, which is always at work."""
        in_zone = [node_id for node_id, zone in self.at_work.items() if zone == case.zone]
        if len(self.at_work) >= self.policy.recoveries_max:
            return f"{len(self.at_work)} logs are being drained (of brokers {_names(self.at_work)})"
        if len(in_zone) >= self.policy.recoveries_per_zone_max:
            return f"the log of broker {_names(in_zone)} is being drained in {zone_name(case)}"
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row does: at most one step, and why nothing more."""

    step: Step | None = None
    gate: str = ""
    reason: str = ""


def round_of(cases: list[Case], now: float, policy: FailoverPolicy) -> Round:
    """At the beginning of a pass."""
    at_work = [case for case in cases if _drains(case, now, policy)]
    return Round(
        now=now,
        policy=policy,
        at_work={case.node_id: case.zone for case in at_work},
        busy_survivors=frozenset(case.adopter.beside for case in at_work if case.adopter is not None),
        braked=_brake(cases, now, policy),
    )


def _drains(case: Case, now: float, policy: FailoverPolicy) -> bool:
    """Whether this log is being drained, or gets its adopter in this very round."""
    if not case.is_rescuing or not case.has_open_partitions:
        return False
    if case.adopter is not None:
        return is_at_work(case.adopter, now, policy.adopter_pending_max_s)
    attempts = case.recovery.attempts if case.recovery else 0
    return case.proof is not None and attempts < policy.attempts_max and bool(survivors(case, frozenset()))


def _brake(cases: list[Case], now: float, policy: FailoverPolicy) -> str | None:
    """Why no new log is moved because too many failed at once; lifted by time alone, so it never waits for nothing."""
    # What comes and goes by itself is its own trouble, not what took many at once.
    failing = [case for case in cases if case.is_failing and case.instance and not case.instance.comes_and_goes]
    wanted = sum(case.is_wanted for case in cases)
    if len(failing) < 2 or len(failing) < policy.brake_fraction * wanted:
        return None
    left_s = max(case.failed_at for case in failing) + policy.brake_s - now
    if left_s <= 0:
        return None
    return f"{len(failing)} of {wanted} brokers failed at once; no log is moved for another {left_s:.0f} s"


def zone_name(case: Case) -> str:
    """As people are told of it."""
    return f"zone {case.zone}" if case.zone else "the cluster"


def _names(node_ids: "dict[int, str] | list[int]") -> str:
    return ", ".join(map(str, sorted(node_ids)))


__all__ = ["Outcome", "Round", "round_of", "zone_name"]
