"""The server: limits of connections, time-outs, the way to a stop, identities that must be proved."""

import asyncio
import socket
import struct
from typing import Any

import pytest
from automq_broker.front.server import Server
from automq_broker.front.values import FETCH, Limits, Listener
from automq_broker.kernel.errors import Refused
from automq_broker.wire.apis.k01_fetch import FetchRequest
from automq_broker.wire.apis.k12_heartbeat import HeartbeatResponse
from automq_broker.wire.apis.k17_sasl_handshake import SaslHandshakeResponse
from automq_broker.wire.apis.k18_api_versions import ApiVersionsResponse
from twins.front_client import HandClock, answer_versions, front


def test_connections_are_limited_in_all_and_per_address() -> None:
    async def scenario() -> None:
        async with front(answer_versions, limits=Limits(connections=3, connections_per_ip=2)) as f:
            first, _second = await f.client(), await f.client()
            await f.until(lambda: f.server.connection_count == 2)
            assert await (await f.client()).is_closed()
            await first.close()
            await f.until(lambda: f.server.connection_count == 1)
            third = await f.client()
            third.send_versions()
            await third.answer()
            assert f.meters.refused == ["max.connections.per.ip"]

    asyncio.run(scenario())


@pytest.mark.parametrize(("setting", "asked_for"), [(-1, 256 * 1024), (64 * 1024, 64 * 1024)])
def test_what_waits_for_a_client_on_the_same_machine_fits_the_cache_unless_a_size_is_set(
    setting: int, asked_for: int
) -> None:
    sizes = []

    def serve(header: Any, request: Any, view: Any) -> Any:
        sock = view.transport.get_extra_info("socket")
        sizes.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))
        assert view.is_on_this_machine
        return answer_versions(header, request, view)

    async def scenario() -> None:
        async with front(serve, limits=Limits(send_buffer=setting)) as f:
            client = await f.client()
            client.send_versions()
            await client.answer()

    asyncio.run(scenario())
    assert sizes[0] in (asked_for, 2 * asked_for), "Linux counts its own overhead in and doubles it"


def test_an_address_may_have_a_limit_of_its_own() -> None:
    async def scenario() -> None:
        async with front(answer_versions, limits=Limits(ip_overrides={"127.0.0.1": 0})) as f:
            assert await (await f.client()).is_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("sent", "seconds", "reason"),
    [
        (b"", 601, "idle"),
        (struct.pack(">i", 5_000_000) + b"x", 12, "request arrives too slowly"),
        (b"\x00", 12, "request arrives too slowly"),
    ],
)
def test_what_takes_too_long_is_closed(sent: bytes, seconds: float, reason: str) -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            client.send_bytes(sent)
            await f.until(lambda: f.server.connection_count == 1)
            await asyncio.sleep(0.05)
            f.clock.pushed += seconds
            assert await client.is_closed()
            assert f.meters.closed == [reason]

    asyncio.run(scenario())


def test_a_request_that_waits_for_its_answer_is_not_idle() -> None:
    async def scenario() -> None:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with front(lambda *_: answer) as f:
            client = await f.client()
            client.send(12, 0)
            await f.until(lambda: f.server.connections() and f.server.connections()[0].in_flight == 1)
            f.clock.pushed += 10_000
            await asyncio.sleep(1.2)
            answer.set_result(HeartbeatResponse())
            await client.answer(12, 0)

    asyncio.run(scenario())


def test_a_stop_answers_what_has_arrived_and_cuts_off_what_only_waits() -> None:
    async def scenario() -> None:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await asyncio.sleep(60)

        def handler(header: Any, request: Any, view: Any) -> Any:
            return wait() if header.api_key == FETCH else answer

        async with front(handler) as f:
            idle, polling, working = await f.client(), await f.client(), await f.client()
            polling.send(FETCH, 12, FetchRequest())
            working.send(12, 0)
            await f.until(lambda: sum(row.in_flight for row in f.server.connections()) == 2)
            stop = asyncio.create_task(f.server.stop(5))
            assert await idle.is_closed()
            assert await polling.is_closed()
            assert not stop.done()
            answer.set_result(HeartbeatResponse(error_code=7))
            assert (await working.answer(12, 0))[1].error_code == 7
            assert await working.is_closed()
            assert await stop == 0
            with pytest.raises(OSError):
                await f.client()

    asyncio.run(scenario())


