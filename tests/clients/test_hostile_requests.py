"""Every served request, made hostile, against a running broker: it lives, its memory is bounded, others are served.

tests/unit_broker/test_front_hostile.py does the same to the front alone; here the desk and the engine stand behind it.
"""

import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from automq_broker.wire.apis.k00_produce import PartitionProduceData, ProduceRequest, TopicProduceData
from automq_broker.wire.apis.k01_fetch import FetchPartition, FetchRequest, FetchTopic
from automq_broker.wire.frames import encode_request
from clients.differential.conversation import Conversation
from clients.differential.world import World, batch
from twins import hostile_requests
from twins.broker_process import BrokerProcess
from twins.child_process import wait_until

pytestmark = pytest.mark.clients

RSS_GROWTH_MAX = 320 << 20
"""The caches' budgets and the in-flight limit of the test broker, and some for the allocator."""
ANSWER_MAX_S = 10.0
SETTINGS = {
    "num.partitions": "1",
    "queued.max.request.bytes": str(64 << 20),
    "s3.wal.cache.size": str(32 << 20),
    "s3.block.cache.size": str(16 << 20),
}


@dataclass(slots=True)
class Bystander:
    """Another client: produces and fetches all the time on a connection of its own; keeps its slowest answer."""

    world: World
    answers: int = 0
    slowest_s: float = 0.0
    trouble: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Bystander":
        self._thread = threading.Thread(target=self._run, name="bystander")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        talk = Conversation(self.world.host, self.world.port)
        data = PartitionProduceData(index=0, records=batch(1))
        produce = ProduceRequest(
            acks=-1, timeout_ms=10_000, topic_data=[TopicProduceData(name="bystander", partition_data=[data])]
        )
        while not self._stop.wait(0.01):
            offset = self._ask(talk, produce, 9).responses[0].partition_responses[0].base_offset
            wanted = FetchTopic(
                topic="bystander", partitions=[FetchPartition(fetch_offset=offset, partition_max_bytes=1 << 20)]
            )
            fetch = FetchRequest(max_wait_ms=0, min_bytes=0, max_bytes=1 << 20, session_epoch=-1, topics=[wanted])
            row = self._ask(talk, fetch, 12).responses[0].partitions[0]
            if offset < 0 or row.error_code or not row.records:
                self.trouble.append(f"offset {offset}: {row!r}"[:300])

    def _ask(self, talk: Conversation, message: Any, version: int) -> Any:
        started = time.monotonic()
        talk.send(message, version)
        answer = talk.receive(ANSWER_MAX_S * 3)
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        self.answers += 1
        return answer


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker of this module's own."""
    broker = BrokerProcess(tmp_path_factory.mktemp("hostile"), settings=SETTINGS)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def world(victim: BrokerProcess) -> World:
    """Topics of every kind: plain, compacted, recompressed, and the bystander's."""
    made = World(host="127.0.0.1", port=victim.port)
    for name, configs in (
        ("bystander", {}),
        ("wild", {}),
        ("wild-compacted", {"cleanup.policy": "compact"}),
        ("plain", {}),
        ("compacted", {"cleanup.policy": "compact"}),
        ("recompressed", {"compression.type": "lz4"}),
        ("late", {"message.timestamp.before.max.ms": "1000", "message.timestamp.type": "LogAppendTime"}),
    ):
        made._create(name, 1, configs)
    made.group()
    return made


@pytest.fixture
def watched(victim: BrokerProcess, world: World) -> Iterator[None]:
    """The promises: no crash, no unhandled error, memory within its bound, another client served throughout."""
    assert victim.process is not None
    before, logged = victim.process.rss_bytes(), len(victim.process.log())
    with Bystander(world) as bystander:
        yield
        wait_until(
            lambda: bystander.answers >= 2 or not victim.process.is_running, ANSWER_MAX_S, "a bystander's answer"
        )
    assert victim.process.is_running, victim.process.log()[-3000:]
    said = victim.process.log()[logged:]
    assert "Traceback" not in said, said[-3000:]
    assert victim.process.rss_bytes() - before < RSS_GROWTH_MAX
    assert bystander.answers >= 2
    assert not bystander.trouble
    assert bystander.slowest_s < ANSWER_MAX_S, f"an answer took {bystander.slowest_s:.1f} s"


