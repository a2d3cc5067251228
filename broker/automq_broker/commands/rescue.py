"""`automq rescue`: build the metadata anew from what is left in the bucket."""

from typing import TYPE_CHECKING, Any

import click

from automq_broker.commands.offline import opened_bucket, run_offline
from automq_broker.commands.output import Bar, print_json, print_table, progress
from automq_broker.commands.settings_options import settings_options
from automq_broker.kernel.errors import Refused
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from automq_broker.engine.rescue_plan import RescuePlan, WalTail
    from automq_broker.engine.rescue_survey import SeenHead, Survey
    from automq_broker.ports import Bucket
    from automq_broker.wal.inspect import WalReport

_LISTED_MAX = 20


@click.command(
    epilog="""\b
Examples:
  automq rescue --data /var/lib/automq --dry-run
  automq rescue --bucket 's3://my-bucket?region=eu-central-1' --wal /var/lib/automq/wal/wal.bin
  automq rescue --replace-head --objects-only
"""
)
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@click.option("--replace-head", is_flag=True, help="Replace a head that exists; every broker must be stopped.")
@click.option("--objects-only", is_flag=True, help="Do not use surviving snapshots and deltas.")
@click.option("--cluster-id", metavar="ID", help="Which cluster, where the bucket does not tell or holds several.")
@click.option("--json", "as_json", is_flag=True, help="The plan for machines.")
@settings_options
def command(
    settings: Settings, dry_run: bool, replace_head: bool, objects_only: bool, cluster_id: str | None, as_json: bool
) -> None:
    """Rebuild lost or damaged metadata (meta/) and put a new head for it.

    Ranges of every stream are rebuilt from the objects; of two that overlap the higher epoch wins. Topics, configs and
    trims come from the newest snapshot and deltas that still load, if any do; the write-ahead log of this node, which
    must not be in use, tells of records that reached no object yet. What is lost or cannot be known is listed.
    A head that exists is replaced only with --replace-head, and only while nobody renews it.

    Exit codes: 0 rescued, or plan shown; 1 refused, and nothing has changed.
    """
    wal_cluster, tails, wal_note = _wal_tails(settings)
    with progress("reading indexes", is_shown=not as_json, unit_is_bytes=False) as bar:
        plan, survey = run_offline(_plan(settings, tails, cluster_id or wal_cluster, not objects_only, bar))
    if wal_cluster and plan.cluster_id != wal_cluster and cluster_id is None:
        raise Refused(
            f"the WAL belongs to cluster {wal_cluster}, what is left in the bucket to {plan.cluster_id}: "
            "give the right --wal, or --cluster-id"
        )
    answer = {**_as_json(plan, survey), "wal": wal_note, "is_done": False}
    if not as_json:
        _print_plan(plan, survey, wal_note)
    if survey.head is not None and not replace_head and not dry_run:
        raise Refused(
            f"{survey.head}. Nothing was changed. If this head must go, stop every broker and say --replace-head"
        )
    if not dry_run:
        with progress("watching the head", is_shown=not as_json, unit_is_bytes=False) as bar:
            head = run_offline(_carry_out(settings, plan, survey.head, bar))
        answer.update(is_done=True, commit=head.seq, epoch=head.epoch)
    if as_json:
        print_json(answer)
    elif dry_run:
        click.echo("Nothing was changed (--dry-run).")
    else:
        click.echo("The new head is in place. Check it with `automq verify --deep`, then start the brokers.")


def _wal_tails(settings: Settings) -> "tuple[str | None, list[WalTail], str]":
    """Cluster id and streams of this node's WAL, and what to say of it."""
    from automq_broker.adapters.wal_open import is_in_use, open_wal_device, parse_wal_uri  # noqa: PLC0415
    from automq_broker.commands.wal import drive  # noqa: PLC0415
    from automq_broker.wal.inspect import inspect  # noqa: PLC0415

    if settings.wal_bucket_uri is not None:
        return _bulk_tails(settings, settings.wal_bucket_uri)
    uri = settings.wal_uri
    _, path, _ = parse_wal_uri(uri)
    try:
        is_running = is_in_use(uri)
    except Refused as error:
        if settings.wal.path:
            raise
        return None, [], f"not looked at ({error})"
    if is_running:
        raise Refused(f"a broker uses the WAL {path}: stop it first")
    device = open_wal_device(uri, is_read_only=True)
    try:
        report = drive(inspect(), device.read_blocking)
    finally:
        device.release()
    return _tails(report, path)


def _bulk_tails(settings: Settings, uri: str) -> "tuple[str | None, list[WalTail], str]":
    from automq_broker.commands.wal_bulks import inspect_bulks  # noqa: PLC0415

    report, _ = run_offline(inspect_bulks(uri, settings.node.node_id))
    return _tails(report, f"in the bucket, node {settings.node.node_id}")


