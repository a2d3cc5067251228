"""The servers of a run and the lanes that rows compare: ours, Kafka as it comes, Kafka with a flush per message."""

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec  # type: ignore[attr-defined]  # re-exported from C
from twins.broker_process import BrokerProcess
from twins.child_process import ChildProcess, wait_until
from twins.kafka_peer import KafkaPeer

Server = BrokerProcess | KafkaPeer


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One of the things compared: a server, and how its topics are configured."""

    name: str
    server: Server
    topic_configs: Mapping[str, str] = field(default_factory=dict)

    @property
    def process(self) -> ChildProcess:
        """The server's process."""
        assert self.server.process is not None
        return self.server.process


@dataclass(slots=True, kw_only=True)
class Bench:
    """A run: where its data is, how long it measures, and its servers.

    `subject` is "automq", or "kafka" to check the benchmark itself (Kafka against Kafka: every ratio should be 1).
    """

    directory: Path
    subject: str = "automq"
    rounds: int = 3
    scale: float = 1.0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _kafka: KafkaPeer | None = None
    _ours: Server | None = None

    def lanes(self) -> list[Lane]:
        """Ours, Kafka, Kafka with flush.messages=1; the servers are started at the first call."""
        if self._ours is None:
            self._ours = self.start_subject()
        return [
            Lane(name="ours", server=self._ours),
            Lane(name="kafka", server=self.kafka()),
            Lane(name="kafka_flush", server=self.kafka(), topic_configs={"flush.messages": "1"}),
        ]

    def kafka(self) -> KafkaPeer:
        """The peer, started at the first call."""
        if self._kafka is None:
            self._kafka = KafkaPeer(self.directory / "kafka")
            self._kafka.start()
        return self._kafka

    def start_subject(
        self, *, bucket: str | None = None, settings: Mapping[str, str] | None = None, directory: Path | None = None
    ) -> Server:
        """A further server of our kind, started; on a directory of its own unless one is given."""
        place = directory or self.new_directory()
        server: Server = KafkaPeer(place)
        if self.subject == "automq":
            server = BrokerProcess(place, bucket=bucket, settings=settings)
        server.start()
        return server

    @contextmanager
    def another_subject(
        self, *, bucket: str | None = None, settings: Mapping[str, str] | None = None
    ) -> Iterator[Server]:
        """A further server of our kind for one row, removed with its data at the end."""
        server = self.start_subject(bucket=bucket, settings=settings)
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(server.directory, ignore_errors=True)

    def new_directory(self) -> Path:
        """A fresh directory below the run's."""
        place = self.directory / f"d{next(self._numbers)}"
        place.mkdir(parents=True)
        return place

    @contextmanager
    def topic(self, lane: Lane, *, partitions: int = 1) -> Iterator[str]:
        """A topic of its own, ready to be written, deleted at the end so that disks and caches start level."""
        name = f"bench-{next(self._numbers)}"
        create_topic(lane.server.bootstrap, name, partitions=partitions, configs=lane.topic_configs)
        os.sync()
        try:
            yield name
        finally:
            admin = AdminClient({"bootstrap.servers": lane.server.bootstrap, "log_level": 3})
            admin.delete_topics([name])[name].result(30)

    def messages(self, count: int) -> int:
        """`count` at the run's scale."""
        return max(1000, int(count * self.scale))

    def rotated(self, turn: int) -> list[Lane]:
        """The lanes, each round beginning with another: who goes first has the colder disk."""
        lanes = self.lanes()
        turn %= len(lanes)
        return lanes[turn:] + lanes[:turn]

    def close(self) -> None:
        """End the servers."""
        for server in (self._ours, self._kafka):
            if server is not None:
                server.stop()


def create_topic(bootstrap: str, name: str, *, partitions: int, configs: Mapping[str, str] | None = None) -> None:
    """Create a topic and wait until every partition has a leader."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 3})
    admin.create_topics([NewTopic(name, partitions, 1, config=dict(configs or {}))])[name].result(30)

    ends = {
        TopicPartition(name, index): OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for index in range(partitions)
    }

    def is_led() -> bool:
        # Metadata names a leader before that leader knows; only its own answer counts.
        found = admin.list_offsets(ends, request_timeout=10)
        return all(end.exception(10) is None for end in found.values())

    wait_until(is_led, 15, f"{name} has its leaders")


def wait_zeroed(server: Server) -> None:
    """A fresh WAL is zero-filled in the background for its first seconds, which is not what reads are measured beside."""
    if isinstance(server, BrokerProcess):
        wait_until(lambda: server.status()["wal"]["left_to_zero_bytes"] == 0, 120, "the WAL is zero-filled")
