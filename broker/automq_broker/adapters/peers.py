"""Calls to other brokers on their inter-broker listeners: frames over TCP, each side proven before anything is asked.

A listener answers one connection's requests in their order, so every API has a connection of its own: a question that
the controller holds must not hold up a heartbeat. Connections are made when first needed and kept.
"""

import asyncio
import contextlib
import secrets
import ssl
from collections.abc import Callable
from random import Random
from typing import Any, cast

from automq_broker.cluster.proof import NONCE_BYTES, Greeting, Secret, is_same
from automq_broker.ports import PeerDenied, PeerUnavailable
from automq_broker.wire.apis.k20000_node_hello import NodeHelloRequest
from automq_broker.wire.apis.k20001_node_proof import NodeProofRequest
from automq_broker.wire.frames import WireError, decode_response, encode_request
from automq_broker.wire.index import PRIVATE_APIS
from automq_broker.wire.schema import Message

_KEYS = {f"{entry.name}Request": key for key, entry in PRIVATE_APIS.items()}
_CLIENT_ID = "broker"
_FRAME_BYTES_MAX = 100 << 20
_IN_FLIGHT_MAX = 16
_LANES_MAX = 64
_CONNECT_TIMEOUT_S = 3.0
_PAUSE_FIRST_S = 0.1
_PAUSE_MAX_S = 1.0


class WirePeers:
    """Port Peers. `cluster_id` is asked when a connection is made; `tls` gives a context where the listener has TLS."""

    def __init__(
        self,
        *,
        node_id: int,
        cluster_id: Callable[[], str],
        secret: Secret,
        rng: Random,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._node_id = node_id
        self._cluster_id = cluster_id
        self._secret = secret
        self._rng = rng
        self._tls = tls
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._is_closed = False

    async def call(self, endpoint: str, request: Message, timeout_s: float) -> Any:
        """See Peers.call."""
        key = _KEYS[type(request).__name__]
        lane = self._lane(endpoint, key)
        try:
            async with asyncio.timeout(timeout_s), lane.slots:
                connection = await lane.connected()
                return await connection.ask(key, request)
        except TimeoutError:
            raise PeerUnavailable(f"{endpoint} did not answer within {timeout_s:.1f} s") from None

    async def close(self) -> None:
        """See Peers.close."""
        self._is_closed = True
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()

    def _lane(self, endpoint: str, key: int) -> "_Lane":
        if self._is_closed:
            raise PeerUnavailable("this broker ends")
        lane = self._lanes.pop((endpoint, key), None) or _Lane(endpoint, self._open, self._rng)
        self._lanes[endpoint, key] = lane
        while len(self._lanes) > _LANES_MAX:
            self._lanes.pop(next(iter(self._lanes))).close()
        return lane

    async def _open(self, endpoint: str) -> "_Connection":
        """A connection on which both sides have proven the secret."""
        host, _, port = endpoint.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(endpoint), host.strip("[]"), int(port), ssl=self._tls() if self._tls else None
                )
                try:
                    await self._prove(connection)
                except BaseException:
                    connection.close()
                    raise
        except (OSError, TimeoutError) as error:
            raise PeerUnavailable(f"{endpoint} cannot be reached: {error or 'timed out'}") from error
        return connection

    async def _prove(self, connection: "_Connection") -> None:
        nonce, cluster_id = secrets.token_bytes(NONCE_BYTES), self._cluster_id()
        hello = NodeHelloRequest(cluster_id=cluster_id, node_id=self._node_id, nonce=nonce)
        answer = await connection.ask(20000, hello)
        _check(connection.endpoint, answer)
        greeting = Greeting(
            cluster_id=cluster_id,
            caller_id=self._node_id,
            called_id=answer.node_id,
            caller_nonce=nonce,
            called_nonce=bytes(answer.nonce),
        )
        answer = await connection.ask(20001, NodeProofRequest(proof=self._secret.caller_proof(greeting)))
        _check(connection.endpoint, answer)
        if not is_same(bytes(answer.proof), self._secret.called_proof(greeting)):
            raise PeerDenied(f"the broker at {connection.endpoint} does not know this cluster's inter-broker secret")


def _check(endpoint: str, answer: Any) -> None:
    if answer.error_code:
        raise PeerDenied(f"the broker at {endpoint} refuses this one: {answer.error_message}")


class _Lane:
    """One connection to one broker, made anew when it breaks, not too often."""

    def __init__(self, endpoint: str, open_: Callable[[str], Any], rng: Random) -> None:
        self.slots = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._endpoint = endpoint
        self._open = open_
        self._rng = rng
        self._connection: _Connection | None = None
        self._opening = asyncio.Lock()
        self._pause_s = _PAUSE_FIRST_S
        self._not_before = 0.0

    async def connected(self) -> "_Connection":
        """The open connection; one caller opens it for all."""
        async with self._opening:
            if self._connection is not None and self._connection.is_open:
                return self._connection
            loop = asyncio.get_running_loop()
            if loop.time() < self._not_before:
                raise PeerUnavailable(f"{self._endpoint} could not be reached a moment ago")
            self._not_before = loop.time() + self._pause_s * self._rng.uniform(0.5, 1.0)
            self._pause_s = min(self._pause_s * 2, _PAUSE_MAX_S)
            self._connection = cast("_Connection", await self._open(self._endpoint))
            self._pause_s, self._not_before = _PAUSE_FIRST_S, 0.0
            return self._connection

    def close(self) -> None:
        """End the connection; what waits for answers is told."""
        if self._connection is not None:
            self._connection.close()


class _Connection(asyncio.Protocol):
    """Requests out, answers in, matched by correlation id."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: dict[int, tuple[int, asyncio.Future[Any]]] = {}
        self._last_id = 0

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, key: int, request: Message) -> Any:
        """Send one request and wait for its answer; raises PeerUnavailable if the connection breaks before."""
        transport = self._transport
        if transport is None or transport.is_closing():
            raise PeerUnavailable(f"{self.endpoint} has closed the connection")
        self._last_id += 1
        number = self._last_id
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (key, answer)
        transport.write(encode_request(key, 0, number, _CLIENT_ID, request))
        try:
            return await answer
        except asyncio.CancelledError:
            # An answer that comes late would hold up the later ones: begin anew.
            with contextlib.suppress(KeyError):
                del self._waiting[number]
                self.close()
            raise

    def close(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone: nobody knows what became of the requests under way."""
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for _, answer in waiting.values():
            if not answer.done():
                answer.set_exception(PeerUnavailable(f"{self.endpoint} closed the connection: {error or 'end'}"))

    def data_received(self, data: bytes) -> None:
        """Cut answers off what has arrived; anything that is no answer ends the connection."""
        received = self._received
        received += data
        while len(received) >= 4:
            size = int.from_bytes(received[:4], "big", signed=True)
            if not 4 <= size <= _FRAME_BYTES_MAX:
                self.close()
                return
            if len(received) < 4 + size:
                return
            frame = bytes(received[4 : 4 + size])
            del received[: 4 + size]
            self._answer(frame)

    def _answer(self, frame: bytes) -> None:
        waiting = self._waiting.pop(int.from_bytes(frame[:4], "big", signed=True), None)
        if waiting is None:
            self.close()
            return
        key, answer = waiting
        try:
            message = decode_response(key, 0, memoryview(frame))[1]
        except WireError as error:
            answer.set_exception(PeerUnavailable(f"{self.endpoint} sent no proper answer: {error}"))
            self.close()
        else:
            if not answer.done():
                answer.set_result(message)


__all__ = ["WirePeers"]
