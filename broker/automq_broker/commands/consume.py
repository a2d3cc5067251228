"""`automq consume`: records of a topic on standard output."""

import base64
import json
import sys
import time
from typing import Any

import click

from automq_broker.commands.kafka_client import Cluster, answers, cluster_options, explain, library
from automq_broker.commands.output import time_text
from automq_broker.commands.topic import offsets_at, partitions_of
from automq_broker.kernel.errors import Refused

_POLL_S = 0.2
_COLUMNS = ("partition", "offset", "timestamp", "key", "headers")


@click.command(
    epilog="""\b
Examples:
  automq consume demo --from-beginning --until-end
  automq consume demo --partition 0 --offset 1000 --max-messages 10 --format json
  automq consume demo --group reports --with key,timestamp
"""
)
@click.argument("topic")
@click.option("--from-beginning", is_flag=True, help="From the first record; without it, only what comes from now on.")
@click.option("--offset", type=click.IntRange(0), help="From this offset; needs --partition.")
@click.option("--partition", type=click.IntRange(0), help="Only this partition.")
@click.option("--max-messages", type=click.IntRange(1), help="End after so many.")
@click.option("--until-end", is_flag=True, help="End where the topic ended when the command began.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="End when nothing came for so long.")
@click.option("--group", metavar="NAME", help="As a member of this group; commits what was printed.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--with", "columns", metavar="LIST", help=f"Text: columns before the value, of {','.join(_COLUMNS)}.")
@cluster_options
def command(
    cluster: Cluster,
    topic: str,
    from_beginning: bool,
    offset: int | None,
    partition: int | None,
    max_messages: int | None,
    until_end: bool,
    timeout: float | None,
    group: str | None,
    form: str,
    columns: str | None,
) -> None:
    """Print the records of TOPIC: the value per line, or one JSON object per line.

    Runs until Ctrl-C unless --max-messages, --until-end or --timeout ends it.
    Exit codes: 0 done, 1 refused, or --timeout came before --max-messages.
    """
    if offset is not None and partition is None:
        raise click.UsageError("--offset needs --partition")
    if group and (offset is not None or partition is not None or until_end):
        raise click.UsageError(
            "--group goes where the group's offsets are: not with --offset, --partition, --until-end"
        )
    chosen = tuple((columns or "").split(",")) if columns else ()
    if unknown := [name for name in chosen if name not in _COLUMNS]:
        raise click.UsageError(f"--with {unknown[0]!r}: there are {', '.join(_COLUMNS)}")
    reader = _Reader(cluster, topic, group, "earliest" if from_beginning else "latest")
    try:
        if group:
            reader.subscribe()
        else:
            reader.assign(partition, offset, until_end)
        count = reader.run(max_messages, timeout, lambda message: _line(message, form, chosen))
    finally:
        reader.close()
    if max_messages is not None and count < max_messages and timeout is not None and not until_end:
        raise Refused(f"{count} of {max_messages} records came before nothing did for {timeout:g} s")


class _Reader:
    """A consumer that prints; `ends` are the offsets behind which a partition is not read any more."""

    def __init__(self, cluster: Cluster, topic: str, group: str | None, start: str) -> None:
        self._kafka = library()
        self._cluster = cluster
        self._topic = topic
        self._start = start
        self._admin = cluster.admin()
        self._partitions = partitions_of(cluster, self._admin, topic)
        self._is_member = group is not None
        self._printed = 0
        self._ends: dict[int, int] | None = None
        settings = {"enable_auto_commit": False, "auto_offset_reset": start, "enable_partition_eof": True}
        with answers(cluster):
            self._consumer = self._kafka.Consumer(cluster.config(group_id=group or "automq-consume", **settings))

    def subscribe(self) -> None:
        """As a member of the group."""
        with answers(self._cluster):
            self._consumer.subscribe([self._topic])

    def assign(self, partition: int | None, offset: int | None, until_end: bool) -> None:
        """Without a group: all partitions, or one. Raises Refused for a partition that does not exist."""
        if partition is not None and partition not in self._partitions:
            raise Refused(f"topic {self._topic} has no partition {partition}; it has {len(self._partitions)}")
        wanted = list(self._partitions) if partition is None else [partition]
        starts = offsets_at(self._cluster, self._admin, self._topic, wanted, self._start)
        if offset is not None and partition is not None:
            starts = {partition: offset}
        if until_end:
            ends = offsets_at(self._cluster, self._admin, self._topic, wanted, "latest")
            self._ends = {number: end for number, end in ends.items() if starts[number] < end}
        with answers(self._cluster):
            self._consumer.assign([self._kafka.TopicPartition(self._topic, each, at) for each, at in starts.items()])

    def run(self, max_messages: int | None, timeout_s: float | None, line: Any) -> int:
        """Print until an end is reached; returns how many records were printed."""
        try:
            self._print(max_messages, timeout_s, line)
        finally:  # Ctrl-C too: what was printed counts as read
            sys.stdout.flush()
            self._commit()
        return self._printed

    def _print(self, max_messages: int | None, timeout_s: float | None, line: Any) -> None:
        quiet_since = time.monotonic()
        while self._ends is None or self._ends:
            message = self._consumer.poll(_POLL_S)
            if message is not None and message.error() is None:
                quiet_since = time.monotonic()
                if self._is_wanted(message):
                    sys.stdout.write(line(message) + "\n")
                    self._printed += 1
                self._note_end(message.partition(), message.offset() + 1)
            elif message is not None:
                self._judge(message)
            else:
                sys.stdout.flush()
            is_quiet = timeout_s is not None and time.monotonic() - quiet_since >= timeout_s
            if is_quiet or self._printed == max_messages:
                return

    def close(self) -> None:
        """Leave the group, if there is one."""
        self._consumer.close()

    def _is_wanted(self, message: Any) -> bool:
        return self._ends is None or message.offset() < self._ends.get(message.partition(), -1)

    def _note_end(self, partition: int, next_offset: int) -> None:
        if self._ends is not None and next_offset >= self._ends.get(partition, next_offset):
            self._ends.pop(partition, None)

    def _judge(self, message: Any) -> None:
        error = message.error()
        if error.code() == self._kafka.KafkaError._PARTITION_EOF:
            sys.stdout.flush()
            self._note_end(message.partition(), message.offset())
        elif not error.retriable():
            raise Refused(explain(self._cluster, error))

    def _commit(self) -> None:
        if self._is_member and self._printed:
            with answers(self._cluster):
                self._consumer.commit(asynchronous=False)


def _line(message: Any, form: str, columns: tuple[str, ...]) -> str:
    kind, timestamp_ms = message.timestamp()
    headers = message.headers() or []
    if form == "json":
        row = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": timestamp_ms,
            "timestamp_type": {1: "CreateTime", 2: "LogAppendTime"}.get(kind),
            **_json("key", message.key()),
            **_json("value", message.value()),
            "headers": [{"name": name, **_json("value", value)} for name, value in headers],
        }
        return json.dumps(row, ensure_ascii=False)
    cells = {
        "partition": str(message.partition()),
        "offset": str(message.offset()),
        "timestamp": time_text(timestamp_ms),
        "key": _text(message.key()),
        "headers": ",".join(f"{name}={_text(value)}" for name, value in headers),
    }
    return "\t".join([*(cells[name] for name in columns), _text(message.value())])


def _json(name: str, data: bytes | None) -> dict[str, str | None]:
    """Text where it is UTF-8, else base64 under another name."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _text(data: bytes | None) -> str:
    return "" if data is None else data.decode("utf-8", "backslashreplace")


__all__ = ["command"]
