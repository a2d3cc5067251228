"""The cluster's metadata as the admin API shows it: a state in, models of the contract out. Decides nothing.

Counting looks at every stream once (about 0.2 us each), so the pages are for people and operators, not for hot loops.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from automq_broker.contract import admin
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.rows import NodeRow, NodeStatus, PartitionRow, ResourceType, TopicRow
from automq_broker.meta.state import State
from automq_broker.meta.tables import Stream
from automq_broker.meta.topics import is_cordoned
from automq_broker.wire.codes import ErrorCode


@dataclass(slots=True)
class Tally:
    """What one look at all streams finds."""

    total: int = 0
    open: int = 0
    moving: int = 0
    assigned_to: dict[int, int] = field(default_factory=dict)
    open_at: dict[int, int] = field(default_factory=dict)


def tally(state: State) -> Tally:
    """Count streams by who is to serve them and who has them open."""
    found = Tally()
    for stream in state.streams.values():
        found.total += 1
        found.assigned_to[stream.assigned] = found.assigned_to.get(stream.assigned, 0) + 1
        if stream.is_open:
            found.open += 1
            found.open_at[stream.owner] = found.open_at.get(stream.owner, 0) + 1
        found.moving += not _is_settled(stream)
    return found


def cluster(state: State, answered_by: int, controller: admin.Controller) -> admin.Cluster:
    """GET /v1/cluster."""
    found = tally(state)
    statuses = [node.status for node in state.nodes.values()]
    return admin.Cluster(
        cluster_id=state.cluster_id,
        answered_by=answered_by,
        controller=controller,
        brokers={
            admin.BrokerStatus(status.name): statuses.count(status) for status in NodeStatus if status in statuses
        },
        topics=len(state.topic_ids),
        partitions=found.total,
        partitions_open=found.open,
        partitions_served=sum(
            count
            for node_id, count in found.open_at.items()
            if (node := state.nodes.get(NodeId(node_id))) is not None and node.status is NodeStatus.ACTIVE
        ),
        partitions_moving=found.moving,
        recoveries=statuses.count(NodeStatus.RESCUING),
        configs=dict(state.configs(ResourceType.BROKER, "")),
    )


def brokers(state: State, load_of: Callable[[NodeId], admin.Load | None]) -> admin.Brokers:
    """GET /v1/brokers."""
    found = tally(state)
    rows = sorted(state.nodes.values(), key=lambda node: node.node_id)
    return admin.Brokers(brokers=tuple(_broker(state, node, found, load_of(node.node_id)) for node in rows))


def _broker(state: State, node: NodeRow, found: Tally, load: admin.Load | None) -> admin.Broker:
    return admin.Broker(
        node_id=node.node_id,
        status=admin.BrokerStatus(node.status.name),
        broker_epoch=node.broker_epoch,
        rack=node.rack,
        endpoints=tuple(
            admin.Endpoint(
                listener=each.listener, host=each.host, port=each.port, security_protocol=each.security_protocol
            )
            for each in node.endpoints
        ),
        volume_uuid=node.volume.uuid,
        volume_handle=node.volume.handle,
        is_clean=node.is_clean,
        is_cordoned=is_cordoned(state, node.node_id),
        partitions_assigned=found.assigned_to.get(node.node_id, 0),
        partitions_open=found.open_at.get(node.node_id, 0),
        rescue=node.rescue if node.status is NodeStatus.RESCUING else None,
        load=load,
    )


def partitions(state: State, *, after: str = "", limit: int = admin.PAGE_ROWS_MAX) -> admin.Partitions:
    """GET /v1/partitions: up to `limit` rows behind the row named `after` (topic/number). Raises ClientFault."""
    rows = list(islice(_rows_after(state, *_cursor(after)), limit + 1))
    found = tuple(_partition(state, topic, row) for topic, row in rows[:limit])
    last = found[-1] if len(rows) > limit else None
    return admin.Partitions(partitions=found, next=f"{last.topic}/{last.partition}" if last else None)


def _cursor(after: str) -> tuple[str, int]:
    if not after:
        return "", -1
    topic, slash, number = after.rpartition("/")
    if not slash or not (number.isascii() and number.isdigit()) or len(number) > 9:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"after: {after!r} is no row's name; it is topic/number")
    return topic, int(number)


def _rows_after(state: State, topic_name: str, index: int) -> Iterator[tuple[TopicRow, PartitionRow]]:
    for name in sorted(each for each in state.topic_ids if each >= topic_name):
        topic = state.topic(name)
        assert topic is not None
        yield from ((topic, row) for row in topic.partitions[index + 1 if name == topic_name else 0 :])


def _partition(state: State, topic: TopicRow, row: PartitionRow) -> admin.Partition:
    stream = state.streams[row.stream_id]
    return admin.Partition(
        topic=topic.name,
        partition=row.index,
        stream_id=row.stream_id,
        assigned=row.owner,
        owner=stream.owner if stream.is_open else None,
        leader_epoch=stream.epoch,
        start_offset=stream.start_offset,
        committed_end=stream.committed_end,
    )


def moves(state: State) -> admin.Moves:
    """GET /v1/moves."""
    unsettled = [stream for stream in state.streams.values() if not _is_settled(stream)]
    return admin.Moves(
        moves=tuple(_move(state, stream) for stream in unsettled[: admin.PAGE_ROWS_MAX]), total=len(unsettled)
    )


def _is_settled(stream: Stream) -> bool:
    return stream.is_open and stream.owner == stream.assigned


def _move(state: State, stream: Stream) -> admin.Move:
    topic = state.topics_by_id.get(stream.topic_id)
    return admin.Move(
        topic=topic.name if topic else str(stream.topic_id),
        partition=stream.partition,
        source=stream.owner if stream.is_open else None,
        target=stream.assigned,
        stage=admin.MoveStage.CLOSING if stream.is_open else admin.MoveStage.OPENING,
        reason=_why_unsettled(state, stream),
    )


def _why_unsettled(state: State, stream: Stream) -> str:
    """Which broker is waited for, and why that may take longer than a moment."""
    waited_for = NodeId(stream.owner if stream.is_open else stream.assigned)
    node = state.nodes.get(waited_for)
    verb = "upload and close it" if stream.is_open else "open it"
    if node is None:
        return f"broker {waited_for}, which is to {verb}, is not registered"
    if node.status is NodeStatus.ACTIVE:
        return f"broker {waited_for} is to {verb}"
    return f"broker {waited_for}, which is to {verb}, is {node.status.name}"


def recoveries(state: State) -> admin.Recoveries:
    """GET /v1/recoveries."""
    found = tally(state)
    dead = sorted(
        (node for node in state.nodes.values() if node.status is NodeStatus.RESCUING), key=lambda node: node.node_id
    )
    return admin.Recoveries(
        recoveries=tuple(
            admin.Recovery(
                node_id=node.node_id,
                broker_epoch=node.broker_epoch,
                rescue=node.rescue,
                rack=node.rack,
                volume_uuid=node.volume.uuid,
                volume_handle=node.volume.handle,
                partitions_left=found.open_at.get(node.node_id, 0),
            )
            for node in dead
        )
    )


__all__ = [
    "Tally",
    "brokers",
    "cluster",
    "moves",
    "partitions",
    "recoveries",
    "tally",
]
