"""What all connections of a server have in common. Nothing of it belongs to one connection."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any, Protocol

from automq_broker.front.budget import Budget
from automq_broker.front.buffers import Buffers
from automq_broker.front.meters import Meters
from automq_broker.front.values import Limits
from automq_broker.front.view import ConnectionView
from automq_broker.ports import Clock
from automq_broker.wire.frames import RequestHeader
from automq_broker.wire.index import ALL_APIS

if TYPE_CHECKING:
    from automq_broker.front.connection import Connection
    from automq_broker.front.slot import Slot

log = logging.getLogger("automq.front")

Serve = Callable[[RequestHeader, Any, ConnectionView], Any | Awaitable[Any]]
"""Answers one request: the response, something to wait for, or None where no answer is sent (acks=0).

It is called synchronously, in the order of arrival per connection. Views in the request stay valid as long as they are
held. It raises CloseConnection where closing is the answer; any other error is a bug and ends the connection too.
"""


class Registry(Protocol):
    """The server's side of a connection's life."""

    def opened(self, connection: "Connection") -> None:
        """The connection can be used."""

    def lost(self, connection: "Connection", reason: str) -> None:
        """The connection is gone."""


class Shared:
    """Limits, memory, the handler and the counters; read on every request, so plain attributes."""

    def __init__(
        self,
        *,
        limits: Limits,
        serve: Serve,
        accepted: Container[tuple[int, int]],
        unsupported_api_versions: Callable[[], Any],
        meters: Meters,
        clock: Clock,
        registry: Registry,
    ) -> None:
        self.limits = limits
        self.serve = serve
        self.accepted = accepted
        self.unsupported_api_versions = unsupported_api_versions
        self.meters = meters
        self.monotonic = clock.monotonic
        self.registry = registry
        self.budget = Budget(limits.in_flight_bytes)
        self.buffers = Buffers()
        self._dirty: list[Connection] = []
        self._ready: deque[tuple[Slot, Any]] = deque()

    def answered(self, connection: "Connection", slot: "Slot", size: int) -> None:
        """Count an answer of `size` bytes that was handed to the socket, and give its request's memory back."""
        now = connection.active_at = self.monotonic()
        latency = now - slot.started_at
        header = slot.header
        self.meters.request_done(header.api_key, latency, slot.size, size)
        slow = self.limits.slow_request_s
        if 0 < slow < latency and header.api_key not in self.limits.waiting:
            self._log_slow(connection, slot, latency, size)
        slot.release()

    def answer_soon(self, slot: "Slot", answer: Any) -> None:
        """Encode and send the answer once this turn of the loop is over: a durable group has many, and one that fails
        must cost neither the group nor the others anything."""
        self._ready.append((slot, answer))
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._answer_ready)

    def _answer_ready(self) -> None:
        ready = self._ready
        try:
            while ready:
                slot, answer = ready.popleft()
                connection = slot.connection
                if connection is None:
                    slot.release()
                else:
                    connection.complete(slot, answer)
        finally:
            if ready:
                asyncio.get_running_loop().call_soon(self._answer_ready)
            self._flush()

    def flush_soon(self, connection: "Connection") -> None:
        """Let the connection send its answers once this turn of the loop is over: a durable group answers many."""
        self._dirty.append(connection)
        if len(self._dirty) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()

    def _log_slow(self, connection: "Connection", slot: "Slot", latency: float, size: int) -> None:
        header, view = slot.header, connection.view
        log.warning(
            "slow request",
            extra={
                "api": ALL_APIS[header.api_key].name,
                "version": header.api_version,
                "ms": round(latency * 1000, 1),
                "client_id": header.client_id,
                "peer": f"{view.client_host}:{view.client_port}",
                "correlation": header.correlation_id,
                "bytes_in": slot.size,
                "bytes_out": size,
            },
        )


__all__ = ["Registry", "Serve", "Shared"]
