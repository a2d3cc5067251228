"""Produce (key 0), versions 3-13; 0-2 are advertised and refused, as Kafka does for old librdkafka's compression check.

Checked: acks, one v2 batch per partition, CRC, size, timestamps, sequence (log/ and engine/append), zstd only from v7,
topic ids from v13, writes to internal topics, transactional batches (not served: TRANSACTIONAL_ID_AUTHORIZATION_FAILED).
Ignored: less than a whole batch behind the batch, as in Kafka. acks=1 and acks=all mean the same: durable.
acks=0 is appended like the others but never answered; an error closes the connection.
Ours: a partition that is named twice in one request gets both batches, in their order, and two answers (Kafka appends
the last one and drops the others in silence).
"""

from collections.abc import Callable

from automq_broker.desk.context import RequestContext
from automq_broker.engine.partition import Appended, Partition
from automq_broker.kernel.errors import ClientFault, CloseConnection
from automq_broker.kernel.later import Later
from automq_broker.log.admission import FieldFault
from automq_broker.log.record_faults import RecordFaults
from automq_broker.wire.apis.k00_produce import (
    BatchIndexAndErrorMessage,
    LeaderIdAndEpoch,
    NodeEndpoint,
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from automq_broker.wire.batches import BATCH_HEADER_BYTES, COMPRESSION_MASK, MAGIC, TRANSACTIONAL
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.produce import response_row

_ZSTD, _ZSTD_SINCE = 4, 7
_MAGIC_AT, _ATTRIBUTES_AT = 16, 22
_WITHOUT_LOG_START = frozenset(
    {
        ErrorCode.CORRUPT_MESSAGE,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)
"""Refusals that Kafka answers with log_start_offset -1 (ReplicaManager.appendRecordsToLeader)."""
_ADMIN_CLIENT_ID = "__admin_client"


class _Pending(Later):
    """One request's partitions on their way to the WAL; resolves the answer when the last one has arrived."""

    __slots__ = ("left", "response")

    def __init__(self, response: ProduceResponse) -> None:
        super().__init__()
        self.response = response
        self.left = 1

    def arrived(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.resolve(self.response)


def handle(request: ProduceRequest, context: RequestContext) -> Later | ProduceResponse | None:
    """Append every partition's batch in the order of the request; the answer waits until all are durable or refused."""
    if request.acks not in (-1, 0, 1):
        return _finish(request, context, _refuse_all(request, ErrorCode.INVALID_REQUIRED_ACKS))
    response = ProduceResponse()
    pending = _Pending(response)
    for topic in request.topic_data:
        if not topic.partition_data:
            continue  # as in Kafka, nothing asked is nothing answered
        rows: list[PartitionProduceResponse] = []
        response.responses.append(
            TopicProduceResponse(name=topic.name, topic_id=topic.topic_id, partition_responses=rows)
        )
        for data in topic.partition_data:
            row = response_row(data.index)
            rows.append(row)
            try:
                partition = _partition(topic, data.index, context)
                _check(data, partition, context)
                pending.left += 1
                _append(partition, data, row, pending, request, context, topic)
            except ClientFault as fault:
                _refuse(row, fault)
                _point_to_leader(row, response, topic, context)
    pending.arrived()
    if request.acks == 0 or pending.is_done:
        return _finish(request, context, response)
    return pending


def _partition(topic: TopicProduceData, index: int, context: RequestContext) -> Partition:
    engine = context.desk.engine
    if context.api_version >= 13:
        return engine.partition_by_id(topic.topic_id, index)
    return engine.partition(topic.name, index)


def _check(data: PartitionProduceData, partition: Partition, context: RequestContext) -> None:
    """What depends on the request rather than on the log; the rest is checked where the batch is appended."""
    batch = data.records
    if batch is None or len(batch) == 0:
        raise ClientFault(ErrorCode.INVALID_RECORD, "no records")
    if partition.is_internal and context.client_id != _ADMIN_CLIENT_ID:
        raise ClientFault(ErrorCode.INVALID_TOPIC_EXCEPTION, "clients may not write to an internal topic")
    if len(batch) >= BATCH_HEADER_BYTES and batch[_MAGIC_AT] == MAGIC:
        attributes = batch[_ATTRIBUTES_AT]
        if attributes & COMPRESSION_MASK == _ZSTD and context.api_version < _ZSTD_SINCE:
            raise ClientFault(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, "zstd needs Produce v7")
        if attributes & TRANSACTIONAL:
            raise ClientFault(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not served")


def _append(
    partition: Partition,
    data: PartitionProduceData,
    row: PartitionProduceResponse,
    pending: _Pending,
    request: ProduceRequest,
    context: RequestContext,
    topic: TopicProduceData,
) -> None:
    def done(outcome: Appended | BaseException) -> None:
        if isinstance(outcome, Appended):
            row.base_offset = outcome.base_offset
            row.log_append_time_ms = outcome.append_time_ms
            row.log_start_offset = outcome.log_start_offset
        elif isinstance(outcome, ClientFault):
            _refuse(row, outcome, partition)
            _point_to_leader(row, pending.response, topic, context)
        pending.arrived()

    try:
        context.desk.engine.append(partition, data.records, done, timeout_s=max(0, request.timeout_ms) / 1000)
    except ClientFault as fault:
        _refuse(row, fault, partition)
        _point_to_leader(row, pending.response, topic, context)
        pending.left -= 1


def _refuse(row: PartitionProduceResponse, fault: ClientFault, judge: Partition | None = None) -> None:
    """Fill the row with a refusal; a fault of the batch's contents is answered with the log's start, as Kafka does."""
    row.error_code = fault.code
    row.error_message = fault.message or None
    row.base_offset = -1
    row.log_append_time_ms = -1
    row.log_start_offset = -1
    if judge is not None and fault.code not in _WITHOUT_LOG_START and not isinstance(fault, FieldFault):
        row.log_start_offset = judge.log.start_offset
    if isinstance(fault, RecordFaults):
        row.record_errors = [
            BatchIndexAndErrorMessage(batch_index=index, batch_index_error_message=text) for index, text in fault.faults
        ]


def _point_to_leader(
    row: PartitionProduceResponse, response: ProduceResponse, topic: TopicProduceData, context: RequestContext
) -> None:
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
