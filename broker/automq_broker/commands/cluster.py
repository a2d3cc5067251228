"""`automq cluster ...`: how the cluster is, what moves and why, and the few things that a person decides."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from automq_broker.commands.admin_client import AdminClient, connect
from automq_broker.commands.output import console, size_text
from automq_broker.contract import admin
from automq_broker.kernel.errors import Refused

DEGRADED = 3
"""Exit code of `status` while a broker is missing, a log is being recovered or a partition is on its way."""

_POLL_S = 0.5
_SWEEP_TIMEOUT_S = 330.0
"""Longer than the controller gives itself for a listing of the whole bucket."""
_STATUS_STYLES = {
    admin.BrokerStatus.ACTIVE: "green",
    admin.BrokerStatus.RECOVERING: "yellow",
    admin.BrokerStatus.FENCED: "yellow",
    admin.BrokerStatus.RESCUING: "red",
    admin.BrokerStatus.STOPPED: "dim",
}


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


def _client_options(run: Callable[..., None]) -> Callable[..., None]:
    """Where the cluster is and how to answer; the subcommand gets `client` and `as_json`."""

    @click.option("--admin", "urls", metavar="URL", multiple=True, help="Admin page of a broker; repeatable.")
    @click.option("--token-file", type=click.Path(path_type=Path), help="The token of automq.admin.token.file.")
    @click.option("--ca-file", type=click.Path(path_type=Path), help="Authorities for https, as PEM.")
    @click.option(
        "--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="As for `automq up`."
    )
    @click.option("--json", "as_json", is_flag=True, help="For machines.")
    @wraps(run)
    def with_client(
        *, urls: tuple[str, ...], token_file: Path | None, ca_file: Path | None, data: Path, **options: Any
    ) -> None:
        client = connect(urls=urls, token_file=token_file, ca_file=ca_file, data=data)
        run(client=client, **options)

    return with_client


def _show(answer: admin.Answer, as_json: bool, *lines: Any) -> None:
    """The answer as JSON, or the lines and tables for a person."""
    if as_json:
        click.echo(answer.model_dump_json(indent=2))
        return
    shown = console()
    for line in lines:
        shown.print(line)


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    return table


@command.command(
    epilog="""\b
Examples:
  automq cluster status
  automq cluster status --json | jq .partitions_moving
  until automq cluster status; do sleep 1; done     wait until all is well
"""
)
@_client_options
def status(client: AdminClient, as_json: bool) -> None:
    """The cluster in a few lines. Exit code 0 if all is well, 3 if something is missing or on its way."""
    cluster = client.ask(admin.CLUSTER, admin.Cluster)
    controller = cluster.controller
    holder = f"broker {controller.node_id} at {controller.endpoint}, epoch {controller.epoch}"
    _show(
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


@command.command(
    epilog="""\b
Examples:
  automq cluster brokers
  automq cluster brokers --json | jq '.brokers[] | select(.status != "ACTIVE")'
"""
)
@_client_options
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
    _show(found, as_json, _table(columns, rows))


@command.command(
    epilog="""\b
Examples:
  automq cluster moves
  automq cluster moves --json | jq .total
"""
)
@_client_options
def moves(client: AdminClient, as_json: bool) -> None:
    """Partitions that are not open where they are to be, and what they wait for."""
    found = client.ask(admin.MOVES, admin.Moves)
    rows = [
        (f"{each.topic}-{each.partition}", "-" if each.source is None else each.source, each.target, each.reason)
        for each in found.moves
    ]
    more = found.total - len(found.moves)
    _show(
        found,
        as_json,
        _table(("Partition", "From", "To", "Waits for"), rows) if rows else "Nothing moves.",
        *([f"and {more} more"] if more else []),
    )


@command.command(
    epilog="""\b
Examples:
  automq cluster recoveries
  automq cluster recoveries --json | jq '.recoveries[] | {node_id, partitions_left}'
"""
)
@_client_options
def recoveries(client: AdminClient, as_json: bool) -> None:
    """Dead brokers whose write-ahead logs are being drained."""
    found = client.ask(admin.RECOVERIES, admin.Recoveries)
    rows = [
        (each.node_id, each.rack or "-", each.broker_epoch, each.partitions_left, each.volume_handle)
        for each in found.recoveries
    ]
    columns = ("Broker", "Zone", "Adopter's epoch", "Partitions left", "Volume")
    _show(found, as_json, _table(columns, rows) if rows else "Nothing is being recovered.")


@command.command(
    epilog="""\b
