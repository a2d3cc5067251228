"""Who gets a new partition: spread over racks first, then over their nodes, the least loaded before the others.

A topic is spread evenly even where one node is emptier than the rest: a fresh broker must not get every partition of
the next topic. What is left to choose is drawn from the topic's id, so every replay of the same creation agrees.
"""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A node that may own partitions. `load` counts all it owns, `of_topic` those of the topic in question."""

    node_id: int
    rack: str = ""
    load: int = 0
    of_topic: int = 0


def place(count: int, candidates: Sequence[Candidate], seed: UUID) -> list[int]:
    """The owners of `count` new partitions, in the order of their indexes. Needs at least one candidate.

    Racks are compared by partitions of the topic per node, so that a small rack is not given a big one's share; nodes
    of a rack by partitions of the topic, then by load.
    """
    racks = [_Rack(name, nodes, seed) for name, nodes in _by_rack(candidates).items()]
    heapq.heapify(racks)
    owners = []
    for _ in range(count):
        rack = racks[0]
        owners.append(rack.take())
        heapq.heapreplace(racks, rack)
    return owners


class _Rack:
    """The nodes of one rack, the next to be chosen first."""

    def __init__(self, name: str, nodes: Sequence[Candidate], seed: UUID) -> None:
        self._draw = _draw(seed, f"rack {name}")
        self._size = len(nodes)
        self._of_topic = sum(node.of_topic for node in nodes)
        self._load = sum(node.load for node in nodes)
        self._nodes = [(node.of_topic, node.load, _draw(seed, str(node.node_id)), node.node_id) for node in nodes]
        heapq.heapify(self._nodes)

    def __lt__(self, other: "_Rack") -> bool:
        return self._key() < other._key()

    def take(self) -> int:
        """Give one partition to a node of this rack."""
        of_topic, load, draw, node_id = self._nodes[0]
        heapq.heapreplace(self._nodes, (of_topic + 1, load + 1, draw, node_id))
        self._of_topic += 1
        self._load += 1
        return node_id

    def _key(self) -> tuple[float, float, bytes]:
        return self._of_topic / self._size, self._load / self._size, self._draw


def _by_rack(candidates: Sequence[Candidate]) -> dict[str, list[Candidate]]:
    racks: defaultdict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        racks[candidate.rack].append(candidate)
    return racks


def _draw(seed: UUID, text: str) -> bytes:
    return blake2b(text.encode(), key=seed.bytes, digest_size=8).digest()


__all__ = ["Candidate", "place"]
