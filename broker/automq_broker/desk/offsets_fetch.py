"""OffsetFetch 1-10 (key 9): what `offsets.py` says of it. One group per request to v7, many from v8."""

import asyncio
import uuid
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeAlias

from automq_broker.groups import values
from automq_broker.groups.written import NO_TOPIC_ID, CommittedOffset
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k09_offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.desk.context import RequestContext

_MANY_GROUPS_FROM = 8
_TOPIC_IDS_FROM = 10
_TOP_LEVEL_ERROR_FROM = 2
_NOTHING = CommittedOffset(-1)
"""What a partition without a committed offset looks like."""

_Waited: TypeAlias = "OffsetFetchResponseGroup | asyncio.Future[OffsetFetchResponseGroup]"


def offset_fetch(
    request: OffsetFetchRequest, context: "RequestContext"
) -> "OffsetFetchResponse | Awaitable[OffsetFetchResponse]":
    """Committed positions; waits only for commits that were sent before and are not durable yet."""
    groups = request.groups if context.api_version >= _MANY_GROUPS_FROM else [_as_group(request)]
    waited = [_group(group, context) for group in groups]
    ready = [group for group in waited if not isinstance(group, asyncio.Future)]
    if len(ready) == len(waited):
        return _response(request, ready, context.api_version)
    return _later(request, waited, context.api_version)


async def _later(request: OffsetFetchRequest, waited: list[_Waited], version: int) -> OffsetFetchResponse:
    groups = [await group if isinstance(group, asyncio.Future) else group for group in waited]
    return _response(request, groups, version)


def _as_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup:
    asked = OffsetFetchRequestGroup(group_id=request.group_id, topics=None)
    if request.topics is not None:
        asked.topics = [
            OffsetFetchRequestTopics(name=t.name, partition_indexes=t.partition_indexes) for t in request.topics
        ]
    return asked


def _response(request: OffsetFetchRequest, groups: list[OffsetFetchResponseGroup], version: int) -> OffsetFetchResponse:
    if version >= _MANY_GROUPS_FROM:
        return OffsetFetchResponse(groups=groups)
    return _single(request, groups[0], version)


def _group(asked: OffsetFetchRequestGroup, context: "RequestContext") -> _Waited:
    """One group in the form of v8 and later; its topics in the order asked for."""
    names, strangers = _named(asked, context)

    def respond(answer: values.FetchAnswer) -> OffsetFetchResponseGroup:
        rows = [row for topic in answer.topics if (row := _topic(topic, context)) is not None]
        return OffsetFetchResponseGroup(group_id=asked.group_id, error_code=answer.error, topics=rows + strangers)

    try:
        return context.desk.groups.fetch(values.FetchRequest(asked.group_id, names), respond)
    except ClientFault as fault:
        return OffsetFetchResponseGroup(group_id=asked.group_id, error_code=fault.code)


def _named(
    asked: OffsetFetchRequestGroup, context: "RequestContext"
) -> tuple[tuple[values.TopicToFetch, ...] | None, list[OffsetFetchResponseTopics]]:
    """(what to ask the group for, answers for topic ids that nobody knows)."""
    if asked.topics is None:
        return None, []
    state = context.desk.metadata.state
    names: list[values.TopicToFetch] = []
    strangers: list[OffsetFetchResponseTopics] = []
    for topic in asked.topics:
        is_by_id = context.api_version >= _TOPIC_IDS_FROM
        known = state.topic_by_id(topic.topic_id) if is_by_id else state.topic(topic.name)
        partitions = tuple(topic.partition_indexes)
        if known is not None:
            names.append(values.TopicToFetch(known.name, partitions, known.topic_id))
        elif is_by_id:
            strangers.append(_stranger(topic.topic_id, partitions))
        else:
            names.append(values.TopicToFetch(topic.name, partitions))
    return tuple(names), strangers


def _stranger(topic_id: uuid.UUID, partitions: tuple[int, ...]) -> OffsetFetchResponseTopics:
    rows = [_partition(index, _NOTHING, ErrorCode.UNKNOWN_TOPIC_ID) for index in partitions]
    return OffsetFetchResponseTopics(topic_id=topic_id, partitions=rows)


def _topic(topic: values.FetchedTopic, context: "RequestContext") -> OffsetFetchResponseTopics | None:
    """None where the version speaks of ids only and the topic no longer has one."""
    known = context.desk.metadata.state.topic(topic.name)
    topic_id = NO_TOPIC_ID if known is None else known.topic_id
    if context.api_version >= _TOPIC_IDS_FROM and topic_id == NO_TOPIC_ID:
        return None
    rows = [_partition(index, value or _NOTHING, ErrorCode.NONE) for index, value in topic.partitions]
    return OffsetFetchResponseTopics(name=topic.name, topic_id=topic_id, partitions=rows)


def _partition(index: int, value: CommittedOffset, error: ErrorCode) -> OffsetFetchResponsePartitions:
    return OffsetFetchResponsePartitions(
        partition_index=index,
        committed_offset=value.offset,
        committed_leader_epoch=value.leader_epoch,
        metadata=value.metadata,
        error_code=error,
    )


def _single(request: OffsetFetchRequest, group: OffsetFetchResponseGroup, version: int) -> OffsetFetchResponse:
    """The form of v1-7. Version 1 has no place for an error but in every partition."""
    if group.error_code and version < _TOP_LEVEL_ERROR_FROM:
        topics = [
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartition(
                        partition_index=index, committed_offset=-1, metadata="", error_code=group.error_code
                    )
                    for index in topic.partition_indexes
                ],
            )
            for topic in request.topics or []
        ]
        return OffsetFetchResponse(topics=topics)
    topics = [
        OffsetFetchResponseTopic(name=topic.name, partitions=[_old_partition(row) for row in topic.partitions])
        for topic in group.topics
    ]
    return OffsetFetchResponse(topics=topics, error_code=group.error_code)


def _old_partition(row: OffsetFetchResponsePartitions) -> OffsetFetchResponsePartition:
    return OffsetFetchResponsePartition(
        partition_index=row.partition_index,
        committed_offset=row.committed_offset,
        committed_leader_epoch=row.committed_leader_epoch,
        metadata=row.metadata,
        error_code=row.error_code,
    )


__all__ = ["offset_fetch"]