def _tails(report: "WalReport", where: str) -> "tuple[str | None, list[WalTail], str]":
    from automq_broker.engine.rescue_plan import WalTail  # noqa: PLC0415

    tails = [
        WalTail(
            stream_id=each.stream_id,
            stream_epoch=each.stream_epoch,
            first_offset=each.first_offset,
            end_offset=each.end_offset,
        )
        for each in report.streams
    ]
    note = f"{where}: {len(tails)} streams"
    return report.newest.cluster_id, tails, note if report.damage is None else f"{note}, then damage: {report.damage}"


async def _plan(
    settings: Settings, tails: "list[WalTail]", cluster_id: str | None, use_metadata: bool, bar: Bar
) -> "tuple[RescuePlan, Survey]":
    import time  # noqa: PLC0415 - commands start fast
    import uuid  # noqa: PLC0415
    from random import Random  # noqa: PLC0415

    from automq_broker.engine.rescue_plan import plan_rescue  # noqa: PLC0415
    from automq_broker.engine.rescue_survey import survey  # noqa: PLC0415
    from automq_broker.kernel.ids import NodeId  # noqa: PLC0415

    def advance(total: int) -> None:
        bar.total(total)
        bar.advance(1)

    async with opened_bucket(settings) as bucket:
        seen = await survey(bucket, Random(), use_metadata=use_metadata, cluster_id=cluster_id, advance=advance)
    plan = plan_rescue(
        seen,
        cluster_id=cluster_id,
        wal_tails=tails,
        node_id=NodeId(settings.node.node_id),
        partitions_of={"__consumer_offsets": settings.groups.offsets_topic_num_partitions},
        new_ids=iter(uuid.uuid4, None),
        now_ms=int(time.time() * 1000),
    )
    return plan, seen


async def _carry_out(settings: Settings, plan: "RescuePlan", seen: "SeenHead | None", bar: Bar) -> Any:
    import time  # noqa: PLC0415
    from random import Random  # noqa: PLC0415

    from automq_broker.engine.rescue import WATCH_S, carry_out, watch_head  # noqa: PLC0415

    async with opened_bucket(settings) as bucket:
        await _check(bucket)
        if seen is not None:
            bar.total(WATCH_S)
            await watch_head(bucket, seen, bar.advance)
        head, _ = await carry_out(bucket, plan, seen, rng=Random(), now_ms=int(time.time() * 1000))
    return head


async def _check(bucket: "Bucket") -> None:
    """The head is put by a conditional write: a store that ignores conditions is refused, as at a broker's start."""
    import uuid  # noqa: PLC0415

    from automq_broker.adapters.bucket_selftest import check_bucket  # noqa: PLC0415

    await check_bucket(bucket, uuid.uuid4().hex)


def _print_plan(plan: "RescuePlan", survey: "Survey", wal_note: str) -> None:
    print_table(
        "Rescue",
        ("what", "found"),
        (
            ("cluster", plan.cluster_id),
            ("built from", plan.source),
            ("head", "none" if survey.head is None else str(survey.head)),
            ("objects", f"{len(survey.objects)} readable, {len(plan.objects)} of them needed"),
            ("write-ahead log", wal_note),
        ),
    )
    print_table(
        "Topics", ("topic", "partitions ", "records ", "id"), (_topic_cells(plan, topic) for topic in plan.topics)
    )
    _print_list("Records that are lost (readers pass over them)", plan.losses)
    _print_list("Left out", tuple(f"{one.subject}: {one.reason}" for one in plan.left_out))
    _print_list("To know", plan.notes)


def _topic_cells(plan: "RescuePlan", topic: Any) -> tuple[object, ...]:
    records = sum(each.records for stream_id in topic.streams.values() for each in plan.streams[stream_id].ranges)
    return topic.name, len(topic.streams), records, topic.topic_id


def _print_list(title: str, lines: tuple[str, ...]) -> None:
    if lines:
        click.echo(f"{title}:")
        for line in lines[:_LISTED_MAX]:
            click.echo(f"  - {line}")
        if len(lines) > _LISTED_MAX:
            click.echo(f"  ... and {len(lines) - _LISTED_MAX} more; --json lists them all")
        click.echo()


def _as_json(plan: "RescuePlan", survey: "Survey") -> dict[str, Any]:
    return {
        "cluster_id": plan.cluster_id,
        "source": plan.source,
        "head": None if survey.head is None else str(survey.head),
        "objects": len(plan.objects),
        "topics": [
            {
                "topic": topic.name,
                "topic_id": str(topic.topic_id),
                "partitions": [
                    {
                        "partition": index,
                        "stream": stream_id,
                        "start_offset": plan.streams[stream_id].start_offset,
                        "end_offset": plan.streams[stream_id].committed_end,
                    }
                    for index, stream_id in topic.streams.items()
                ],
            }
            for topic in plan.topics
        ],
        "losses": list(plan.losses),
        "left_out": [{"subject": one.subject, "reason": one.reason} for one in plan.left_out],
        "notes": list(plan.notes),
    }


__all__ = ["command"]
