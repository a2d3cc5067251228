"""`automq object`: look into a data object, in the bucket or as a file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automq_broker.commands.offline import opened_bucket, run_offline
from automq_broker.commands.output import Bar, print_json, print_table, progress, size_text, time_text
from automq_broker.commands.settings_options import settings_options
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from automq_broker.engine.object_reading import ReadRange
    from automq_broker.lake.objects import ObjectIndex, SliceIndex
    from automq_broker.ports import Buffer

_ID_DIGITS = 20


@click.group(
    epilog="""\b
Examples:
  automq object inspect 4711 --data /var/lib/automq
  automq object inspect data/10/00000000000000000001 --batches
"""
)
def command() -> None:
    """Look into a data object."""


@command.command(
    epilog="""\b
Examples:
  automq object inspect data/10/00000000000000000001
  automq object inspect 1 --bucket 's3://my-bucket?region=eu-central-1'
  automq object inspect ./copy-of-an-object --batches --json
"""
)
@click.argument("key", metavar="KEY|ID|PATH")
@click.option("--batches", "with_batches", is_flag=True, help="List the record batches of every block.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@settings_options
def inspect(settings: Settings, key: str, with_batches: bool, as_json: bool) -> None:
    """Show header, index and checkpoints of an object, and check the CRC of every block.

    KEY is a key in the bucket, an object's number, or the path of a file that holds an object.
    Exit codes: 0 whole, 1 damaged or refused.
    """
    with progress("reading", is_shown=not as_json) as bar:
        found = run_offline(_inspect(settings, key, with_batches, bar))
    if as_json:
        print_json(found)
    else:
        _print(found)
    if found["damage"]:
        raise SystemExit(1)


async def _inspect(settings: Settings, key: str, with_batches: bool, bar: Bar) -> dict[str, Any]:
    from automq_broker.engine.object_reading import read_index  # noqa: PLC0415 - commands start fast

    async with _opened(settings, key) as (name, size, read):
        index = await read_index(read, size)
        bar.total(index.index_position)
        damage: list[str] = []
        slices = [await _slice(piece, read, damage, with_batches, bar) for piece in index.slices]
    return _as_json(name, index, slices, damage)


@asynccontextmanager
async def _opened(settings: Settings, key: str) -> "AsyncIterator[tuple[str, int, ReadRange]]":
    """The object's name, its size, and a way to read ranges of it. Raises Refused when there is none."""
    from automq_broker.kernel.ids import ObjectId  # noqa: PLC0415
    from automq_broker.lake.keys import data_key  # noqa: PLC0415
    from automq_broker.ports import NotFound  # noqa: PLC0415

    size = _file_size(key)
    if size is not None:
        yield key, size, _file_reader(Path(key))
        return
    name = data_key(ObjectId(int(key))) if key.isdigit() and len(key) <= _ID_DIGITS else key
    async with opened_bucket(settings) as bucket:
        try:
            stat = await bucket.head(name)
        except NotFound:
            raise Refused(f"neither a file nor an object of the bucket: {name}") from None

        async def read(start: int, end: int) -> "Buffer":
            return await bucket.get(name, start, end)

        yield name, stat.size, read


def _file_size(key: str) -> int | None:
    """None for what is no file; a number is always an object's."""
    path = Path(key)
    return path.stat().st_size if not key.isdigit() and path.is_file() else None


def _file_reader(path: Path) -> "ReadRange":
    def blocking(start: int, end: int) -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error

    async def read(start: int, end: int) -> bytes:
        return await asyncio.to_thread(blocking, start, end)

    return read


