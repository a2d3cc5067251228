"""The takeover of a dead broker's log: grant, adopter, release of the volume, end. One step at a time, each repeatable."""

from typing import Final

from automq_operator.decide.cases import Case, is_without_machine, survivors
from automq_operator.decide.proof import proof_of_lost_adopter
from automq_operator.decide.rounds import Outcome, Round, zone_name
from automq_operator.decide.starting import (
    RESTARTABLE,
    start,
    start_under_brake,
    start_without_survivor,
    wait_for_proof,
)
from automq_operator.steps import ConfirmDrained, CreateAdopter, DeleteAdopter, GrantRescue, ReleaseVolume
from automq_operator.world import Adopter, AdopterState, Proof

_ANYWHERE_FROM: Final = 2
"""Attempts from this one on run on any machine of the zone."""


def rescue(case: Case, this_round: Round) -> Outcome:
    """It is dead and partitions are open in its name: grant a rescue, or say what is waited for."""
    assert case.key is not None
    assert case.proof is not None
    assert case.instance is not None
    grace_left_s = case.instance.since + this_round.policy.restart_grace_s - this_round.now
    if case.proof in RESTARTABLE and grace_left_s > 0:
        return Outcome(gate="restart grace", reason=f"it may come back by itself for another {grace_left_s:.0f} s")
    if this_round.braked is not None:
        return start_under_brake(case, this_round, this_round.braked)
    if not survivors(case, frozenset()):
        return start_without_survivor(case, this_round)
    limit = this_round.limit(case)
    if limit is not None:
        return Outcome(gate="limit", reason=f"waits, because {limit}")
    if not survivors(case, this_round.busy_survivors):
        return _survivors_busy(case)
    this_round.at_work[case.node_id] = case.zone
    reason = f"{case.proof}: {case.instance.detail or 'no more is known'}"
    return Outcome(GrantRescue(key=case.key, proof=case.proof, reason=reason), reason=reason)


def create_adopter(case: Case, this_round: Round) -> Outcome:
    """Queue one beside the least loaded survivor; after too many in vain the broker recovers its log itself."""
    assert case.broker is not None
    assert case.key is not None
    if case.instance is not None and case.proof is None:
        return wait_for_proof(case, this_round)
    attempts = case.recovery.attempts if case.recovery else 0
    if attempts >= this_round.policy.attempts_max:
        return start(case, this_round, f"{attempts} adopters failed; it recovers its log itself")
    beside = survivors(case, this_round.busy_survivors)
    if not beside:
        if survivors(case, frozenset()):
            return _survivors_busy(case)
        return start_without_survivor(case, this_round)
    reason = f"broker {beside[0]} survives in {zone_name(case)} and is the least loaded"
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


def _survivors_busy(case: Case) -> Outcome:
    return Outcome(gate="survivors busy", reason=f"every survivor in {zone_name(case)} drains a log already")


def watch_adopter(case: Case, this_round: Round) -> Outcome:
    """What is done about it follows from how far it is."""
    adopter = case.adopter
    assert adopter is not None
    lost = proof_of_lost_adopter(case.world, adopter)
    match adopter.state:
        case AdopterState.SUCCEEDED | AdopterState.FAILED:
            reason = f"the adopter {adopter.state}, and partitions are open: {adopter.detail or 'no reason given'}"
            return _delete(case, adopter, reason)
        case _ if lost is not None:
            return _give_up_lost(case, adopter, lost)
        case AdopterState.PENDING:
            return _hand_volume_over(case, adopter, this_round)
        case AdopterState.RUNNING:
            assert case.broker is not None
            left = f"{case.broker.partitions_open} partitions are still to be closed"
            return Outcome(reason=f"{left}{_why(adopter.detail)}")


def _give_up_lost(case: Case, adopter: Adopter, lost: Proof) -> Outcome:
    assert case.key is not None
    reason = f"the adopter is lost: {lost}"
    if case.holder == adopter.uid:
        return Outcome(ReleaseVolume(key=case.key, holder=adopter.uid, proof=lost, reason=reason), reason=reason)
    return _delete(case, adopter, reason)


def _hand_volume_over(case: Case, adopter: Adopter, this_round: Round) -> Outcome:
    """The adopter is in the queue: only now is the volume taken from the dead."""
    assert case.key is not None
    if case.is_held_by_the_dead and case.proof is not None and case.instance is not None:
        reason = f"the volume is still with the dead instance: {case.proof}"
        return Outcome(
            ReleaseVolume(key=case.key, holder=case.instance.uid, proof=case.proof, reason=reason), reason=reason
        )
    if adopter.cannot_start:
        return _leave_to_kubelet(case, adopter)
    free_since = case.recovery.free_since if case.recovery else None
    is_stuck = free_since is not None and this_round.now - free_since >= this_round.policy.unschedulable_max_s
    if not is_stuck or not is_without_machine(case):
        return Outcome(gate="volume", reason=f"the adopter waits for the volume{_why(adopter.detail)}")
    if adopter.attempt < _ANYWHERE_FROM:
        lack = f"no survivor's machine takes the adopter{_why(adopter.detail)}"
        return _delete(case, adopter, f"{lack}; the next may be anywhere in {zone_name(case)}")
    lack = f"no machine in {zone_name(case)} takes its adopter{_why(adopter.detail)}"
    reason = f"WAL of broker {case.node_id} unavailable: {lack}"
    return Outcome(gate="adopter without a machine", reason=reason)


def _leave_to_kubelet(case: Case, adopter: Adopter) -> Outcome:
    """Another adopter of the same form would fail the same way, and only make the kubelet's pauses start over."""
    if adopter.revision == case.world.revision:
        reason = f"the adopter cannot start: {adopter.cannot_start}; it is kept, and its kubelet tries again by itself"
        return Outcome(gate="cannot start", reason=reason)
    return _delete(
        case, adopter, f"the adopter cannot start in its form ({adopter.cannot_start}), and another is wanted"
    )


def confirm(case: Case, _: Round) -> Outcome:
    """No partition is open in its name any more. A running adopter says so itself, after marking the log clean."""
    assert case.broker is not None
    assert case.key is not None
    if case.adopter is not None and case.adopter.state is AdopterState.RUNNING:
        return Outcome(reason="the adopter marks the log clean")
    reason = "no partition is open in its name any more"
    return Outcome(ConfirmDrained(key=case.key, granted_epoch=case.broker.broker_epoch, reason=reason), reason=reason)


def _delete(case: Case, adopter: Adopter, reason: str) -> Outcome:
    return Outcome(DeleteAdopter(uid=adopter.uid, node_id=case.node_id, reason=reason), reason=reason)


def _why(detail: str) -> str:
    return f": {detail}" if detail else ""


__all__ = ["confirm", "create_adopter", "rescue", "watch_adopter"]
