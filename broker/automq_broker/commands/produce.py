"""`automq produce`: lines of a file or of standard input become records."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from automq_broker.commands.kafka_client import Cluster, answers, cluster_options, explain, library, pairs
from automq_broker.commands.output import Bar, print_json, progress, size_text
from automq_broker.kernel.errors import Refused


@click.command(
    epilog="""\b
Examples:
  echo 'hello, S3' | automq produce demo
  automq produce demo --file events.log --compression zstd
  printf 'k1:v1\\nk2:v2\\n' | automq produce demo --key-separator : --header source=shell
"""
)
@click.argument("topic")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Read from here, not from standard input.")
@click.option("--key-separator", metavar="TEXT", help="What stands before it in a line is the key.")
@click.option("--partition", type=click.IntRange(0), help="This one; by the key's hash, or any, by default.")
@click.option("--header", "headers", multiple=True, metavar="KEY=VALUE", help="On every record; repeatable.")
@click.option("--acks", type=click.Choice(["all", "1", "0"]), default="all", show_default=True)
@click.option(
    "--compression", type=click.Choice(["none", "gzip", "snappy", "lz4", "zstd"]), default="none", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The summary for machines, on standard output.")
@cluster_options
def command(
    cluster: Cluster,
    topic: str,
    path: Path | None,
    key_separator: str | None,
    partition: int | None,
    headers: tuple[str, ...],
    acks: str,
    compression: str,
    as_json: bool,
) -> None:
    """Send one record per line to TOPIC, in order; a summary with the rate goes to standard error.

    Exit codes: 0 every record was acknowledged, 1 one was not (the summary says how many were).
    """
    wanted = pairs(headers, "--header")
    if key_separator == "":
        raise click.UsageError("--key-separator must not be empty")
    sender = _Sender(cluster, topic, partition, wanted, acks, compression)
    separator = None if key_separator is None else key_separator.encode()
    with _opened(path) as (lines, size), progress(f"sending to {topic}") as bar:
        bar.total(size)
        try:
            sender.send(lines, separator, bar)
        finally:
            sender.finish()
    summary = sender.summary()
    if as_json:
        print_json(summary)
    click.echo(
        f"{summary['records']} records, {size_text(summary['bytes'])} in {summary['seconds']:.1f} s "
        f"({summary['records_per_s']:.0f} records/s, {size_text(summary['bytes_per_s'])}/s)",
        err=True,
    )
    if sender.failure is not None:
        raise Refused(f"{sender.failed} records were not acknowledged: {sender.failure}")


class _Sender:
    """Sends lines and counts what came of them."""

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        partition: int | None,
        headers: dict[str, str],
        acks: str,
        compression: str,
    ) -> None:
        producer = library().Producer
        more = {"acks": acks, "compression_type": compression, "linger_ms": 5, "enable_idempotence": acks == "all"}
        cluster.admin()
        with answers(cluster):
            self._producer = producer(cluster.config(**more))
        self._cluster = cluster
        self._topic = topic
        self._fixed: dict[str, Any] = {"headers": list(headers.items())} if headers else {}
        if partition is not None:
            self._fixed["partition"] = partition
        self._started = time.monotonic()
        self._ended = self._started
        self.records = self.bytes = self.failed = 0
        self.failure: str | None = None

    def send(self, lines: IO[bytes], separator: bytes | None, bar: Bar) -> None:
        """Everything, or up to the first failure."""
        for number, line in enumerate(lines, 1):
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            key: bytes | None = None
            if separator is not None:
                key, found, text = text.partition(separator)
                if not found:
                    raise Refused(f"line {number} has no key: {separator.decode()!r} does not stand in it")
            self._send(key, text)
            bar.advance(len(line))
            if self.failure is not None:
                return

    def finish(self) -> None:
        """Wait for what is on its way, in steps that leave room for Ctrl-C."""
        while self._producer.flush(0.2) > 0:
            continue
        self._ended = time.monotonic()

    def summary(self) -> dict[str, Any]:
        """What was acknowledged, and how fast."""
        seconds = max(self._ended - self._started, 1e-6)
        return {
            "topic": self._topic,
            "records": self.records,
            "bytes": self.bytes,
            "failed": self.failed,
            "seconds": seconds,
            "records_per_s": self.records / seconds,
            "bytes_per_s": self.bytes / seconds,
        }

    def _send(self, key: bytes | None, value: bytes) -> None:
        size = len(value) + len(key or b"")

        def delivered(error: Any, _message: Any) -> None:
            if error is None:
                self.records += 1
                self.bytes += size
            else:
                self.failed += 1
                self.failure = self.failure or explain(self._cluster, error)

        while True:
            try:
                with answers(self._cluster):
                    self._producer.produce(self._topic, value, key, on_delivery=delivered, **self._fixed)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return


@contextmanager
def _opened(path: Path | None) -> Iterator[tuple[IO[bytes], int | None]]:
    """The lines, and how many bytes they are where that is known."""
    if path is None:
        yield sys.stdin.buffer, None
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from error
    with file:
        yield file, path.stat().st_size


__all__ = ["command"]
