"""Judges the histories of many clients together: is there one log per partition that explains everything they saw?

The anomalies are those of Jepsen's Kafka workload (inconsistent offsets, duplicates, lost writes, non-monotonic and
skipped polls, unseen), and what idempotent producers, committed offsets and a shared clock allow to ask beyond them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from chaos.history import NUMBERS_PER_PRODUCER, Acked, Assigned, Committed, Failed, History, Polled, Role, Sent


class Kind(StrEnum):
    """What can be wrong."""

    INCONSISTENT_OFFSET = "inconsistent offset"
    """Two values at one offset."""
    DUPLICATE = "duplicate"
    """One value at two offsets."""
    PHANTOM = "phantom"
    """A value that nobody sent there."""
    LOST = "lost write"
    """Acknowledged or read once, and not in the log that is left."""
    UNSEEN = "unseen"
    """Acknowledged, and never delivered to a reader or group that ought to have it."""
    NON_MONOTONIC_POLL = "non-monotonic poll"
    """A consumer was given an offset again, or an older one, without a rebalance."""
    SKIPPED_POLL = "skipped poll"
    """A consumer was not given a record between two that it was given, without a rebalance."""
    DISORDER = "out of order"
    """Records of one producer are not in the order in which it sent them."""
    TIME_TRAVEL = "time travel"
    """A record stands before another one that had been acknowledged before the first was sent."""
    OFFSET_WENT_BACK = "committed offset went back"
    """After a rebalance a group began before an offset whose commit had been confirmed."""
    FAILED = "failed"
    """A client was told an error beyond the retriable ones."""


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One thing that must not be."""

    kind: Kind
    partition: int
    detail: str


@dataclass(slots=True)
class _Partition:
    """What everybody together says of one partition."""

    values: dict[int, int] = field(default_factory=dict)
    """By offset."""
    acked: dict[int, float] = field(default_factory=dict)
    """When, by offset."""
    read: dict[str, set[int]] = field(default_factory=dict)
    """Offsets by reader or group."""


