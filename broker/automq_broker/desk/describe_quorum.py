"""DescribeQuorum (key 55), versions 0-2 (KIP-595, 836, 853).

Checked: only partition 0 of `__cluster_metadata` exists (else UNKNOWN_TOPIC_OR_PARTITION, per partition).
Ours: there is no Raft. One broker holds the controller's seat, which the bucket's compare-and-swap gives and takes; it is
the leader and the only voter, its epoch is the controller epoch, offsets are the numbers of metadata commits. The other
brokers follow as observers, as far as they said with their last heartbeat; those that were never heard of by this
controller are left out. Whoever is asked asks the controller; REQUEST_TIMED_OUT when it does not answer.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.engine.metadata_values import Quorum
from automq_broker.kernel.errors import Retry
from automq_broker.kernel.ids import NodeId
from automq_broker.wire.apis.k55_describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    DescribeQuorumResponsePartitionData,
    DescribeQuorumResponseTopicData,
    Listener,
    Node,
    ReplicaState,
)
from automq_broker.wire.codes import ErrorCode

_TOPIC, _PARTITION = "__cluster_metadata", 0
_INT32_MAX = (1 << 31) - 1
_UNKNOWN = -1


async def handle(request: DescribeQuorumRequest, context: RequestContext) -> DescribeQuorumResponse:
    """The seat and who follows it."""
    asked = [(topic.topic_name, [row.partition_index for row in topic.partitions]) for topic in request.topics]
    if asked != [(_TOPIC, [_PARTITION])]:
        return DescribeQuorumResponse(topics=[_unknown(name, rows) for name, rows in asked])
    try:
        quorum = await context.desk.ask_quorum()
    except Retry as silent:
        return DescribeQuorumResponse(error_code=ErrorCode.REQUEST_TIMED_OUT, error_message=str(silent))
    row = _described(quorum, context.desk.clock.now_ms())
    return DescribeQuorumResponse(
        topics=[DescribeQuorumResponseTopicData(topic_name=_TOPIC, partitions=[row])],
        nodes=[_node(quorum.leader_id, context)],
    )


def _unknown(name: str, indexes: list[int]) -> DescribeQuorumResponseTopicData:
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return DescribeQuorumResponseTopicData(
        topic_name=name,
        partitions=[
            DescribeQuorumResponsePartitionData(
                partition_index=index, error_code=code, error_message="This server does not host this topic-partition."
            )
            for index in indexes
        ],
    )


def _described(quorum: Quorum, now_ms: int) -> DescribeQuorumResponsePartitionData:
    return DescribeQuorumResponsePartitionData(
        partition_index=_PARTITION,
        leader_id=quorum.leader_id,
        leader_epoch=min(quorum.epoch, _INT32_MAX),
        high_watermark=quorum.seq,
        current_voters=[
            ReplicaState(
                replica_id=quorum.leader_id,
                log_end_offset=quorum.seq,
                last_fetch_timestamp=now_ms,
                last_caught_up_timestamp=now_ms,
            )
        ],
        observers=[
            ReplicaState(
                replica_id=each.node_id,
                log_end_offset=each.seq,
                last_fetch_timestamp=now_ms - each.silent_ms,
                last_caught_up_timestamp=now_ms - each.silent_ms if each.seq >= quorum.seq else _UNKNOWN,
            )
            for each in quorum.followers
        ],
    )


def _node(node_id: int, context: RequestContext) -> Node:
    found = context.desk.metadata.state.nodes.get(NodeId(node_id))
    endpoints = found.endpoints if found is not None else ()
    return Node(
        node_id=node_id,
        listeners=[Listener(name=each.listener, host=each.host, port=each.port) for each in endpoints],
    )


__all__ = ["handle"]
