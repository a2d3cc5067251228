"""ListOffsets (key 2), versions 1-11.

Checked: partitions named twice (one INVALID_REQUEST for both), leader epoch, special timestamps by version: -1 latest,
-2 earliest, -3 max timestamp (v7), -4 earliest local (v8), -5 latest tiered (v9), -6 earliest pending upload (v11); an
older version asking for a newer one gets UNSUPPORTED_VERSION for that partition. Not found is (-1, -1) without an error.
Ours: there is no second tier behind the log from a client's point of view, so -4 equals -2, and -5 and -6 find nothing.
Ignored: replica ids; timeout_ms (v10): a lookup reads at most one data block.
"""

import asyncio

from automq_broker.desk.context import RequestContext
from automq_broker.engine.partition import Partition
from automq_broker.engine.timestamps import Found
from automq_broker.kernel.errors import ClientFault
from automq_broker.log import epochs
from automq_broker.wire.apis.k02_list_offsets import (
    ListOffsetsPartition,
    ListOffsetsPartitionResponse,
    ListOffsetsRequest,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from automq_broker.wire.codes import ErrorCode

LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD = -1, -2, -3, -4, -5, -6
_SINCE_VERSION = {MAX_TIMESTAMP: 7, EARLIEST_LOCAL: 8, LATEST_TIERED: 9, EARLIEST_PENDING_UPLOAD: 11}


async def handle(request: ListOffsetsRequest, context: RequestContext) -> ListOffsetsResponse:
    """Every partition's answer; lookups by time run side by side."""
    counts: dict[tuple[str, int], int] = {}
    for topic in request.topics:
        for want in topic.partitions:
            counts[topic.name, want.partition_index] = counts.get((topic.name, want.partition_index), 0) + 1
    topics = []
    for topic in request.topics:
        if not topic.partitions:
            continue
        rows = await asyncio.gather(
            *(
                _answer(topic.name, want, counts[topic.name, want.partition_index] > 1, context)
                for want in {want.partition_index: want for want in topic.partitions}.values()
            )
        )
        topics.append(ListOffsetsTopicResponse(name=topic.name, partitions=rows))
    return ListOffsetsResponse(topics=topics)


async def _answer(
    topic: str, want: ListOffsetsPartition, is_duplicate: bool, context: RequestContext
) -> ListOffsetsPartitionResponse:
    row = ListOffsetsPartitionResponse(
        partition_index=want.partition_index, timestamp=-1, offset=-1, leader_epoch=-1, error_code=ErrorCode.NONE
    )
    try:
        if is_duplicate:
            raise ClientFault(ErrorCode.INVALID_REQUEST, "the partition is named twice")
        if context.api_version < _SINCE_VERSION.get(want.timestamp, 0) or want.timestamp < EARLIEST_PENDING_UPLOAD:
            raise ClientFault(ErrorCode.UNSUPPORTED_VERSION)
        partition = context.desk.engine.partition(topic, want.partition_index)
        epochs.check_current_epoch(want.current_leader_epoch, partition.log.leader_epoch)
        found = await _find(partition, want.timestamp, context)
    except ClientFault as fault:
        row.error_code = fault.code
        return row
    if found is not None:
        row.timestamp, row.offset, row.leader_epoch = found
    return row


async def _find(partition: Partition, timestamp: int, context: RequestContext) -> tuple[int, int, int] | None:
    """(timestamp, offset, leader epoch); None when nothing matches."""
    log = partition.log
    lookup = context.desk.engine.timestamps
    if timestamp == LATEST:
        return -1, log.high_watermark, log.leader_epoch
    if timestamp in (EARLIEST, EARLIEST_LOCAL):
        return -1, log.start_offset, context.desk.engine.epoch_of_offset(partition, log.start_offset)
    if timestamp in (LATEST_TIERED, EARLIEST_PENDING_UPLOAD):
        return None
    found: Found | None
    if timestamp == MAX_TIMESTAMP:
        found = await lookup.newest(partition)
    else:
        found = await lookup.first_at_or_after(partition, timestamp)
    return None if found is None else (found.timestamp, found.offset, found.leader_epoch)


__all__ = ["handle"]
