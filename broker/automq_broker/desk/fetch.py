"""Fetch (key 1), versions 4-18.

Checked: leader epoch, offset range, isolation level, byte limits of request and partition, whole batches (the batch that
holds the offset comes even if it starts earlier or is larger than the limits), min_bytes and max_wait by long poll,
diverging epochs (v12), topic ids (v13). A client on the same machine with the usual min_bytes gets at most 2 MiB at once.
Ignored: fetch sessions (KIP-227): every answer has session id 0, so clients send full requests, which Kafka allows;
rack_id and preferred replicas: there is one copy; replica ids: nobody follows. Without transactions the last stable
offset is the high watermark and no transaction is aborted.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from automq_broker.desk.context import RequestContext
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import ReadAnswer
from automq_broker.kernel.errors import ClientFault
from automq_broker.log import epochs
from automq_broker.wire.apis.k01_fetch import (
    EpochEndOffset,
    FetchableTopicResponse,
    FetchPartition,
    FetchRequest,
    FetchResponse,
    FetchTopic,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionData,
)
from automq_broker.wire.codes import ErrorCode

_READ_COMMITTED = 1
_NO_SESSION = 0
_BYTES_ON_ONE_MACHINE = 2 << 20
"""COST: librdkafka takes fresh memory for a large answer, which the system has to clear page by page; up to about 3 MiB it
gets pages that it just used, and finds them in the CPU's cache. Fetches of 8 MiB from memory cost it 0.6 s of CPU per GB,
answered by 2 MiB each 0.4 s. Between machines large answers save round trips; here one takes 0.1 ms."""

_ANY_BYTES = 1
"""The usual min_bytes. Who asks for more is not cut short: whole batches might stay below both, and the answer would wait."""

_UNKNOWN = (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID)


@dataclass(slots=True)
class _Ask:
    """One partition of the request, resolved once: `partition` is None when `row` already carries an error."""

    row: PartitionData
    want: FetchPartition
    topic: FetchTopic
    partition: Partition | None


@dataclass(slots=True)
class _Budget:
    """Bytes left for the whole answer; the first batch of all may exceed it, so that a consumer always gets on."""

    left: int
    taken: int = 0

    def limit(self, partition_max_bytes: int) -> int:
        limit = min(partition_max_bytes, self.left)
        return limit if self.taken else max(1, limit)

    def take(self, answer: ReadAnswer, limit: int) -> bool:
        """Whether the answer may be sent: within the limit, or the first data of this response."""
        if answer.size_bytes > limit and self.taken:
            return False
        self.taken += answer.size_bytes
        self.left -= answer.size_bytes
        return True


def handle(request: FetchRequest, context: RequestContext) -> Any:
    """Answer from memory at once where that satisfies the request; otherwise wait for data, the ring or the bucket."""
    if request.session_id != _NO_SESSION:
        return FetchResponse(error_code=ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
    response = FetchResponse()
    asks = _resolve(request, response, context)
    budget = _budget(request, context)
    is_complete = [_read_now(ask, budget, context) for ask in asks]
    if all(is_complete) and _is_enough(request, asks, budget):
        return response
    return _wait_and_read(request, response, asks, context)


async def _wait_and_read(
    request: FetchRequest, response: FetchResponse, asks: list[_Ask], context: RequestContext
) -> FetchResponse:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(max(request.max_wait_ms, 0), context.desk.settings.fetch_max_wait_ms) / 1000
    while True:
        budget = _budget(request, context)
        is_complete = [_read_now(ask, budget, context) for ask in asks]
        if not all(is_complete):
            budget = await _read_all(request, asks, context)
        if _is_enough(request, asks, budget) or loop.time() >= deadline:
            for ask in asks:
                if ask.row.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER:  # it moved away while this fetch waited
                    _point_to_leader(ask, response, context)
            return response
        if not _has_news(asks):
            partitions = [ask.partition for ask in asks if ask.partition is not None]
            await context.desk.engine.wait_appended(partitions, request.min_bytes - budget.taken, deadline)


def _has_news(asks: list[_Ask]) -> bool:
    """Whether a watermark moved since it was read: such bytes were not counted by anybody who waits."""
    return any(ask.partition and ask.partition.log.high_watermark != ask.row.high_watermark for ask in asks)


async def _read_all(request: FetchRequest, asks: list[_Ask], context: RequestContext) -> _Budget:
    """The slow lane: memory where it has it, the ring or the bucket for all the others at the same time.

    One after the other, a consumer of many partitions would wait for the bucket as many times. Together they are given
    no more than the answer may hold; a partition beyond that comes with the next fetch.
    """
    budget = _budget(request, context)
    slow = [ask for ask in asks if not _read_now(ask, budget, context) and ask.partition is not None]
    promised = _Budget(budget.left, budget.taken)
    async with asyncio.TaskGroup() as reads:
        for ask in slow:
            limit = promised.limit(ask.want.partition_max_bytes)
            if limit <= 0:
                _read_now(ask, promised, context)  # its watermarks alone
            else:
                promised.left -= limit
                promised.taken += limit
                reads.create_task(_read_slowly(ask, budget, limit, context))
    return budget


async def _read_slowly(ask: _Ask, budget: _Budget, limit: int, context: RequestContext) -> None:
    assert ask.partition is not None
    reader = f"{context.client_host}/{context.client_id}"
    try:
        answer = await context.desk.engine.read(ask.partition, ask.want.fetch_offset, limit, reader)
    except ClientFault as fault:
        _refuse(ask, fault)
    else:
        _fill(ask, answer, budget, limit)


def _budget(request: FetchRequest, context: RequestContext) -> _Budget:
    limit = min(max(request.max_bytes, 0), context.desk.settings.fetch_max_bytes)
    if context.is_on_this_machine and request.min_bytes <= _ANY_BYTES:
        limit = min(limit, _BYTES_ON_ONE_MACHINE)
    return _Budget(limit)


def _is_enough(request: FetchRequest, asks: list[_Ask], budget: _Budget) -> bool:
    """Enough bytes, nobody to wait for, or news that must not wait (an error)."""
    return (
        budget.taken >= request.min_bytes
        or request.max_wait_ms <= 0
        or not asks
        or any(ask.row.error_code for ask in asks)
        or any(ask.row.diverging_epoch.epoch >= 0 for ask in asks)
    )


def _resolve(request: FetchRequest, response: FetchResponse, context: RequestContext) -> list[_Ask]:
    asks: list[_Ask] = []
    for topic in request.topics:
        if not topic.partitions:
            continue
        rows: list[PartitionData] = []
        response.responses.append(FetchableTopicResponse(topic=topic.topic, topic_id=topic.topic_id, partitions=rows))
        for want in topic.partitions:
            row = PartitionData(partition_index=want.partition, records=[])
            row.aborted_transactions = [] if request.isolation_level == _READ_COMMITTED else None
            rows.append(row)
            ask = _Ask(row, want, topic, None)
            asks.append(ask)
            try:
                partition = _partition(topic, want.partition, context)
                epochs.check_current_epoch(want.current_leader_epoch, partition.log.leader_epoch)
                ask.partition = partition
            except ClientFault as fault:
                _refuse(ask, fault)
                _point_to_leader(ask, response, context)
    return asks


def _partition(topic: FetchTopic, index: int, context: RequestContext) -> Partition:
    engine = context.desk.engine
    if context.api_version >= 13:
        return engine.partition_by_id(topic.topic_id, index)
    return engine.partition(topic.topic, index)


def _read_now(ask: _Ask, budget: _Budget, context: RequestContext) -> bool:
    """Fill the row from memory; False if that needs the ring or the bucket."""
    if ask.partition is None:
        return True
    if not ask.partition.is_open:
        _refuse(ask, ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER))
        return True
    limit = budget.limit(ask.want.partition_max_bytes)
    try:
        if _diverges(ask, context):
            return True
        answer = context.desk.engine.read_now(ask.partition, ask.want.fetch_offset, limit)
    except ClientFault as fault:
        _refuse(ask, fault)
        return True
    if answer is None:
        return False
    _fill(ask, answer, budget, limit)
    return True


def _fill(ask: _Ask, answer: ReadAnswer, budget: _Budget, limit: int) -> None:
    row = ask.row
    row.error_code = ErrorCode.NONE
    row.high_watermark = answer.high_watermark
    row.last_stable_offset = answer.high_watermark
    row.log_start_offset = answer.log_start_offset
    if budget.take(answer, limit):
        row.records = answer.segments
        if ask.partition is not None:
            ask.partition.bytes_out += answer.size_bytes
    else:
        row.records = []


def _diverges(ask: _Ask, context: RequestContext) -> bool:
    """Whether the reader's last epoch ended before its offset here (v12): then it must truncate, not read."""
    partition = ask.partition
    if ask.want.last_fetched_epoch < 0 or partition is None:
        return False
    asked, log = ask.want.last_fetched_epoch, partition.log
    if asked == log.leader_epoch and ask.want.fetch_offset <= log.high_watermark:
        return False
    epoch, end = context.desk.engine.end_offset_for_epoch(partition, asked)
    if epoch < 0:
        raise ClientFault(ErrorCode.OFFSET_OUT_OF_RANGE, f"no end offset is known for the last fetched epoch {asked}")
    if epoch == asked and end >= ask.want.fetch_offset:
        return False
    ask.row.diverging_epoch = EpochEndOffset(epoch=epoch, end_offset=end)
    ask.row.high_watermark = ask.row.last_stable_offset = log.high_watermark
    ask.row.log_start_offset = log.start_offset
    return True


def _refuse(ask: _Ask, fault: ClientFault) -> None:
    row = ask.row
    row.error_code = fault.code
    row.records = []
    row.high_watermark = row.last_stable_offset = row.log_start_offset = -1
    # Kafka's two ways of refusing: a partition that it does not know, and one whose log it has asked.
    row.aborted_transactions = [] if fault.code in _UNKNOWN else None
    ask.partition = None


def _point_to_leader(ask: _Ask, response: FetchResponse, context: RequestContext) -> None:
    """From v12 on the row names the leader it knows; from v16 on its endpoint too (KIP-951)."""
    if ask.row.error_code not in (ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH):
        return
    topic = ask.topic
    leader = context.desk.engine.leader(topic.topic, topic.topic_id, ask.want.partition, context.listener)
    if leader is None:
        return
    ask.row.current_leader = LeaderIdAndEpoch(leader_id=leader.node_id, leader_epoch=leader.leader_epoch)
    if context.api_version >= 16 and all(known.node_id != leader.node_id for known in response.node_endpoints):
        response.node_endpoints.append(
            NodeEndpoint(node_id=leader.node_id, host=leader.host, port=leader.port, rack=leader.rack)
        )


__all__ = ["handle"]
