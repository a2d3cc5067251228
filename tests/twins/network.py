"""A network between brokers in one process, on the loop's time, with seeded faults: the twin of `adapters.peers`.

Requests and answers travel as frames, encoded and decoded, so nothing is shared by accident. Faults are per request
and per direction; links can be cut one way. Whatever happens to a frame, the caller sees an answer or PeerUnavailable.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from automq_broker.ports import PeerDenied, PeerUnavailable
from automq_broker.wire.frames import (
    RequestHeader,
    decode_request,
    decode_request_header,
    decode_response,
    encode_request,
    encode_response,
)
from automq_broker.wire.index import PRIVATE_APIS

_KEYS = {entry.name: key for key, entry in PRIVATE_APIS.items()}

Handler = Callable[[Any], Awaitable[Any]]


@dataclass(slots=True, kw_only=True)
class NetworkFaults:
    """Rates are probabilities per frame; times are ranges in seconds. All may be changed while the test runs."""

    delay_s: tuple[float, float] = (0.0, 0.0)
    """Drawn for each frame by itself, so frames overtake each other."""
    drop: float = 0.0
    reset: float = 0.0
    """The connection breaks at once: the caller knows, the called one may be at work already."""
    duplicate: float = 0.0
    slow: float = 0.0
    """A frame that arrives after `slow_s`, most likely when the caller has given up."""
    slow_s: tuple[float, float] = (5.0, 20.0)


@dataclass(slots=True)
class Network:
    """Who listens where. `cut` holds (from, to) pairs of endpoints on which nothing gets through."""

    seed: int = 0
    faults: NetworkFaults = field(default_factory=NetworkFaults)
    handlers: dict[str, Handler] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    """Endpoints whose secret is another: they deny everybody, and everybody denies them."""
    calls: int = 0
    rng: Random = field(init=False)
    _tasks: set["asyncio.Task[Any]"] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)

    def peers(self, endpoint: str) -> "TwinPeers":
        """The way out of the process that listens at `endpoint`."""
        return TwinPeers(self, endpoint)

    def isolate(self, endpoint: str, others: list[str], *, to: bool = True, back: bool = True) -> None:
        """Cut what `endpoint` sends to the others, what they send to it, or both."""
        for other in others:
            if to:
                self.cut.add((endpoint, other))
            if back:
                self.cut.add((other, endpoint))

    def heal(self) -> None:
        """Everything gets through again, without faults."""
        self.cut.clear()
        self.faults = NetworkFaults()

    async def deliver(self, source: str, target: str, frame: bytes) -> bytes:
        """Bring one request to its target and the answer back; waits for ever for what is lost."""
        self.calls += 1
        await self._travel(source, target)
        if self.rng.random() < self.faults.duplicate:
            self._start(self._again(source, target, frame))
        answer = await self._handle(target, frame)
        await self._travel(target, source)
        return answer

    async def _again(self, source: str, target: str, frame: bytes) -> None:
        with contextlib.suppress(PeerUnavailable):
            await self._travel(source, target)
            await asyncio.sleep(self.rng.uniform(0.0, 10.0) * (self.rng.random() < 0.5))
            await self._handle(target, frame)

    async def _travel(self, source: str, target: str) -> None:
        faults = self.faults
        await asyncio.sleep(self.rng.uniform(*faults.delay_s))
        if self.rng.random() < faults.slow:
            await asyncio.sleep(self.rng.uniform(*faults.slow_s))
        if self.rng.random() < faults.reset:
            raise PeerUnavailable("connection reset (twin)")
        if (source, target) in self.cut or self.rng.random() < faults.drop:
            await asyncio.Event().wait()

    async def _handle(self, target: str, frame: bytes) -> bytes:
        """The called process works to the end even if nobody waits for its answer any more."""
        handler = self.handlers.get(target)
        if handler is None:
            raise PeerUnavailable("connection refused (twin)")
        return await asyncio.shield(self._start(_served(handler, frame)))

    def _start(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class TwinPeers:
    """See ports.Peers."""

    def __init__(self, network: Network, endpoint: str) -> None:
        self._network = network
        self._endpoint = endpoint
        self._is_closed = False

    async def call(self, endpoint: str, request: Any, timeout_s: float) -> Any:
        """See Peers.call."""
        network = self._network
        if self._is_closed:
            raise PeerUnavailable("closed (twin)")
        if endpoint in network.denied or self._endpoint in network.denied:
            raise PeerDenied(f"{endpoint} has another secret (twin)")
        key = _KEYS[type(request).__name__.removesuffix("Request")]
        frame = encode_request(key, 0, 7, "twin", request)[4:]
        try:
            async with asyncio.timeout(timeout_s):
                answer = await network.deliver(self._endpoint, endpoint, frame)
        except TimeoutError:
            raise PeerUnavailable(f"{endpoint} did not answer within {timeout_s} s (twin)") from None
        return decode_response(key, 0, memoryview(answer))[1]

    async def close(self) -> None:
        """See Peers.close."""
        self._is_closed = True


async def _served(handler: Handler, frame: bytes) -> bytes:
    header, position = decode_request_header(memoryview(frame))
    response = await handler(decode_request(header, memoryview(frame), position))
    return b"".join(encode_response(RequestHeader(header.api_key, 0, header.correlation_id, None), response))[4:]


__all__ = ["Network", "NetworkFaults", "TwinPeers"]
