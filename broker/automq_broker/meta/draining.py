"""Who takes over what a broker gives up: asked by an operator who drains it, and by the broker itself when it stops."""

import heapq
from collections.abc import Collection

from automq_broker.kernel.errors import Refused
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta import topics
from automq_broker.meta.rows import NO_NODE, NodeStatus
from automq_broker.meta.state import State


def plan_drain(state: State, node_id: NodeId, given_up: Collection[StreamId] = ()) -> dict[NodeId, list[StreamId]]:
    """Who gets which of the streams that are assigned to the node: the ACTIVE brokers with the fewest, evenly.

    Of `given_up`, those are planned too whose next owner has gone before it had them. Brokers of the node's own zone come
    first among equals, so that clients of that zone keep a leader in it. Raises Refused if there is no other broker that
    is ACTIVE and not cordoned.
    """
    streams = _homeless(state, node_id, given_up)
    rack = state.nodes[node_id].rack
    heap = [
        (state.partition_counts.get(other.node_id, 0), other.rack != rack, other.node_id)
        for other in state.nodes.values()
        if other.node_id != node_id
        and other.status is NodeStatus.ACTIVE
        and not topics.is_cordoned(state, other.node_id)
    ]
    if streams and not heap:
        raise Refused(f"broker {node_id} has {len(streams)} partitions and no other broker could serve them")
    heapq.heapify(heap)
    plan: dict[NodeId, list[StreamId]] = {}
    for stream_id in streams:
        load, is_far, target = heap[0]
        plan.setdefault(target, []).append(stream_id)
        heapq.heapreplace(heap, (load + 1, is_far, target))
    return plan


def keeps_partitions(state: State, now_ms: int) -> bool:
    """Whether a broker that stops now is one of all that do (`StopCluster`), and nobody is there to take over."""
    return now_ms < state.stops_until_ms


def _homeless(state: State, node_id: NodeId, given_up: Collection[StreamId]) -> list[StreamId]:
    found = {StreamId(stream.stream_id) for stream in state.streams.values() if stream.assigned == node_id}
    for stream_id in given_up:
        head = state.stream_head(stream_id)
        if head is None or head.owner not in (NO_NODE, node_id):
            continue
        node = state.nodes.get(head.assigned)
        if node is None or node.status is not NodeStatus.ACTIVE:
            found.add(stream_id)
    return sorted(found)


__all__ = ["keeps_partitions", "plan_drain"]
