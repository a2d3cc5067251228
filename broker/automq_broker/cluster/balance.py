"""Which partitions to move so that the load is even, and why, or why not. Loads in, a plan out; the same for the same.

Goals in the order of their weight. A goal that is not met is worked on by moves from brokers above the average to ones
below it, each of which brings the two nearer to each other. No move undoes a goal that weighs more: one that is met
stays met, one that is not comes no further from it. So repeated planning over a load that stands still ends.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

MOVES_MAX: Final = 50
_TRIES_MAX: Final = 200
"""Partitions of one broker that are tried for one move, the best fitting first."""


class Goal(StrEnum):
    """What is to be even between brokers."""

    NETWORK_IN = "network-in"
    NETWORK_OUT = "network-out"
    LEADERS = "leaders"


class Node(NamedTuple):
    """A broker. `excluded` says why it neither gives nor gets; empty if it takes part. `unnamed_*` cannot be moved."""

    node_id: int
    rack: str = ""
    unnamed_in: float = 0.0
    unnamed_out: float = 0.0
    excluded: str = ""


class Partition(NamedTuple):
    """A partition at the broker that is to serve it; bytes per second. `stays` says why it is not to be moved."""

    stream_id: int
    name: str
    node_id: int
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    stays: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A goal with its limits.

    A broker is out of range when it is further from the average than `deviation` of it and than `slack`, as long as
    somebody carries more than `floor`. `trivial` is the part of its broker's average partition below which a
    partition is not worth a move, and the part of the average by which a move must bring two brokers nearer.
    """

    goal: Goal
    deviation: float = 0.1
    floor: float = 0.0
    slack: float = 0.0
    trivial: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Aims by weight, and the most moves of one plan."""

    aims: tuple[Aim, ...]
    moves_max: int = MOVES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One partition to another broker."""

    partition: Partition
    target: int
    goal: Goal
    reason: str


