"""The tools of a chaos run do what they say: figures, faults of a seed, and the proxy between brokers."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest
from automq_broker.wire.apis.k20000_node_hello import NodeHelloRequest
from automq_broker.wire.frames import encode_request
from chaos import figures
from chaos.faults import Kind, draw
from chaos.history import Acked, History, Role, Sent
from chaos.proxy import Effect, Proxies, Rule, Way


def answers(*rows: tuple[float, float, int]) -> list[figures.Answer]:
    """(sent, acked, partition) through a producer's history."""
    events = [
        event
        for value, (sent, acked, partition) in enumerate(rows)
        for event in (Sent(sent, partition, value), Acked(acked, partition, value, 0))
    ]
    return figures.answers([History(name="p", role=Role.PRODUCER, events=tuple(events))])


def test_recovery_ends_when_the_last_partition_takes_a_record_that_was_sent_after_the_fault() -> None:
    found = answers((0.0, 0.1, 0), (0.0, 0.1, 1), (4.9, 5.5, 0), (5.0, 7.0, 0), (5.5, 9.0, 1), (9.5, 9.6, 0))
    assert figures.recovery_s(found, 5.0) == 4.0


def test_a_partition_that_never_takes_a_record_again_has_not_recovered() -> None:
    assert figures.recovery_s(answers((0.0, 0.1, 0), (0.0, 0.1, 1), (5.0, 6.0, 0)), 5.0) is None


def test_a_stall_is_the_longest_silence_of_the_worst_partition() -> None:
    found = answers((0.0, 1.0, 0), (0.0, 2.0, 0), (0.0, 3.0, 0), (0.0, 2.5, 1))
    assert figures.stall_s(found, 0.0, 4.0) == 2.5


def test_a_seed_draws_the_same_faults_again_and_every_kind_comes() -> None:
    def drawn(seed: int) -> list[str]:
        rng = Random(seed)
        return [str(draw(rng, [1, 2, 3], has_s3=True, longest_s=20)) for _ in range(300)]

    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(6)
    assert all(any(text.startswith(kind) for text in drawn(5)) for kind in (*Kind, "None"))


def test_without_an_s3_server_none_is_stopped_and_nothing_lasts_longer_than_allowed() -> None:
    rng = Random(1)
    found = [draw(rng, [1, 2, 3], has_s3=False, longest_s=5) for _ in range(300)]
    assert all(fault is None or (fault.kind is not Kind.S3_STOP and fault.seconds <= 5) for fault in found)


class Echo(socketserver.BaseRequestHandler):
    """Answers every chunk with itself."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := self.request.recv(4096):
                self.request.sendall(chunk)


HELLO = encode_request(20000, 0, 1, "broker", NodeHelloRequest(cluster_id="c", node_id=2, nonce=b"n" * 16))


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as echo:
        thread = threading.Thread(target=echo.serve_forever)
        thread.start()
        found = Proxies([1, 3], lambda _: ("127.0.0.1", echo.server_address[1]))
        yield found
        found.close()
        echo.shutdown()
        thread.join()


@contextlib.contextmanager
def connected(proxies: Proxies, called: int = 1) -> Iterator[socket.socket]:
    """As node 2, behind its NodeHello."""
    with socket.create_connection(("127.0.0.1", proxies.ports[called]), timeout=5) as connection:
        connection.sendall(HELLO)
        assert connection.recv(len(HELLO), socket.MSG_WAITALL) == HELLO
        yield connection


def echoes(connection: socket.socket, data: bytes = b"ping") -> bool:
    connection.settimeout(0.5)
    try:
        connection.sendall(data)
        return connection.recv(len(data), socket.MSG_WAITALL) == data
    except TimeoutError:
        return False


def test_without_a_rule_everything_goes_through(proxies: Proxies) -> None:
    with connected(proxies) as connection:
        assert echoes(connection, b"x" * 3000)


def test_a_delay_holds_bytes_back_and_loses_none(proxies: Proxies) -> None:
    with connected(proxies) as connection, proxies.hurting(Rule(effect=Effect.DELAY, caller=2, delay_s=0.1)):
        start = time.monotonic()
        assert echoes(connection)
        assert time.monotonic() - start >= 0.2  # both ways


def test_a_reset_ends_what_is_open_and_what_comes(proxies: Proxies) -> None:
    with connected(proxies) as connection:
        with proxies.hurting(Rule(effect=Effect.RESET, called=1)):
            connection.settimeout(5)
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with connected(proxies, called=3) as other:
                assert echoes(other)
        with connected(proxies) as again:
            assert echoes(again)


@pytest.mark.parametrize("way", list(Way))
def test_what_was_dropped_never_comes_and_costs_the_connection_when_the_drop_is_over(
    proxies: Proxies, way: Way
) -> None:
    with connected(proxies) as connection:
        with proxies.hurting(Rule(effect=Effect.DROP, ways=frozenset({way}))):
            assert not echoes(connection)
        connection.settimeout(5)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_rule_for_another_pair_hurts_nobody_else(proxies: Proxies) -> None:
    with connected(proxies) as connection, proxies.hurting(Rule(effect=Effect.DROP, caller=3, called=1)):
        assert echoes(connection)
