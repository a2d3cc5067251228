"""The admin page on a real socket: what it answers, what it refuses, what it survives."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from automq_broker.admin.http import AdminServer, Request, Response, json_response, text
from automq_broker.kernel.errors import Refused


async def _later(request: Request) -> Response:
    await asyncio.sleep(0)
    return json_response({"path": request.path, "query": dict(request.query), "body": request.body.decode()})


def _fails(_: Request) -> Response:
    raise ZeroDivisionError


ROUTES = {
    ("GET", "/ok"): lambda _: text("fine"),
    ("GET", "/later"): _later,
    ("POST", "/later"): _later,
    ("GET", "/fails"): _fails,
}


def _with_server(scenario: Callable[[int], Awaitable[None]]) -> None:
    async def run() -> None:
        server = AdminServer(ROUTES, host="127.0.0.1", port=0)
        port = await server.start()
        try:
            await scenario(port)
        finally:
            await server.stop()

    asyncio.run(run())


async def _ask(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n", 200),
        (b"GET /ok HTTP/1.0\r\n\r\n", 200),
        (b"GET /ok?x=1 HTTP/1.0\r\n\r\n", 200),
        (b"GET /none HTTP/1.1\r\n\r\n", 404),
        (b"POST /ok HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"DELETE /ok HTTP/1.1\r\n\r\n", 405),
        (b"GET /fails HTTP/1.0\r\n\r\n", 500),
        (b"POST /later HTTP/1.1\r\nOrigin: http://evil\r\n\r\n", 403),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /ok HTTP/2.0\r\n\r\n", 400),
        (b"GET ok HTTP/1.1\r\n\r\n", 400),
        (b"GET /ok HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET /ok HTTP/1.1\r\nContent-Length : 1\r\n\r\n", 400),
        (b"GET /ok HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /later HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /later HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /later HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /ok HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /ok HTTP/1.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n", 431),
    ],
)
def test_each_request_gets_its_status(request_bytes: bytes, status: int) -> None:
    async def scenario(port: int) -> None:
        assert _status(await _ask(port, request_bytes)) == status

    _with_server(scenario)


def test_a_post_with_a_body_and_a_query_arrives_whole() -> None:
    async def scenario(port: int) -> None:
        answer = await _ask(port, b"POST /later?a=%20b HTTP/1.1\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
        assert json.loads(answer.split(b"\r\n\r\n")[1]) == {"path": "/later", "query": {"a": " b"}, "body": "body"}

    _with_server(scenario)


def test_a_connection_is_kept_and_pipelined_requests_are_answered_in_order() -> None:
    async def scenario(port: int) -> None:
        data = b"GET /ok HTTP/1.1\r\n\r\nGET /later HTTP/1.1\r\n\r\nGET /ok HTTP/1.1\r\nConnection: close\r\n\r\n"
        answer = await _ask(port, data)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.index(b"fine") < answer.index(b"/later") < answer.rindex(b"fine")

    _with_server(scenario)


def test_too_many_connections_are_closed_and_the_others_go_on() -> None:
    async def scenario(port: int) -> None:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(64)]
        await asyncio.sleep(0.05)
        assert await _ask(port, b"") == b""
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.05)
        assert _status(await _ask(port, b"GET /ok HTTP/1.0\r\n\r\n")) == 200

    _with_server(scenario)


def test_a_port_in_use_is_one_clear_line() -> None:
    async def scenario(port: int) -> None:
        with pytest.raises(Refused, match=rf"admin.listener: cannot listen on 127.0.0.1:{port}: "):
            await AdminServer({}, host="127.0.0.1", port=port).start()

    _with_server(scenario)


def test_random_bytes_do_no_harm() -> None:
    import random

    async def scenario(port: int) -> None:
        rng = random.Random(7)
        for _ in range(50):
            data = bytes(rng.choices(b"GET /ok HTTP1.\r\n: \x00\xff", k=rng.randrange(200))) + b"\r\n\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert _status(await _ask(port, b"GET /ok HTTP/1.0\r\n\r\n")) == 200

    _with_server(scenario)


def test_values_of_any_shape_become_json() -> None:
    answer: Any = json.loads(json_response({"a": [1, None], "b": {"c": 1.5}}).body)
    assert answer == {"a": [1, None], "b": {"c": 1.5}}
