"""One broker as a case sees it: names, preparations that are not compared, and the table that cases are entered in."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from automq_broker.wire.apis.k00_produce import PartitionProduceData, ProduceRequest, TopicProduceData
from automq_broker.wire.apis.k02_list_offsets import ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic
from automq_broker.wire.apis.k03_metadata import MetadataRequest, MetadataRequestTopic
from automq_broker.wire.apis.k09_offset_fetch import OffsetFetchRequest
from automq_broker.wire.apis.k10_find_coordinator import FindCoordinatorRequest
from automq_broker.wire.apis.k18_api_versions import ApiVersionsRequest
from automq_broker.wire.apis.k19_create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from automq_broker.wire.index import APIS
from automq_broker.wire.records import Record, encode_batch
from clients.differential.conversation import CLOSED, Conversation, key_of
from clients.differential.plain import Plain

BASE_TIME_MS = 1_700_000_000_000
"""Timestamps of all records: fixed, so that answers by time can be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request in a case that needs more than "send it in the case's version and compare the whole answer".

    `view` picks what is compared; `connection` numbers the sockets of the case; with `is_waiting` False the answer is
    fetched later by a Hear; `raw` are bytes to send instead of a message.
    """

    message: Any = None
    version: int | None = None
    view: Callable[[Any], Any] | None = None
    connection: int = 0
    is_waiting: bool = True
    raw: bytes | None = None
    timeout_s: float = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    """Wait for the answer to an earlier Ask of that connection."""

    connection: int = 0
    timeout_s: float = 15
    view: Callable[[Any], Any] | None = None


Steps = Generator[Any, Any, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison: `steps(world, version)` yields requests and is sent the answers, for each of `versions`."""

    title: str
    key: int
    versions: tuple[int, ...]
    steps: Callable[["World", int], Steps]


CASES: list[Case] = []


def case(
    key: int, *, least: int | None = None, most: int | None = None, only: tuple[int, ...] | None = None
) -> Callable[[Callable[["World", int], Steps]], Callable[["World", int], Steps]]:
    """Enter a generator function in the table for all of Kafka's versions of `key`, or those from `least` to `most`."""
    entry = APIS[key]
    first = entry.min_version if least is None else least
    last = entry.max_version if most is None else most
    versions = only if only is not None else tuple(range(first, last + 1))

    def enter(steps: Callable[["World", int], Steps]) -> Callable[["World", int], Steps]:
        title = f"{entry.name}: {steps.__name__.replace('_', ' ')}"
        CASES.append(Case(title=title, key=key, versions=versions, steps=steps))
        return steps

    return enter