async def _slice(
    piece: "SliceIndex", read: "ReadRange", damage: list[str], with_batches: bool, bar: Bar
) -> dict[str, Any]:
    from automq_broker.engine.object_reading import read_blocks  # noqa: PLC0415
    from automq_broker.lake.objects import check_block  # noqa: PLC0415

    blocks = []
    async for entry, data in read_blocks(read, piece.entries):
        row: dict[str, Any] = {
            "first_offset": entry.first_offset,
            "last_offset": entry.last_offset,
            "position": entry.position,
            "bytes": entry.length,
            "records": entry.records,
            "max_timestamp": entry.max_timestamp,
            "crc": f"{entry.crc:08x}",
            "is_whole": True,
        }
        try:
            check_block(entry, data)
        except Corrupt as error:
            row["is_whole"] = False
            damage.append(str(error))
        if with_batches and row["is_whole"]:
            row["batches"] = _batches(data)
        blocks.append(row)
        bar.advance(entry.length)
    return {
        "stream": piece.stream_id,
        "topic": piece.topic,
        "topic_id": str(piece.topic_id),
        "partition": piece.partition,
        "stream_epoch": piece.stream_epoch,
        "first_offset": piece.entries[0].first_offset,
        "end_offset": piece.entries[-1].last_offset + 1,
        "bytes": sum(entry.length for entry in piece.entries),
        "records": sum(entry.records for entry in piece.entries),
        "checkpoint": await _checkpoint(piece, read, damage),
        "blocks": blocks,
    }


async def _checkpoint(piece: "SliceIndex", read: "ReadRange", damage: list[str]) -> dict[str, Any] | None:
    from automq_broker.lake.objects import check_checkpoint  # noqa: PLC0415
    from automq_broker.log import checkpoint  # noqa: PLC0415

    if not piece.checkpoint_length:
        return None
    start = piece.checkpoint_position
    row: dict[str, Any] = {"position": start, "bytes": piece.checkpoint_length, "is_whole": True}
    try:
        data = await read(start, start + piece.checkpoint_length)
        check_checkpoint(piece, data)
        row["valid_at_offset"], producers = checkpoint.decode(data)
        row["producers"] = len(producers)
    except Corrupt as error:
        row["is_whole"] = False
        damage.append(str(error))
    return row


def _batches(data: memoryview) -> list[dict[str, Any]]:
    from automq_broker.wire.records import iter_headers  # noqa: PLC0415

    return [
        {
            "base_offset": header.base_offset,
            "last_offset": header.last_offset,
            "position": at,
            "bytes": header.size_bytes,
            "records": header.records_count,
            "leader_epoch": header.partition_leader_epoch,
            "compression": header.compression,
            "producer_id": header.producer_id,
            "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence,
            "max_timestamp": header.max_timestamp,
        }
        for at, header in iter_headers(data)
    ]


def _as_json(name: str, index: "ObjectIndex", slices: list[dict[str, Any]], damage: list[str]) -> dict[str, Any]:
    header = index.header
    return {
        "name": name,
        "object_id": header.object_id,
        "cluster_id": header.cluster_id,
        "kind": header.kind.name,
        "node_id": header.node_id,
        "broker_epoch": header.broker_epoch,
        "created_ms": header.created_ms,
        "bytes": index.size,
        "index_position": index.index_position,
        "crc": f"{index.crc:08x}",
        "slices": slices,
        "damage": damage,
    }


def _print(found: dict[str, Any]) -> None:
    header = {name: value for name, value in found.items() if name not in ("slices", "damage")}
    header["created_ms"] = time_text(found["created_ms"])
    header["bytes"] = f"{found['bytes']} ({size_text(found['bytes'])})"
    print_table("Object", ("field", "value"), header.items())
    print_table(
        "Streams",
        ("stream ", "topic", "partition ", "epoch ", "offsets", "records ", "bytes ", "blocks ", "checkpoint"),
        (
            (
                piece["stream"],
                piece["topic"],
                piece["partition"],
                piece["stream_epoch"],
                f"[{piece['first_offset']}, {piece['end_offset']})",
                piece["records"],
                piece["bytes"],
                len(piece["blocks"]),
                _checkpoint_text(piece["checkpoint"]),
            )
            for piece in found["slices"]
        ),
    )
    for piece in found["slices"]:
        for block in piece["blocks"]:
            if "batches" in block:
                title = f"{piece['topic']}-{piece['partition']}, block at byte {block['position']}"
                rows = block["batches"]
                print_table(title, tuple(f"{name} " for name in rows[0]), (row.values() for row in rows))
    for line in found["damage"]:
        click.echo(f"DAMAGED: {line}", err=True)


def _checkpoint_text(checkpoint: dict[str, Any] | None) -> str:
    if checkpoint is None:
        return "none"
    if not checkpoint["is_whole"]:
        return "DAMAGED"
    return f"{checkpoint['producers']} producers at offset {checkpoint['valid_at_offset']}"


__all__ = ["command"]