class Refusal(NamedTuple):
    """Something that is not done. `kind` stays the same while the figures in `reason` change."""

    subject: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Moves in the order of their use; `is_full` when more would be useful than one plan may hold."""

    moves: tuple[Move, ...]
    refusals: tuple[Refusal, ...]
    is_full: bool = False


def plan(nodes: Sequence[Node], partitions: Sequence[Partition], rules: Rules) -> Plan:
    """The moves that make the load even by `rules`, each partition at most once; and every refusal with its reason."""
    refusals = [Refusal(f"broker {node.node_id}", node.excluded, node.excluded) for node in nodes if node.excluded]
    refusals += _staying(partitions)
    board = _Board([node for node in nodes if not node.excluded], partitions, rules)
    if len(board.nodes) < 2:
        reason = f"{len(board.nodes)} of {len(nodes)} brokers take part, two are needed"
        return Plan(moves=(), refusals=(*refusals, Refusal("all goals", "too few brokers", reason)))
    moves: list[Move] = []
    is_full = False
    for weight, aim in enumerate(rules.aims):
        end = _work_on(board, aim, weight, moves)
        is_full |= end.kind == "full"
        if end.kind != "moved":
            refusals.append(end)
    return Plan(moves=tuple(moves), refusals=tuple(refusals), is_full=is_full)


def _staying(partitions: Iterable[Partition]) -> list[Refusal]:
    """One line per reason, not per partition: there may be very many."""
    counts = Counter(partition.stays for partition in partitions if partition.stays)
    return [Refusal("partitions", why, f"{count} stay: {why}") for why, count in sorted(counts.items())]


def _work_on(board: "_Board", aim: Aim, weight: int, moves: list[Move]) -> Refusal:
    """Add moves for one goal; how it ended."""
    if board.is_met(aim):
        return Refusal(aim.goal, "met", board.why_met(aim))
    while not board.is_met(aim, share=0.5):
        if len(moves) >= board.rules.moves_max:
            reason = f"{len(moves)} moves are the most at once; the rest comes with the next plan"
            return Refusal(aim.goal, "full", reason)
        move = board.best_move(aim, weight)
        if move is None:
            break
        board.apply(move)
        moves.append(move)
    if board.is_met(aim):
        return Refusal(aim.goal, "moved", "")
    return Refusal(aim.goal, "stuck", board.why_stuck(aim))


class _Board:
    """The cluster as it would be after the moves so far."""

    def __init__(self, nodes: Sequence[Node], partitions: Sequence[Partition], rules: Rules) -> None:
        self.nodes = {node.node_id: node for node in sorted(nodes)}
        self.rules = rules
        self._loads: dict[Goal, dict[int, float]] = {
            Goal.NETWORK_IN: {node_id: node.unnamed_in for node_id, node in self.nodes.items()},
            Goal.NETWORK_OUT: {node_id: node.unnamed_out for node_id, node in self.nodes.items()},
            Goal.LEADERS: dict.fromkeys(self.nodes, 0.0),
        }
        self._movable: dict[int, dict[int, Partition]] = {node_id: {} for node_id in self.nodes}
        for partition in sorted(partitions):  # sums of floats depend on their order
            if partition.node_id not in self.nodes:
                continue
            for goal, loads in self._loads.items():
                loads[partition.node_id] += _amount(partition, goal)
            if not partition.stays:
                self._movable[partition.node_id][partition.stream_id] = partition
        self._averages = {goal: sum(loads.values()) / max(1, len(loads)) for goal, loads in self._loads.items()}
        self._by_amount: dict[tuple[Goal, int], list[tuple[float, float, int]]] = {}

    # --- what is met ----------------------------------------------------------------------------------------------

    def is_met(self, aim: Aim, share: float = 1.0) -> bool:
        """Whether every broker is in range; `share` narrows it, so that work that began ends well inside."""
        return all(self._is_in_range(aim, load, share) for load in self._loads[aim.goal].values())

    def _is_in_range(self, aim: Aim, load: float, share: float = 1.0) -> bool:
        average = self._averages[aim.goal]
        if max(load, average) <= aim.floor:
            return True
        return abs(load - average) <= share * max(average * aim.deviation, aim.slack) * (1 + 1e-9)

    def why_met(self, aim: Aim) -> str:
        """The figures of a goal that needs nothing."""
        loads, average = self._loads[aim.goal], self._averages[aim.goal]
        shown = f"brokers carry {_shown(aim.goal, min(loads.values()))} to {_shown(aim.goal, max(loads.values()))}"
        if max(loads.values()) <= aim.floor:
            return f"{shown}; up to {_shown(aim.goal, aim.floor)} nothing is moved"
        allowed = max(average * aim.deviation, aim.slack)
        return f"{shown}; the average of {_shown(aim.goal, average)} give or take {_shown(aim.goal, allowed)} is even"

    def why_stuck(self, aim: Aim) -> str:
        """The figures of a goal that no move brings nearer."""
        loads = self._loads[aim.goal]
        fullest = max(loads, key=lambda node_id: (loads[node_id], -node_id))
        emptiest = min(loads, key=lambda node_id: (loads[node_id], node_id))
        return (
            f"broker {fullest} carries {_shown(aim.goal, loads[fullest])}, broker {emptiest} "
            f"{_shown(aim.goal, loads[emptiest])}; none of the {len(self._movable[fullest])} partitions that may leave "
            f"broker {fullest} makes it better: they carry too much, too little, or belong where they are for other goals"
        )

    # --- what to do -----------------------------------------------------------------------------------------------

    def best_move(self, aim: Aim, weight: int) -> Move | None:
        """The next move for a goal, if there is one: preferably one that undoes no other goal, never a weightier one."""
        weightier = self.rules.aims[:weight]
        others = weightier + self.rules.aims[weight + 1 :]
        for guarded in (others, weightier):
            for source in self._givers(aim):
                for target in self._takers(aim, source):
                    for partition in self._fitting(aim, source, target):
                        if all(self._is_harmless(each, partition, target) for each in guarded):
                            return self._move(aim, partition, target)
        return None

    def apply(self, move: Move) -> None:
        """Carry it out; the partition moves no more in this plan."""
        partition = move.partition
        del self._movable[partition.node_id][partition.stream_id]
        for goal, loads in self._loads.items():
            amount = _amount(partition, goal)
            loads[partition.node_id] -= amount
            loads[move.target] += amount

    def _givers(self, aim: Aim) -> list[int]:
        loads, average = self._loads[aim.goal], self._averages[aim.goal]
        return sorted((each for each in loads if loads[each] > average), key=lambda each: (-loads[each], each))

    def _takers(self, aim: Aim, source: int) -> list[int]:
        """Those below the average, the emptiest first; ones of the source's rack before the others that are as free."""
        loads, average = self._loads[aim.goal], self._averages[aim.goal]
        rack = self.nodes[source].rack

        def key(node_id: int) -> tuple[bool, float, int]:
            is_near = self.nodes[node_id].rack == rack and not self._is_in_range(aim, loads[node_id], 0.5)
            return not is_near, loads[node_id], node_id

        return sorted((each for each in loads if loads[each] < average), key=key)

    def _fitting(self, aim: Aim, source: int, target: int) -> Iterator[Partition]:
        """Partitions whose move brings the two nearer, the one first that fills the smaller of the two gaps best."""
        loads, average = self._loads[aim.goal], self._averages[aim.goal]
        movable = self._movable[source]
        ordered = self._ordered(aim.goal, source)
        wanted = 0.0 if aim.goal is Goal.LEADERS else min(loads[source] - average, average - loads[target])
        least = aim.trivial * loads[source] / max(1, len(movable))
        most = loads[source] - loads[target] - aim.trivial * average
        above = bisect_right(ordered, (wanted,))
        below = above - 1
        for _ in range(min(_TRIES_MAX, len(ordered))):
            is_up = below < 0 or (above < len(ordered) and ordered[above][0] - wanted < wanted - ordered[below][0])
            amount, _, stream_id = ordered[above if is_up else below]
            above, below = (above + 1, below) if is_up else (above, below - 1)
            if stream_id in movable and least <= amount <= most and amount > 0:
                yield movable[stream_id]

    def _ordered(self, goal: Goal, node_id: int) -> list[tuple[float, float, int]]:
        """A broker's partitions by what they add to the goal, the quieter ones first; made once per plan."""
        key = goal, node_id
        if key not in self._by_amount:
            self._by_amount[key] = sorted(
                (_amount(each, goal), each.bytes_in + each.bytes_out, each.stream_id)
                for each in self._movable[node_id].values()
            )
        return self._by_amount[key]

    def _is_harmless(self, aim: Aim, partition: Partition, target: int) -> bool:
        """Whether the goal stays met, or comes no further from it."""
        loads, amount = self._loads[aim.goal], _amount(partition, aim.goal)
        giver, taker = loads[partition.node_id], loads[target]
        if self.is_met(aim):
            return self._is_in_range(aim, giver - amount) and self._is_in_range(aim, taker + amount)
        return amount <= giver - taker

    def _move(self, aim: Aim, partition: Partition, target: int) -> Move:
        loads, goal = self._loads[aim.goal], aim.goal
        reason = (
            f"{goal}: broker {partition.node_id} carries {_shown(goal, loads[partition.node_id])}, broker {target} "
            f"{_shown(goal, loads[target])}, the average is {_shown(goal, self._averages[goal])}; "
            f"{_shown(goal, _amount(partition, goal))} of it move"
        )
        return Move(partition=partition, target=target, goal=goal, reason=reason)


def _amount(partition: Partition, goal: Goal) -> float:
    if goal is Goal.NETWORK_IN:
        return partition.bytes_in
    return partition.bytes_out if goal is Goal.NETWORK_OUT else 1.0


def _shown(goal: Goal, value: float) -> str:
    return f"{value:.4g} partitions" if goal is Goal.LEADERS else f"{value / (1 << 20):.2f} MiB/s"


__all__ = ["MOVES_MAX", "Aim", "Goal", "Move", "Node", "Partition", "Plan", "Refusal", "Rules", "plan"]
