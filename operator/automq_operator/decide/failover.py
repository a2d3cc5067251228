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
from dataclasses import dataclass, replace
from typing import Final

from automq_operator.decide.cases import Case, case_of, entered, is_at_work, survivors
from automq_operator.decide.proof import is_well, proof_of_lost_adopter
from automq_operator.decide.values import Deferral, FailoverPolicy, Plan
from automq_operator.steps import (
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    GrantRescue,
    ReleaseVolume,
    StartBroker,
    Step,
)
from automq_operator.world import AdopterState, InstanceState, Proof, Recovery, Stage, Status, World

_RESTARTABLE: Final = frozenset({Proof.PROCESS_ENDED, Proof.CONTAINERS_TERMINATED})
"""What is dead may be started again where it was; a dead machine starts nothing."""

KEPT_DONE: Final = 10
"""Recoveries that are remembered after they are done."""


@dataclass(slots=True, kw_only=True)
class Round:
    """What one pass over all nodes knows of the others: who drains already, and whether the brake is on."""

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
            return f"the log of broker {_names(in_zone)} is being drained in {_zone(case)}"
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a row does: at most one step, and why nothing more."""

    step: Step | None = None
    gate: str = ""
    reason: str = ""


Condition = Callable[[Case], bool]
Action = Callable[[Case, Round], Outcome]


def plan_failover(world: World, now: float, policy: FailoverPolicy, paused: frozenset[int] = frozenset()) -> Plan:
    """Steps and deferrals for every node that is not well, and the progress to remember; none about paused ones."""
    cases = [case_of(world, node_id) for node_id in world.node_ids()]
    this_round = _round(cases, now, policy)
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
        after = _progress(case, stage, outcome, now)
        if after is not None:
            progress.append(after)
    memory = replace(world.memory, recoveries=_remembered(world.memory.recoveries, progress, now))
    return Plan(steps=tuple(steps), deferrals=tuple(deferrals), memory=memory)


def _remembered(before: tuple[Recovery, ...], progress: list[Recovery], now: float) -> tuple[Recovery, ...]:
    """The last ten that ended, oldest first, then those under way; a mere suspicion that passed leaves no trace."""
    under_way = {each.key for each in progress if not each.is_done}
    ended = [each for each in before if each.is_done]
    ended += [each for each in progress if each.is_done]
    finished = {each.key for each in ended}
    for each in before:
        if not each.is_done and each.key not in under_way and each.key not in finished:
            ended.append(replace(each, entered=entered(each, Stage.DONE, now)))
    told = [each for each in ended if {stage for stage, _ in each.entered} - _PASSING]
    return (*told[-KEPT_DONE:], *sorted((each for each in progress if not each.is_done), key=lambda r: r.key.node_id))


def _round(cases: list[Case], now: float, policy: FailoverPolicy) -> Round:
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
    failing = [case for case in cases if case.is_failing and not _comes_and_goes(case)]
    wanted = sum(case.is_wanted for case in cases)
    if len(failing) < 2 or len(failing) < policy.brake_fraction * wanted:
        return None
    left_s = max(case.failed_at for case in failing) + policy.brake_s - now
    if left_s <= 0:
        return None
    return f"{len(failing)} of {wanted} brokers failed at once; no log is moved for another {left_s:.0f} s"


def _comes_and_goes(case: Case) -> bool:
    """It was started again and again in vain: that is its own trouble, not what took many at once."""
    return case.instance is not None and case.instance.quick_ends > 2


def _urgency(case: Case) -> tuple[float, int]:
    """The longest-waiting first."""
    return case.failed_at, case.node_id


# --- conditions


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


def _is_down(case: Case) -> bool:
    return case.proof is not None or case.instance is None


def _is_well(case: Case) -> bool:
    return is_well(case.world, case.instance) and case.broker is not None and case.broker.status is Status.ACTIVE


def _is_starting(case: Case) -> bool:
    """It runs and answers; what the metadata says of it is older or on its way."""
    return is_well(case.world, case.instance) and case.broker is not None and case.broker.status is not Status.FENCED


def _always(_: Case) -> bool:
    return True


# --- actions


def _start_blindly(case: Case, this_round: Round) -> Outcome:
    """No broker answers, or none of this id was ever seen: start it; what needs the metadata waits for it."""
    if case.is_wanted and _is_down(case):
        return _start(case, this_round, "it is wanted and does not run")
    if case.instance is not None and case.instance.state is InstanceState.SILENT:
        return _wait_for_proof(case, this_round)
    return Outcome()


def _confirm(case: Case, _: Round) -> Outcome:
    """No partition is open in its name any more. A running adopter says so itself, after marking the log clean."""
    assert case.broker is not None
    assert case.key is not None
    if case.adopter is not None and case.adopter.state is AdopterState.RUNNING:
        return Outcome(reason="the adopter marks the log clean")
    reason = "no partition is open in its name any more"
    return Outcome(ConfirmDrained(key=case.key, granted_epoch=case.broker.broker_epoch, reason=reason), reason=reason)


def _watch_adopter(case: Case, this_round: Round) -> Outcome:
    adopter = case.adopter
    assert adopter is not None
    assert case.key is not None
    lost = proof_of_lost_adopter(case.world, adopter)
    match adopter.state:
        case AdopterState.SUCCEEDED | AdopterState.FAILED:
            reason = f"the adopter {adopter.state}, and partitions are open: {adopter.detail or 'no reason given'}"
            return Outcome(DeleteAdopter(uid=adopter.uid, node_id=case.node_id, reason=reason), reason=reason)
        case _ if lost is not None:
            reason = f"the adopter is lost: {lost}"
            if case.holder == adopter.uid:
                return Outcome(
                    ReleaseVolume(key=case.key, holder=adopter.uid, proof=lost, reason=reason), reason=reason
                )
            return Outcome(DeleteAdopter(uid=adopter.uid, node_id=case.node_id, reason=reason), reason=reason)
        case AdopterState.PENDING:
            return _hand_volume_over(case, this_round)
        case AdopterState.RUNNING:
            assert case.broker is not None
            left = f"{case.broker.partitions_open} partitions are still to be closed"
            return Outcome(reason=f"{left}{_why(adopter.detail)}")


def _hand_volume_over(case: Case, this_round: Round) -> Outcome:
    """The adopter is in the queue: only now is the volume taken from the dead."""
    assert case.key is not None
    if case.is_held_by_the_dead and case.proof is not None and case.instance is not None:
        reason = f"the volume is still with the dead instance: {case.proof}"
        return Outcome(
            ReleaseVolume(key=case.key, holder=case.instance.uid, proof=case.proof, reason=reason), reason=reason
        )
    adopter = case.adopter
    assert adopter is not None
    free_since = case.recovery.free_since if case.recovery else None
    is_stuck = free_since is not None and this_round.now - free_since >= this_round.policy.unschedulable_max_s
    if not is_stuck or not _is_without_machine(case):
        return Outcome(gate="volume", reason=f"the adopter waits for the volume{_why(adopter.detail)}")
    if adopter.attempt == 1:
        reason = (
            f"no survivor's machine takes the adopter{_why(adopter.detail)}; the next may be anywhere in {_zone(case)}"
        )
        return Outcome(DeleteAdopter(uid=adopter.uid, node_id=case.node_id, reason=reason), reason=reason)
    reason = (
        f"WAL of broker {case.node_id} unavailable: no machine in {_zone(case)} takes its adopter{_why(adopter.detail)}"
    )
    return Outcome(gate="adopter without a machine", reason=reason)


def _is_without_machine(case: Case) -> bool:
    """The volume is free, and still the adopter has nowhere to run."""
    adopter = case.adopter
    is_waiting = adopter is not None and adopter.state is AdopterState.PENDING and not adopter.is_placed
    return is_waiting and case.volume is not None and case.holder is None


def _why(detail: str) -> str:
    return f": {detail}" if detail else ""


def _create_adopter(case: Case, this_round: Round) -> Outcome:
    assert case.broker is not None
    assert case.key is not None
    if case.instance is not None and case.proof is None:
        return _wait_for_proof(case, this_round)
    attempts = case.recovery.attempts if case.recovery else 0
    if attempts >= this_round.policy.attempts_max:
        return _start(case, this_round, f"{attempts} adopters failed; it recovers its log itself")
    beside = survivors(case, this_round.busy_survivors)
    if not beside:
        if survivors(case, frozenset()):
            return Outcome(gate="survivors busy", reason=f"every survivor in {_zone(case)} drains a log already")
        return _without_survivor(case, this_round)
    reason = f"broker {beside[0]} survives in {_zone(case)} and is the least loaded"
    this_round.busy_survivors |= {beside[0]}
    this_round.at_work[case.node_id] = case.zone
    step = CreateAdopter(
        key=case.key,
        granted_epoch=case.broker.broker_epoch,
        beside=beside[0],
        attempt=attempts + 1,
        reason=reason,
    )
    return Outcome(step, reason=reason)


def _rescue(case: Case, this_round: Round) -> Outcome:
    """It is dead and partitions are open in its name: grant a rescue, or say what is waited for."""
    assert case.key is not None
    assert case.proof is not None
    assert case.instance is not None
    grace_left_s = case.instance.since + this_round.policy.restart_grace_s - this_round.now
    if case.proof in _RESTARTABLE and grace_left_s > 0:
        return Outcome(gate="restart grace", reason=f"it may come back by itself for another {grace_left_s:.0f} s")
    if this_round.braked is not None:
        started = _start(case, this_round, f"{this_round.braked}, so it is started where it was")
        return replace(started, gate="brake", reason=started.reason)
    if not survivors(case, frozenset()):
        return _without_survivor(case, this_round)
    limit = this_round.limit(case)
    if limit is not None:
        return Outcome(gate="limit", reason=f"waits, because {limit}")
    if not survivors(case, this_round.busy_survivors):
        return Outcome(gate="survivors busy", reason=f"every survivor in {_zone(case)} drains a log already")
    this_round.at_work[case.node_id] = case.zone
    reason = f"{case.proof}: {case.instance.detail or 'no more is known'}"
    return Outcome(GrantRescue(key=case.key, proof=case.proof, reason=reason), reason=reason)


def _without_survivor(case: Case, this_round: Round) -> Outcome:
    """Nobody can stand in: say so, and let its own process recover the log as soon as it can run."""
    lack = f"WAL of broker {case.node_id} unavailable: no survivor in {_zone(case)}"
    started = _start(case, this_round, f"{lack}; it is started on its own log")
    return Outcome(started.step, "zone without survivor", f"{lack}; its own start is the only way")


def _replace(case: Case, this_round: Round) -> Outcome:
    if not case.is_wanted:
        return Outcome()
    if case.has_open_partitions:
        return _start(case, this_round, "nothing of it is there, and its log is its own to recover")
    return _start(case, this_round, "nothing depends on its log, so it starts clean")


def _start(case: Case, this_round: Round, reason: str) -> Outcome:
    """Start it, once the dead instance's volume is free and a quick end is far enough behind."""
    instance, policy = case.instance, this_round.policy
    if not case.is_wanted:
        return Outcome(gate="not wanted", reason="it is no longer wanted, so nothing starts it")
    if case.is_held_by_the_dead and instance is not None and case.proof is not None and case.key is not None:
        why = f"the volume is still with the dead instance: {case.proof}"
        return Outcome(ReleaseVolume(key=case.key, holder=instance.uid, proof=case.proof, reason=why), reason=why)
    if instance is not None and case.proof is None:
        return _wait_for_proof(case, this_round)
    if any(each.state in (AdopterState.PENDING, AdopterState.RUNNING) for each in case.adopters):
        return Outcome(gate="volume", reason="an adopter has its volume")
    if instance is not None and instance.quick_ends:
        pause_s = min(policy.restart_backoff_s * 2 ** (instance.quick_ends - 1), policy.restart_backoff_max_s)
        left_s = instance.since + pause_s - this_round.now
        if left_s > 0:
            times = "once" if instance.quick_ends == 1 else f"{instance.quick_ends} times"
            ended = f"it ended {times} soon after its start: {instance.detail}"
            return Outcome(gate="backoff", reason=f"starts again in {left_s:.0f} s; {ended}")
    return Outcome(StartBroker(node_id=case.node_id, reason=reason), reason=reason)


