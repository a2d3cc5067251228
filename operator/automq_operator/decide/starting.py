"""Starting a broker on its own volume, and why it is not started yet."""

from dataclasses import replace

from automq_operator.decide.cases import Case
from automq_operator.decide.rounds import Outcome, Round, zone_name
from automq_operator.steps import ReleaseVolume, StartBroker
from automq_operator.world import AdopterState, Instance, InstanceState, Proof, Status

_DOUBLINGS_MAX = 16
"""Of the pause between starts; it is at its longest long before, and powers of two without a bound overflow."""


def is_down(case: Case) -> bool:
    """Whether nothing of it runs for certain."""
    return case.proof is not None or case.instance is None


def start_blindly(case: Case, this_round: Round) -> Outcome:
    """No broker answers, or none of this id was ever seen: start it; what needs the metadata waits for it."""
    if case.is_wanted and is_down(case):
        return start(case, this_round, "it is wanted and does not run")
    if case.instance is not None and case.instance.state is InstanceState.SILENT:
        return wait_for_proof(case, this_round)
    return Outcome()


def start_clean(case: Case, this_round: Round) -> Outcome:
    """Nobody else is needed for its log."""
    if not case.is_wanted:
        return Outcome()
    if case.has_open_partitions:
        return start(case, this_round, "nothing of it is there, and its log is its own to recover")
    return start(case, this_round, "nothing depends on its log, so it starts clean")


def start_without_survivor(case: Case, this_round: Round) -> Outcome:
    """Nobody can stand in: say so, and let its own process recover the log as soon as it can run."""
    lack = f"WAL of broker {case.node_id} unavailable: no survivor in {zone_name(case)}"
    started = start(case, this_round, f"{lack}; it is started on its own log")
    why_not = f" ({started.reason})" if started.gate == "cannot start" else ""
    return Outcome(started.step, "zone without survivor", f"{lack}; its own start is the only way{why_not}")


def start(case: Case, this_round: Round, reason: str) -> Outcome:
    """Start it, once the dead instance's volume is free and a quick end is far enough behind."""
    instance = case.instance
    if not case.is_wanted:
        return Outcome(gate="not wanted", reason="it is no longer wanted, so nothing starts it")
    if instance is not None and case.is_restarted_in_place and instance.is_stuck:
        return _leave_to_platform(case, instance)
    if _is_volume_in_the_way(case):
        return _release(case)
    if instance is not None and case.proof is None:
        return wait_for_proof(case, this_round)
    if any(each.state in (AdopterState.PENDING, AdopterState.RUNNING) for each in case.adopters):
        return Outcome(gate="volume", reason="an adopter has its volume")
    pause = _pause(instance, this_round) if instance is not None else None
    return pause or Outcome(StartBroker(node_id=case.node_id, reason=reason), reason=reason)


def _leave_to_platform(case: Case, instance: Instance) -> Outcome:
    """Made anew in the same form it would fail the same way, at once instead of after the platform's growing pauses."""
    seen = instance.cannot_start or f"it ends soon after each start: {instance.detail}"
    if instance.revision == case.world.revision:
        gate = "cannot start" if instance.cannot_start else "backoff"
        return Outcome(gate=gate, reason=f"cannot start: {seen}; it is kept, and its kubelet tries again by itself")
    reason = f"cannot start in its form ({seen}), and another one is wanted"
    return Outcome(StartBroker(node_id=case.node_id, reason=reason), reason=reason)


def _is_volume_in_the_way(case: Case) -> bool:
    """What is restarted where it is needs its own volume, and nobody takes it away for that."""
    return case.is_held_by_the_dead and case.key is not None and not case.is_restarted_in_place


def _release(case: Case) -> Outcome:
    assert case.instance is not None
    assert case.proof is not None
    assert case.key is not None
    why = f"the volume is still with the dead instance: {case.proof}"
    return Outcome(ReleaseVolume(key=case.key, holder=case.instance.uid, proof=case.proof, reason=why), reason=why)


def _pause(instance: Instance, this_round: Round) -> Outcome | None:
    """After ends that came soon, starts come later and later."""
    if not instance.quick_ends:
        return None
    policy = this_round.policy
    doublings = min(instance.quick_ends - 1, _DOUBLINGS_MAX)
    pause_s = min(policy.restart_backoff_s * 2**doublings, policy.restart_backoff_max_s)
    left_s = instance.since + pause_s - this_round.now
    if left_s <= 0:
        return None
    times = "once" if instance.quick_ends == 1 else f"{instance.quick_ends} times"
    ended = f"it ended {times} soon after its start: {instance.detail}"
    return Outcome(gate="backoff", reason=f"starts again in {left_s:.0f} s; {ended}")


def wait_for_proof(case: Case, this_round: Round) -> Outcome:
    """Say what is seen, and that it is not enough."""
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


def start_under_brake(case: Case, this_round: Round, braked: str) -> Outcome:
    """Too many failed at once: first it may come back where it was."""
    started = start(case, this_round, f"{braked}, so it is started where it was")
    return replace(started, gate="brake", reason=started.reason)


RESTARTABLE = frozenset({Proof.PROCESS_ENDED, Proof.CONTAINERS_TERMINATED})
"""What is dead may be started again where it was; a dead machine starts nothing."""


__all__ = [
    "RESTARTABLE",
    "is_down",
    "start",
    "start_blindly",
    "start_clean",
    "start_under_brake",
    "start_without_survivor",
    "wait_for_proof",
]
