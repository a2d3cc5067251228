"""How the metadata looks to a client: live brokers on its listener, partitions with their leaders.

There is one copy of the data, so a partition's replicas and in-sync replicas are its owner alone. While a partition
moves, whoever has it open leads it; once it is closed its next owner does, at the epoch at which it will open it, so that
clients are there when it does. A partition that nobody serves or will serve (just created, its broker dead) has no
leader: LEADER_NOT_AVAILABLE, and clients ask again.
"""

from dataclasses import dataclass

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import NEVER_OPENED, NO_NODE, NodeRow, NodeStatus, PartitionRow, TopicRow
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
    for _, node in sorted(context.desk.metadata.state.nodes.items()):
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
    state = context.desk.metadata.state
    head = state.stream_head(row.stream_id)
    if head is None:
        return PartitionView(row.index, ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER, -1, [row.owner])
    is_moving = head.owner == NO_NODE and head.epoch != NEVER_OPENED
    leader, epoch = (row.owner, head.epoch + 1) if is_moving else (head.owner, max(head.epoch, 0))
    node = state.nodes.get(leader)
    if node is None or node.status is not NodeStatus.ACTIVE:
        return PartitionView(row.index, ErrorCode.LEADER_NOT_AVAILABLE, NO_LEADER, epoch, [row.owner])
    return PartitionView(row.index, ErrorCode.NONE, leader, epoch, [leader])


def controller_id(context: RequestContext) -> int:
    """The broker that clients send admin calls to: any live one serves them, so they stay where they are.

    A broker that is fenced names another one, since clients do not find it among the brokers that it lists.
    """
    own = context.desk.settings.node_id
    live = [broker.node_id for broker, _ in live_brokers(context)]
    return own if own in live or not live else live[0]


def check_replicas(broker_ids: list[int], context: RequestContext) -> None:
    """A list of replicas that somebody chose: at least one, none twice, all registered. Raises ClientFault."""
    nodes = context.desk.metadata.state.nodes
    unknown = [each for each in broker_ids if each not in nodes]
    reason = ""
    if not broker_ids:
        reason = "The manual partition assignment includes an empty replica list."
    elif unknown:
        reason = f"The manual partition assignment includes broker {unknown[0]}, but no such broker is registered."
    elif len(set(broker_ids)) != len(broker_ids):
        twice = next(each for each in sorted(broker_ids) if broker_ids.count(each) > 1)
        reason = f"The manual partition assignment includes the broker {twice} more than once."
    if reason:
        raise ClientFault(ErrorCode.INVALID_REPLICA_ASSIGNMENT, reason)


def first_live(broker_ids: list[int], context: RequestContext) -> NodeId:
    """The owner that a list of replicas asks for: its first live broker. Raises ClientFault if none lives."""
    found = _first(broker_ids, (NodeStatus.ACTIVE,), context)
    if found is None:
        raise ClientFault(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"All brokers of the manual partition assignment {broker_ids} are fenced or not running.",
        )
    return found


def first_capable(broker_ids: list[int], context: RequestContext) -> NodeId:
    """As `first_live`, or else the first that is only silent or starting: it may own what it will serve later."""
    found = _first(broker_ids, (NodeStatus.ACTIVE,), context)
    if found is None:
        found = _first(broker_ids, (NodeStatus.FENCED, NodeStatus.RECOVERING), context)
    if found is None:
        raise ClientFault(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"None of the brokers {broker_ids} is running.")
    return found


def _first(broker_ids: list[int], statuses: tuple[NodeStatus, ...], context: RequestContext) -> NodeId | None:
    nodes = context.desk.metadata.state.nodes
    return next((NodeId(each) for each in broker_ids if nodes[NodeId(each)].status in statuses), None)


def is_served(topic: TopicRow, context: RequestContext) -> bool:
    """Whether every partition of the topic has a leader; those of this broker must be ready to take batches."""
    return all(
        partition_view(row, context).leader_id != NO_LEADER
        and (row.owner != context.desk.settings.node_id or context.desk.engine.partition_of(row.stream_id) is not None)
        for row in topic.partitions
    )


__all__ = [
    "NO_LEADER",
    "LiveBroker",
    "PartitionView",
    "check_replicas",
    "controller_id",
    "first_capable",
    "first_live",
    "is_served",
    "live_brokers",
    "partition_view",
]
