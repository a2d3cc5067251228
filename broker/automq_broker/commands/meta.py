"""`automq meta`: look at the cluster's metadata, beside a running broker or without any."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from automq_broker.commands.offline import opened_bucket, run_offline
from automq_broker.commands.output import print_json, print_table, time_text
from automq_broker.commands.settings_options import settings_options
from automq_broker.kernel.errors import Refused
from automq_broker.settings import Settings

if TYPE_CHECKING:
    from automq_broker.kernel.ids import StreamId
    from automq_broker.meta.head import Head
    from automq_broker.meta.rows import StreamRow, TopicRow
    from automq_broker.meta.state import State

Row = dict[str, Any]


@click.group(
    epilog="""\b
Examples:
  automq meta dump --data /var/lib/automq
  automq meta dump nodes topics
"""
)
def command() -> None:
    """Look at the cluster's metadata."""


@command.command(
    epilog="""\b
Examples:
  automq meta dump
  automq meta dump streams objects --topic orders
  automq meta dump --json | jq 'select(.kind == "stream")'
"""
)
@click.argument("sections", nargs=-1, metavar="[SECTION]...")
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="Only what belongs to this topic; repeatable.")
@click.option("--stream", "streams", multiple=True, type=int, metavar="ID", help="Only this stream; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, each with its kind.")
@settings_options
def dump(
    settings: Settings, sections: tuple[str, ...], topics: tuple[str, ...], streams: tuple[int, ...], as_json: bool
) -> None:
    """Show the metadata as it is at one moment; changes nothing.

    SECTION is any of cluster, nodes, topics, streams, objects, blocks, configs; all by default.
    """
    for name in sections:
        if name not in _SECTIONS:
            raise click.UsageError(f"no section {name!r}; there are {', '.join(_SECTIONS)}")
    head, state = run_offline(_read(settings))
    wanted = _wanted(state, topics, streams)
    for name in sections or tuple(_SECTIONS):
        rows = _SECTIONS[name](head, state, wanted)
        if as_json:
            for row in rows:
                print_json({"kind": name.removesuffix("s"), **row}, is_line=True)
        else:
            _print(name, list(rows))


async def _read(settings: Settings) -> "tuple[Head, State]":
    from random import Random  # noqa: PLC0415

    from automq_broker.engine.control_offline import read_cluster  # noqa: PLC0415 - commands start fast

    async with opened_bucket(settings) as bucket:
        return await read_cluster(bucket, Random())


def _wanted(state: "State", topics: tuple[str, ...], streams: tuple[int, ...]) -> "set[int] | None":
    """The streams that the filters choose; None without filters. Raises Refused for what does not exist."""
    if not topics and not streams:
        return None
    wanted = set(streams)
    for name in topics:
        topic = state.topic(name)
        if topic is None:
            raise Refused(f"no topic {name!r} in the metadata")
        wanted.update(partition.stream_id for partition in topic.partitions)
    for stream_id in streams:
        if stream_id not in state.streams:
            raise Refused(f"no stream {stream_id} in the metadata")
    return wanted


def _cluster(head: "Head", state: "State", _wanted: "set[int] | None") -> Iterator[Row]:
    yield {
        "cluster_id": head.cluster_id,
        "controller_epoch": head.epoch,
        "commit": head.seq,
        "holder_node": head.holder.node_id,
        "holder_endpoint": head.holder.endpoint,
        "is_released": head.is_released,
        "snapshot": head.snapshot,
        "snapshot_commit": head.snapshot_seq,
        "deltas": list(head.deltas),
        "inline_bytes": len(head.inline),
        "last_epoch": state.last_epoch,
        "next_stream_id": state.next_stream_id,
        "next_object_id": state.next_object_id,
        "next_producer_id": state.next_producer_id,
    }


def _nodes(_head: "Head", state: "State", _wanted: "set[int] | None") -> Iterator[Row]:
    for node in state.nodes.values():
        yield {
            "node_id": node.node_id,
            "status": node.status.name,
            "broker_epoch": node.broker_epoch,
            "confirmed_epoch": node.confirmed_epoch,
            "is_clean": node.is_clean,
            "rack": node.rack,
            "endpoints": [f"{each.listener}://{each.host}:{each.port}" for each in node.endpoints],
            "volume": f"{node.volume.uuid} ({node.volume.handle})",
            "refused_volumes": [f"{each.uuid} ({each.handle})" for each in node.refused_volumes],
        }


