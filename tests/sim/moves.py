"""Orders of moves, as an administrator or a balancer gives them: which streams go where, and the word to some broker."""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING

from automq_broker.kernel.errors import ClientFault, Refused
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta.commands import AssignStreams
from automq_broker.meta.rows import NodeStatus
from automq_broker.meta.state import State

from sim.clients import TRY_AGAIN
from sim.process import Gone

if TYPE_CHECKING:
    from sim.cluster_world import ClusterWorld

_CALL_TIMEOUT_S = 20.0


def targets(state: State) -> list[NodeId]:
    """Nodes that could take a partition over."""
    return sorted(node.node_id for node in state.nodes.values() if node.status is NodeStatus.ACTIVE)


async def order_move(world: "ClusterWorld", streams: Collection[StreamId], target: NodeId) -> None:
    """Ask some broker for it, which passes it on; whether it is carried out is nobody's promise."""
    process = await world.serving()
    order = AssignStreams(stream_ids=tuple(streams), node_id=target)
    try:
        await process.call(partial(process.control.submit, order), _CALL_TIMEOUT_S)
    except (Gone, TimeoutError, ClientFault, *TRY_AGAIN):
        return


async def order_drain(world: "ClusterWorld", node_id: int, *, is_cancelled: bool) -> bool:
    """Ask some broker; whether it said that it is done."""
    process = await world.serving()
    try:
        await process.call(partial(process.drain, node_id, is_cancelled=is_cancelled), _CALL_TIMEOUT_S)
    except (Gone, TimeoutError, ClientFault, Refused, *TRY_AGAIN):
        return False
    return True


__all__ = ["order_drain", "order_move", "targets"]