Examples:
  automq cluster decisions
  automq cluster decisions --admin http://broker-0:9644     what this one decided
"""
)
@_client_options
def decisions(client: AdminClient, as_json: bool) -> None:
    """What a broker decided lately, and why; newest first."""
    found = client.ask(admin.DECISIONS, admin.Decisions)
    rows = [
        (time.strftime("%H:%M:%S", time.localtime(each.at_ms / 1000)), each.subject, each.decision, each.reason)
        for each in found.decisions
    ]
    _show(found, as_json, _table(("Time", "About", "Decision", "Reason"), rows) if rows else "Nothing was decided.")


@command.command(
    epilog="""\b
Examples:
  automq cluster drain 3 --wait
  automq cluster drain 3 --cancel
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@click.option("--wait", "is_waiting", is_flag=True, help="Return once the broker is empty.")
@click.option("--cancel", "is_cancelled", is_flag=True, help="Let the broker have partitions again.")
@_client_options
def drain(client: AdminClient, as_json: bool, node: int, is_waiting: bool, is_cancelled: bool) -> None:
    """Move every partition off broker NODE and give it no new ones."""
    question = admin.DrainRequest(node_id=node, is_cancelled=is_cancelled)
    answer = client.ask(admin.DRAIN, admin.Drained, question)
    first = answer
    while is_waiting and not is_cancelled and answer.partitions_left:
        time.sleep(_POLL_S)
        answer = client.ask(admin.DRAIN, admin.Drained, question)
    _show(
        answer,
        as_json,
        f"Broker {node}: {first.reason}.",
        f"{answer.partitions_left} of its partitions are still open there.",
    )


