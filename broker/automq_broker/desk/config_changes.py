"""What IncrementalAlterConfigs and AlterConfigs have in common: a resource's present values, a checked change, a commit."""

from collections.abc import Mapping
from dataclasses import dataclass

from automq_broker.desk.context import RequestContext
from automq_broker.desk.describe_configs import check_broker_name
from automq_broker.kernel.errors import ClientFault, Refused
from automq_broker.meta import topic_configs
from automq_broker.meta.commands import SetConfigs
from automq_broker.meta.rows import ResourceType
from automq_broker.meta.topics import check_name
from automq_broker.wire.codes import ErrorCode


@dataclass(frozen=True, slots=True)
class Change:
    """Values to set and names to forget, of one resource."""

    resource_type: int
    resource_name: str
    upserts: Mapping[str, str]
    deletes: tuple[str, ...]


def present(resource_type: int, name: str, context: RequestContext) -> Mapping[str, str]:
    """What is set for the resource itself; raises ClientFault for a resource that cannot be altered."""
    state = context.desk.metadata.state
    if resource_type == ResourceType.TOPIC:
        if not name:
            raise ClientFault(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        check_name(name)
        topic = state.topic(name)
        if topic is None:
            raise ClientFault(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic does not exist.")
        return topic.configs
    if resource_type == ResourceType.BROKER:
        check_broker_name(name, context)
        return state.configs(ResourceType.BROKER, name)
    raise ClientFault(ErrorCode.INVALID_REQUEST, f"Unsupported resource type: {resource_type}")


async def apply(change: Change, *, validate_only: bool, context: RequestContext) -> None:
    """Check the change as a whole and commit it. Raises ClientFault INVALID_CONFIG (topics) or INVALID_REQUEST."""
    current = present(change.resource_type, change.resource_name, context)
    after = {key: value for key, value in {**current, **change.upserts}.items() if key not in change.deletes}
    if change.resource_type == ResourceType.TOPIC:
        topic_configs.validate(after, only=change.upserts.keys())
    else:
        _check_broker(change.resource_name, after, context)
    if not validate_only:
        await context.desk.submit(
            SetConfigs(
                resource_type=change.resource_type,
                resource_name=change.resource_name,
                upserts=change.upserts,
                deletes=change.deletes,
            )
        )


def _check_broker(name: str, after: Mapping[str, str], context: RequestContext) -> None:
    state = context.desk.metadata.state
    node = str(context.desk.settings.node_id)
    cluster = after if not name else state.configs(ResourceType.BROKER, "")
    broker = after if name else state.configs(ResourceType.BROKER, node)
    try:
        context.desk.broker_configs.check(cluster, broker)
    except Refused as refused:
        raise ClientFault(ErrorCode.INVALID_REQUEST, str(refused)) from refused


__all__ = ["Change", "apply", "present"]
