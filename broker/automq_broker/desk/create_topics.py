"""CreateTopics (key 19), versions 2-7, and the creation that Metadata and FindCoordinator ask for.

Checked: a topic named twice (INVALID_REQUEST), manual assignments together with counts (INVALID_REQUEST), gaps and
duplicates in them (INVALID_REPLICA_ASSIGNMENT), names, partition counts, configs, existence, validate_only, the number
of partitions in one request (POLICY_VIOLATION). Answered in the order of the request, when every new partition has a
leader or the timeout has passed.
Ours: any replication factor >= 1 (or -1) is accepted and one replica reported, since the data is durable in the WAL and
the bucket however many brokers live; suites and applications ask for 3.
"""

import asyncio
from collections import Counter

from automq_broker.desk.config_rows import topic_rows
from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import check_replicas, first_live, is_served
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.commands import CreateTopic
from automq_broker.meta.rows import TopicRow
from automq_broker.wire.apis.k19_create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.schema import ZERO_UUID

_REPLICATION_FACTOR = 1
_DEFAULT = -1


async def handle(request: CreateTopicsRequest, context: RequestContext) -> CreateTopicsResponse:
    """Create each topic on its own: one refusal does not touch the others."""
    counts = Counter(topic.name for topic in request.topics)
    total = sum(_partitions_of(topic, context) for topic in request.topics)
    deadline = asyncio.get_running_loop().time() + max(request.timeout_ms, 0) / 1000
    rows = await asyncio.gather(
        *(
            _create(topic, counts[topic.name] > 1, total, request.validate_only, deadline, context)
            for topic in request.topics
        )
    )
    return CreateTopicsResponse(topics=_once(rows))


async def create_automatically(name: str, context: RequestContext, *, partitions: int | None = None) -> TopicRow:
    """Create a topic with the broker's defaults; the present one if somebody else was faster. Raises ClientFault."""
    is_internal = partitions is not None
    try:
        created = await context.desk.submit(
            CreateTopic(
                name=name,
                topic_id=context.desk.make_uuid(),
                partitions=partitions or context.desk.settings.num_partitions,
                is_internal=is_internal,
                configs={"cleanup.policy": "compact"} if is_internal else {},
                created_ms=context.desk.clock.now_ms(),
            )
        )
    except ClientFault as fault:
        present = context.desk.metadata.state.topic(name)
        if fault.code == ErrorCode.TOPIC_ALREADY_EXISTS and present is not None:
            return present
        raise
    return created.topic


async def wait_served(name: str, deadline: float, context: RequestContext) -> None:
    """Waits until every partition of the topic has a leader, at most until `deadline` (loop time)."""
    loop = asyncio.get_running_loop()
    while loop.time() < deadline:
        topic = context.desk.metadata.state.topic(name)
        if topic is None or is_served(topic, context):
            return
        await context.desk.engine.changes.wait(deadline - loop.time())


async def _create(
    topic: CreatableTopic,
    is_duplicate: bool,
    total: int,
    validate_only: bool,
    deadline: float,
    context: RequestContext,
) -> CreatableTopicResult:
    row = CreatableTopicResult(
        name=topic.name, num_partitions=-1, replication_factor=-1, configs=[], error_message=None
    )
    try:
        if is_duplicate:
            raise ClientFault(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        if total > context.desk.settings.max_partitions_per_request:
            raise ClientFault(ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
        command = _command(topic, context)
        row.topic_id = command.topic_id
        if validate_only:
            context.desk.metadata.state.decide(command)
        else:
            created = await context.desk.submit(command)
            row.topic_id = created.topic.topic_id
            await wait_served(topic.name, deadline, context)
    except ClientFault as fault:
        row.topic_id = ZERO_UUID
        row.error_code = fault.code
        row.error_message = fault.message or None
        row.configs = None if context.api_version < 5 else []
        return row
    row.num_partitions = command.partitions
    row.replication_factor = _REPLICATION_FACTOR
    row.configs = [
        CreatableTopicConfigs(
            name=config.name,
            value=config.value,
            read_only=config.is_read_only,
            config_source=config.source,
            is_sensitive=config.is_sensitive,
        )
        for config in topic_rows(dict(command.configs), context)
    ]
    return row


def _command(topic: CreatableTopic, context: RequestContext) -> CreateTopic:
    nulls = [config.name for config in topic.configs if config.value is None]
    if nulls:
        raise ClientFault(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {','.join(nulls)}")
    return CreateTopic(
        name=topic.name,
        topic_id=context.desk.make_uuid(),
        partitions=_checked_partitions(topic, context),
        configs={config.name: str(config.value) for config in topic.configs},
        replication_factor=_checked_replication(topic),
        created_ms=context.desk.clock.now_ms(),
        owners=tuple(
            first_live(row.broker_ids, context)
            for row in sorted(topic.assignments, key=lambda row: row.partition_index)
        ),
    )


def _partitions_of(topic: CreatableTopic, context: RequestContext) -> int:
    if topic.assignments:
        return len(topic.assignments)
    return context.desk.settings.num_partitions if topic.num_partitions == _DEFAULT else max(topic.num_partitions, 0)


def _checked_partitions(topic: CreatableTopic, context: RequestContext) -> int:
    if topic.assignments:
        if topic.num_partitions != _DEFAULT or topic.replication_factor != _DEFAULT:
            raise ClientFault(
                ErrorCode.INVALID_REQUEST, "A manual assignment excludes a partition count and a replication factor."
            )
        check_assignment([row.partition_index for row in topic.assignments], first=0)
        for row in topic.assignments:
            check_replicas(row.broker_ids, context)
    elif topic.num_partitions != _DEFAULT and topic.num_partitions <= 0:
        raise ClientFault(ErrorCode.INVALID_PARTITIONS, "Number of partitions must be larger than 0.")
    return _partitions_of(topic, context)


def check_assignment(indexes: list[int], first: int) -> None:
    """A manual assignment names each new partition once, without gaps."""
    if sorted(indexes) != list(range(first, first + len(indexes))):
        raise ClientFault(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )


def _checked_replication(topic: CreatableTopic) -> int:
    if topic.replication_factor != _DEFAULT and topic.replication_factor <= 0:
        raise ClientFault(ErrorCode.INVALID_REPLICATION_FACTOR, "Replication factor must be larger than 0.")
    return _REPLICATION_FACTOR


def _once(rows: list[CreatableTopicResult]) -> list[CreatableTopicResult]:
    """A topic that was named twice is answered once."""
    seen: dict[str, CreatableTopicResult] = {}
    for row in rows:
        seen.setdefault(row.name, row)
    return list(seen.values())


__all__ = ["check_assignment", "create_automatically", "handle", "wait_served"]