class Checker:
    """One run. `check` is all there is; the object only keeps what its steps share."""

    def __init__(self, histories: Iterable[History]) -> None:
        self._histories = list(histories)
        self._found: list[Anomaly] = []
        self._sent: dict[int, Sent] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._partitions: dict[int, _Partition] = {}

    def check(self) -> list[Anomaly]:
        """Every anomaly, in no particular order; an empty list is a proof that one log explains all histories."""
        for history in self._histories:
            for event in history.events:
                if isinstance(event, Sent):
                    self._sent[event.value] = event
        for history in self._histories:
            self._gather(history)
        for history in self._histories:
            self._check_polls(history)
        for number, partition in self._partitions.items():
            self._check_lost(number, partition)
            self._check_unseen(number, partition)
            self._check_order(number, partition)
        self._check_commits()
        return self._found

    def _report(self, kind: Kind, partition: int, detail: str) -> None:
        self._found.append(Anomaly(kind, partition, detail))

    def _partition(self, number: int) -> _Partition:
        return self._partitions.setdefault(number, _Partition())

    # --- the log that they describe together

    def _gather(self, history: History) -> None:
        for event in history.events:
            match event:
                case Acked():
                    self._place(event.partition, event.offset, event.value, history.name)
                    self._partition(event.partition).acked[event.offset] = event.at
                case Polled():
                    read = self._partition(event.partition).read.setdefault(history.group or history.name, set())
                    for offset, value in zip(event.offsets, event.values, strict=True):
                        self._place(event.partition, offset, value, history.name)
                        read.add(offset)
                case Failed():
                    self._report(Kind.FAILED, event.partition, f"{history.name}: {event.error}")
                case _:
                    continue

    def _place(self, number: int, offset: int, value: int, witness: str) -> None:
        values = self._partition(number).values
        known = values.setdefault(offset, value)
        if known != value:
            detail = f"offset {offset} holds {_name(known)}, and for {witness} {_name(value)}"
            self._report(Kind.INCONSISTENT_OFFSET, number, detail)
        place = self._places.setdefault(value, (number, offset))
        if place != (number, offset):
            self._report(Kind.DUPLICATE, number, f"{_name(value)} is at {place[1]} of {place[0]} and at {offset}")
        sent = self._sent.get(value)
        if sent is None or sent.partition != number:
            self._report(Kind.PHANTOM, number, f"{witness} found {_name(value)} at {offset}, which nobody sent there")

    # --- each consumer by itself

    def _check_polls(self, history: History) -> None:
        """Between two assignments the offsets of a partition go up without leaving any record out."""
        begin = {} if history.role is Role.MEMBER else dict.fromkeys(self._partitions, -1)
        last = dict(begin)
        for event in history.events:
            if isinstance(event, Assigned):
                last = dict(begin)
            elif isinstance(event, Polled):
                for offset in event.offsets:
                    before = last.get(event.partition)
                    self._check_step(history.name, event.partition, before, offset)
                    last[event.partition] = offset if before is None else max(before, offset)

    def _check_step(self, name: str, number: int, last: int | None, offset: int) -> None:
        if last is None:
            return
        if offset <= last:
            self._report(Kind.NON_MONOTONIC_POLL, number, f"{name} was given {offset} after {last}")
            return
        values = self._partition(number).values
        left_out = [between for between in range(last + 1, offset) if between in values]
        if left_out:
            self._report(Kind.SKIPPED_POLL, number, f"{name} was given {offset} after {last}, not {left_out[0]}")

    # --- each partition by itself

    def _check_lost(self, number: int, partition: _Partition) -> None:
        """What is known to have been there must be in the log that is left; without a last reader, below what was read."""
        last_readers = [history.name for history in self._histories if history.role is Role.LAST]
        if last_readers:
            left = set().union(*(partition.read.get(name, set()) for name in last_readers))
            lost = partition.values.keys() - left
        else:
            read = set().union(*partition.read.values())
            lost = {offset for offset in partition.acked if offset < max(read, default=0)} - read
        for offset in sorted(lost):
            self._report(Kind.LOST, number, f"{_name(partition.values[offset])} at {offset} is gone")

    def _check_unseen(self, number: int, partition: _Partition) -> None:
        """At the end everybody who reads has been given everything that was acknowledged."""
        for name in sorted({each.group or each.name for each in self._histories if each.role is not Role.PRODUCER}):
            unseen = sorted(partition.acked.keys() - partition.read.get(name, set()))
            if unseen:
                detail = f"{name} was never given {len(unseen)} acknowledged records, the first at {unseen[0]}"
                self._report(Kind.UNSEEN, number, detail)

    def _check_order(self, number: int, partition: _Partition) -> None:
        newest: dict[int, int] = {}
        latest_sent = (0.0, -1)
        for offset in sorted(partition.values):
            value = partition.values[offset]
            producer = value // NUMBERS_PER_PRODUCER
            if value <= newest.get(producer, -1):
                self._report(Kind.DISORDER, number, f"{_name(value)} at {offset} is behind {_name(newest[producer])}")
            newest[producer] = max(value, newest.get(producer, -1))
            if offset in partition.acked and partition.acked[offset] < latest_sent[0]:
                detail = f"the record at {latest_sent[1]} was sent after the one at {offset} had been acknowledged"
                self._report(Kind.TIME_TRAVEL, number, detail)
            if value in self._sent:
                latest_sent = max(latest_sent, (self._sent[value].at, offset))

    # --- groups

    def _check_commits(self) -> None:
        """A member begins no earlier than any offset whose commit was confirmed before it got the partition."""
        for group in sorted({history.group for history in self._histories if history.role is Role.MEMBER}):
            members = [history for history in self._histories if history.group == group]
            commits = [event for each in members for event in each.events if isinstance(event, Committed)]
            for history in members:
                for assigned, partition, offset in _beginnings(history):
                    before = [each for each in commits if each.partition == partition and each.at < assigned]
                    highest = max((each.offset for each in before), default=0)
                    if offset < highest:
                        detail = f"{history.name} began at {offset}; {group} had committed {highest}"
                        self._report(Kind.OFFSET_WENT_BACK, partition, detail)


def _beginnings(history: History) -> Iterator[tuple[float, int, int]]:
    """When each assignment came, and the first offset that each partition gave after it."""
    assigned = 0.0
    seen: set[int] = set()
    for event in history.events:
        if isinstance(event, Assigned):
            assigned, seen = event.at, set()
        elif isinstance(event, Polled) and event.partition not in seen and event.offsets:
            seen.add(event.partition)
            yield assigned, event.partition, event.offsets[0]


def _name(value: int) -> str:
    producer, number = divmod(value, NUMBERS_PER_PRODUCER)
    return f"record {number} of producer {producer}"


def check(histories: Iterable[History]) -> list[Anomaly]:
    """See Checker.check."""
    return Checker(histories).check()


__all__ = ["Anomaly", "Checker", "Kind", "check"]
