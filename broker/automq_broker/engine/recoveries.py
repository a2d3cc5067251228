"""How long brokers are out of service, stage by stage, as this process sees the metadata change.

The stages are the statuses between a broker's last service and its next: FENCED while it is silent, RESCUING while an
adopter drains its log, RECOVERING while it starts on that log itself. Each process watches for itself and starts from
nothing: a stage that it did not see begin counts from when it first saw it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from automq_broker.kernel.ids import NodeId
from automq_broker.meta.records import (
    NodeForgotten,
    NodeRegistered,
    NodeRescued,
    NodeStatusChanged,
    Record,
    VolumeGivenUp,
)
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.state import State
from automq_broker.ports import Clock, Metadata

STAGES: Final = (NodeStatus.FENCED, NodeStatus.RESCUING, NodeStatus.RECOVERING)
_OF_NODES: Final = (NodeRegistered, NodeStatusChanged, NodeRescued, VolumeGivenUp, NodeForgotten)


@dataclass(slots=True)
class Spent:
    """Stages of one kind that ended, and their seconds together."""

    times: int = 0
    seconds: float = 0.0


class Recoveries:
    """One per process; told of every commit, it keeps a time per broker that is out of service."""

    def __init__(self, metadata: Metadata, clock: Clock) -> None:
        self._clock = clock
        self._metadata = metadata
        self._since: dict[NodeId, tuple[NodeStatus, float]] = {}
        self.ended = {stage: Spent() for stage in STAGES}
        self._look(metadata.state)
        metadata.subscribe(self._applied, self._look)

    def under_way(self) -> list[tuple[NodeId, NodeStatus, float]]:
        """Brokers out of service, their stages, and the seconds in these so far."""
        now = self._clock.monotonic()
        return [(node_id, stage, now - since) for node_id, (stage, since) in sorted(self._since.items())]

    def _applied(self, records: Sequence[Record]) -> None:
        if any(isinstance(record, _OF_NODES) for record in records):
            self._look(self._metadata.state)

    def _look(self, state: State) -> None:
        now = self._clock.monotonic()
        found = {node_id: node.status for node_id, node in state.nodes.items() if node.status in STAGES}
        for node_id, (stage, since) in list(self._since.items()):
            if found.get(node_id) is not stage:
                del self._since[node_id]
                self.ended[stage].times += 1
                self.ended[stage].seconds += now - since
        for node_id, stage in found.items():
            self._since.setdefault(node_id, (stage, now))


__all__ = ["STAGES", "Recoveries", "Spent"]
