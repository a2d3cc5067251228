"""DescribeProducers (key 61), version 0 (KIP-664): the idempotent producers that a partition remembers."""

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.topics import check_name
from automq_broker.wire.apis.k61_describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)
from automq_broker.wire.codes import ErrorCode


async def handle(request: DescribeProducersRequest, context: RequestContext) -> DescribeProducersResponse:
    """Active producers per partition. State that is still in the bucket is loaded first, so the answer is whole."""
    engine = context.desk.engine
    topics = []
    for topic in request.topics:
        rows = []
        for index in topic.partition_indexes:
            row = PartitionResponse(partition_index=index)
            rows.append(row)
            try:
                check_name(topic.name)
            except ClientFault as fault:
                row.error_code, row.error_message = fault.code, fault.message
                continue
            if context.desk.metadata.state.topic(topic.name) is None:
                row.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                row.error_message = f"there is no topic {topic.name!r}"
                continue
            try:
                partition = engine.partition(topic.name, index)
                await engine.producers.load(partition)
                row.active_producers = [
                    ProducerState(
                        producer_id=producer.producer_id,
                        producer_epoch=producer.producer_epoch,
                        last_sequence=producer.last_sequence,
                        last_timestamp=producer.last_timestamp,
                        coordinator_epoch=-1,
                        current_txn_start_offset=-1,
                    )
                    for producer in partition.log.producers.active()
                ]
            except ClientFault as fault:
                row.error_code = fault.code
                row.error_message = fault.message or None
        topics.append(TopicResponse(name=topic.name, partitions=rows))
    return DescribeProducersResponse(topics=topics)


__all__ = ["handle"]
