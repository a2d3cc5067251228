"""DeleteTopics (key 20), versions 1-6.

Checked: names or ids (v6), neither or both is INVALID_REQUEST, a topic named twice (INVALID_REQUEST), unknown names
(UNKNOWN_TOPIC_OR_PARTITION) and ids (UNKNOWN_TOPIC_ID), delete.topic.enable (TOPIC_DELETION_DISABLED).
The topic, its streams and configs go in one commit; its objects follow after a grace period.
"""

from collections import Counter
from uuid import UUID

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.commands import DeleteTopic
from automq_broker.meta.rows import TopicRow
from automq_broker.wire.apis.k20_delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.schema import ZERO_UUID


async def handle(request: DeleteTopicsRequest, context: RequestContext) -> DeleteTopicsResponse:
    """Delete each topic on its own."""
    if context.api_version >= 6:
        wanted = list(request.topics)
    else:
        wanted = [DeleteTopicState(name=name, topic_id=ZERO_UUID) for name in request.topic_names]
    counts = Counter((want.name, want.topic_id) for want in wanted)
    rows = []
    for (name, topic_id), count in counts.items():
        rows.append(await _delete(name, topic_id, count > 1, context))
    return DeleteTopicsResponse(responses=rows)


async def _delete(
    name: str | None, topic_id: UUID, is_duplicate: bool, context: RequestContext
) -> DeletableTopicResult:
    row = DeletableTopicResult(name=name, topic_id=topic_id)
    try:
        if is_duplicate:
            raise ClientFault(ErrorCode.INVALID_REQUEST, "Duplicate topic.")
        topic = _find(name, topic_id, context)
        row.name, row.topic_id = topic.name, topic.topic_id
        if not context.desk.settings.delete_topic_enable:
            raise ClientFault(ErrorCode.TOPIC_DELETION_DISABLED)
        await context.desk.submit(DeleteTopic(topic_id=topic.topic_id, now_ms=context.desk.clock.now_ms()))
    except ClientFault as fault:
        row.error_code = fault.code
        row.error_message = fault.message or None
    return row


def _find(name: str | None, topic_id: UUID, context: RequestContext) -> TopicRow:
    state = context.desk.metadata.state
    if name is None and topic_id == ZERO_UUID:
        raise ClientFault(ErrorCode.INVALID_REQUEST, "Neither topic name nor id was specified.")
    if name is not None and topic_id != ZERO_UUID:
        raise ClientFault(ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id.")
    if name is not None:
        topic = state.topic(name)
        code, asked = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"name {name!r}"
    else:
        topic = state.topic_by_id(topic_id)
        code, asked = ErrorCode.UNKNOWN_TOPIC_ID, f"id {topic_id}"
    if topic is None:
        raise ClientFault(code, f"there is no topic with the {asked}")
    return topic


__all__ = ["handle"]
