"""How a call is refused, and what every request must hold: one place, so that controller and node say the same."""

from typing import Any, NoReturn

import grpc

DRIVER = "ebs.csi.aws.com"
ZONE_KEY = "topology.kubernetes.io/zone"
REGION_KEY = "topology.kubernetes.io/region"


def refuse(context: grpc.ServicerContext, code: str, message: str) -> NoReturn:
    """End the call with that gRPC status."""
    context.abort(grpc.StatusCode[code], message)
    raise AssertionError("abort raises")


def require(context: grpc.ServicerContext, request: Any, *fields: str) -> None:
    """Refuse a request that leaves one of these empty."""
    for name in fields:
        value = getattr(request, name)
        is_message = hasattr(value, "ListFields")
        if (is_message and not request.HasField(name)) or (not is_message and not value):
            refuse(context, "INVALID_ARGUMENT", f"{name} is missing")