def _wait_for_proof(case: Case, this_round: Round) -> Outcome:
    if not case.is_wanted and case.instance is None:
        return Outcome()
    instance, broker = case.instance, case.broker
    if instance is not None and instance.state is not InstanceState.RUNNING:
        seen = f"{instance.state} for {this_round.now - instance.since:.0f} s"
    elif broker is not None and broker.status is Status.FENCED:
        seen = "its heartbeats are missing"
    else:
        seen = "its host is not ready, or leaves"
    reason = f"{seen}, which is suspicion and no proof of death: nothing is forced"
    return Outcome(gate="no proof", reason=f"{reason}{f' ({instance.detail})' if instance and instance.detail else ''}")


def _watch_start(case: Case, _: Round) -> Outcome:
    return Outcome(reason="it starts" if case.recovery else "")


def _nothing(_: Case, __: Round) -> Outcome:
    return Outcome()


TABLE: Final[tuple[tuple[Stage | None, Condition, Action], ...]] = (
    (None, _is_unknown, _start_blindly),
    (Stage.STREAMS_CLOSED, _is_closed, _confirm),
    (Stage.DRAINING, _has_adopter, _watch_adopter),
    (Stage.GRANTED, _is_granted, _create_adopter),
    (Stage.PROVEN, _is_dead_with_partitions, _rescue),
    (Stage.REPLACEMENT, _is_down, _replace),
    (Stage.DONE, _is_well, _nothing),
    (Stage.REPLACEMENT, _is_starting, _watch_start),
    (Stage.SUSPECT, _always, _wait_for_proof),
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


# --- progress


def _progress(case: Case, stage: Stage | None, outcome: Outcome, now: float) -> Recovery | None:
    """The recovery after this look; None where there is none and none begins."""
    recovery = case.recovery
    if stage is None:
        return recovery
    if recovery is None and (stage in (Stage.DONE, Stage.REPLACEMENT, Stage.ADOPTER_DONE) or not case.is_wanted):
        return None
    key = case.key if stage in _ABOUT_A_DEATH or recovery is None else recovery.key
    assert key is not None
    if recovery is not None and recovery.key != key:
        recovery = None
    before = recovery or Recovery(key=key, began_at=case.failed_at or now, entered=())
    return replace(
        before,
        entered=entered(recovery, stage, now),
        reason=outcome.reason or before.reason,
        granted_epoch=case.broker.broker_epoch if case.is_rescuing and case.broker else before.granted_epoch,
        attempts=max(before.attempts, case.adopter.attempt if case.adopter else 0),
        free_since=(before.free_since or now) if _is_without_machine(case) else None,
    )


_ABOUT_A_DEATH: Final = frozenset(
    {
        Stage.SUSPECT,
        Stage.RESTART_GRACE,
        Stage.PROVEN,
        Stage.GRANTED,
        Stage.ADOPTER_WAITING,
        Stage.DRAINING,
        Stage.STREAMS_CLOSED,
    }
)
"""Stages in which the metadata's epoch of the node is that of the dead, or the one granted over it."""


_PASSING: Final = frozenset({Stage.SUSPECT, Stage.RESTART_GRACE, Stage.DONE})
"""Stages that say nothing was done."""


def _why_stale(case: Case) -> str:
    if case.is_rescuing:
        return "another rescue was granted since"
    status = case.broker.status if case.broker else "unknown"
    return f"its work is over: the broker is {status}"


def _zone(case: Case) -> str:
    return f"zone {case.zone}" if case.zone else "the cluster"


def _names(node_ids: "dict[int, str] | list[int]") -> str:
    return ", ".join(map(str, sorted(node_ids)))


__all__ = ["KEPT_DONE", "TABLE", "plan_failover"]
