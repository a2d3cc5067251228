"""How far each recovery is, as it is remembered: lost, it costs time and nothing else."""

from dataclasses import replace
from typing import Final

from automq_operator.decide.cases import Case, entered, is_without_machine
from automq_operator.decide.rounds import Outcome
from automq_operator.world import Recovery, Stage

KEPT_DONE: Final = 10
"""Recoveries that are remembered after they are done."""


def remembered(before: tuple[Recovery, ...], progress: list[Recovery], now: float) -> tuple[Recovery, ...]:
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


def progress_of(case: Case, stage: Stage | None, outcome: Outcome, now: float) -> Recovery | None:
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
        free_since=(before.free_since or now) if is_without_machine(case) else None,
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


__all__ = ["KEPT_DONE", "progress_of", "remembered"]
