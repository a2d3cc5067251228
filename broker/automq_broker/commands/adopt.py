"""`automq adopt`: drain the write-ahead log of a broker that is proven dead."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from automq_broker.adapters.logging_setup import set_up_logging
from automq_broker.commands.settings_options import settings_options
from automq_broker.contract.adopt import EXIT_CODES, TERMINATION_MESSAGE_BYTES_MAX, AdoptOutcome, AdoptReport
from automq_broker.kernel.errors import AutomqError, Bug, Corrupt, Fenced, Refused
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable


@click.command(
    epilog="""\b
Examples:
  automq adopt --wal /mnt/wal/wal.bin --node 3 --broker-epoch 17 \\
      --bucket 's3://my-bucket?region=eu-central-1' --secret-file /etc/automq/secret
  automq adopt --wal /dev/nvme1n1 --node 3 --broker-epoch 17 --config server.properties \\
      --report /dev/termination-log
"""
)
@click.option("--node", required=True, type=click.IntRange(0, 2**31 - 1), help="The dead broker [node.id].")
@click.option(
    "--broker-epoch", required=True, type=click.IntRange(1), help="What the rescue granted (POST /v1/rescue)."
)
@click.option("--secret-file", metavar="FILE", help="The cluster's secret [automq.inter.broker.secret.file].")
@click.option("--report", metavar="FILE", type=click.Path(path_type=Path), help="Write a short report here too.")
@settings_options
def command(settings: Settings, broker_epoch: int, secret_file: str | None, report: Path | None) -> None:
    """Drain a dead broker's write-ahead log into the bucket, and close its partitions.

    Works as that broker at the epoch that a rescue granted; survivors then open the partitions. Whoever holds the log
    wins: it must not be in use. May be killed and repeated at any time. Progress is logged; the report is JSON on
    standard output, and in FILE as a termination message of at most 4096 bytes.

    Exit codes: 0 drained (or nothing was left to do), 1 failed, 3 not proven dead, 4 superseded, 5 foreign log,
    6 rolled back, 7 damaged.
    """
    # Imported late: the other commands should not pay for an engine.
    from automq_broker.assembly import adopter  # noqa: PLC0415

    set_up_logging(level=settings.node.log_level, form=settings.node.log_format)
    secret = secret_file or settings.cluster.inter_broker_secret_file
    if secret is None:
        raise click.UsageError("an adopter speaks to the cluster's controller: name the secret with --secret-file")
    if report is not None:
        _write(report, "")  # better known before the work than after it
    outcome, failure = _outcome(lambda: adopter.run(settings, broker_epoch, secret), settings, broker_epoch)
    click.echo(outcome.model_dump_json(indent=2))
    if report is not None:
        _write(report, outcome.within(TERMINATION_MESSAGE_BYTES_MAX))
    if failure is not None:
        click.echo(f"automq: {' '.join(str(failure).split()) or type(failure).__name__}", err=True)
    raise SystemExit(EXIT_CODES[outcome.outcome])


def _write(report: Path, text: str) -> None:
    try:
        report.write_text(text)
    except OSError as error:
        raise Refused(f"--report {report}: {error.strerror}") from error


def _outcome(
    run: "Callable[[], AdoptReport]", settings: Settings, broker_epoch: int
) -> tuple[AdoptReport, BaseException | None]:
    """The report of the run, also of one that failed; a bug stays one."""
    from automq_broker.engine.adopt import NotAdoptable  # noqa: PLC0415
    from automq_broker.ports import WalWriteFailed  # noqa: PLC0415

    try:
        return run(), None
    except Bug:
        raise
    except (AutomqError, WalWriteFailed) as error:
        match error:
            case NotAdoptable():
                outcome = error.outcome
            case Fenced():
                outcome = AdoptOutcome.SUPERSEDED
            case Corrupt():
                outcome = AdoptOutcome.DAMAGED
            case _:
                outcome = AdoptOutcome.FAILED
        node_id = settings.node.node_id
        report = AdoptReport(outcome=outcome, reason=str(error), node_id=node_id, broker_epoch=broker_epoch)
        return report, error


__all__ = ["command"]
