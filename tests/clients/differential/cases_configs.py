"""DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: every topic config with its default, and every refusal."""

from collections.abc import Callable
from typing import Any

from automq_broker.wire.apis import k33_alter_configs as legacy
from automq_broker.wire.apis import k44_incremental_alter_configs as incremental
from automq_broker.wire.apis.k32_describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from clients.differential.world import Ask, Steps, World, case

DESCRIBE, ALTER, INCREMENTAL = 32, 33, 44
TOPIC, BROKER = 2, 4
SET, REMOVE, APPEND, SUBTRACT = 0, 1, 2, 3
# What Kafka calls its own log is not ours to have: compared is what a client of both would look at.
_BROKER_KEYS = (
    "advertised.listeners", "auto.create.topics.enable", "compression.type", "connections.max.idle.ms",
    "delete.topic.enable", "fetch.max.bytes", "group.max.session.timeout.ms", "group.min.session.timeout.ms",
    "log.cleanup.policy", "log.message.timestamp.type", "log.retention.bytes", "log.retention.ms", "message.max.bytes",
    "min.insync.replicas", "node.id", "num.partitions", "offset.metadata.max.bytes", "offsets.retention.minutes",
    "offsets.topic.num.partitions", "socket.request.max.bytes",
)  # fmt: skip


def _describe(kind: int, name: str, keys: list[str] | None = None, **given: bool) -> DescribeConfigsRequest:
    resource = DescribeConfigsResource(resource_type=kind, resource_name=name, configuration_keys=keys)
    return DescribeConfigsRequest(resources=[resource], **given)


def _by_name(answer: Any) -> Any:
    """The rows by name: their order says nothing."""
    for result in answer.results:
        result.configs = {row.name: row for row in result.configs}
    return [{"error_code": row.error_code, "error_message": row.error_message, **row.configs} for row in answer.results]


@case(DESCRIBE)
def every_config_of_a_topic(world: World, version: int) -> Steps:
    topic = world.topic(configs={"retention.ms": "1000", "cleanup.policy": "compact", "flush.messages": "5"})
    yield Ask(message=_describe(TOPIC, topic), view=_by_name)
    yield Ask(message=_describe(TOPIC, topic, include_synonyms=True), view=_by_name)


@case(DESCRIBE, only=(1, 4))
def chosen_keys_and_unknown_resources(world: World, version: int) -> Steps:
    topic = world.seeded()
    yield Ask(message=_describe(TOPIC, topic, ["retention.ms", "no.such.config"]), view=_by_name)
    yield Ask(message=_describe(TOPIC, topic, []), view=_by_name)
    yield _describe(TOPIC, "nobody-made-this")
    yield _describe(TOPIC, "has space")
    yield _describe(BROKER, "99")
    yield _describe(BROKER, "zero")
    yield _describe(99, "what")


