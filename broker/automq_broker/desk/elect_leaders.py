"""ElectLeaders (key 43), versions 0-2 (KIP-460).

Checked: unknown topics and partitions (UNKNOWN_TOPIC_OR_PARTITION), election types other than 0 preferred and 1 unclean
(INVALID_REQUEST). Null partitions = all topics, without the partitions that need no election.
Ours: the preferred leader is the broker that a partition is assigned to. It leads already (ELECTION_NOT_NEEDED), or the
partition is on its way there: the answer waits for it, at most the timeout, then PREFERRED_LEADER_NOT_AVAILABLE.
An unclean election is never held: the only copy of what is not in the bucket yet is the log of the broker that is away,
so a partition without a leader answers ELIGIBLE_LEADERS_NOT_AVAILABLE until that log is recovered.
"""

import asyncio

from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import NO_LEADER, partition_view
from automq_broker.meta.rows import TopicRow
from automq_broker.wire.apis.k43_elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)
from automq_broker.wire.codes import ErrorCode

_PREFERRED, _UNCLEAN = 0, 1
_NOT_NEEDED = "Leader election not needed for topic partition."
_NOT_ELIGIBLE = "Only the log of the partition's broker holds all acknowledged records; it must be recovered first."


async def handle(request: ElectLeadersRequest, context: RequestContext) -> ElectLeadersResponse:
    """Each partition on its own, in the order of the request."""
    deadline = asyncio.get_running_loop().time() + max(request.timeout_ms, 0) / 1000
    if request.topic_partitions is None:
        topics = sorted(context.desk.metadata.state.topics(), key=lambda topic: topic.name)
        asked = [(topic.name, list(range(len(topic.partitions)))) for topic in topics]
    else:
        asked = [(topic.topic, topic.partitions) for topic in request.topic_partitions]
    if request.election_type not in (_PREFERRED, _UNCLEAN):
        return _refused(request)
    response = ElectLeadersResponse()
    for name, indexes in asked:
        rows = await asyncio.gather(
            *(_elect(name, index, request.election_type, deadline, context) for index in indexes)
        )
        if request.topic_partitions is None:
            rows = [row for row in rows if row.error_code != ErrorCode.ELECTION_NOT_NEEDED]
        response.replica_election_results.append(ReplicaElectionResult(topic=name, partition_result=list(rows)))
    return response


def _refused(request: ElectLeadersRequest) -> ElectLeadersResponse:
    """The request as a whole and every partition that it names, as Kafka answers it."""
    text = f"Unknown election type {request.election_type}"
    return ElectLeadersResponse(
        error_code=ErrorCode.INVALID_REQUEST,
        replica_election_results=[
            ReplicaElectionResult(
                topic=topic.topic,
                partition_result=[_result(index, ErrorCode.INVALID_REQUEST, text) for index in topic.partitions],
            )
            for topic in request.topic_partitions or ()
        ],
    )


async def _elect(
    name: str, index: int, election_type: int, deadline: float, context: RequestContext
) -> PartitionResult:
    topic = context.desk.metadata.state.topic(name)
    if topic is None:
        return _result(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
    if not 0 <= index < len(topic.partitions):
        return _result(index, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
    leader, owner = _leader(topic, index, context), topic.partitions[index].owner
    if leader == owner or (leader != NO_LEADER and election_type == _UNCLEAN):
        return _result(index, ErrorCode.ELECTION_NOT_NEEDED, _NOT_NEEDED)
    if election_type == _UNCLEAN:
        return _result(index, ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE, _NOT_ELIGIBLE)
    if leader != NO_LEADER and await _arrives(name, index, deadline, context):
        return _result(index, ErrorCode.NONE, None)
    text = f"Broker {owner}, to which the partition is assigned, does not lead it."
    return _result(index, ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE, text)


async def _arrives(name: str, index: int, deadline: float, context: RequestContext) -> bool:
    """Waits until the partition is led by the broker that it is assigned to; False if it is not by `deadline`."""
    loop = asyncio.get_running_loop()
    while True:
        topic = context.desk.metadata.state.topic(name)
        if topic is None:
            return False
        if _leader(topic, index, context) == topic.partitions[index].owner:
            return True
        if loop.time() >= deadline:
            return False
        await context.desk.engine.changes.wait(deadline - loop.time())


def _leader(topic: TopicRow, index: int, context: RequestContext) -> int:
    return partition_view(topic.partitions[index], context).leader_id


def _result(index: int, code: ErrorCode, message: str | None) -> PartitionResult:
    return PartitionResult(partition_id=index, error_code=code, error_message=message)


__all__ = ["handle"]
