"""Partitions whose broker has ended: who serves them from now on (DESIGN 9).

They are spread like new ones, by `cluster.placement`: over racks first, then over brokers, the least loaded before the
others. The new owners see their assignment in the same commit that ends the old one, and open at the next epoch.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from automq_broker.cluster.placement import Candidate, place
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.records import StreamsAssigned
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.topics import is_cordoned

if TYPE_CHECKING:
    from automq_broker.meta.state import State

SERVING: Final = (frozenset({NodeStatus.ACTIVE}),)
"""Heirs of a broker that stopped in order: it may be back sooner than anybody who is not there now."""

SERVING_OR_COMING: Final = (*SERVING, frozenset({NodeStatus.RECOVERING, NodeStatus.FENCED}))
"""Heirs of a dead one, the better ones first: whoever of them is not back in time is rescued and inherited from itself."""


def reassign(state: "State", node_id: NodeId, heirs: Sequence[Collection[NodeStatus]]) -> tuple[StreamsAssigned, ...]:
    """Give away what is assigned to the node: closed streams to heirs, those open elsewhere to whoever has them open.

    What the node itself has open stays its own. Without an heir its closed streams wait for its return.
    """
    orphans: defaultdict[UUID, array[int]] = defaultdict(lambda: array("q"))
    given: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    for stream_id in sorted(stream.stream_id for stream in state.streams.values() if stream.assigned == node_id):
        stream = state.streams[stream_id]
        if not stream.is_open:
            orphans[stream.topic_id].append(stream_id)
        elif stream.owner != node_id:
            given[stream.owner].append(stream_id)
    loads = {heir: state.partition_counts.get(heir, 0) for heir in _heirs(state, node_id, heirs)}
    for topic_id, stream_ids in orphans.items() if loads else ():
        for stream_id, heir in zip(stream_ids, _spread(state, topic_id, len(stream_ids), loads), strict=True):
            given[heir].append(stream_id)
            loads[NodeId(heir)] += 1
    return tuple(StreamsAssigned(node_id=heir, stream_ids=given[heir]) for heir in sorted(given))


def _heirs(state: "State", node_id: NodeId, heirs: Sequence[Collection[NodeStatus]]) -> list[NodeId]:
    """Those of the best status that there is; cordoned ones only if nobody else is left."""
    for statuses in heirs:
        usable = [each for each, node in sorted(state.nodes.items()) if each != node_id and node.status in statuses]
        if usable:
            return [each for each in usable if not is_cordoned(state, each)] or usable
    return []


def _spread(state: "State", topic_id: UUID, count: int, loads: dict[NodeId, int]) -> list[int]:
    own = Counter(state.streams[stream_id].assigned for stream_id in state.topics_by_id[topic_id].streams)
    candidates = [
        Candidate(node_id=heir, rack=state.nodes[heir].rack, load=load, of_topic=own[heir])
        for heir, load in loads.items()
    ]
    return place(count, candidates, topic_id)


__all__ = ["SERVING", "SERVING_OR_COMING", "reassign"]
