"""DescribeTopicPartitions (key 75), version 0 (KIP-966).

Checked: unknown and invalid names; the partition limit with its cursor (topics in name order, the cursor's topic even
if it is gone). An empty list means all topics.
Ours: eligible leader replicas do not exist with a single durable copy: both lists are empty.
"""

from automq_broker.desk import operations
from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import partition_view
from automq_broker.meta.rows import TopicRow
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
    state = context.desk.control.state
    names = sorted({topic.name for topic in request.topics} or {topic.name for topic in state.topics()})
    first_partition = 0
    if request.cursor is not None:
        names = [name for name in names if name >= request.cursor.topic_name]
        first_partition = max(request.cursor.partition_index, 0)
    left = max(1, min(request.response_partition_limit, _PARTITIONS_MAX))
    response = DescribeTopicPartitionsResponse()
    for name in names:
        topic = state.topic(name)
        if topic is None:
            response.topics.append(
                DescribeTopicPartitionsResponseTopic(name=name, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            )
            continue
        first = first_partition if request.cursor is not None and name == request.cursor.topic_name else 0
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
