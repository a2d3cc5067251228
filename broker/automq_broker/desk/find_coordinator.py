"""FindCoordinator (key 10), versions 0-6.

Checked: a group's coordinator is the leader of its partition of `__consumer_offsets`, named with the endpoint of the
listener that the client came in on; the topic is created when first asked for, and COORDINATOR_NOT_AVAILABLE
asks the client to come again while it opens. From version 4 a request carries many keys.
Not served: transactions. Their ids are answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients treat as fatal and
report, as InitProducerId does. Share groups and unknown kinds of keys are INVALID_REQUEST.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from automq_broker.desk.create_topics import create_automatically, wait_served
from automq_broker.groups.placement import GROUPS_TOPIC
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.rows import TopicRow
from automq_broker.wire.apis.k10_find_coordinator import Coordinator, FindCoordinatorRequest, FindCoordinatorResponse
from automq_broker.wire.codes import ErrorCode

if TYPE_CHECKING:
    from automq_broker.desk.context import RequestContext

_MANY_KEYS_FROM = 4
_GROUP, _TRANSACTION = 0, 1
_OPEN_WAIT_S = 2.0
"""How long the first request waits for the new topic's partitions to open; then the client is asked to come again."""


def handle(
    request: FindCoordinatorRequest, context: "RequestContext"
) -> "FindCoordinatorResponse | Awaitable[FindCoordinatorResponse]":
    """Who coordinates each key; waits only while `__consumer_offsets` is being created."""
    topic = context.desk.metadata.state.topic(GROUPS_TOPIC)
    if topic is None and request.key_type == _GROUP:
        return _after_creation(request, context)
    return _answer(request, topic, context)


async def _after_creation(request: FindCoordinatorRequest, context: "RequestContext") -> FindCoordinatorResponse:
    return _answer(request, await _create_topic(context), context)


def _answer(
    request: FindCoordinatorRequest, topic: TopicRow | None, context: "RequestContext"
) -> FindCoordinatorResponse:
    is_batch = context.api_version >= _MANY_KEYS_FROM
    keys = request.coordinator_keys if is_batch else [request.key]
    fault = _refused(request.key_type)
    rows = [_none(key, *fault) if fault is not None else _coordinator(key, topic, context) for key in keys]
    if is_batch:
        return FindCoordinatorResponse(coordinators=rows)
    row = rows[0]
    return FindCoordinatorResponse(
        error_code=row.error_code,
        error_message=row.error_message or None,
        node_id=row.node_id,
        host=row.host,
        port=row.port,
    )


def _refused(key_type: int) -> tuple[ErrorCode, str] | None:
    if key_type == _GROUP:
        return None
    if key_type == _TRANSACTION:
        return ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not served by this broker"
    return ErrorCode.INVALID_REQUEST, f"coordinators of key type {key_type} are not served by this broker"


async def _create_topic(context: "RequestContext") -> TopicRow | None:
    """The new topic; None if that fails now, which is worth another try by the client."""
    try:
        count = context.desk.settings.offsets_topic_partitions
        await create_automatically(GROUPS_TOPIC, context, partitions=count)
    except ClientFault:
        return None
    await wait_served(GROUPS_TOPIC, asyncio.get_running_loop().time() + _OPEN_WAIT_S, context)
    return context.desk.metadata.state.topic(GROUPS_TOPIC)


def _coordinator(key: str, topic: TopicRow | None, context: "RequestContext") -> Coordinator:
    leader = None
    if topic is not None:
        index = context.desk.groups.partition_of(key)
        leader = context.desk.engine.leader(GROUPS_TOPIC, topic.topic_id, index, context.listener)
    if leader is None:
        return _none(key, ErrorCode.COORDINATOR_NOT_AVAILABLE)
    return Coordinator(key=key, node_id=leader.node_id, host=leader.host, port=leader.port)


def _none(key: str, error: ErrorCode, message: str = "") -> Coordinator:
    return Coordinator(key=key, node_id=-1, host="", port=-1, error_code=error, error_message=message)


__all__ = ["handle"]
