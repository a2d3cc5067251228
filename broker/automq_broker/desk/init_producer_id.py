"""InitProducerId (key 22), versions 0-5: producer ids for idempotence.

Checked: a transactional id that is empty is INVALID_REQUEST, so is an id without an epoch (v3+). Producer ids come from
blocks of 1000 that the controller leases ahead, so they are unique for ever. When they are used up because the bucket
holds up the metadata, the answer is COORDINATOR_LOAD_IN_PROGRESS after at most 2 s, as Kafka's: clients ask again.
Not served: transactions. A transactional id is answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients treat as
fatal and report, instead of waiting for a coordinator that does not exist. A producer that asks for a new epoch of its
own id (KIP-360) gets a new id with epoch 0, as Kafka does for idempotent producers.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import Retry
from automq_broker.wire.apis.k22_init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from automq_broker.wire.codes import ErrorCode


async def handle(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    """A fresh producer id with epoch 0."""
    if request.transactional_id is not None:
        is_empty = request.transactional_id == ""
        code = ErrorCode.INVALID_REQUEST if is_empty else ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        return InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
    if (request.producer_id < 0) != (request.producer_epoch < 0):
        return InitProducerIdResponse(error_code=ErrorCode.INVALID_REQUEST, producer_id=-1, producer_epoch=-1)
    try:
        producer_id = await context.desk.engine.producer_ids.take()
    except Retry:
        return InitProducerIdResponse(
            error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producer_id=-1, producer_epoch=-1
        )
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)


__all__ = ["handle"]
