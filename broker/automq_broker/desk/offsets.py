"""Committed offsets: OffsetCommit 2-10, OffsetFetch 1-10, OffsetDelete 0 (keys 8, 9, 47).

Checked: partitions that do not exist (UNKNOWN_TOPIC_OR_PARTITION; UNKNOWN_TOPIC_ID by id from v10) fail alone and the
others are committed; who may commit is the state machine's; metadata above the limit fails alone
(OFFSET_METADATA_TOO_LARGE). OffsetFetch serves one group (to v7) or many (from v8), all topics when none are named, and
says -1 without an error for what was never committed. Topic ids are kept with the offsets, so an offset of a
deleted topic is not given out for a new one of the same name. Empty group ids are served, as Kafka does for old data,
except by OffsetDelete.
Ignored: require_stable, since no transaction can be pending; reads always wait for commits that were sent before them.
Member id and epoch of OffsetFetch v9 concern the consumer protocol of KIP-848, which is not served.
"""

import asyncio
import uuid
from typing import TYPE_CHECKING

from automq_broker.desk.offsets_fetch import offset_fetch
from automq_broker.groups import values
from automq_broker.groups.values import OffsetToCommit
from automq_broker.groups.written import NO_TOPIC_ID
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k08_offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestTopic,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from automq_broker.wire.apis.k47_offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.desk.context import RequestContext

_TOPIC_IDS_FROM = 10
_MISSING_GROUP_FROM = 9


def offset_commit(
    request: OffsetCommitRequest, context: "RequestContext"
) -> "OffsetCommitResponse | asyncio.Future[OffsetCommitResponse]":
    """Waits until the positions are durable."""
    rows: list[OffsetCommitResponseTopic] = []
    accepted: list[OffsetToCommit] = []
    places: list[OffsetCommitResponsePartition] = []
    for topic in request.topics:
        if not topic.partitions:
            continue
        row = OffsetCommitResponseTopic(name=topic.name, topic_id=topic.topic_id)
        rows.append(row)
        _sort_out(topic, row, accepted, places, context)
    response = OffsetCommitResponse(topics=rows)
    if not accepted:
        return response

    def respond(answer: values.CommitAnswer) -> OffsetCommitResponse:
        for asked, place in zip(accepted, places, strict=True):
            is_too_large = (asked.topic, asked.partition) in answer.too_large
            place.error_code = ErrorCode.OFFSET_METADATA_TOO_LARGE if is_too_large else answer.error
        return response

    try:
        return context.desk.groups.commit(_commit(request, tuple(accepted), context), respond)
    except ClientFault as fault:
        return respond(values.CommitAnswer(ErrorCode(fault.code)))


def _sort_out(
    topic: OffsetCommitRequestTopic,
    row: OffsetCommitResponseTopic,
    accepted: list[OffsetToCommit],
    places: list[OffsetCommitResponsePartition],
    context: "RequestContext",
) -> None:
    """Fill `row`; partitions that exist go to `accepted`, their still open answers to `places`."""
    state = context.desk.metadata.state
    is_by_id = context.api_version >= _TOPIC_IDS_FROM
    known = state.topic_by_id(topic.topic_id) if is_by_id else state.topic(topic.name)
    unknown = ErrorCode.UNKNOWN_TOPIC_ID if is_by_id and known is None else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    for partition in topic.partitions:
        place = OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=unknown)
        row.partitions.append(place)
        if known is None or not 0 <= partition.partition_index < len(known.partitions):
            continue
        places.append(place)
        accepted.append(
            OffsetToCommit(
                known.name,
                partition.partition_index,
                partition.committed_offset,
                partition.committed_leader_epoch,
                partition.committed_metadata or "",
                known.topic_id,
            )
        )


def _commit(
    request: OffsetCommitRequest, offsets: tuple[OffsetToCommit, ...], context: "RequestContext"
) -> values.CommitRequest:
    return values.CommitRequest(
        group_id=request.group_id,
        offsets=offsets,
        member_id=request.member_id,
        instance_id=request.group_instance_id,
        generation=request.generation_id_or_member_epoch,
        retention_ms=request.retention_time_ms,
        knows_missing_groups=context.api_version >= _MISSING_GROUP_FROM,
    )


def offset_delete(
    request: OffsetDeleteRequest, context: "RequestContext"
) -> "OffsetDeleteResponse | asyncio.Future[OffsetDeleteResponse]":
    """Waits until the positions are forgotten durably. A fault of the group leaves no rows, only its code."""
    if not request.group_id:
        return OffsetDeleteResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    asked = [(topic.name, row.partition_index) for topic in request.topics for row in topic.partitions]
    known = {pair for pair in asked if _topic_id(*pair, context) != NO_TOPIC_ID}

    def respond(answer: values.OffsetDeleteAnswer) -> OffsetDeleteResponse:
        if answer.error is not ErrorCode.NONE:
            return OffsetDeleteResponse(error_code=answer.error)
        topics = []
        for topic in request.topics:
            row = OffsetDeleteResponseTopic(name=topic.name)
            for partition in topic.partitions:
                pair = (topic.name, partition.partition_index)
                row.partitions.append(
                    OffsetDeleteResponsePartition(
                        partition_index=partition.partition_index,
                        error_code=_deleted(topic.name, answer) if pair in known else _UNKNOWN,
                    )
                )
            topics.append(row)
        return OffsetDeleteResponse(topics=topics)

    order = tuple(pair for pair in asked if pair in known)
    try:
        return context.desk.groups.delete_offsets(values.OffsetDeleteRequest(request.group_id, order), respond)
    except ClientFault as fault:
        return OffsetDeleteResponse(error_code=fault.code)


_UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _deleted(topic: str, answer: values.OffsetDeleteAnswer) -> ErrorCode:
    return ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC if topic in answer.subscribed else ErrorCode.NONE


def _topic_id(name: str, partition: int, context: "RequestContext") -> uuid.UUID:
    """The topic's id if it has that partition, else the zero id."""
    topic = context.desk.metadata.state.topic(name)
    return NO_TOPIC_ID if topic is None or not 0 <= partition < len(topic.partitions) else topic.topic_id


__all__ = ["offset_commit", "offset_delete", "offset_fetch"]