def test_a_stop_ends_after_its_grace() -> None:
    async def scenario() -> None:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with front(lambda *_: answer) as f:
            client = await f.client()
            client.send(12, 0)
            await f.until(lambda: f.server.connections() and f.server.connections()[0].in_flight == 1)
            assert await f.server.stop(0.05) == 1
            assert await client.is_closed()
            answer.set_result(HeartbeatResponse())

    asyncio.run(scenario())


class _ProveFirst:
    def principal(self, certificate_name: str | None) -> str | None:
        return None


def test_before_authentication_only_three_apis_and_small_frames_pass() -> None:
    def handler(header: Any, request: Any, view: Any) -> Any:
        if header.api_key == 17:
            view.principal = "User:bob"
            return SaslHandshakeResponse()
        return ApiVersionsResponse() if header.api_key == 18 else HeartbeatResponse()

    async def scenario() -> None:
        async with front(handler, authenticator=_ProveFirst()) as f:
            stranger = await f.client()
            stranger.send_versions()
            await stranger.answer()
            stranger.send(12, 0)
            assert await stranger.is_closed()
            large = await f.client()
            large.send_bytes(struct.pack(">i", 512 * 1024 + 1))
            assert await large.is_closed()
            friend = await f.client()
            friend.send(17, 1)
            await friend.answer(17, 1)
            friend.send(12, 0)
            await friend.answer(12, 0)
            slow = await f.client()
            await asyncio.sleep(0.02)
            f.clock.pushed += 11
            assert await slow.is_closed()
            assert f.meters.closed[-1] == "not authenticated in time"

    asyncio.run(scenario())


def test_rows_of_connections_tell_who_is_there() -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            client = await f.client()
            client.send_versions(version=3)
            await client.answer(18, 3)
            row = f.server.connections()[0]
            assert row.software == "x 1"
            assert (row.listener, row.principal, row.client_id) == ("PLAINTEXT", "User:ANONYMOUS", "test")
            assert (row.requests, row.in_flight, row.unsent_bytes, row.blocked) == (1, 0, 0, ())
            assert row.peer.startswith("127.0.0.1:")
            assert row.bytes_in > 0
            assert row.bytes_out > 0

    asyncio.run(scenario())


def test_slow_requests_are_logged_once_with_their_facts(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(header: Any, request: Any, view: Any) -> HeartbeatResponse:
        await asyncio.sleep(0.03)
        return HeartbeatResponse()

    async def scenario() -> None:
        async with front(slow, limits=Limits(slow_request_s=0.01)) as f:
            client = await f.client()
            client.send(12, 0)
            await client.answer(12, 0)

    asyncio.run(scenario())
    (record,) = [record for record in caplog.records if record.message == "slow request"]
    assert (record.api, record.client_id) == ("Heartbeat", "test")  # type: ignore[attr-defined]


def test_a_port_in_use_is_one_clear_line() -> None:
    async def scenario() -> None:
        async with front(answer_versions) as f:
            other = Server(
                listeners=[Listener(name="PLAINTEXT", host="127.0.0.1", port=f.port)],
                serve=answer_versions,
                accepted=frozenset(),
                unsupported_api_versions=lambda: None,
                limits=Limits(),
                clock=HandClock(),
            )
            with pytest.raises(Refused, match=rf"cannot listen on 127.0.0.1:{f.port}: .*another process uses the port"):
                other.bind()

    asyncio.run(scenario())


def test_a_host_that_is_not_ours_is_one_clear_line() -> None:
    server = Server(
        listeners=[Listener(name="PLAINTEXT", host="192.0.2.1", port=0)],
        serve=answer_versions,
        accepted=frozenset(),
        unsupported_api_versions=lambda: None,
        limits=Limits(),
        clock=HandClock(),
    )
    with pytest.raises(Refused, match=r"listener PLAINTEXT: cannot listen on 192\.0\.2\.1:0"):
        server.bind()
