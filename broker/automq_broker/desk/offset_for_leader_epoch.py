"""OffsetForLeaderEpoch (key 23), versions 2-4 (KIP-320).

Checked: the asker's own leader epoch; unknown partitions. Answered from the metadata's list of opens, which is the
epoch history of a stream. Ignored: replica ids.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.log import epochs
from automq_broker.wire.apis.k23_offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)


def handle(request: OffsetForLeaderEpochRequest, context: RequestContext) -> OffsetForLeaderEpochResponse:
    """The last offset of each asked epoch, per partition."""
    engine = context.desk.engine
    topics = []
    for topic in request.topics:
        rows = []
        for want in topic.partitions:
            row = EpochEndOffset(partition=want.partition, leader_epoch=-1, end_offset=-1)
            rows.append(row)
            try:
                partition = engine.partition(topic.topic, want.partition)
                epochs.check_current_epoch(want.current_leader_epoch, partition.log.leader_epoch)
                row.leader_epoch, row.end_offset = engine.end_offset_for_epoch(partition, want.leader_epoch)
            except ClientFault as fault:
                row.error_code = fault.code
        topics.append(OffsetForLeaderTopicResult(topic=topic.topic, partitions=rows))
    return OffsetForLeaderEpochResponse(topics=topics)


__all__ = ["handle"]