@command.command(
    epilog="""\b
Examples:
  automq cluster rebalance --dry-run
  automq cluster rebalance
"""
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only show what would be moved, and why not more.")
@_client_options
def rebalance(client: AdminClient, as_json: bool, is_dry_run: bool) -> None:
    """Even out bytes in, bytes out and leaders between the brokers, now; the controller does it by itself as well."""
    question = admin.BalanceRequest(is_dry_run=is_dry_run)
    answer = client.at_controller().ask(admin.BALANCE, admin.Balanced, question)
    moves = [(f"{each.topic}-{each.partition}", each.source, each.target, each.reason) for each in answer.moves]
    rest = [(each.subject, each.reason) for each in answer.not_moved]
    _show(
        answer,
        as_json,
        _table(("Partition", "From", "To", "Why"), moves) if moves else "Nothing is to be moved.",
        *(["", _table(("Left as it is", "Why"), rest)] if rest else []),
        *(["", "More would be useful: ask again when these are done."] if answer.is_full else []),
    )


@command.command(
    epilog="""\b
Examples:
  automq cluster fence 3
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@_client_options
def fence(client: AdminClient, as_json: bool, node: int) -> None:
    """Take broker NODE out of service until its next heartbeat; its commits are refused meanwhile."""
    epoch = _broker(client, node).broker_epoch
    answer = client.ask(admin.FENCE, admin.Done, admin.FenceRequest(node_id=node, broker_epoch=epoch))
    _show(answer, as_json, f"Broker {node} is {answer.status} at epoch {epoch}.")


@command.command(
    epilog="""\b
Examples:
  automq cluster forget 3
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@_client_options
def forget(client: AdminClient, as_json: bool, node: int) -> None:
    """Show broker NODE no more: it has stopped for good, and no partition depends on it.

    Started again, on its own volume or a new one, it is back.
    """
    answer = client.ask(admin.FORGET, admin.Forgotten, admin.ForgetRequest(node_id=node))
    _show(answer, as_json, f"Broker {node} is forgotten.")


@command.command(
    "announce-stop",
    epilog="""\b
Examples:
  automq cluster announce-stop --seconds 120
  automq cluster announce-stop --seconds 0     take it back
""",
)
@click.option(
    "--seconds",
    type=click.IntRange(0, admin.STOP_SECONDS_MAX),
    default=60,
    show_default=True,
    help="So long it holds; 0 takes it back.",
)
@_client_options
def announce_stop(client: AdminClient, as_json: bool, seconds: int) -> None:
    """Say that all brokers will be stopped now, so that each keeps its partitions instead of handing them over.

    Stop them within that time. Once the first one is back the others have a minute to follow; after that those that
    serve inherit from those that do not.
    """
    question = admin.StopClusterRequest(seconds=seconds)
    answer = client.ask(admin.STOP_CLUSTER, admin.ClusterStopping, question)
    told = f"Brokers that are stopped within {seconds} s keep their partitions."
    _show(answer, as_json, told if answer.until_ms else "Brokers that are stopped hand their partitions over.")


@command.command(
    "accept-wal-loss",
    epilog="""\b
Examples:
  automq cluster accept-wal-loss 3     show what would be lost, and ask
  automq cluster accept-wal-loss 3 --yes --json
""",
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@click.option("--yes", is_flag=True, help="Do not ask.")
@_client_options
def accept_wal_loss(client: AdminClient, as_json: bool, node: int, yes: bool) -> None:
    """Go on without the write-ahead log of the dead broker NODE.

    Every record that it acknowledged and that is not in the bucket yet is lost; the offsets are shown before anything
    is done. The volume is refused for ever, even if it is found again; the broker may start on another one.
    """
    broker = _broker(client, node)
    if not yes:
        shown = console(is_error=True)
        volume = f"volume {broker.volume_uuid} ({broker.volume_handle})"
        shown.print(f"Broker {node} is {broker.status}; its write-ahead log is {volume}.")
        shown.print(_losses(_open_at(client, node)))
        click.confirm("Give up what only this log holds?", abort=True, err=True)
    question = admin.AcceptWalLossRequest(
        node_id=node,
        broker_epoch=broker.broker_epoch,
        volume_uuid=broker.volume_uuid,
        volume_handle=broker.volume_handle,
    )
    answer = client.ask(admin.ACCEPT_WAL_LOSS, admin.WalLossAccepted, question)
    more = answer.total - len(answer.lost)
    _show(
        answer,
        as_json,
        f"The log of broker {node} is given up.",
        _losses(answer.lost),
        *([f"and {more} more"] if more else []),
    )


@command.command(
    "sweep-orphans",
    epilog="""\b
Examples:
  automq cluster sweep-orphans --dry-run
  automq cluster sweep-orphans
""",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only show what there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_client_options
def sweep_orphans(client: AdminClient, as_json: bool, is_dry_run: bool, yes: bool) -> None:
    """Delete objects of the bucket that no metadata know, where the sweep keeps them because they are many.

    Only objects that can never be committed any more count as orphans. Their number and size are shown before anything is
    done; should there be more of them by the time of the deletion, nothing is deleted.
    """
    controller = client.at_controller(timeout_s=_SWEEP_TIMEOUT_S)
    found = controller.ask(admin.SWEEP, admin.Swept, admin.SweepRequest())
    told = f"{found.orphans} orphans of {size_text(found.size_bytes)} lie beside {found.live_objects} live objects."
    if is_dry_run or not found.orphans:
        _show(found, as_json, told)
        return
    if not yes:
        console(is_error=True).print(told)
        click.confirm("Delete the orphans?", abort=True, err=True)
    consent = admin.SweepRequest(orphans=found.orphans, size_bytes=found.size_bytes)
    answer = controller.ask(admin.SWEEP, admin.Swept, consent)
    _show(
        answer, as_json, f"{answer.deleted} orphans deleted." if not answer.held_back else f"Kept: {answer.held_back}."
    )
    if answer.held_back:
        raise SystemExit(DEGRADED)


def _losses(partitions: Iterable[admin.Partition | admin.LostBehind]) -> Table | str:
    rows = [(f"{each.topic}-{each.partition}", each.committed_end) for each in partitions]
    return _table(("Partition", "Lost from offset"), rows) if rows else "No partition depends on it."


def _broker(client: AdminClient, node: int) -> admin.Broker:
    found = client.ask(admin.BROKERS, admin.Brokers).brokers
    broker = next((each for each in found if each.node_id == node), None)
    if broker is None:
        raise Refused(f"no broker {node} is registered")
    return broker


def _open_at(client: AdminClient, node: int) -> Iterator[admin.Partition]:
    after: str | None = ""
    while after is not None:
        page = client.ask(admin.PARTITIONS, admin.Partitions, after=after)
        yield from (each for each in page.partitions if each.owner == node)
        after = page.next


__all__ = ["DEGRADED", "command"]
