"""`automq group`: consumer groups of a running cluster, their lag, and their offsets."""

from datetime import datetime
from typing import Any

import click

from automq_broker.commands.kafka_client import TIMEOUT_S, Cluster, answers, cluster_options, explain
from automq_broker.commands.output import print_json, print_table
from automq_broker.commands.topic import confirm, offsets_at, partitions_of
from automq_broker.kernel.errors import Refused


@click.group(
    epilog="""\b
Examples:
  automq group list
  automq group describe reports
  automq group reset-offsets reports --topic orders --to earliest --execute
"""
)
def command() -> None:
    """List, describe and delete consumer groups; move their offsets."""


@command.command("list", epilog="\b\nExamples:\n  automq group list --json")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def list_groups(cluster: Cluster, as_json: bool) -> None:
    """List groups with their state."""
    admin = cluster.admin()
    with answers(cluster):
        found = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result(TIMEOUT_S)
    rows = [
        {"group": each.group_id, "state": each.state.name} for each in sorted(found.valid, key=lambda g: g.group_id)
    ]
    if as_json:
        print_json(rows)
    else:
        print_table("", ("group", "state"), (row.values() for row in rows))


@command.command(epilog="\b\nExamples:\n  automq group describe reports --json | jq '.partitions[] | select(.lag > 0)'")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def describe(cluster: Cluster, name: str, as_json: bool) -> None:
    """Show members, and per partition the committed offset, the end and the lag."""
    admin = cluster.admin()
    found = _described(cluster, admin, name)
    owners = {
        (place.topic, place.partition): member.client_id
        for member in found.members
        for place in (member.assignment.topic_partitions if member.assignment else ())
    }
    committed = _committed(cluster, admin, name)
    rows = []
    for topic in sorted({topic for topic, _ in committed} | {topic for topic, _ in owners}):
        partitions = [number for each, number in {*committed, *owners} if each == topic]
        ends = offsets_at(cluster, admin, topic, sorted(partitions), "latest")
        for number in sorted(partitions):
            offset = committed.get((topic, number))
            rows.append(
                {
                    "topic": topic,
                    "partition": number,
                    "offset": offset,
                    "end_offset": ends[number],
                    "lag": None if offset is None else max(0, ends[number] - offset),
                    "client": owners.get((topic, number)),
                }
            )
    if as_json:
        members = [{"client": each.client_id, "host": each.host, "member": each.member_id} for each in found.members]
        print_json({"group": name, "state": found.state.name, "members": members, "partitions": rows})
        return
    click.echo(f"Group {name}: {found.state.name}, {len(found.members)} members\n")
    print_table("", ("topic", "partition ", "offset ", "end offset ", "lag ", "client"), (row.values() for row in rows))


@command.command(
    "reset-offsets",
    epilog="""\b
Examples:
  automq group reset-offsets reports --topic orders --to earliest
  automq group reset-offsets reports --topic orders --partition 0 --to 1500 --execute
  automq group reset-offsets reports --topic orders --to 2026-05-01T00:00:00Z --execute
""",
)
@click.argument("name")
@click.option("--topic", required=True)
@click.option("--partition", "wanted", type=click.IntRange(0), multiple=True, help="Only this one; repeatable.")
@click.option(
    "--to", required=True, metavar="WHERE", help="earliest, latest, an offset, or a time like 2026-05-01T00:00:00Z."
)
@click.option("--execute", is_flag=True, help="Do it; without it the plan is shown.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@cluster_options
def reset_offsets(
    cluster: Cluster, name: str, topic: str, wanted: tuple[int, ...], to: str, execute: bool, as_json: bool
) -> None:
    """Move the committed offsets of a group that has no members now. Offsets are kept within the log."""
    admin = cluster.admin()
    partitions = _chosen(partitions_of(cluster, admin, topic), wanted, topic)
    low = offsets_at(cluster, admin, topic, partitions, "earliest")
    high = offsets_at(cluster, admin, topic, partitions, "latest")
    target = _targets(cluster, admin, topic, partitions, to)
    before = _committed(cluster, admin, name)
    after = {each: min(max(target[each], low[each]), high[each]) for each in partitions}
    rows = [
        {"topic": topic, "partition": each, "before": before.get((topic, each)), "after": after[each]}
        for each in partitions
    ]
    if execute:
        _move(cluster, admin, name, topic, after)
    if as_json:
        print_json({"group": name, "is_done": execute, "partitions": rows})
        return
    print_table(f"Group {name}", ("topic", "partition ", "before ", "after "), (row.values() for row in rows))
    click.echo("Done." if execute else "Nothing was changed; --execute does it.")


@command.command(epilog="\b\nExamples:\n  automq group delete reports --yes")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@cluster_options
def delete(cluster: Cluster, names: tuple[str, ...], yes: bool) -> None:
    """Delete groups without members, and their offsets."""
    confirm(f"delete the offsets of {', '.join(names)}", yes)
    admin = cluster.admin()
    failed = []
    with answers(cluster):
        for name, gone in admin.delete_consumer_groups(list(names), request_timeout=TIMEOUT_S).items():
            error = gone.exception(TIMEOUT_S)
            if error is None:
                click.echo(f"deleted group {name}")
            else:
                failed.append(f"{name}: {explain(cluster, error.args[0])}")
    if failed:
        raise Refused("; ".join(failed))


def _described(cluster: Cluster, admin: Any, name: str) -> Any:
    with answers(cluster):
        known = admin.list_consumer_groups(request_timeout=TIMEOUT_S).result(TIMEOUT_S)
        if name not in {each.group_id for each in known.valid}:
            raise Refused(f"no group {name!r}; `automq group list` shows those there are")
        (found,) = admin.describe_consumer_groups([name], request_timeout=TIMEOUT_S).values()
        return found.result(TIMEOUT_S)


def _committed(cluster: Cluster, admin: Any, name: str) -> dict[tuple[str, int], int]:
    from confluent_kafka import ConsumerGroupTopicPartitions  # noqa: PLC0415 - an optional extra

    with answers(cluster):
        (found,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name)]).values()
        places = found.result(TIMEOUT_S).topic_partitions
    return {(place.topic, place.partition): place.offset for place in places if place.offset >= 0}


def _chosen(partitions: dict[int, int], wanted: tuple[int, ...], topic: str) -> list[int]:
    for number in wanted:
        if number not in partitions:
            raise Refused(f"topic {topic} has no partition {number}; it has {len(partitions)}")
    return sorted(wanted or partitions)


def _targets(cluster: Cluster, admin: Any, topic: str, partitions: list[int], to: str) -> dict[int, int]:
    if to.isdigit():
        return dict.fromkeys(partitions, int(to))
    if to in ("earliest", "latest"):
        return offsets_at(cluster, admin, topic, partitions, to)
    try:
        moment = datetime.fromisoformat(to)
    except ValueError:
        raise click.UsageError(
            f"--to {to!r}: earliest, latest, an offset, or a time like 2026-05-01T00:00:00Z"
        ) from None
    return offsets_at(cluster, admin, topic, partitions, int(moment.timestamp() * 1000))


def _move(cluster: Cluster, admin: Any, name: str, topic: str, offsets: dict[int, int]) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition  # noqa: PLC0415 - an optional extra

    wanted = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
    with answers(cluster):
        (moved,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, wanted)]).values()
        moved.result(TIMEOUT_S)
        for place in moved.result().topic_partitions:
            if place.error is not None:
                raise Refused(f"{topic}-{place.partition}: {explain(cluster, place.error)}")


__all__ = ["command"]
