"""InitProducerId (key 22), versions 0-5: producer ids for idempotence.

Checked: a transactional id that is empty is INVALID_REQUEST. Producer ids come from blocks of 1000 that the controller
leases, so they are unique for ever.
Not served: transactions. A transactional id is answered TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which clients treat as
fatal and report, instead of waiting for a coordinator that does not exist. A producer that asks for a new epoch of its
own id (KIP-360) gets a new id with epoch 0, as Kafka does for idempotent producers.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.wire.apis.k22_init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from automq_broker.wire.codes import ErrorCode


async def handle(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    """A fresh producer id with epoch 0."""
    if request.transactional_id is not None:
        is_empty = request.transactional_id == ""
        code = ErrorCode.INVALID_REQUEST if is_empty else ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        return InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
    producer_id = await context.desk.engine.producer_ids.take()
    return InitProducerIdResponse(producer_id=producer_id, producer_epoch=0)


__all__ = ["handle"]
