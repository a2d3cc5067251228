"""UnregisterBroker (key 64), version 0.

Checked: a broker that is not registered (BROKER_ID_NOT_REGISTERED).
Ours: a broker is forgotten only once it has stopped and no partition is open in its name or to be served by it. Until then
the answer is INVALID_REQUEST and says what is in the way, since what a broker has not uploaded is in its log alone. Kafka
unregisters whoever is named, and a broker that lives registers again.
"""

from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault, Refused
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.commands import ForgetNode
from automq_broker.wire.apis.k64_unregister_broker import UnregisterBrokerRequest, UnregisterBrokerResponse
from automq_broker.wire.codes import ErrorCode


async def handle(request: UnregisterBrokerRequest, context: RequestContext) -> UnregisterBrokerResponse:
    """Have the controller forget the broker; answered once that is durable."""
    try:
        await context.desk.submit(ForgetNode(node_id=NodeId(request.broker_id)))
    except ClientFault as fault:
        return UnregisterBrokerResponse(error_code=fault.code, error_message=str(fault))
    except Refused as needed:
        return UnregisterBrokerResponse(error_code=ErrorCode.INVALID_REQUEST, error_message=str(needed))
    return UnregisterBrokerResponse(error_message=None)


__all__ = ["handle"]
