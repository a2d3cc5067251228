"""`automq topic`: topics of a running cluster, through the Kafka protocol."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from automq_broker.commands.kafka_client import TIMEOUT_S, Cluster, answers, cluster_options, explain, pairs
from automq_broker.commands.output import print_json, print_table
from automq_broker.kernel.errors import Refused

_INTERNAL_PREFIX = "__"


@click.group(
    epilog="""\b
Examples:
  automq topic create orders --partitions 6 --config retention.ms=86400000
  automq topic list
  automq topic describe orders
  automq topic configs orders --set retention.ms=3600000
"""
)
def command() -> None:
    """List, create, describe, alter and delete topics; show and change their configs."""


@command.command("list", epilog="\b\nExamples:\n  automq topic list --internal --json")
@click.option("--internal", "with_internal", is_flag=True, help="Internal topics too.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def list_topics(cluster: Cluster, with_internal: bool, as_json: bool) -> None:
    """List topics with their number of partitions."""
    admin = cluster.admin()
    with answers(cluster):
        found = admin.list_topics(timeout=TIMEOUT_S).topics
    rows = [
        {"topic": name, "partitions": len(found[name].partitions)}
        for name in sorted(found)
        if with_internal or not name.startswith(_INTERNAL_PREFIX)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("", ("topic", "partitions "), (row.values() for row in rows))


@command.command(
    epilog="""\b
Examples:
  automq topic create orders
  automq topic create orders --partitions 6 --config cleanup.policy=delete --if-not-exists
"""
)
@click.argument("name")
@click.option(
    "--partitions", type=click.IntRange(1), help="Number of partitions; the broker's num.partitions by default."
)
@click.option("--config", "configs", multiple=True, metavar="KEY=VALUE", help="A topic config; repeatable.")
@click.option("--if-not-exists", is_flag=True, help="Success if the topic exists already.")
@cluster_options
def create(cluster: Cluster, name: str, partitions: int | None, configs: tuple[str, ...], if_not_exists: bool) -> None:
    """Create a topic."""
    wanted = pairs(configs, "--config")
    admin = cluster.admin()
    from confluent_kafka import KafkaError  # noqa: PLC0415 - an optional extra
    from confluent_kafka.admin import NewTopic  # noqa: PLC0415

    new = NewTopic(name, num_partitions=partitions or -1, replication_factor=-1, config=wanted)
    with answers(cluster):
        (made,) = admin.create_topics([new], request_timeout=TIMEOUT_S).values()
    error = made.exception(TIMEOUT_S)
    if error is None:
        click.echo(f"created topic {name}")
    elif if_not_exists and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
        click.echo(f"topic {name} exists already")
    else:
        raise Refused(explain(cluster, error.args[0]))


@command.command(epilog="\b\nExamples:\n  automq topic describe orders --json")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def describe(cluster: Cluster, names: tuple[str, ...], as_json: bool) -> None:
    """Show partitions with leader and offsets, and the configs that are not at their defaults."""
    admin = cluster.admin()
    described: list[dict[str, Any]] = []
    for name in names:
        partitions = partitions_of(cluster, admin, name)
        low = offsets_at(cluster, admin, name, partitions, "earliest")
        high = offsets_at(cluster, admin, name, partitions, "latest")
        described.append(
            {
                "topic": name,
                "partitions": [
                    {
                        "partition": number,
                        "leader": leader,
                        "start_offset": low[number],
                        "end_offset": high[number],
                        "records_max": high[number] - low[number],
                    }
                    for number, leader in partitions.items()
                ],
                "configs": {
                    each: value
                    for each, (value, is_default) in _configs(cluster, admin, name).items()
                    if not is_default
                },
            }
        )
    if as_json:
        print_json(described)
        return
    for topic in described:
        columns = ("partition ", "leader ", "start offset ", "end offset ", "records at most ")
        print_table(f"Topic {topic['topic']}", columns, (row.values() for row in topic["partitions"]))
        for key, value in topic["configs"].items():
            click.echo(f"{key}={value}")


@command.command(epilog="\b\nExamples:\n  automq topic alter orders --partitions 12")
@click.argument("name")
@click.option("--partitions", type=click.IntRange(1), required=True, help="The new number; never fewer than now.")
@cluster_options
def alter(cluster: Cluster, name: str, partitions: int) -> None:
    """Give a topic more partitions."""
    admin = cluster.admin()
    from confluent_kafka.admin import NewPartitions  # noqa: PLC0415 - an optional extra

    with answers(cluster):
        (changed,) = admin.create_partitions([NewPartitions(name, partitions)]).values()
        changed.result(TIMEOUT_S)
    click.echo(f"topic {name} has {partitions} partitions")


@command.command(epilog="\b\nExamples:\n  automq topic delete orders --yes")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def delete(cluster: Cluster, names: tuple[str, ...], yes: bool) -> None:
    """Delete topics with all their records."""
    confirm(f"delete {', '.join(names)} with all records", yes)
    admin = cluster.admin()
    failed = []
    with answers(cluster):
        for name, gone in admin.delete_topics(list(names)).items():
            error = gone.exception(TIMEOUT_S)
            if error is None:
                click.echo(f"deleted topic {name}")
            else:
                failed.append(f"{name}: {explain(cluster, error.args[0])}")
    if failed:
        raise Refused("; ".join(failed))


@command.command(
    epilog="""\b
