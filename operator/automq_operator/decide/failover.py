"""Failover: what is done for a broker that failed, stage by stage.

`TABLE` is read from the top; the first row whose condition holds says the stage and what is done in it. A stage follows
from the world alone, so each step may be repeated and a fresh operator goes on in the middle:

    suspect -> restart grace -> proven -> granted -> adopter waits -> draining -> streams closed -> adopter done
            -> replacement -> done

A broker without open partitions skips from proven to replacement (nothing depends on its log). One that nobody can stand
in for (no survivor in its zone, or the brake is on) is started on its own volume, which recovers the log as well: there
is no wait for nothing. Without proof nothing is done that could harm a broker which lives.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from automq_operator.decide.cases import Case, case_of
from automq_operator.decide.progress import progress_of, remembered
from automq_operator.decide.proof import is_well
from automq_operator.decide.rounds import Outcome, Round, round_of
from automq_operator.decide.starting import is_down, start_blindly, start_clean, wait_for_proof
from automq_operator.decide.takeover import confirm, create_adopter, rescue, watch_adopter
from automq_operator.decide.values import Deferral, FailoverPolicy, Plan
from automq_operator.steps import DeleteAdopter, Step
from automq_operator.world import AdopterState, Recovery, Stage, Status, World

Condition = Callable[[Case], bool]
Action = Callable[[Case, Round], Outcome]


def plan_failover(world: World, now: float, policy: FailoverPolicy, paused: frozenset[int] = frozenset()) -> Plan:
    """Steps and deferrals for every node that is not well, and the progress to remember; none about paused ones."""
    cases = [case_of(world, node_id) for node_id in world.node_ids()]
    this_round = round_of(cases, now, policy)
    steps: list[Step] = []
    deferrals: list[Deferral] = []
    progress: list[Recovery] = []
    for case in sorted(cases, key=_urgency):
        subject = f"broker {case.node_id}"
        steps.extend(DeleteAdopter(uid=each.uid, node_id=case.node_id, reason=_why_stale(case)) for each in case.stale)
        stage, outcome = _judge(case, this_round) if case.node_id not in paused else _judge_paused(case, this_round)
        if outcome.step is not None:
            steps.append(outcome.step)
        if outcome.gate:
            deferrals.append(Deferral(subject=subject, gate=outcome.gate, reason=outcome.reason))
        after = progress_of(case, stage, outcome, now)
        if after is not None:
            progress.append(after)
    memory = replace(world.memory, recoveries=remembered(world.memory.recoveries, progress, now))
    return Plan(steps=tuple(steps), deferrals=tuple(deferrals), memory=memory)


def _urgency(case: Case) -> tuple[float, int]:
    """The longest-waiting first."""
    return case.failed_at, case.node_id


def _why_stale(case: Case) -> str:
    if case.is_rescuing:
        return "another rescue was granted since"
    status = case.broker.status if case.broker else "unknown"
    return f"its work is over: the broker is {status}"


# --- the table


def _is_unknown(case: Case) -> bool:
    return not case.world.is_metadata_known or case.broker is None


def _is_closed(case: Case) -> bool:
    return case.is_rescuing and not case.has_open_partitions


def _has_adopter(case: Case) -> bool:
    return case.is_rescuing and case.adopter is not None


def _is_granted(case: Case) -> bool:
    return case.is_rescuing and not case.is_running


def _is_dead_with_partitions(case: Case) -> bool:
    return case.proof is not None and case.has_open_partitions


def _is_well(case: Case) -> bool:
    return is_well(case.world, case.instance) and case.broker is not None and case.broker.status is Status.ACTIVE


def _is_starting(case: Case) -> bool:
    """It runs and answers; what the metadata says of it is older or on its way."""
    return is_well(case.world, case.instance) and case.broker is not None and case.broker.status is not Status.FENCED


def _always(_: Case) -> bool:
    return True


def _watch_start(case: Case, _: Round) -> Outcome:
    return Outcome(reason="it starts" if case.recovery else "")


def _nothing(_: Case, __: Round) -> Outcome:
    return Outcome()


TABLE: Final[tuple[tuple[Stage | None, Condition, Action], ...]] = (
    (None, _is_unknown, start_blindly),
    (Stage.STREAMS_CLOSED, _is_closed, confirm),
    (Stage.DRAINING, _has_adopter, watch_adopter),
    (Stage.GRANTED, _is_granted, create_adopter),
    (Stage.PROVEN, _is_dead_with_partitions, rescue),
    (Stage.REPLACEMENT, is_down, start_clean),
    (Stage.DONE, _is_well, _nothing),
    (Stage.REPLACEMENT, _is_starting, _watch_start),
    (Stage.SUSPECT, _always, wait_for_proof),
)
"""Stage, when, what. None: no stage can be told."""


def _judge(case: Case, this_round: Round) -> tuple[Stage | None, Outcome]:
    stage, action = next((stage, action) for stage, condition, action in TABLE if condition(case))
    outcome = action(case, this_round)
    if stage is Stage.DRAINING and case.adopter is not None and case.adopter.state is AdopterState.PENDING:
        stage = Stage.ADOPTER_WAITING
    if stage is Stage.PROVEN and outcome.gate == "restart grace":
        stage = Stage.RESTART_GRACE
    if stage is Stage.REPLACEMENT and case.stale and case.broker is not None and case.broker.status is Status.STOPPED:
        stage = Stage.ADOPTER_DONE
    return stage, outcome


def _judge_paused(case: Case, this_round: Round) -> tuple[Stage | None, Outcome]:
    """What would be done is said, and takes nobody else's place."""
    stage, outcome = _judge(case, replace(this_round, at_work=dict(this_round.at_work)))
    if outcome.step is None:
        return stage, outcome
    reason = f"it is paused; else: {outcome.reason}"
    return stage, Outcome(gate="paused", reason=reason)


__all__ = ["TABLE", "plan_failover"]