NAMES: dict[str, list[Any]] = {
    "name": ["wild", "wild-compacted", "nobody-made-this"],  # some of these requests delete topics
    "topic": ["wild", "wild-compacted"],
    "topic_names": ["nobody-made-this"],
    "group_id": ["g", ""],
    "groups": ["g"],
    "partition": [0],
    "partition_index": [0],
    "partition_indexes": [0],
    "index": [0],
    "count": [-1, 0, 1, 2],
    "num_partitions": [-1, 0, 1, 2],
    "replication_factor": [1],
    "acks": [-1, 0, 1],
    "timeout_ms": [0, 50],
    "max_wait_ms": [0, 50, -1],
    "records": [batch(1), batch(2, compression=1), b"", None],
    "resource_type": [2, 4],
    "resource_name": ["wild", "nobody-made-this"],
    "transactional_id": [None, ""],
    "key_type": [0, 1],
}


def _strike(port: int, frames: Iterable[bytes], *, patience_s: float = 0.05) -> None:
    """Send each frame on one connection for as long as it lasts, then on a new one; what is answered is read away."""
    attacker: socket.socket | None = None
    for data in frames:
        if attacker is None:
            attacker = socket.create_connection(("127.0.0.1", port), timeout=10)
        try:
            attacker.settimeout(10)
            attacker.sendall(data)
            attacker.settimeout(patience_s)
            is_closed = not attacker.recv(1 << 16)
        except TimeoutError:
            is_closed = True  # it may wait for long; a new connection is cheaper
        except ConnectionError:
            is_closed = True
        if is_closed:
            attacker.close()
            attacker = None
    if attacker is not None:
        attacker.close()


@pytest.mark.usefixtures("watched", "world")
def test_requests_cut_after_any_byte_do_no_harm(victim: BrokerProcess) -> None:
    rng = random.Random(1)
    for key, version in hostile_requests.served():
        whole = hostile_requests.request(key, version, rng, NAMES)[:160]
        _strike(victim.port, hostile_requests.truncations(whole), patience_s=0.005)


@pytest.mark.usefixtures("watched", "world")
def test_absurd_lengths_at_every_place_do_no_harm(victim: BrokerProcess) -> None:
    rng = random.Random(2)
    for key, version in hostile_requests.served():
        whole = hostile_requests.request(key, version, rng, NAMES)[:160]
        _strike(victim.port, hostile_requests.absurd_lengths(whole, rng), patience_s=0.005)


@pytest.mark.usefixtures("watched", "world")
def test_wild_values_in_every_field_are_answered_or_refused(victim: BrokerProcess) -> None:
    rng = random.Random(3)
    for key, version in hostile_requests.served():
        _strike(victim.port, (hostile_requests.request(key, version, rng, NAMES) for _ in range(40)))


def _produce(topic: str, records: bytes, version: int = 9) -> bytes:
    data = PartitionProduceData(index=0, records=records)
    request = ProduceRequest(acks=-1, timeout_ms=5000, topic_data=[TopicProduceData(name=topic, partition_data=[data])])
    return encode_request(0, version, 1, hostile_requests.CLIENT_ID, request)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("topic", ["plain", "compacted", "recompressed", "late"])
def test_batches_that_lie_are_refused_and_good_ones_still_taken(
    victim: BrokerProcess, world: World, topic: str
) -> None:
    rng = random.Random(4)
    for _ in range(8):
        _strike(victim.port, (_produce(topic, data) for data in hostile_requests.lying_batches(rng)), patience_s=2)
    world.append(topic, batch(2))


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("codec", [1, 2, 3, 4], ids=["gzip", "snappy", "lz4", "zstd"])
def test_bombs_do_not_unfold(victim: BrokerProcess, world: World, codec: int) -> None:
    assert victim.process is not None
    bomb = hostile_requests.bomb(codec)
    assert len(bomb) < 1 << 20
    before = victim.process.rss_bytes()
    for topic in ("compacted", "recompressed"):
        _strike(victim.port, [_produce(topic, bomb)] * 10, patience_s=10)
        world.append(topic, batch(2, compression=codec))
    assert victim.process.rss_bytes() - before < RSS_GROWTH_MAX
    assert victim.process.rss_peak_bytes() < before + 2 * RSS_GROWTH_MAX


def test_the_broker_still_ends_in_order(victim: BrokerProcess, tmp_path: Path) -> None:
    assert victim.terminate() == 0
    victim.start()
