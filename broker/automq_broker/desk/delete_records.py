"""DeleteRecords (key 21), versions 0-2 (KIP-107).

Checked: -1 means the high watermark; beyond it OFFSET_OUT_OF_RANGE; a topic whose cleanup.policy lacks `delete` gets
POLICY_VIOLATION; internal topics INVALID_TOPIC_EXCEPTION. The answer leaves when the new start is durable in the
metadata; records above the committed end are uploaded first.
Ignored: nothing.
"""

import asyncio

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k21_delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsPartitionResult,
    DeleteRecordsRequest,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)
from automq_broker.wire.codes import ErrorCode

_HIGH_WATERMARK = -1


async def handle(request: DeleteRecordsRequest, context: RequestContext) -> DeleteRecordsResponse:
    """Move the start of each partition; partitions are independent of each other."""
    timeout_s = max(request.timeout_ms, 0) / 1000
    topics = []
    for topic in request.topics:
        if not topic.partitions:
            continue
        rows = await asyncio.gather(*(_delete(topic.name, want, timeout_s, context) for want in topic.partitions))
        topics.append(DeleteRecordsTopicResult(name=topic.name, partitions=rows))
    return DeleteRecordsResponse(topics=topics)


async def _delete(
    topic: str, want: DeleteRecordsPartition, timeout_s: float, context: RequestContext
) -> DeleteRecordsPartitionResult:
    row = DeleteRecordsPartitionResult(partition_index=want.partition_index, low_watermark=-1)
    engine = context.desk.engine
    try:
        partition = engine.partition(topic, want.partition_index)
        if partition.is_internal:
            raise ClientFault(ErrorCode.INVALID_TOPIC_EXCEPTION)
        if "delete" not in engine.open_partitions.effective_config(partition, "cleanup.policy").split(","):
            raise ClientFault(ErrorCode.POLICY_VIOLATION)
        end = partition.log.high_watermark if want.offset == _HIGH_WATERMARK else want.offset
        if end < 0:
            raise ClientFault(ErrorCode.OFFSET_OUT_OF_RANGE)
        await asyncio.wait_for(engine.advance_start(partition, end), timeout_s)
        row.low_watermark = partition.log.start_offset
    except ClientFault as fault:
        row.error_code = fault.code
    except TimeoutError:
        row.error_code = ErrorCode.REQUEST_TIMED_OUT
    return row


__all__ = ["handle"]
