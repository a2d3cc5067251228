"""Metadata (key 3), versions 0-13.

Checked: v0 empty list = all topics, from v1 null = all and empty = none; null names or ids before v12 are
INVALID_REQUEST; from v12 topics may be asked by id (UNKNOWN_TOPIC_ID); invalid names; auto-creation needs the request's
flag and the broker's setting, is never done for "all topics", and the first answer is LEADER_NOT_AVAILABLE while the
new partitions open. Brokers are named with the endpoint of the listener that the client came in on.
Ignored: authorized operations are not asked of anybody, since no authorizer is configured: when requested, all are
granted, as Kafka answers without an authorizer.
"""

import asyncio

from automq_broker.desk import operations
from automq_broker.desk.context import RequestContext
from automq_broker.desk.create_topics import create_automatically
from automq_broker.desk.views import controller_id, live_brokers, partition_view
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.rows import TopicRow
from automq_broker.meta.topics import check_name
from automq_broker.wire.apis.k03_metadata import (
    MetadataRequest,
    MetadataRequestTopic,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.schema import ZERO_UUID


async def handle(request: MetadataRequest, context: RequestContext) -> MetadataResponse:
    """Brokers and topics as the confirmed metadata has them."""
    response = MetadataResponse(
        brokers=[
            MetadataResponseBroker(node_id=broker.node_id, host=broker.host, port=broker.port, rack=broker.rack)
            for broker, _ in live_brokers(context)
        ],
        cluster_id=context.desk.metadata.state.cluster_id,
        controller_id=controller_id(context),
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = operations.CLUSTER
    if _is_all(request, context):
        topics = sorted(context.desk.metadata.state.topics(), key=lambda topic: topic.name)
        response.topics = [_known(topic, request, context) for topic in topics]
    else:
        wanted = request.topics or []
        if any(want.topic_id != ZERO_UUID for want in wanted):  # as in Kafka, ids and names do not mix: ids win
            wanted = [want for want in wanted if want.topic_id != ZERO_UUID]
        asked = list({(want.name, want.topic_id): want for want in wanted}.values())
        response.topics = list(await asyncio.gather(*(_asked(want, request, context) for want in asked)))
    return response


def _is_all(request: MetadataRequest, context: RequestContext) -> bool:
    return request.topics is None or (context.api_version == 0 and not request.topics)


async def _asked(
    want: MetadataRequestTopic, request: MetadataRequest, context: RequestContext
) -> MetadataResponseTopic:
    if want.topic_id != ZERO_UUID:
        return _by_id(want, request, context)
    if want.name is None:
        return MetadataResponseTopic(name="", topic_id=want.topic_id, error_code=ErrorCode.INVALID_REQUEST)
    topic = context.desk.metadata.state.topic(want.name)
    if topic is not None:
        return _known(topic, request, context)
    try:
        check_name(want.name)
    except ClientFault as fault:
        return MetadataResponseTopic(name=want.name, error_code=fault.code)
    code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if request.allow_auto_topic_creation and context.desk.settings.auto_create_topics:
        try:
            topic = await create_automatically(want.name, context)
            return _known(topic, request, context)
        except ClientFault as fault:
            code = ErrorCode(fault.code)
    return MetadataResponseTopic(name=want.name, error_code=code)


def _by_id(want: MetadataRequestTopic, request: MetadataRequest, context: RequestContext) -> MetadataResponseTopic:
    if context.api_version < 12:
        return MetadataResponseTopic(name=want.name or "", error_code=ErrorCode.INVALID_REQUEST)
    topic = context.desk.metadata.state.topic_by_id(want.topic_id)
    if topic is None:
        return MetadataResponseTopic(name=None, topic_id=want.topic_id, error_code=ErrorCode.UNKNOWN_TOPIC_ID)
    return _known(topic, request, context)


def _known(topic: TopicRow, request: MetadataRequest, context: RequestContext) -> MetadataResponseTopic:
    row = MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=topic.is_internal,
        partitions=[_partition(view) for view in (partition_view(row, context) for row in topic.partitions)],
    )
    if request.include_topic_authorized_operations:
        row.topic_authorized_operations = operations.TOPIC
    return row


def _partition(view) -> MetadataResponsePartition:  # type: ignore[no-untyped-def]
    return MetadataResponsePartition(
        error_code=view.error_code,
        partition_index=view.index,
        leader_id=view.leader_id,
        leader_epoch=view.leader_epoch,
        replica_nodes=view.replicas,
        isr_nodes=view.replicas,
        offline_replicas=[],
    )


__all__ = ["handle"]
