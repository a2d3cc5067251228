"""IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339).

Checked: a resource or a key named twice (INVALID_REQUEST), operations 0 set, 1 delete, 2 append, 3 subtract, the last
two on list-typed keys only (INVALID_CONFIG), null values, each value and all values together, validate_only. Broker
resource "" is the default of all brokers.
"""

from collections import Counter

from automq_broker.contract.config_rows import ConfigType
from automq_broker.desk import config_changes
from automq_broker.desk.context import RequestContext
from automq_broker.desk.describe_configs import rows_of
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.apis.k44_incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    AlterConfigsResourceResponse,
    IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
)
from automq_broker.wire.codes import ErrorCode

_SET, _DELETE, _APPEND, _SUBTRACT = 0, 1, 2, 3


async def handle(request: IncrementalAlterConfigsRequest, context: RequestContext) -> IncrementalAlterConfigsResponse:
    """Change each resource on its own, all of its keys or none."""
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
    return IncrementalAlterConfigsResponse(responses=rows)


def _change(resource: AlterConfigsResource, context: RequestContext) -> config_changes.Change:
    config_changes.present(resource.resource_type, resource.resource_name, context)
    names = Counter(config.name for config in resource.configs)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"Error due to duplicate config keys: {','.join(twice)}")
    upserts: dict[str, str] = {}
    deletes: list[str] = []
    for config in resource.configs:
        if config.config_operation == _DELETE:
            deletes.append(config.name)
        elif config.value is None:
            raise ClientFault(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {config.name}")
        elif config.config_operation == _SET:
            upserts[config.name] = config.value
        elif config.config_operation in (_APPEND, _SUBTRACT):
            upserts[config.name] = _edited_list(resource, config, context)
        else:
            raise ClientFault(
                ErrorCode.INVALID_REQUEST, f"Unknown operation {config.config_operation} for {config.name}"
            )
    return config_changes.Change(resource.resource_type, resource.resource_name, upserts, tuple(deletes))


def _edited_list(resource: AlterConfigsResource, config: AlterableConfig, context: RequestContext) -> str:
    """The list in force with the given words added or taken away, in order, each once."""
    verb = "append to" if config.config_operation == _APPEND else "subtract from"
    rows = {row.name: row for row in rows_of(resource.resource_type, resource.resource_name, context)}
    if config.name in rows and rows[config.name].type is not ConfigType.LIST:
        raise ClientFault(ErrorCode.INVALID_CONFIG, f"Can't {verb} key {config.name} because its type is not LIST.")
    current = rows[config.name].value if config.name in rows else ""
    words = [word for word in (current or "").split(",") if word]
    given = [word.strip() for word in str(config.value).split(",") if word.strip()]
    if config.config_operation == _APPEND:
        words += [word for word in given if word not in words]
    else:
        words = [word for word in words if word not in given]
    return ",".join(words)


__all__ = ["handle"]
