"""DescribeConfigs (key 32), versions 1-4.

Checked: topics (unknown: UNKNOWN_TOPIC_OR_PARTITION), this broker by its id, "" for what is set for all brokers; other
brokers and resource types INVALID_REQUEST. Every known key is answered, with default, source, type, documentation, and
synonyms when asked; values of sensitive keys are null.
Not served: broker loggers, client metrics and group configs (their features do not exist here): INVALID_REQUEST.
"""

from automq_broker.contract.config_rows import ConfigRow, ConfigSource, ConfigType
from automq_broker.desk.config_rows import topic_rows
from automq_broker.desk.context import RequestContext
from automq_broker.kernel.errors import ClientFault
from automq_broker.meta.rows import ResourceType
from automq_broker.meta.topics import check_name
from automq_broker.wire.apis.k32_describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
    DescribeConfigsSynonym,
)
from automq_broker.wire.codes import ErrorCode


def handle(request: DescribeConfigsRequest, context: RequestContext) -> DescribeConfigsResponse:
    """One result per resource; a refused one does not touch the others."""
    return DescribeConfigsResponse(results=[_describe(resource, request, context) for resource in request.resources])


def _describe(
    resource: DescribeConfigsResource, request: DescribeConfigsRequest, context: RequestContext
) -> DescribeConfigsResult:
    result = DescribeConfigsResult(
        resource_type=resource.resource_type, resource_name=resource.resource_name, error_message=""
    )
    try:
        rows = rows_of(resource.resource_type, resource.resource_name, context)
    except ClientFault as fault:
        result.error_code, result.error_message = fault.code, fault.message
        return result
    wanted = set(resource.configuration_keys or ())
    result.configs = [_result(row, request) for row in rows if not wanted or row.name in wanted]
    return result


def rows_of(resource_type: int, name: str, context: RequestContext) -> list[ConfigRow]:
    """The rows of one resource; raises ClientFault."""
    if resource_type == ResourceType.TOPIC:
        check_name(name)
        topic = context.desk.metadata.state.topic(name)
        if topic is None:
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return topic_rows(topic.configs, context)
    if resource_type == ResourceType.BROKER:
        check_broker_name(name, context)
        rows = context.desk.broker_configs.rows()
        if name:
            return rows
        return [row for row in rows if row.source is ConfigSource.DYNAMIC_DEFAULT_BROKER]
    raise ClientFault(ErrorCode.INVALID_REQUEST, f"Unsupported resource type: {resource_type}")


def check_broker_name(name: str, context: RequestContext) -> None:
    """Broker configs are asked for by this broker's id, or "" for all brokers."""
    if name and not name.isdecimal():
        raise ClientFault(ErrorCode.INVALID_REQUEST, f"Broker id must be an integer, but it is: {name}")
    if name and int(name) != context.desk.settings.node_id:
        raise ClientFault(
            ErrorCode.INVALID_REQUEST,
            f"Unexpected broker id, expected {context.desk.settings.node_id} or empty string, but received {name}",
        )


def _result(row: ConfigRow, request: DescribeConfigsRequest) -> DescribeConfigsResourceResult:
    result = DescribeConfigsResourceResult(
        name=row.name,
        value=row.value,
        read_only=row.is_read_only,
        config_source=row.source,
        is_sensitive=row.is_sensitive,
        config_type=ConfigType(row.type),
        documentation=None,
    )
    if request.include_synonyms:
        result.synonyms = [
            DescribeConfigsSynonym(name=synonym.name, value=synonym.value, source=synonym.source)
            for synonym in row.synonyms
        ]
    if request.include_documentation:
        result.documentation = row.doc
    return result


__all__ = ["check_broker_name", "handle", "rows_of"]