@case(DESCRIBE, least=3, most=3)
def documentation_is_there_when_asked(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        return sorted((row.name, bool(row.documentation)) for row in answer.results[0].configs)

    yield Ask(message=_describe(TOPIC, world.seeded(), include_documentation=True), view=view)


@case(DESCRIBE, only=(1, 4))
def the_brokers_everyday_configs(world: World, version: int) -> Steps:
    def view(answer: Any) -> Any:
        (result,) = answer.results
        rows = [(row.name, row.value, row.is_sensitive, row.config_type) for row in result.configs]
        return [
            result.error_code,
            [row for row in sorted(rows) if row[0] not in ("advertised.listeners", "log.retention.ms")],
        ]

    yield Ask(message=_describe(BROKER, "0", list(_BROKER_KEYS)), view=view)


Change = tuple[str, int, str | None]


def _change(name: str, *changes: Change, kind: int = TOPIC, is_dry: bool = False) -> Any:
    rows = [incremental.AlterableConfig(name=key, config_operation=what, value=value) for key, what, value in changes]
    resource = incremental.AlterConfigsResource(resource_type=kind, resource_name=name, configs=rows)
    return incremental.IncrementalAlterConfigsRequest(resources=[resource], validate_only=is_dry)


def _shown(world: World, topic: str, holds: Callable[[dict[str, str]], bool]) -> Ask:
    """Show the overridden configs once `holds` is true of all of them."""

    def values(answer: Any) -> dict[str, str]:
        return {row.name: row.value for row in answer.results[0].configs if row.config_source == 1}

    message = _describe(TOPIC, topic)
    world.until(message, 4, lambda answer: holds(values(answer)))
    return Ask(message=_describe(TOPIC, topic), version=4, view=lambda answer: sorted(values(answer).items()))


@case(INCREMENTAL)
def configs_are_set_removed_appended_subtracted(world: World, version: int) -> Steps:
    topic = world.topic(configs={"retention.ms": "1000"})
    yield _change(topic, ("max.message.bytes", SET, "5000"), ("retention.ms", REMOVE, None))
    yield _shown(world, topic, lambda values: values == {"max.message.bytes": "5000"})
    yield _change(topic, ("cleanup.policy", APPEND, "compact"))
    yield _shown(world, topic, lambda values: values.get("cleanup.policy") == "delete,compact")
    yield _change(topic, ("cleanup.policy", SUBTRACT, "delete"))
    yield _shown(world, topic, lambda values: values.get("cleanup.policy") == "compact")
    yield _change(topic, ("cleanup.policy", APPEND, "compact"), ("segment.ms", REMOVE, None))
    yield _change(topic, ("max.message.bytes", SET, "6000"), is_dry=True)
    yield _shown(world, topic, lambda values: values.get("max.message.bytes") == "5000")


@case(INCREMENTAL)
def impossible_changes_are_refused(world: World, version: int) -> Steps:
    topic = world.topic()
    impossible: tuple[tuple[Change, ...], ...] = (
        (("retention.ms", SET, "soon"),),
        (("retention.ms", SET, None),),
        (("retention.ms", APPEND, "5"),),
        (("cleanup.policy", SET, "shred"),),
        (("cleanup.policy", SUBTRACT, None),),
        (("no.such.config", SET, "1"),),
        (("no.such.config", REMOVE, None),),
        (("retention.ms", 9, "5"),),
        (("retention.ms", SET, "5"), ("retention.ms", SET, "6")),
        (("max.message.bytes", SET, "5000"), ("retention.ms", SET, "soon")),
    )
    for changes in impossible:
        yield _change(topic, *changes)
    yield _change("nobody-made-this", ("retention.ms", SET, "5"))
    yield _change("has space", ("retention.ms", SET, "5"))
    yield _change("99", ("message.max.bytes", SET, "5000"), kind=BROKER)
    yield _change("what", ("retention.ms", SET, "5"), kind=99)
    yield _shown(world, topic, lambda values: not values)


@case(INCREMENTAL, only=(1,))
def a_resource_named_twice_is_refused(world: World, version: int) -> Steps:
    topic = world.topic()
    one, two = _change(topic, ("retention.ms", SET, "5")), _change(topic, ("retention.ms", SET, "6"))
    one.resources += two.resources
    yield one


@case(ALTER)
def the_old_way_replaces_everything(world: World, version: int) -> Steps:
    topic = world.topic(configs={"retention.ms": "1000", "segment.ms": "2000"})

    def asked(name: str, configs: dict[str, str | None], *, kind: int = TOPIC, is_dry: bool = False) -> Any:
        rows = [legacy.AlterableConfig(name=key, value=value) for key, value in configs.items()]
        resource = legacy.AlterConfigsResource(resource_type=kind, resource_name=name, configs=rows)
        return legacy.AlterConfigsRequest(resources=[resource], validate_only=is_dry)

    yield asked(topic, {"max.message.bytes": "5000"}, is_dry=True)
    yield asked(topic, {"max.message.bytes": "5000"})
    yield _shown(world, topic, lambda values: values == {"max.message.bytes": "5000"})
    yield asked(topic, {"max.message.bytes": "few"})
    yield asked(topic, {"no.such.config": "1"})
    yield asked(topic, {"max.message.bytes": None})
    yield asked("nobody-made-this", {})
    yield asked("what", {}, kind=99)
