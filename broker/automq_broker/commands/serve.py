"""`automq serve`: run a broker until it is told to stop."""

import click

from automq_broker.adapters.logging_setup import set_up_logging
from automq_broker.commands.settings_options import settings_options
from automq_broker.settings import Settings


@click.command(
    epilog="""\b
Examples:
  automq serve                                   a broker on 127.0.0.1:9092, data in ./data
  automq serve --port 9192 --data /var/lib/q1    another one beside it
  automq serve --bucket 's3://my-bucket?region=eu-west-1'
  automq serve --config server.properties --set num.partitions=4
"""
)
@click.option("--port", type=click.IntRange(0, 65535), help="Kafka port on 127.0.0.1 [listeners].")
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Admin port on 127.0.0.1 [admin.listener].")
@click.option("--accept-wal-loss", is_flag=True, help="Start although the recorded write-ahead log is gone.")
@settings_options
def command(settings: Settings) -> None:
    """Run a broker: Kafka clients on one side, a bucket on the other.

    Settings come from a properties file, then AUTOMQ_... variables, then these options; `automq config` shows them.
    Ctrl-C stops it gracefully, a second one at once.
    """
    # Imported late: the other commands should not pay for a broker.
    from automq_broker.assembly import run  # noqa: PLC0415

    set_up_logging(level=settings.node.log_level, form=settings.node.log_format)
    raise SystemExit(run(settings) or 0)


__all__ = ["command"]