Examples:
  automq topic configs orders
  automq topic configs orders --set retention.ms=3600000 --delete cleanup.policy
"""
)
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set a config; repeatable.")
@click.option("--delete", "deletes", multiple=True, metavar="KEY", help="Back to its default; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def configs(cluster: Cluster, name: str, sets: tuple[str, ...], deletes: tuple[str, ...], as_json: bool) -> None:
    """Show all configs of a topic, after changing those that --set and --delete name."""
    wanted = pairs(sets, "--set")
    admin = cluster.admin()
    if wanted or deletes:
        _change(cluster, admin, name, wanted, deletes)
    found = _configs(cluster, admin, name)
    if as_json:
        print_json([{"name": key, "value": value, "is_default": default} for key, (value, default) in found.items()])
    else:
        rows = ((key, value, "default" if default else "set") for key, (value, default) in found.items())
        print_table(f"Configs of topic {name}", ("name", "value", "from"), rows)


def _change(cluster: Cluster, admin: Any, name: str, sets: Mapping[str, str], deletes: Iterable[str]) -> None:
    from confluent_kafka.admin import (  # noqa: PLC0415 - an optional extra
        AlterConfigOpType,
        ConfigEntry,
        ConfigResource,
        ResourceType,
    )

    changes = [
        *(ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in sets.items()),
        *(ConfigEntry(key, None, incremental_operation=AlterConfigOpType.DELETE) for key in deletes),
    ]
    with answers(cluster):
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
        (changed,) = admin.incremental_alter_configs([resource]).values()
        changed.result(TIMEOUT_S)


def _configs(cluster: Cluster, admin: Any, name: str) -> dict[str, tuple[str | None, bool]]:
    from confluent_kafka.admin import ConfigResource, ConfigSource, ResourceType  # noqa: PLC0415 - an optional extra

    with answers(cluster):
        (found,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name)]).values()
        entries = found.result(TIMEOUT_S)
    own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {key: (entries[key].value, entries[key].source != own) for key in sorted(entries)}


def partitions_of(cluster: Cluster, admin: Any, topic: str) -> dict[int, int]:
    """Partition -> leader. Raises Refused when there is no such topic."""
    with answers(cluster):
        # SAFETY: asked for by name an unknown topic might be created by the asking; asked for all, it is just not there.
        found = admin.list_topics(timeout=TIMEOUT_S).topics.get(topic)
    if found is None:
        raise Refused(f"no topic {topic!r}; `automq topic list` shows those there are")
    return {number: found.partitions[number].leader for number in sorted(found.partitions)}


def offsets_at(cluster: Cluster, admin: Any, topic: str, partitions: Iterable[int], where: str | int) -> dict[int, int]:
    """Partition -> offset at "earliest", "latest" or a timestamp in ms (the end where nothing is as young)."""
    from confluent_kafka import TopicPartition  # noqa: PLC0415 - an optional extra
    from confluent_kafka.admin import OffsetSpec  # noqa: PLC0415

    match where:
        case "earliest":
            spec = OffsetSpec.earliest()
        case "latest":
            spec = OffsetSpec.latest()
        case _:
            spec = OffsetSpec.for_timestamp(int(where))
    with answers(cluster):
        asked = admin.list_offsets({TopicPartition(topic, number): spec for number in partitions})
        found = {each.partition: waiting.result(TIMEOUT_S).offset for each, waiting in asked.items()}
    unknown = [number for number, offset in found.items() if offset < 0]
    return {**found, **(offsets_at(cluster, admin, topic, unknown, "latest") if unknown else {})}


def confirm(deed: str, yes: bool) -> None:
    """Ask a person; a script has to say --yes. Raises Refused or click.Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"this would {deed}: say --yes")
    click.confirm(f"This will {deed}. Go on?", abort=True)


__all__ = ["command", "confirm", "offsets_at", "partitions_of"]
