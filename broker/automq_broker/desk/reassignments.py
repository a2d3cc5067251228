"""AlterPartitionReassignments (key 45), versions 0-1, and ListPartitionReassignments (key 46), version 0 (KIP-455).

Checked: unknown topics and partitions (UNKNOWN_TOPIC_OR_PARTITION), replica lists that are empty, name a broker twice or
one that is not registered (INVALID_REPLICA_ASSIGNMENT), another number of replicas where the request forbids one (v1,
INVALID_REPLICATION_FACTOR), a cancel (null list) where nothing moves (NO_REASSIGNMENT_IN_PROGRESS).
Ours: data is in the bucket, so a reassignment is a move of leadership. The first live broker of the list becomes the
owner, the others are not kept: a partition has one replica, and is described with one. The present owner uploads and
closes the partition, the new one opens it; until it is closed the move is listed, and can be cancelled.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import check_replicas, first_capable
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId, StreamId
from automq_broker.meta.commands import AssignStreams
from automq_broker.meta.rows import PartitionRow
from automq_broker.wire.apis.k45_alter_partition_reassignments import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    ReassignablePartition,
    ReassignablePartitionResponse,
    ReassignableTopicResponse,
)
from automq_broker.wire.apis.k46_list_partition_reassignments import (
    ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse,
    OngoingPartitionReassignment,
    OngoingTopicReassignment,
)
from automq_broker.wire.codes import ErrorCode

_REPLICATION_FACTOR = 1


async def alter(
    request: AlterPartitionReassignmentsRequest, context: RequestContext
) -> AlterPartitionReassignmentsResponse:
    """Answered when the new owners are committed; the moves themselves take their time and are listed meanwhile."""
    if not request.topics:
        return AlterPartitionReassignmentsResponse()
    response = AlterPartitionReassignmentsResponse(
        allow_replication_factor_change=request.allow_replication_factor_change, error_message=None
    )
    wanted: dict[StreamId, tuple[NodeId, ReassignablePartitionResponse]] = {}
    for topic in request.topics:
        rows = ReassignableTopicResponse(name=topic.name)
        response.responses.append(rows)
        for want in topic.partitions:
            row = ReassignablePartitionResponse(partition_index=want.partition_index, error_message=None)
            rows.partitions.append(row)
            try:
                stream_id, target = _decided(topic.name, want, request.allow_replication_factor_change, context)
                wanted[stream_id] = target, row  # named twice, the last one holds
            except ClientFault as fault:
                row.error_code, row.error_message = fault.code, fault.message or None
    for target in dict.fromkeys(target for target, _ in wanted.values()):
        await _move(target, {key: row for key, (node, row) in wanted.items() if node == target}, context)
    return response


async def _move(target: NodeId, rows: dict[StreamId, ReassignablePartitionResponse], context: RequestContext) -> None:
    """All that go to one broker in one commit."""
    try:
        await context.desk.submit(AssignStreams(stream_ids=tuple(rows), node_id=target))
    except ClientFault as fault:
        for row in rows.values():
            row.error_code, row.error_message = fault.code, fault.message or None


def _decided(
    topic: str, want: ReassignablePartition, may_change_count: bool, context: RequestContext
) -> tuple[StreamId, NodeId]:
    """The stream and who is to have it; raises ClientFault."""
    row = _partition(topic, want.partition_index, context)
    if want.replicas is None:
        source = _moving_from(row, context)
        if source is None:
            raise ClientFault(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS)
        return row.stream_id, source
    check_replicas(want.replicas, context)
    if not may_change_count and len(want.replicas) != _REPLICATION_FACTOR:
        raise ClientFault(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The replication factor is changed from {_REPLICATION_FACTOR} to {len(want.replicas)}",
        )
    return row.stream_id, first_capable(want.replicas, context)


def _partition(topic: str, index: int, context: RequestContext) -> PartitionRow:
    found = context.desk.metadata.state.topic(topic)
    if found is None:
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {topic}.")
    if not 0 <= index < len(found.partitions):
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {topic}:{index}.")
    return found.partitions[index]


def _moving_from(row: PartitionRow, context: RequestContext) -> NodeId | None:
    """Who still has a partition open that is assigned to somebody else; None if it does not move."""
    head = context.desk.metadata.state.stream_head(row.stream_id)
    return head.owner if head is not None and head.is_open and head.owner != row.owner else None


def list_ongoing(
    request: ListPartitionReassignmentsRequest, context: RequestContext
) -> ListPartitionReassignmentsResponse:
    """Moves whose partition is not closed yet: of all topics (null), or of the partitions asked for."""
    state = context.desk.metadata.state
    if request.topics is None:
        wanted = [(topic, topic.partitions) for topic in sorted(state.topics(), key=lambda topic: topic.name)]
    else:
        asked = [(state.topic(topic.name), topic.partition_indexes) for topic in request.topics]
        wanted = [
            (topic, tuple(topic.partitions[each] for each in indexes if 0 <= each < len(topic.partitions)))
            for topic, indexes in asked
            if topic is not None
        ]
    response = ListPartitionReassignmentsResponse(error_message=None)
    for topic, rows in wanted:
        found = [_ongoing(row, source) for row in rows if (source := _moving_from(row, context)) is not None]
        if found:
            response.topics.append(OngoingTopicReassignment(name=topic.name, partitions=found))
    return response


def _ongoing(row: PartitionRow, source: NodeId) -> OngoingPartitionReassignment:
    return OngoingPartitionReassignment(
        partition_index=row.index,
        replicas=[row.owner, source],
        adding_replicas=[row.owner],
        removing_replicas=[source],
    )


__all__ = ["alter", "list_ongoing"]
