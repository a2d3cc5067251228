"""A front with a handler of the test's choice, and a raw client for it: frames in and out, nothing hidden."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from automq_broker.front.server import Server, versions_of
from automq_broker.front.values import Limits, Listener
from automq_broker.front.view import ConnectionView
from automq_broker.wire.apis.k18_api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from automq_broker.wire.frames import RequestHeader, decode_response, encode_request
from automq_broker.wire.index import request_class

SERVED = [(0, 3, 13), (1, 4, 12), (3, 0, 12), (12, 0, 4), (17, 0, 1), (18, 0, 4)]


class HandClock:
    """Monotonic time that runs by itself, and can be pushed on."""

    def __init__(self) -> None:
        self.pushed = 0.0

    def now_ms(self) -> int:
        """Wall time."""
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        """Seconds since an unknown start, plus what was pushed."""
        return time.monotonic() + self.pushed


class CountingMeters:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.done: list[tuple[int, int, int]] = []
        self.failed: list[tuple[int, str]] = []
        self.opened = 0
        self.closed: list[str] = []
        self.refused: list[str] = []

    def request_done(self, api_key: int, latency_s: float, bytes_in: int, bytes_out: int) -> None:
        assert latency_s >= 0
        self.done.append((api_key, bytes_in, bytes_out))

    def request_failed(self, api_key: int, reason: str) -> None:
        self.failed.append((api_key, reason))

    def connection_opened(self, listener: str) -> None:
        self.opened += 1

    def connection_closed(self, listener: str, reason: str) -> None:
        self.closed.append(reason)

    def connection_refused(self, listener: str, reason: str) -> None:
        self.refused.append(reason)


Handler = Callable[[RequestHeader, Any, ConnectionView], Any | Awaitable[Any]]


class Front:
    """A started server with its meters, its clock and its address."""

    def __init__(self, server: Server, port: int, meters: CountingMeters, clock: HandClock) -> None:
        self.server = server
        self.port = port
        self.meters = meters
        self.clock = clock

    async def client(self, **options: Any) -> "Client":
        """A new connection."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20, **options))

    async def until(self, condition: Callable[[], Any], timeout_s: float = 5.0) -> None:
        """Wait until `condition()` holds."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.002)


@asynccontextmanager
async def front(
    handler: Handler, *, limits: Limits | None = None, listener: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Front]:
    """A server on a free port of 127.0.0.1; at the end it must hold no memory and no connection."""
    meters, clock = CountingMeters(), HandClock()
    server = Server(
        listeners=[Listener(name="PLAINTEXT", host="127.0.0.1", port=0, **(listener or {}))],
        serve=handler,
        accepted=versions_of(SERVED),
        unsupported_api_versions=lambda: ApiVersionsResponse(
            error_code=35, api_keys=[ApiVersion(api_key=18, min_version=0, max_version=4)]
        ),
        limits=limits or Limits(),
        clock=clock,
        meters=meters,
        **options,
    )
    port = server.bind()[0].port
    await server.start()
    try:
        yield Front(server, port, meters, clock)
    finally:
        await server.stop(0.2)
        assert server.connection_count == 0


class Client:
    """A socket that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._correlation = 0

    def send(self, key: int, version: int, message: Any = None, *, client_id: str | None = "test") -> int:
        """Write one request without waiting; returns its correlation id."""
        self._correlation += 1
        body = request_class(key)() if message is None else message
        self.writer.write(encode_request(key, version, self._correlation, client_id, body))
        return self._correlation

    def send_versions(self, version: int = 0) -> int:
        """Write one ApiVersions request."""
        return self.send(18, version, ApiVersionsRequest(client_software_name="x", client_software_version="1"))

    def send_bytes(self, data: bytes) -> None:
        """Write anything."""
        self.writer.write(data)

    async def frame(self, timeout_s: float = 5.0) -> bytes:
        """The next frame without its length; raises IncompleteReadError when the connection ends."""
        async with asyncio.timeout(timeout_s):
            (length,) = struct.unpack(">i", await self.reader.readexactly(4))
            return await self.reader.readexactly(length)

    async def answer(self, key: int = 18, version: int = 0) -> tuple[int, Any]:
        """(correlation id, message) of the next response."""
        return decode_response(key, version, memoryview(await self.frame()))

    async def is_closed(self, timeout_s: float = 5.0) -> bool:
        """Whether the server closes without another byte."""
        async with asyncio.timeout(timeout_s):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            return


def answer_versions(header: RequestHeader, request: Any, view: ConnectionView) -> ApiVersionsResponse:
    """A handler for ApiVersions alone."""
    assert header.api_key == 18
    return ApiVersionsResponse(api_keys=[])


__all__ = ["Client", "CountingMeters", "Front", "HandClock", "answer_versions", "front"]
