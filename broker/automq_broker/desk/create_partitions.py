"""CreatePartitions (key 37), versions 0-3.

Checked: a topic named twice (INVALID_REQUEST), unknown topics, counts that do not grow (INVALID_PARTITIONS), manual
assignments (their number, replicas: INVALID_REPLICA_ASSIGNMENT), validate_only. Every topic gets a row.
"""

import asyncio
from collections import Counter

from automq_broker.desk.context import RequestContext
from automq_broker.desk.create_topics import wait_served
from automq_broker.desk.views import check_replicas, first_live
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.commands import CreatePartitions
from automq_broker.wire.apis.k37_create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)
from automq_broker.wire.codes import ErrorCode


async def handle(request: CreatePartitionsRequest, context: RequestContext) -> CreatePartitionsResponse:
    """Grow each topic on its own; answered when the new partitions have leaders or the timeout has passed."""
    deadline = asyncio.get_running_loop().time() + max(request.timeout_ms, 0) / 1000
    counts = Counter(topic.name for topic in request.topics)
    first_of = {topic.name: topic for topic in reversed(request.topics)}
    rows = await asyncio.gather(
        *(_grow(first_of[name], count > 1, request.validate_only, deadline, context) for name, count in counts.items())
    )
    return CreatePartitionsResponse(results=list(rows))


async def _grow(
    want: CreatePartitionsTopic, is_duplicate: bool, validate_only: bool, deadline: float, context: RequestContext
) -> CreatePartitionsTopicResult:
    row = CreatePartitionsTopicResult(name=want.name)
    try:
        if is_duplicate:
            raise ClientFault(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        command = _command(want, context)
        if validate_only:
            context.desk.metadata.state.decide(command)
        else:
            await context.desk.submit(command)
            await wait_served(want.name, deadline, context)
    except ClientFault as fault:
        row.error_code = fault.code
        row.error_message = fault.message or None
    return row


def _command(want: CreatePartitionsTopic, context: RequestContext) -> CreatePartitions:
    topic = context.desk.metadata.state.topic(want.name)
    if topic is None:
        raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    owners: tuple[NodeId, ...] = ()
    if want.assignments is not None and want.count > len(topic.partitions):
        if len(want.assignments) != want.count - len(topic.partitions):
            raise ClientFault(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Attempted to add {want.count - len(topic.partitions)} additional partition(s), but only "
                f"{len(want.assignments)} assignment(s) were specified.",
            )
        for assignment in want.assignments:
            check_replicas(assignment.broker_ids, context)
        owners = tuple(first_live(assignment.broker_ids, context) for assignment in want.assignments)
    return CreatePartitions(topic_id=topic.topic_id, total=want.count, owners=owners)


__all__ = ["handle"]
