"""Produce (key 0), versions 3-13; 0-2 are advertised and refused, as Kafka does for old librdkafka's compression check.

Checked: acks, one v2 batch per partition, CRC, size, timestamps, sequence (log/ and engine/append), zstd only from v7,
topic ids from v13, writes to internal topics, transactional batches (not served: TRANSACTIONAL_ID_AUTHORIZATION_FAILED).
Ignored: nothing. acks=1 and acks=all mean the same: durable. acks=0 is appended like the others but never answered; an
error closes the connection.
"""

import asyncio
from collections.abc import Callable

from automq_broker.desk.context import RequestContext
from automq_broker.engine.partition import Appended, Partition
from automq_broker.kernel.errors import ClientFault, CloseConnection
from automq_broker.wire.apis.k00_produce import (
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from automq_broker.wire.codes import ErrorCode

_ZSTD = 4
_ADMIN_CLIENT_ID = "__admin_client"


class _Pending:
    """One request's partitions on their way to the WAL; resolves the answer when the last one has arrived."""

    __slots__ = ("future", "left", "response")

    def __init__(self, response: ProduceResponse, future: "asyncio.Future[ProduceResponse]") -> None:
        self.response = response
        self.future = future
        self.left = 1

    def arrived(self) -> None:
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.response)


def handle(
    request: ProduceRequest, context: RequestContext
) -> "asyncio.Future[ProduceResponse] | ProduceResponse | None":
    """Append every partition's batch in the order of the request; the answer waits until all are durable or refused."""
    if request.acks not in (-1, 0, 1):
        return _finish(request, context, _refuse_all(request, ErrorCode.INVALID_REQUIRED_ACKS))
    response = ProduceResponse()
    pending = _Pending(response, asyncio.get_running_loop().create_future())
    for topic in request.topic_data:
        rows: list[PartitionProduceResponse] = []
        response.responses.append(
            TopicProduceResponse(name=topic.name, topic_id=topic.topic_id, partition_responses=rows)
        )
        for data in topic.partition_data:
            row = PartitionProduceResponse(index=data.index)
            rows.append(row)
            try:
                partition = _partition(topic, data.index, context)
                _check(request, data, partition, context)
                pending.left += 1
                _append(partition, data, row, pending, request, context)
            except ClientFault as fault:
                _refuse(row, fault)
                _point_to_leader(row, response, topic, context)
    pending.arrived()
    if request.acks == 0 or pending.future.done():
        return _finish(request, context, response)
    return pending.future


def _partition(topic, index: int, context: RequestContext) -> Partition:  # type: ignore[no-untyped-def]
    engine = context.desk.engine
    if context.api_version >= 13:
        return engine.partition_by_id(topic.topic_id, index)
    return engine.partition(topic.name, index)


def _check(request: ProduceRequest, data: PartitionProduceData, partition: Partition, context: RequestContext) -> None:
    """What depends on the request rather than on the log; the rest is checked where the batch is appended."""
    batch = data.records
    if batch is None or len(batch) == 0:
        raise ClientFault(ErrorCode.INVALID_RECORD, "no records")
    if partition.is_internal and context.client_id != _ADMIN_CLIENT_ID:
        raise ClientFault(ErrorCode.INVALID_TOPIC_EXCEPTION, "clients may not write to an internal topic")
    if len(batch) >= 23:
        attributes = batch[22]
        if attributes & 7 == _ZSTD and context.api_version < 7:
            raise ClientFault(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce v7")
        if attributes & 0x10 or request.transactional_id is not None:
            raise ClientFault(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not served")


def _append(
    partition: Partition,
    data: PartitionProduceData,
    row: PartitionProduceResponse,
    pending: _Pending,
    request: ProduceRequest,
    context: RequestContext,
) -> None:
    def done(outcome: Appended | BaseException) -> None:
        if isinstance(outcome, Appended):
            row.base_offset = outcome.base_offset
            row.log_append_time_ms = outcome.append_time_ms
            row.log_start_offset = outcome.log_start_offset
        elif isinstance(outcome, ClientFault):
            _refuse(row, outcome, partition)
        pending.arrived()

    try:
        context.desk.engine.append(partition, data.records, done, timeout_s=max(0, request.timeout_ms) / 1000)
    except ClientFault as fault:
        _refuse(row, fault, partition)
        pending.left -= 1


def _refuse(row: PartitionProduceResponse, fault: ClientFault, judge: Partition | None = None) -> None:
    """Fill the row with a refusal; what a log itself refused is answered with that log's start, as Kafka does."""
    row.error_code = fault.code
    row.error_message = fault.message or None
    row.base_offset = -1
    row.log_append_time_ms = -1
    row.log_start_offset = -1 if judge is None else judge.log.start_offset


def _point_to_leader(row: PartitionProduceResponse, response: ProduceResponse, topic, context: RequestContext) -> None:  # type: ignore[no-untyped-def]
    """From v10 on a NOT_LEADER answer names the new leader and its endpoint (KIP-951)."""
    if row.error_code != ErrorCode.NOT_LEADER_OR_FOLLOWER or context.api_version < 10:
        return
    leader = context.desk.engine.leader(topic.name, topic.topic_id, row.index, context.listener)
    if leader is None:
        return
    row.current_leader = LeaderIdAndEpoch(leader_id=leader.node_id, leader_epoch=leader.leader_epoch)
    if all(endpoint.node_id != leader.node_id for endpoint in response.node_endpoints):
        response.node_endpoints.append(
            NodeEndpoint(node_id=leader.node_id, host=leader.host, port=leader.port, rack=leader.rack)
        )


def _refuse_all(request: ProduceRequest, code: ErrorCode) -> ProduceResponse:
    return ProduceResponse(
        responses=[
            TopicProduceResponse(
                name=topic.name,
                topic_id=topic.topic_id,
                partition_responses=[
                    PartitionProduceResponse(index=data.index, error_code=code, base_offset=-1, log_append_time_ms=-1)
                    for data in topic.partition_data
                ],
            )
            for topic in request.topic_data
        ]
    )


def _finish(request: ProduceRequest, context: RequestContext, response: ProduceResponse) -> ProduceResponse | None:
    if request.acks != 0:
        return response
    if any(row.error_code for topic in response.responses for row in topic.partition_responses):
        raise CloseConnection(f"acks=0 produce of {context.client_id!r} was refused")
    return None


Handler = Callable[[ProduceRequest, RequestContext], object]

__all__ = ["handle"]
