"""Nodes that are late, as the controller sees them, and what is to become of them."""

from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

from automq_broker.engine.metadata_service import MetadataService
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import Command, FenceNode, NodeStopped, RescueNode
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.state import State


def late_nodes(
    state: State, service: MetadataService, now: float, rng: Random
) -> Iterator[tuple[tuple[int, int], Command[Any], str]]:
    """(node id, broker epoch), the command, and why; to be asked several times per session.

    A silent node is fenced until it speaks. One that registered and never came to serve loses its epoch for good. One that
    stopped, kept its partitions and does not come back while others serve gives them to those.
    """
    for node_id, epoch in service.sessions.expired(_in(state, NodeStatus.ACTIVE), now):
        fence = FenceNode(node_id=NodeId(node_id), broker_epoch=BrokerEpoch(epoch))
        yield (node_id, epoch), fence, "fenced reason=silent"
    for node_id, epoch in service.recoveries.expired(_in(state, NodeStatus.RECOVERING), now):
        key = UUID(int=rng.getrandbits(128))
        rescue = RescueNode(node_id=NodeId(node_id), expected_epoch=BrokerEpoch(epoch), rescue=key)
        yield (node_id, epoch), rescue, "given up reason=recovering-too-long"
    for node_id, epoch in service.returns.expired(_kept(state), now):
        is_clean = state.nodes[NodeId(node_id)].is_clean
        stopped = NodeStopped(node_id=NodeId(node_id), broker_epoch=BrokerEpoch(epoch), clean=is_clean)
        yield (node_id, epoch), stopped, "inherited reason=stopped-and-not-back"


def _kept(state: State) -> list[tuple[int, int]]:
    """Stopped nodes that somebody who serves could inherit from."""
    if not _in(state, NodeStatus.ACTIVE):
        return []
    return [
        (node_id, epoch) for node_id, epoch in _in(state, NodeStatus.STOPPED) if state.partition_counts.get(node_id)
    ]


def _in(state: State, status: NodeStatus) -> list[tuple[int, int]]:
    return [(int(node.node_id), int(node.broker_epoch)) for node in state.nodes.values() if node.status is status]


__all__ = ["late_nodes"]