def _topics(_head: "Head", state: "State", wanted: "set[int] | None") -> Iterator[Row]:
    for topic, partitions in _partitions(state, wanted):
        yield {
            "topic": topic.name,
            "topic_id": str(topic.topic_id),
            "partitions": len(topic.partitions),
            "is_internal": topic.is_internal,
            "created_ms": topic.created_ms,
            "streams": partitions,
            "configs": dict(topic.configs),
        }


def _streams(_head: "Head", state: "State", wanted: "set[int] | None") -> Iterator[Row]:
    for topic, partitions in _partitions(state, wanted):
        for stream_id in partitions:
            stream = state.stream(stream_id)
            if stream is not None:
                yield _stream(topic.name, stream)


def _stream(topic: str, stream: "StreamRow") -> Row:
    return {
        "stream": stream.stream_id,
        "topic": topic,
        "partition": stream.partition,
        "status": stream.status.name,
        "owner": stream.owner,
        "epoch": stream.epoch,
        "start_offset": stream.start_offset,
        "committed_end": stream.committed_end,
        "bytes": sum(each.length for each in stream.ranges),
        "ranges": [
            {
                "object": each.object_id,
                "start": each.start,
                "end": each.end,
                "epoch": each.stream_epoch,
                "position": each.position,
                "bytes": each.length,
                "records": each.records,
                "max_timestamp": each.max_timestamp,
                "checkpoint_bytes": each.checkpoint_length,
            }
            for each in stream.ranges
        ],
        "epochs": [[epoch, offset] for epoch, offset in stream.opens],
    }


def _objects(_head: "Head", state: "State", wanted: "set[int] | None") -> Iterator[Row]:
    from automq_broker.lake.keys import data_key  # noqa: PLC0415

    used = None if wanted is None else _objects_of(state, wanted)
    deleting = state.deleting
    for object_id in sorted({*state.objects, *deleting}):
        row = state.object_or_deleting(object_id)
        if row is not None and (used is None or object_id in used):
            yield {
                "object": object_id,
                "key": data_key(object_id),
                "object_kind": "STREAM_SET" if row.kind == 1 else "STREAM",
                "bytes": row.size,
                "crc": f"{row.crc:08x}",
                "node_id": row.node_id,
                "created_ms": row.created_ms,
                "live_ranges": state.live_ranges(object_id),
                "deleting_since_ms": deleting.get(object_id),
            }


def _blocks(_head: "Head", state: "State", _wanted: "set[int] | None") -> Iterator[Row]:
    for block in sorted(state.blocks.values(), key=lambda each: each.first):
        yield {
            "first": block.first,
            "end": block.end,
            "node_id": block.node_id,
            "broker_epoch": block.broker_epoch,
            "issued_ms": block.issued_ms,
        }


def _configs(_head: "Head", state: "State", _wanted: "set[int] | None") -> Iterator[Row]:
    for (kind, name), values in state.config_rows.items():
        yield {"resource": kind.name if hasattr(kind, "name") else str(kind), "name": name, "values": dict(values)}


def _partitions(state: "State", wanted: "set[int] | None") -> "Iterator[tuple[TopicRow, list[StreamId]]]":
    """Topics by name with the streams that the filters choose; those with none are left out."""
    for topic in sorted(state.topics(), key=lambda each: each.name):
        chosen = [each.stream_id for each in topic.partitions if wanted is None or each.stream_id in wanted]
        if chosen or wanted is None:
            yield topic, chosen


def _objects_of(state: "State", wanted: Iterable[int]) -> set[int]:
    from automq_broker.meta.tables import CELLS  # noqa: PLC0415

    return {object_id for stream_id in wanted for object_id in state.streams[stream_id].cells[::CELLS]}


_SECTIONS: "dict[str, Callable[[Head, State, set[int] | None], Iterator[Row]]]" = {
    "cluster": _cluster,
    "nodes": _nodes,
    "topics": _topics,
    "streams": _streams,
    "objects": _objects,
    "blocks": _blocks,
    "configs": _configs,
}


def _print(name: str, rows: list[Row]) -> None:
    if name == "cluster":
        print_table("cluster", ("field", "value"), ((key, _cell(key, value)) for key, value in rows[0].items()))
        return
    title = f"{name} ({len(rows)})"
    if not rows:
        click.echo(f"{title}\n")
        return
    columns = [f"{key} " if _is_number(rows[0][key]) else key for key in rows[0]]
    print_table(title, columns, ([_cell(key, value) for key, value in row.items()] for row in rows))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _cell(key: str, value: object) -> object:
    """What fits into a table: long lists become their number, times become dates."""
    if key.endswith("_ms") and isinstance(value, int):
        return time_text(value)
    if key in ("ranges", "epochs", "deltas", "streams"):
        return len(value) if isinstance(value, list) else value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return value


__all__ = ["command"]
