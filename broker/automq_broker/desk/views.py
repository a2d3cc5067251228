"""How the metadata looks to a client: live brokers on its listener, partitions with their leaders.

There is one copy of the data, so a partition's replicas and in-sync replicas are its owner alone. A partition whose
stream is not open (just created, moving, its broker dead) has no leader: LEADER_NOT_AVAILABLE, and clients ask again.
"""

from dataclasses import dataclass

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import NodeRow, NodeStatus, PartitionRow, StreamStatus, TopicRow
from automq_broker.wire.codes import ErrorCode

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class LiveBroker:
    """A broker that clients of one listener can reach."""

    node_id: NodeId
    host: str
    port: int
    rack: str | None


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition in an answer; `error_code` is LEADER_NOT_AVAILABLE when nobody serves it."""

    index: int
    error_code: int
    leader_id: int
    leader_epoch: int
    replicas: list[int]


def live_brokers(context: RequestContext, *, include_fenced: bool = False) -> list[tuple[LiveBroker, bool]]:
    """(broker, is fenced) by node id; brokers that do not listen where the client came in are left out."""
    found = []
    for _, node in sorted(context.desk.control.state.nodes.items()):
        is_fenced = node.status is not NodeStatus.ACTIVE
        if node.status is NodeStatus.STOPPED or (is_fenced and not include_fenced):
            continue
        broker = _broker(node, context)
        if broker is not None:
            found.append((broker, is_fenced))
    return found


def _broker(node: NodeRow, context: RequestContext) -> LiveBroker | None:
    for endpoint in node.endpoints:
        if endpoint.listener == context.listener:
            return LiveBroker(node.node_id, endpoint.host, endpoint.port, node.rack or None)
    return None


def partition_view(row: PartitionRow, context: RequestContext) -> PartitionView:
    """Leader and epoch of one partition, as the metadata has them now."""
    state = context.desk.control.state
    stream = state.stream(row.stream_id)
    node = state.nodes.get(row.owner)
    is_served = (
        stream is not None
        and stream.status is StreamStatus.OPEN
        and node is not None
        and node.status is NodeStatus.ACTIVE
    )
    epoch = -1 if stream is None else max(stream.epoch, 0)
    if not is_served:
        return PartitionView(row.index, ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER, epoch, [row.owner])
    return PartitionView(row.index, ErrorCode.NONE, row.owner, epoch, [row.owner])


def controller_id(context: RequestContext) -> int:
    """The broker that clients send admin calls to: any live one serves them, so they stay where they are."""
    return context.desk.settings.node_id


def is_served(topic: TopicRow, context: RequestContext) -> bool:
    """Whether every partition of the topic has a leader."""
    return all(partition_view(row, context).leader_id != NO_LEADER for row in topic.partitions)


__all__ = ["NO_LEADER", "LiveBroker", "PartitionView", "controller_id", "is_served", "live_brokers", "partition_view"]
