"""`automq cluster drain | rebalance | fence | ...`: the few things about a cluster that a person decides."""

import time
from collections.abc import Iterable, Iterator

import click
from rich.table import Table

from automq_broker.commands.admin_client import AdminClient
from automq_broker.commands.cluster_options import DEGRADED, client_options, show, table
from automq_broker.commands.output import console, size_text
from automq_broker.contract import admin
from automq_broker.kernel.errors import Refused

_POLL_S = 0.5
_SWEEP_TIMEOUT_S = 330.0
"""Longer than the controller gives itself for a listing of the whole bucket."""


@click.command(
    epilog="""\b
Examples:
  automq cluster drain 3 --wait
  automq cluster drain 3 --cancel
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@click.option("--wait", "is_waiting", is_flag=True, help="Return once the broker is empty.")
@click.option("--cancel", "is_cancelled", is_flag=True, help="Let the broker have partitions again.")
@client_options
def drain(client: AdminClient, as_json: bool, node: int, is_waiting: bool, is_cancelled: bool) -> None:
    """Move every partition off broker NODE and give it no new ones."""
    question = admin.DrainRequest(node_id=node, is_cancelled=is_cancelled)
    answer = client.ask(admin.DRAIN, admin.Drained, question)
    first = answer
    while is_waiting and not is_cancelled and answer.partitions_left:
        time.sleep(_POLL_S)
        answer = client.ask(admin.DRAIN, admin.Drained, question)
    show(
        answer,
        as_json,
        f"Broker {node}: {first.reason}.",
        f"{answer.partitions_left} of its partitions are still open there.",
    )


@click.command(
    epilog="""\b
Examples:
  automq cluster rebalance --dry-run
  automq cluster rebalance
"""
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only show what would be moved, and why not more.")
@client_options
def rebalance(client: AdminClient, as_json: bool, is_dry_run: bool) -> None:
    """Even out bytes in, bytes out and leaders between the brokers, now; the controller does it by itself as well."""
    question = admin.BalanceRequest(is_dry_run=is_dry_run)
    answer = client.at_controller().ask(admin.BALANCE, admin.Balanced, question)
    moves = [(f"{each.topic}-{each.partition}", each.source, each.target, each.reason) for each in answer.moves]
    rest = [(each.subject, each.reason) for each in answer.not_moved]
    show(
        answer,
        as_json,
        table(("Partition", "From", "To", "Why"), moves) if moves else "Nothing is to be moved.",
        *(["", table(("Left as it is", "Why"), rest)] if rest else []),
        *(["", "More would be useful: ask again when these are done."] if answer.is_full else []),
    )


@click.command(
    epilog="""\b
Examples:
  automq cluster fence 3
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@client_options
def fence(client: AdminClient, as_json: bool, node: int) -> None:
    """Take broker NODE out of service until its next heartbeat; its commits are refused meanwhile."""
    epoch = _broker(client, node).broker_epoch
    answer = client.ask(admin.FENCE, admin.Done, admin.FenceRequest(node_id=node, broker_epoch=epoch))
    show(answer, as_json, f"Broker {node} is {answer.status} at epoch {epoch}.")


@click.command(
    epilog="""\b
Examples:
  automq cluster forget 3
"""
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@client_options
def forget(client: AdminClient, as_json: bool, node: int) -> None:
    """Show broker NODE no more: it has stopped for good, and no partition depends on it.

    Started again, on its own volume or a new one, it is back.
    """
    answer = client.ask(admin.FORGET, admin.Forgotten, admin.ForgetRequest(node_id=node))
    show(answer, as_json, f"Broker {node} is forgotten.")


@click.command(
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
@client_options
def announce_stop(client: AdminClient, as_json: bool, seconds: int) -> None:
    """Say that all brokers will be stopped now, so that each keeps its partitions instead of handing them over.

    Stop them within that time. Once the first one is back the others have a minute to follow; after that those that
    serve inherit from those that do not.
    """
    question = admin.StopClusterRequest(seconds=seconds)
    answer = client.ask(admin.STOP_CLUSTER, admin.ClusterStopping, question)
    told = f"Brokers that are stopped within {seconds} s keep their partitions."
    show(answer, as_json, told if answer.until_ms else "Brokers that are stopped hand their partitions over.")


@click.command(
    "accept-wal-loss",
    epilog="""\b
Examples:
  automq cluster accept-wal-loss 3     show what would be lost, and ask
  automq cluster accept-wal-loss 3 --yes --json
""",
)
@click.argument("node", type=click.IntRange(0, admin.NODE_ID_MAX))
@click.option("--yes", is_flag=True, help="Do not ask.")
@client_options
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
    show(
        answer,
        as_json,
        f"The log of broker {node} is given up.",
        _losses(answer.lost),
        *([f"and {more} more"] if more else []),
    )


@click.command(
    "sweep-orphans",
    epilog="""\b
Examples:
  automq cluster sweep-orphans --dry-run
  automq cluster sweep-orphans
""",
)
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only show what there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@client_options
def sweep_orphans(client: AdminClient, as_json: bool, is_dry_run: bool, yes: bool) -> None:
    """Delete objects of the bucket that no metadata know, where the sweep keeps them because they are many.

    Only objects that can never be committed any more count as orphans. Their number and size are shown before anything is
    done; should there be more of them by the time of the deletion, nothing is deleted.
    """
    controller = client.at_controller(timeout_s=_SWEEP_TIMEOUT_S)
    found = controller.ask(admin.SWEEP, admin.Swept, admin.SweepRequest())
    told = f"{found.orphans} orphans of {size_text(found.size_bytes)} lie beside {found.live_objects} live objects."
    if is_dry_run or not found.orphans:
        show(found, as_json, told)
        return
    if not yes:
        console(is_error=True).print(told)
        click.confirm("Delete the orphans?", abort=True, err=True)
    consent = admin.SweepRequest(orphans=found.orphans, size_bytes=found.size_bytes)
    answer = controller.ask(admin.SWEEP, admin.Swept, consent)
    show(
        answer, as_json, f"{answer.deleted} orphans deleted." if not answer.held_back else f"Kept: {answer.held_back}."
    )
    if answer.held_back:
        raise SystemExit(DEGRADED)


def _losses(partitions: Iterable[admin.Partition | admin.LostBehind]) -> Table | str:
    rows = [(f"{each.topic}-{each.partition}", each.committed_end) for each in partitions]
    return table(("Partition", "Lost from offset"), rows) if rows else "No partition depends on it."


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


CHANGES = (drain, rebalance, fence, forget, announce_stop, accept_wal_loss, sweep_orphans)

__all__ = ["CHANGES"]
