"""AlterConfigs (key 33), versions 0-2: replaces everything that is set for a resource (superseded by key 44).

Checked: a resource named twice, null values, each value and all values together, validate_only.
"""

from collections import Counter

from automq_broker.desk import config_changes
from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k33_alter_configs import (
    AlterConfigsRequest,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    AlterConfigsResponse,
)
from automq_broker.wire.codes import ErrorCode


async def handle(request: AlterConfigsRequest, context: RequestContext) -> AlterConfigsResponse:
    """Replace each resource's configs on its own."""
    counts = Counter((resource.resource_type, resource.resource_name) for resource in request.resources)
    rows = []
    for resource in request.resources:
        row = AlterConfigsResourceResponse(
            resource_type=resource.resource_type, resource_name=resource.resource_name, error_message=None
        )
        rows.append(row)
        try:
            if counts[resource.resource_type, resource.resource_name] > 1:
                raise ClientFault(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")
            change = _change(resource, context)
            await config_changes.apply(change, validate_only=request.validate_only, context=context)
        except ClientFault as fault:
            row.error_code, row.error_message = fault.code, fault.message or None
    return AlterConfigsResponse(responses=rows)


def _change(resource: AlterConfigsResource, context: RequestContext) -> config_changes.Change:
    current = config_changes.present(resource.resource_type, resource.resource_name, context)
    upserts: dict[str, str] = {}
    for config in resource.configs:
        if config.value is None:
            raise ClientFault(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {config.name}")
        upserts[config.name] = config.value
    deletes = tuple(name for name in current if name not in upserts)
    return config_changes.Change(resource.resource_type, resource.resource_name, upserts, deletes)


__all__ = ["handle"]
