"""DescribeCluster (key 60), versions 0-2.

Checked: endpoint_type 1 (brokers) only; 2 (controllers) is UNSUPPORTED_ENDPOINT_TYPE, other values INVALID_REQUEST,
as a Kafka broker answers. From v2 fenced brokers are listed on request.
"""

from automq_broker.desk import operations
from automq_broker.desk.context import RequestContext
from automq_broker.desk.views import controller_id, live_brokers
from automq_broker.wire.apis.k60_describe_cluster import (
    DescribeClusterBroker,
    DescribeClusterRequest,
    DescribeClusterResponse,
)
from automq_broker.wire.codes import ErrorCode

_BROKERS, _CONTROLLERS = 1, 2


def handle(request: DescribeClusterRequest, context: RequestContext) -> DescribeClusterResponse:
    """Cluster id, the broker for admin calls, and the brokers on this listener."""
    if request.endpoint_type != _BROKERS:
        is_known = request.endpoint_type == _CONTROLLERS
        return DescribeClusterResponse(
            error_code=ErrorCode.MISMATCHED_ENDPOINT_TYPE if is_known else ErrorCode.UNSUPPORTED_ENDPOINT_TYPE,
            error_message="The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type "
            "CONTROLLER"
            if is_known
            else f"Unsupported endpoint type {request.endpoint_type}",
        )
    response = DescribeClusterResponse(
        cluster_id=context.desk.metadata.state.cluster_id,
        controller_id=controller_id(context),
        endpoint_type=_BROKERS,
        brokers=[
            DescribeClusterBroker(
                broker_id=broker.node_id, host=broker.host, port=broker.port, rack=broker.rack, is_fenced=is_fenced
            )
            for broker, is_fenced in live_brokers(context, include_fenced=request.include_fenced_brokers)
        ],
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = operations.CLUSTER
    return response


__all__ = ["handle"]
