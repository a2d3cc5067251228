"""`automq cluster status | brokers | moves | recoveries | decisions`: how the cluster is, and why."""

import time

import click

from automq_broker.commands.admin_client import AdminClient
from automq_broker.commands.cluster_options import DEGRADED, client_options, show, table
from automq_broker.contract import admin

_STATUS_STYLES = {
    admin.BrokerStatus.ACTIVE: "green",
    admin.BrokerStatus.RECOVERING: "yellow",
    admin.BrokerStatus.FENCED: "yellow",
    admin.BrokerStatus.RESCUING: "red",
    admin.BrokerStatus.STOPPED: "dim",
}


@click.command(
    epilog="""\b
Examples:
  automq cluster status
  automq cluster status --json | jq .partitions_moving
  until automq cluster status; do sleep 1; done     wait until all is well
"""
)
@client_options
def status(client: AdminClient, as_json: bool) -> None:
    """The cluster in a few lines. Exit code 0 if all is well, 3 if something is missing or on its way."""
    cluster = client.ask(admin.CLUSTER, admin.Cluster)
    controller = cluster.controller
    holder = f"broker {controller.node_id} at {controller.endpoint}, epoch {controller.epoch}"
    show(
        cluster,
        as_json,
        f"Cluster     {cluster.cluster_id}",
        f"Controller  {holder if controller.node_id is not None else 'not known yet'}",
        f"Brokers     {', '.join(f'{count} {name}' for name, count in cluster.brokers.items()) or 'none'}",
        f"Topics      {cluster.topics}",
        f"Partitions  {cluster.partitions}, {_served(cluster)} served, {cluster.partitions_moving} on their way",
        f"Recoveries  {cluster.recoveries}",
    )
    is_well = set(cluster.brokers) <= {admin.BrokerStatus.ACTIVE, admin.BrokerStatus.STOPPED}
    if not is_well or cluster.partitions_moving or cluster.recoveries:
        raise SystemExit(DEGRADED)


def _served(cluster: admin.Cluster) -> int:
    """Those with a leader; a broker of an earlier version tells only how many are open."""
    return cluster.partitions_open if cluster.partitions_served is None else cluster.partitions_served


@click.command(
    epilog="""\b
Examples:
  automq cluster brokers
  automq cluster brokers --json | jq '.brokers[] | select(.status != "ACTIVE")'
"""
)
@client_options
def brokers(client: AdminClient, as_json: bool) -> None:
    """Every broker with its status, epoch, zone, volume and partitions."""
    found = client.ask(admin.BROKERS, admin.Brokers)
    rows = [
        (
            each.node_id,
            f"[{_STATUS_STYLES[each.status]}]{each.status}[/]" + (" (draining)" if each.is_cordoned else ""),
            each.broker_epoch,
            each.rack or "-",
            f"{each.partitions_open}/{each.partitions_assigned}",
            "given up" if not each.volume_uuid.int else "clean" if each.is_clean else "in use",
            each.volume_handle,
            ", ".join(f"{at.host}:{at.port}" for at in each.endpoints),
        )
        for each in found.brokers
    ]
    columns = ("Broker", "Status", "Epoch", "Zone", "Open/Assigned", "WAL", "Volume", "Endpoints")
    show(found, as_json, table(columns, rows))


@click.command(
    epilog="""\b
Examples:
  automq cluster moves
  automq cluster moves --json | jq .total
"""
)
@client_options
def moves(client: AdminClient, as_json: bool) -> None:
    """Partitions that are not open where they are to be, and what they wait for."""
    found = client.ask(admin.MOVES, admin.Moves)
    rows = [
        (f"{each.topic}-{each.partition}", "-" if each.source is None else each.source, each.target, each.reason)
        for each in found.moves
    ]
    more = found.total - len(found.moves)
    show(
        found,
        as_json,
        table(("Partition", "From", "To", "Waits for"), rows) if rows else "Nothing moves.",
        *([f"and {more} more"] if more else []),
    )


@click.command(
    epilog="""\b
Examples:
  automq cluster recoveries
  automq cluster recoveries --json | jq '.recoveries[] | {node_id, partitions_left}'
"""
)
@client_options
def recoveries(client: AdminClient, as_json: bool) -> None:
    """Dead brokers whose write-ahead logs are being drained."""
    found = client.ask(admin.RECOVERIES, admin.Recoveries)
    rows = [
        (each.node_id, each.rack or "-", each.broker_epoch, each.partitions_left, each.volume_handle)
        for each in found.recoveries
    ]
    columns = ("Broker", "Zone", "Adopter's epoch", "Partitions left", "Volume")
    show(found, as_json, table(columns, rows) if rows else "Nothing is being recovered.")


@click.command(
    epilog="""\b
Examples:
  automq cluster decisions
  automq cluster decisions --admin http://broker-0:9644     what this one decided
"""
)
@client_options
def decisions(client: AdminClient, as_json: bool) -> None:
    """What a broker decided lately, and why; newest first."""
    found = client.ask(admin.DECISIONS, admin.Decisions)
    rows = [
        (time.strftime("%H:%M:%S", time.localtime(each.at_ms / 1000)), each.subject, each.decision, each.reason)
        for each in found.decisions
    ]
    show(found, as_json, table(("Time", "About", "Decision", "Reason"), rows) if rows else "Nothing was decided.")


VIEWS = (status, brokers, moves, recoveries, decisions)

__all__ = ["VIEWS"]