@dataclass(slots=True)
class World:
    """A broker and the names that a case gave to things in it; names are equal on both brokers."""

    host: str
    port: int
    scope: str = ""
    version: int = 0
    _talks: dict[int, Conversation] = field(default_factory=dict)
    _aside: Conversation | None = None
    _seeded: dict[str, str] = field(default_factory=dict)
    _ids: dict[str, UUID] = field(default_factory=dict)

    def run(self, wanted: Case, version: int) -> list[tuple[str, Any]]:
        """Play a case against this broker; returns (what was asked, the plain answer) step by step."""
        self.scope = "".join(letter if letter.isalnum() else "-" for letter in wanted.title)[:120] + f"-v{version}"
        self.version = version
        plain, answer, steps = Plain(), None, []
        play = wanted.steps(self, version)
        try:
            while True:
                step = play.send(answer)
                answer, title, view = self._take(step, version)
                if title:
                    steps.append((title, plain.of(view(answer) if view and answer != CLOSED else answer)))
        except StopIteration:
            return steps
        finally:
            for talk in self._talks.values():
                talk.close()
            self._talks.clear()

    def _take(self, step: Any, version: int) -> tuple[Any, str, Callable[[Any], Any] | None]:
        if isinstance(step, Hear):
            return self._talk(step.connection).receive(step.timeout_s), "the awaited answer", step.view
        ask = step if isinstance(step, Ask) else Ask(message=step)
        talk = self._talk(ask.connection)
        if ask.raw is not None:
            talk.send_bytes(ask.raw)
            answer = talk.receive_frame(ask.timeout_s)
            return answer, "raw bytes", ask.view
        asked_version = version if ask.version is None else ask.version
        talk.send(ask.message, asked_version)
        if not ask.is_waiting:
            return None, "", None
        title = f"{type(ask.message).__name__} v{asked_version}"
        return talk.receive(ask.timeout_s), title, ask.view

    def _talk(self, connection: int) -> Conversation:
        if connection not in self._talks:
            self._talks[connection] = Conversation(self.host, self.port)
        return self._talks[connection]

    # --- preparations: asked on a connection of their own, polled until they hold, never compared ---

    def aside(self, message: Any, version: int | None = None) -> Any:
        """Ask outside the comparison, in the newest version that this broker serves by default."""
        if self._aside is None:
            self._aside = Conversation(self.host, self.port)
        self._aside.send(message, APIS[key_of(message)].max_version if version is None else version)
        return self._aside.receive()

    def until(self, message: Any, version: int, holds: Callable[[Any], bool]) -> Any:
        """Ask until the answer is as wanted: Kafka's metadata reaches its own parts a little late."""
        deadline = time.monotonic() + 15
        while not holds(answer := self.aside(message, version)):
            assert time.monotonic() < deadline, f"in vain: {message!r} -> {answer!r}"
            time.sleep(0.01)
        return answer

    def name(self, stem: str = "t") -> str:
        """A name of this case and version."""
        return f"{stem}-{self.scope}"

    def topic(self, stem: str = "t", *, partitions: int = 1, configs: dict[str, str] | None = None) -> str:
        """A topic of this case whose partitions can be written; returns its name."""
        name = self.name(stem)
        self._create(name, partitions, configs or {})
        return name

    def seeded(self) -> str:
        """A topic that all cases may read but none may change: see `_seed`."""
        if "seeded" not in self._seeded:
            self._create("seeded", 2, {})
            self._seed("seeded")
            self._seeded["seeded"] = "seeded"
        return "seeded"

    def empty_topic(self) -> str:
        """A topic with two partitions that nobody writes to."""
        if "empty" not in self._seeded:
            self._create("empty", 2, {})
            self._seeded["empty"] = "empty"
        return "empty"

    def topic_id(self, name: str) -> UUID:
        """The id of an existing topic."""
        if name not in self._ids:
            asked = MetadataRequest(topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False)
            found = self.until(asked, 12, lambda answer: answer.topics[0].error_code == 0)
            self._ids[name] = found.topics[0].topic_id
        return self._ids[name]

    def group(self, stem: str = "g") -> str:
        """A group name of this case whose coordinator is ready to work."""
        name = self.name(stem)
        self.until(FindCoordinatorRequest(key=name), 3, lambda answer: answer.error_code == 0)
        self.until(OffsetFetchRequest(group_id=name, topics=None), 5, lambda answer: answer.error_code == 0)
        return name

    def append(self, topic: str, batch: bytes, partition: int = 0) -> None:
        """Write a batch, with no regard to where it lands."""
        data = [PartitionProduceData(index=partition, records=batch)]
        request = ProduceRequest(
            acks=-1, timeout_ms=10000, topic_data=[TopicProduceData(name=topic, partition_data=data)]
        )
        self.until(request, 9, lambda answer: answer.responses[0].partition_responses[0].error_code == 0)

    def advertised(self) -> dict[int, tuple[int, int]]:
        """API key -> (min, max) as this broker advertises it."""
        answer = self.aside(ApiVersionsRequest(client_software_name="tests", client_software_version="1"), 3)
        return {entry.api_key: (entry.min_version, entry.max_version) for entry in answer.api_keys}

    def _create(self, name: str, partitions: int, configs: dict[str, str]) -> None:
        given = [CreatableTopicConfig(name=key, value=value) for key, value in configs.items()]
        topic = CreatableTopic(name=name, num_partitions=partitions, replication_factor=1, configs=given)
        answer = self.aside(CreateTopicsRequest(topics=[topic], timeout_ms=10000), 7)
        assert answer.topics[0].error_code in (0, 36), f"{name}: {answer!r}"
        ends = [ListOffsetsPartition(partition_index=index, timestamp=-1) for index in range(partitions)]
        asked = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsTopic(name=name, partitions=ends)])
        self.until(asked, 6, lambda answer: all(row.error_code == 0 for row in answer.topics[0].partitions))

    def _seed(self, topic: str) -> None:
        """Partition 0: four batches of 3, 5, 1 and 4 records (offsets 0-12), gzip in the third; partition 1: nothing."""
        for count, first, compression in ((3, 0, 0), (5, 3, 0), (1, 8, 1), (4, 9, 0)):
            self.append(topic, batch(count, first=first, compression=compression))


def batch(count: int = 1, *, first: int = 0, compression: int = 0, size: int = 10, **header: Any) -> bytes:
    """A batch of `count` records whose keys, values and timestamps follow from their number, starting at `first`."""
    return encode_batch(list(records(count, first=first, size=size)), compression=compression, **header)


def records(count: int, *, first: int = 0, size: int = 10) -> Iterator[Record]:
    """The records of `batch`: 100 ms apart."""
    for number in range(first, first + count):
        yield Record(
            offset=number - first, timestamp=BASE_TIME_MS + 100 * number, key=b"k%d" % number, value=b"v" * size
        )
