"""Many clients, idle ones and ones that do not read: memory stays bounded and the others are served."""

import contextlib
import resource
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from process.load import make_topic, produce, read_back
from twins.broker_process import BrokerProcess

MIB = 1 << 20
SETTINGS = {"s3.wal.capacity": str(64 * MIB)}
API_VERSIONS = b"\x00\x00\x00\x0a" + b"\x00\x12\x00\x00" + b"\x00\x00\x00\x07" + b"\xff\xff"


@pytest.fixture(autouse=True)
def open_files() -> Iterator[None]:
    """Room for this side of two thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def started(directory: Path, **settings: str) -> BrokerProcess:
    broker = BrokerProcess(directory, settings=SETTINGS | settings)
    broker.start()
    make_topic(broker.bootstrap, "t")
    assert produce(broker.bootstrap, "t", [b"a"] * 100) == [b"a"] * 100
    return broker


def rss(broker: BrokerProcess) -> int:
    assert broker.process is not None
    return broker.process.rss_bytes()


def connect(broker: BrokerProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", broker.port), timeout=20)


def is_answered(connection: socket.socket) -> bool:
    """Whether the broker answers; False when it has closed the connection."""
    try:
        connection.sendall(API_VERSIONS)
        return answer(connection) is not None
    except OSError:
        return False


def answer(connection: socket.socket) -> bytes | None:
    size = exactly(connection, 4)
    return exactly(connection, struct.unpack(">i", size)[0]) if size else None


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (more := connection.recv(count - len(data))):
            return b""
        data += more
    return data


def test_two_thousand_idle_connections_cost_little_and_others_are_served(tmp_path: Path) -> None:
    broker = started(tmp_path)
    before = rss(broker)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connect(broker)) for _ in range(2000)]
        assert all(is_answered(connection) for connection in idle)
        assert rss(broker) - before < 2000 * 32 * 1024
        assert produce(broker.bootstrap, "t", [b"b"] * 100) == [b"b"] * 100
        assert read_back(broker.bootstrap, "t", 200) == [b"a"] * 100 + [b"b"] * 100
        assert all(is_answered(connection) for connection in idle)
    broker.stop()


def test_connections_above_the_limit_are_closed_and_a_free_place_is_given_again(tmp_path: Path) -> None:
    broker = started(tmp_path, **{"max.connections": "20"})
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(broker)) for _ in range(40)]
        served = [connection for connection in held if is_answered(connection)]
        assert 15 <= len(served) <= 20
        assert not is_answered(stack.enter_context(connect(broker)))
        assert all(is_answered(connection) for connection in served)
    assert broker.is_ready()
    assert produce(broker.bootstrap, "t", [b"b"]) == [b"b"]
    broker.stop()


def test_an_idle_connection_is_closed_and_a_busy_one_is_not(tmp_path: Path) -> None:
    broker = started(tmp_path, **{"connections.max.idle.ms": "1500"})
    with connect(broker) as idle, connect(broker) as busy:
        assert is_answered(idle)
        while not select.select([idle], [], [], 0.2)[0]:
            assert is_answered(busy)
        assert idle.recv(1) == b""
        assert is_answered(busy)
    broker.stop()


def test_a_client_that_does_not_read_is_not_read_from_and_gets_everything_later(tmp_path: Path) -> None:
    broker = started(tmp_path)
    before = rss(broker)
    burst = API_VERSIONS * 1000
    with connect(broker) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        slow.setblocking(False)
        sent = 0
        while select.select([], [slow], [], 2.0)[1]:
            sent += slow.send(burst[sent % len(API_VERSIONS) :])
            assert sent < 64 * MIB, "everything is read from a client that reads nothing"
        assert rss(broker) - before < 64 * MIB
        assert produce(broker.bootstrap, "t", [b"b"] * 100) == [b"b"] * 100
        slow.setblocking(True)
        slow.settimeout(20)
        assert sum(answer(slow) is not None for _ in range(sent // len(API_VERSIONS))) == sent // len(API_VERSIONS)
    broker.stop()
