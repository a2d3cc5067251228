"""Figures out of histories: how long partitions could not be written after a fault, and how long producers stood still."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from chaos.history import Acked, History, Sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A record that was acknowledged."""

    sent: float
    acked: float
    partition: int


def answers(histories: Iterable[History]) -> list[Answer]:
    """Every acknowledged record, by the time of its acknowledgement."""
    found = [answer for history in histories for answer in _of(history)]
    return sorted(found, key=lambda answer: answer.acked)


def _of(history: History) -> Iterator[Answer]:
    sent: dict[int, float] = {}
    for event in history.events:
        if isinstance(event, Sent):
            sent[event.value] = event.at
        elif isinstance(event, Acked):
            yield Answer(sent[event.value], event.at, event.partition)


def recovery_s(found: list[Answer], since: float) -> float | None:
    """Seconds from `since` until every partition had acknowledged a record that was sent after it; None if one never did."""
    first: dict[int, float] = {}
    for answer in found:
        if answer.sent >= since:
            first.setdefault(answer.partition, answer.acked)
    if first.keys() != {answer.partition for answer in found}:
        return None
    return max(first.values(), default=since) - since


def stall_s(found: list[Answer], begin: float, end: float) -> float:
    """The longest time within [begin, end] in which some partition acknowledged nothing."""
    longest = 0.0
    for partition in {answer.partition for answer in found}:
        acks = [answer.acked for answer in found if answer.partition == partition and begin <= answer.acked <= end]
        longest = max(longest, max((b - a for a, b in pairwise([begin, *acks, end])), default=0.0))
    return longest


__all__ = ["Answer", "answers", "recovery_s", "stall_s"]
