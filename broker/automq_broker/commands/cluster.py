"""`automq cluster ...`: how the cluster is, what moves and why, and the few things that a person decides."""

import click

from automq_broker.commands.cluster_changes import CHANGES
from automq_broker.commands.cluster_views import VIEWS


@click.group(
    epilog="""\b
Examples:
  automq cluster status                     what `automq up` runs on ./data, or a broker on 127.0.0.1:9644
  automq cluster brokers --json
  automq cluster drain 3 --wait             move everything off broker 3
  automq cluster rebalance --dry-run        what would even out the load
  automq cluster moves --admin https://broker-0:9644 --token-file token --ca-file ca.pem
"""
)
def command() -> None:
    """Show and steer a whole cluster through any broker's admin page."""


for _each in (*VIEWS, *CHANGES):
    command.add_command(_each)

__all__ = ["command"]
