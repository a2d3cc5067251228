"""DescribeTopicPartitions (key 75), version 0 (KIP-966).

Checked: unknown and invalid names; the partition limit with its cursor (topics in name order; INVALID_REQUEST if the
cursor's partition is negative or its topic not among those asked for). An empty list means all topics.
Ours: eligible leader replicas do not exist with a single durable copy: both lists are empty.
"""

from automq_broker.desk import operations
from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import partition_view
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.rows import TopicRow
from automq_broker.meta.topics import check_name
from automq_broker.wire.apis.k75_describe_topic_partitions import (
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponseCursor,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)
from automq_broker.wire.codes import ErrorCode

_PARTITIONS_MAX = 2000


def handle(request: DescribeTopicPartitionsRequest, context: RequestContext) -> DescribeTopicPartitionsResponse:
    """Topics in name order from the cursor on, up to the limit of partitions."""
    cursor = request.cursor
    asked = {topic.name for topic in request.topics}
    if cursor is not None and (cursor.partition_index < 0 or (asked and cursor.topic_name not in asked)):
        rows = [_refused(topic.name, ErrorCode.INVALID_REQUEST) for topic in request.topics]
        return DescribeTopicPartitionsResponse(topics=rows)
    state = context.desk.metadata.state
    names = sorted(asked or {topic.name for topic in state.topics()})
    if cursor is not None:
        names = [name for name in names if name >= cursor.topic_name]
    left = max(1, min(request.response_partition_limit, _PARTITIONS_MAX))
    response = DescribeTopicPartitionsResponse()
    for name in names:
        topic = state.topic(name)
        if topic is None:
            response.topics.append(_unknown(name))
            continue
        first = cursor.partition_index if cursor is not None and name == cursor.topic_name else 0
        if left == 0:
            response.next_cursor = DescribeTopicPartitionsResponseCursor(topic_name=name, partition_index=first)
            break
        row = _topic(topic, first, left, context)
        response.topics.append(row)
        left -= len(row.partitions)
        if first + len(row.partitions) < len(topic.partitions):
            response.next_cursor = DescribeTopicPartitionsResponseCursor(
                topic_name=name, partition_index=first + len(row.partitions)
            )
            break
    return response


def _unknown(name: str) -> DescribeTopicPartitionsResponseTopic:
    try:
        check_name(name)
    except ClientFault as fault:
        row = _refused(name, fault.code)
        row.topic_authorized_operations = operations.TOPIC
        return row
    return _refused(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


def _refused(name: str | None, code: int) -> DescribeTopicPartitionsResponseTopic:
    return DescribeTopicPartitionsResponseTopic(name=name, error_code=code)


def _topic(topic: TopicRow, first: int, limit: int, context: RequestContext) -> DescribeTopicPartitionsResponseTopic:
    views = [partition_view(row, context) for row in topic.partitions[first : first + limit]]
    return DescribeTopicPartitionsResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        topic_authorized_operations=operations.TOPIC,
        partitions=[
            DescribeTopicPartitionsResponsePartition(
                error_code=view.error_code,
                partition_index=view.index,
                leader_id=view.leader_id,
                leader_epoch=view.leader_epoch,
                replica_nodes=view.replicas,
                isr_nodes=view.replicas,
                eligible_leader_replicas=[],
                last_known_elr=[],
                offline_replicas=[],
            )
            for view in views
        ],
    )


__all__ = ["handle"]
