"""`automq wal`: look into a write-ahead log without touching it."""

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import click

from automq_broker.commands.output import print_json, print_table, progress, size_text
from automq_broker.commands.settings_options import settings_options
from automq_broker.commands.wal_place import wal_place
from automq_broker.kernel.errors import Refused
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from automq_broker.commands.wal_bulks import LogSize
    from automq_broker.wal.blocks import RecoveredRecord
    from automq_broker.wal.inspect import WalReport
    from automq_broker.wal.recovery import Deliver
    from automq_broker.wal.ring import ReadAt
    from automq_broker.wal.superblock import Superblock

SCANS_MAX = 5
"""How often damage beside a running broker is looked at again before it is believed."""

_RESCAN_S = 0.2


@click.group(
    epilog="""\b
Examples:
  automq wal inspect
  automq wal inspect --data /var/lib/automq --records
"""
)
def command() -> None:
    """Look into a write-ahead log (WAL)."""


@command.command(
    epilog="""\b
Examples:
  automq wal inspect                           the log of `automq serve` on ./data
  automq wal inspect --data data --node 2      that of broker 2 of `automq up`
  automq wal inspect --config server.properties --json | jq .damage
  automq wal inspect /mnt/wal/wal.bin --records
  automq wal inspect block:///dev/nvme1n1
  automq wal inspect 's3://my-bucket?region=eu-central-1' --node 3
"""
)
@click.argument("path", metavar="[PATH|URI]", required=False)
@click.option("--node", "node_id", type=click.IntRange(0, 2**31 - 1), help="Whose log of the bucket or data directory.")
@click.option("--records", "with_records", is_flag=True, help="List every record: LSN, stream, offsets, bytes.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@settings_options
def inspect(settings: Settings, path: str | None, node_id: int | None, with_records: bool, as_json: bool) -> None:
    """Show superblocks, ring, records per stream, and whether the WAL is whole.

    Reads only, takes no lock, and works beside a running broker. PATH is a file, file:///path or block:///dev/x; with
    --node it is a bucket that holds logs without a disk. Without PATH it is the log that the settings name.
    Exit codes: 0 whole (a torn tail, which nobody was told about, is whole), 1 damaged or refused.
    """
    place = wal_place(path, node_id, settings)
    listed: list[dict[str, Any]] = []
    sizes: list[LogSize] = []
    is_in_use = False
    if place.node_id is not None:
        report, sizes = _scan_bulks(place.uri, place.node_id, listed if with_records else None)
    else:
        with progress("scanning", is_shown=not as_json) as bar:
            report, is_in_use = _scan(place.uri, listed if with_records else None, bar.advance)
    if as_json:
        answer = _as_json(report, is_in_use)
        if place.node_id is not None:
            answer["logs"] = [{"epoch": log.epoch, "bulks": log.bulks, "bytes": log.size_bytes} for log in sizes]
        print_json({**answer, "record_list": listed} if with_records else answer)
    else:
        _print(report, is_in_use, listed)
        if sizes:
            rows = ((log.epoch, log.bulks, log.size_bytes) for log in sizes)
            print_table("Logs in the bucket", ("broker epoch ", "bulks ", "bytes "), rows)
    if report.damage is not None:
        raise SystemExit(1)


def _scan_bulks(uri: str, node: int, listed: list[dict[str, Any]] | None) -> "tuple[WalReport, list[LogSize]]":
    from automq_broker.commands.offline import run_offline  # noqa: PLC0415 - commands start fast
    from automq_broker.commands.wal_bulks import inspect_bulks  # noqa: PLC0415

    return run_offline(inspect_bulks(uri, node, _lister(listed)))


def _scan(uri: str, listed: list[dict[str, Any]] | None, advance: Callable[[float], None]) -> "tuple[WalReport, bool]":
    """Inspect, again while a running broker moves what looks like damage."""
    from automq_broker.adapters.wal_open import is_in_use, open_wal_device  # noqa: PLC0415 - commands start fast
    from automq_broker.wal.inspect import inspect as scan  # noqa: PLC0415

    before = None
    was_in_use = is_in_use(uri)
    for _ in range(SCANS_MAX):
        device = open_wal_device(uri, is_read_only=True)
        try:
            if listed is not None:
                listed.clear()
            report = drive(scan(_lister(listed)), device.read_blocking, advance)
        finally:
            device.release()
        was_in_use = was_in_use or is_in_use(uri)
        at = None if report.damage is None else report.damage.lsn
        if at is None or at == before or not was_in_use:
            return report, was_in_use
        before = at
        time.sleep(_RESCAN_S)
    raise Refused("a broker writes this WAL faster than it can be read here; stop the broker, or try again")


def drive(
    scan: "Generator[ReadAt, memoryview, WalReport]",
    read: Callable[[int, int], memoryview],
    advance: Callable[[float], None] = lambda _: None,
) -> "WalReport":
    """Give an inspection what it asks for; `advance` hears of the bytes."""
    try:
        wanted = next(scan)
        while True:
            data = read(wanted.position, wanted.length)
            advance(wanted.length)
            wanted = scan.send(data)
    except StopIteration as done:
        report: WalReport = done.value
        return report


def _lister(listed: list[dict[str, Any]] | None) -> "Deliver | None":
    if listed is None:
        return None

    def see(records: "list[RecoveredRecord]") -> None:
        listed.extend(
            {
                "lsn": record.lsn,
                "kind": record.header.kind.name,
                "stream": record.header.stream_id,
                "stream_epoch": record.header.stream_epoch,
                "broker_epoch": record.header.broker_epoch,
                "first_offset": record.header.base_offset,
                "end_offset": record.header.base_offset + record.header.count,
                "bytes": sum(map(len, record.segments)),
            }
            for record in records
        )

    return see


def _print(report: "WalReport", is_in_use: bool, listed: list[dict[str, Any]]) -> None:
    newest = report.newest
    facts = _superblock_json(newest)
    print_table("Newest superblock", ("field", "value"), facts.items())
    other = "whole" if all(copy is not None for copy in report.copies) else "one copy is damaged or was never written"
    print_table(
        "Ring",
        ("field", "value"),
        (
            ("superblocks", other),
            ("in use", "a running broker holds the lock: the ring moves while it is read" if is_in_use else "no"),
            ("LSNs", f"[{newest.trim_lsn}, {report.end_lsn})"),
            ("used", f"{size_text(report.used_bytes)} of {size_text(newest.capacity_bytes)}"),
            ("blocks", "unknown" if report.blocks is None else report.blocks),
            ("records", f"{report.records}, {report.raw_records} of them no batches"),
            ("tail", _tail_text(report, is_in_use)),
        ),
    )
    print_table(
        "Streams",
        ("stream ", "epoch ", "first offset ", "end offset ", "records ", "bytes ", "first LSN ", "gaps "),
        (
            (s.stream_id, s.stream_epoch, s.first_offset, s.end_offset, s.records, s.size_bytes, s.first_lsn, s.gaps)
            for s in report.streams
        ),
    )
    if listed:
        print_table("Records", tuple(f"{name} " for name in listed[0]), (row.values() for row in listed))
    if report.damage is not None:
        click.echo(f"DAMAGED: {report.damage}", err=True)


def _tail_text(report: "WalReport", is_in_use: bool) -> str:
    if report.damage is not None:
        return f"DAMAGED at LSN [{report.damage.lsn}, {report.damage.end_lsn})"
    if report.torn is None:
        return "whole"
    if is_in_use:
        return f"a write is under way at LSN {report.torn.lsn}"
    return (
        f"torn at LSN {report.torn.lsn} ({report.torn.reason}; {report.torn.later_blocks} blocks behind it): "
        "never acknowledged, the next start truncates it"
    )


def _superblock_json(superblock: "Superblock") -> dict[str, Any]:
    return {
        "counter": superblock.counter,
        "cluster_id": superblock.cluster_id,
        "node_id": superblock.node_id,
        "volume_uuid": str(superblock.volume_uuid),
        "generation": f"{superblock.generation:016x}",
        "wal_epoch": superblock.wal_epoch,
        "append_epoch": superblock.append_epoch,
        "append_lsn": superblock.append_lsn,
        "trim_lsn": superblock.trim_lsn,
        "durable_lsn": superblock.durable_lsn,
        "capacity_bytes": superblock.capacity_bytes,
        "window_bytes": superblock.window_bytes,
        "zeroed_bytes": superblock.zeroed_bytes,
        "is_clean": superblock.is_clean,
    }


def _as_json(report: "WalReport", is_in_use: bool) -> dict[str, Any]:
    torn, damage = report.torn, report.damage
    return {
        "is_in_use": is_in_use,
        "superblocks": [None if copy is None else _superblock_json(copy) for copy in report.copies],
        "newest": _superblock_json(report.newest),
        "end_lsn": report.end_lsn,
        "used_bytes": report.used_bytes,
        "blocks": report.blocks,
        "records": report.records,
        "raw_records": report.raw_records,
        "streams": [
            {
                "stream": each.stream_id,
                "stream_epoch": each.stream_epoch,
                "first_offset": each.first_offset,
                "end_offset": each.end_offset,
                "records": each.records,
                "bytes": each.size_bytes,
                "first_lsn": each.first_lsn,
                "gaps": each.gaps,
            }
            for each in report.streams
        ],
        "torn": torn and {"lsn": torn.lsn, "reason": torn.reason, "later_blocks": torn.later_blocks},
        "damage": damage
        and {
            "lsn": damage.lsn,
            "end_lsn": damage.end_lsn,
            "position": damage.position,
            "proven_lsn": damage.proven_lsn,
            "reason": damage.reason,
            "ranges": [
                {"stream": each.stream_id, "start_offset": each.start_offset, "end_offset": each.end_offset}
                for each in damage.ranges
            ],
        },
    }


__all__ = ["command", "drive"]
