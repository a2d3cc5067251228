"""`automq verify`: do bucket and metadata agree?"""

from typing import TYPE_CHECKING, Any

import click

from automq_broker.commands.offline import opened_bucket, run_offline
from automq_broker.commands.output import Bar, age_text, print_json, print_table, progress, size_text
from automq_broker.commands.settings_options import settings_options
from automq_broker.kernel.errors import AutomqError, Bug
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from automq_broker.engine.verify import VerifyReport

DISAGREES, COULD_NOT_RUN = 1, 2
_LISTED_MAX = 200


class CouldNotRun(click.ClickException):
    """Nothing is known of the bucket, good or bad; scripts must not take it for either."""

    exit_code = COULD_NOT_RUN


@click.command(
    epilog="""\b
Examples:
  automq verify
  automq verify --bucket 's3://my-bucket?region=eu-central-1' --deep
  automq verify --json | jq '.findings[] | select(.severity != "NOTE")'
"""
)
@click.option("--deep", "is_deep", is_flag=True, help="Read every byte and check the CRC of every block.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@settings_options
def command(settings: Settings, is_deep: bool, as_json: bool) -> None:
    """Check that every object is there and whole, and that the ranges of every stream follow each other.

    Changes nothing and works beside running brokers: what they may still commit or delete is no disagreement. Objects
    that nothing refers to are listed with their age; they only cost space, and the controller removes them in time.

    Exit codes: 0 they agree, 1 they do not, 2 it could not be found out.
    """
    try:
        with progress("reading", is_shown=not as_json) as bar:
            report = run_offline(_verify(settings, is_deep, bar))
    except AutomqError as error:
        if isinstance(error, Bug):
            raise
        raise CouldNotRun(str(error)) from error
    if as_json:
        print_json(_as_json(report, is_deep))
    else:
        _print(report, is_deep)
    if not report.is_clean:
        raise SystemExit(DISAGREES)


async def _verify(settings: Settings, is_deep: bool, bar: Bar) -> "VerifyReport":
    import time  # noqa: PLC0415 - commands start fast
    from random import Random  # noqa: PLC0415

    from automq_broker.engine.verify import Watching, verify  # noqa: PLC0415

    async with opened_bucket(settings) as bucket:
        return await verify(
            bucket,
            Random(),
            now_ms=int(time.time() * 1000),
            is_deep=is_deep,
            watching=Watching(total=bar.total, advance=bar.advance),
        )


def _print(report: "VerifyReport", is_deep: bool) -> None:
    print_table(
        "Verified",
        ("what", "found"),
        (
            ("cluster", report.cluster_id or "unknown"),
            ("commit", report.commit if report.commit >= 0 else "unknown"),
            ("topics, streams", f"{report.topics}, {report.streams}"),
            ("objects", f"{report.objects}, {size_text(report.size_bytes)}"),
            ("on the way", f"{report.on_the_way}, {size_text(report.on_the_way_bytes)}"),
            ("read", "every byte" if is_deep else "sizes, indexes and checkpoints (--deep reads the data too)"),
        ),
    )
    if report.findings:
        print_table(
            "Findings",
            ("severity", "problem", "subject", "age", "detail"),
            (
                (
                    found.severity.name,
                    found.problem.value,
                    found.subject,
                    "" if found.age_ms is None else age_text(found.age_ms),
                    found.detail,
                )
                for found in report.findings[:_LISTED_MAX]
            ),
        )
        if len(report.findings) > _LISTED_MAX:
            click.echo(f"... and {len(report.findings) - _LISTED_MAX} more; --json lists them all")
    click.echo("Bucket and metadata agree." if report.is_clean else "Bucket and metadata DISAGREE.")


def _as_json(report: "VerifyReport", is_deep: bool) -> dict[str, Any]:
    return {
        "is_clean": report.is_clean,
        "is_deep": is_deep,
        "cluster_id": report.cluster_id,
        "commit": report.commit,
        "topics": report.topics,
        "streams": report.streams,
        "objects": report.objects,
        "bytes": report.size_bytes,
        "on_the_way": {"objects": report.on_the_way, "bytes": report.on_the_way_bytes},
        "findings": [
            {
                "severity": found.severity.name,
                "problem": found.problem.value,
                "subject": found.subject,
                "detail": found.detail,
                "age_ms": found.age_ms,
            }
            for found in report.findings
        ],
    }


__all__ = ["command"]
