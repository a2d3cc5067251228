"""Listeners and all connections: accepts within limits, looks after time-outs, stops gracefully."""

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from automq_broker.front.connection import Connection
from automq_broker.front.identity import Authenticator, NoAuthentication, distinguished_name
from automq_broker.front.meters import Meters, NoMeters
from automq_broker.front.shared import Serve, Shared
from automq_broker.front.values import Bound, ConnectionRow, Limits, Listener
from automq_broker.front.view import ConnectionView
from automq_broker.kernel.errors import Refused
from automq_broker.ports import Clock

log = logging.getLogger("automq.front")

_CHECK_INTERVAL_S = 1.0
_CHECKED_AT_ONCE = 500
_IPV4_IN_IPV6 = "::ffff:"
_SEND_BUFFER_ON_ONE_MACHINE = 256 * 1024
"""COST: what waits in a larger buffer has left the CPU's cache when the peer reads it: fetches from memory took 1.5 times
the CPU, on both sides. There is no way to the peer that a large one could fill."""

_OUT_OF_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Server:
    """All Kafka listeners of one process, on one loop.

    `serve` answers requests (see shared.Serve). `accepted` holds the (key, version) pairs that may reach it; any other
    closes the connection, except ApiVersions, which gets `unsupported_api_versions()` encoded in version 0.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        serve: Serve,
        accepted: Container[tuple[int, int]],
        unsupported_api_versions: Callable[[], Any],
        limits: Limits,
        clock: Clock,
        meters: Meters | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._listeners = listeners
        self._clock = clock
        self._meters = meters or NoMeters()
        self._authenticator = authenticator or NoAuthentication()
        self._principal_of = {listener.name: listener.principal_of for listener in listeners}
        self._shared = Shared(
            limits=limits,
            serve=serve,
            accepted=accepted,
            unsupported_api_versions=unsupported_api_versions,
            meters=self._meters,
            clock=clock,
            registry=self,
        )
        self._sockets: list[tuple[Listener, socket.socket]] = []
        self._accepting: set[asyncio.Task[None]] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._connections: dict[int, Connection] = {}
        self._per_ip: Counter[str] = Counter()
        self._next_id = 1
        self._certificates_due = 0.0
        self._empty: asyncio.Event = asyncio.Event()
        self._empty.set()

    # --- starting and stopping ----------------------------------------------------------------------------------

    def bind(self) -> list[Bound]:
        """Take the ports without accepting anybody yet; raises Refused for one that is in use or not ours to take."""
        for listener in self._listeners:
            self._sockets.append((listener, _listen(listener, self._shared.limits.backlog)))
        return [_bound(listener, sock) for listener, sock in self._sockets]

    async def start(self) -> None:
        """Begin to accept. Call `bind` before."""
        loop = asyncio.get_running_loop()
        for listener, sock in self._sockets:
            self._spawn(self._accepting, loop.create_task(self._accept(listener, sock), name=f"accept {listener.name}"))
        self._spawn(self._accepting, loop.create_task(self._look_after(), name="connections"))

    async def stop(self, grace_s: float) -> int:
        """Accept nobody, answer what has arrived, close; returns the connections that were cut off after `grace_s`.

        Idle connections and those that only wait by design (long polls) close at once.
        """
        for task in (*self._accepting, *self._handshakes):
            task.cancel()
        await asyncio.gather(*self._accepting, *self._handshakes, return_exceptions=True)
        for _, sock in self._sockets:
            sock.close()
        self._sockets.clear()
        for connection in list(self._connections.values()):
            connection.drain()
        try:
            await asyncio.wait_for(self._empty.wait(), grace_s)
        except TimeoutError:
            late = list(self._connections.values())
            for connection in late:
                connection.abort("stopping")
            await self._empty.wait()
            return len(late)
        return 0

    # --- views --------------------------------------------------------------------------------------------------

    def connections(self) -> list[ConnectionRow]:
        """Every open connection, oldest first."""
        now = self._clock.monotonic()
        return [_row(connection, now) for connection in self._connections.values()]

    @property
    def connection_count(self) -> int:
        """Open connections, without those in their TLS handshake."""
        return len(self._connections)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes that requests hold now."""
        return self._shared.budget.used

    @property
    def in_flight_limit_bytes(self) -> int:
        """Bytes that requests may hold together."""
        return self._shared.budget.limit

    @property
    def waiting_for_memory(self) -> int:
        """Connections that are not read because the budget is used up."""
        return self._shared.budget.waiting

    # --- called by connections ----------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The handshake, if any, is done: decide who the peer is."""
        view = connection.view
        view.principal = self._authenticator.principal(self._certificate_name(view))
        self._connections[view.connection_id] = connection
        self._empty.clear()
        self._meters.connection_opened(view.listener)

    def lost(self, connection: Connection, reason: str) -> None:
        """Forget the connection."""
        view = connection.view
        if self._connections.pop(view.connection_id, None) is None:
            return
        self._leave(view.client_host)
        self._meters.connection_closed(view.listener, reason)
        if not self._connections:
            self._empty.set()
        level = logging.DEBUG if reason in ("peer", "idle", "stopping") else logging.INFO
        peer = f"{view.client_host}:{view.client_port}"
        log.log(level, "connection closed", extra={"reason": reason, "peer": peer, "client_id": connection.client_id})

    def _certificate_name(self, view: ConnectionView) -> str | None:
        tls = None if view.transport is None else view.transport.get_extra_info("ssl_object")
        certificate = None if tls is None else tls.getpeercert()
        return self._principal_of[view.listener](distinguished_name(certificate)) if certificate else None

    # --- accepting ----------------------------------------------------------------------------------------------

    async def _accept(self, listener: Listener, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = await loop.sock_accept(sock)
            except OSError as error:
                # Gone before it was accepted, or no file left for it: neither may end the accepting.
                if error.errno in _OUT_OF_FILES:
                    log.error("cannot accept a connection", extra={"reason": error.strerror, "listener": listener.name})
                    await asyncio.sleep(0.1)
                continue
            host = address[0].removeprefix(_IPV4_IN_IPV6)
            reason = self._why_refused(host)
            if reason is not None:
                peer.close()
                self._meters.connection_refused(listener.name, reason)
                continue
            self._per_ip[host] += 1
            adopting = self._adopt(listener, peer, host, address[1])
            self._spawn(self._handshakes, loop.create_task(adopting, name="handshake"))

    def _why_refused(self, host: str) -> str | None:
        limits = self._shared.limits
        if len(self._connections) + len(self._handshakes) >= limits.connections:
            return "max.connections"
        if self._per_ip[host] >= limits.ip_overrides.get(host, limits.connections_per_ip):
            return "max.connections.per.ip"
        return None

    async def _adopt(self, listener: Listener, peer: socket.socket, host: str, port: int) -> None:
        """Make a connection of an accepted socket; a failed handshake ends here."""
        limits = self._shared.limits
        view = ConnectionView(
            connection_id=self._next_id,
            listener=listener.name,
            client_host=host,
            client_port=port,
            is_tls=listener.tls is not None,
            opened_at=self._clock.monotonic(),
        )
        self._next_id += 1
        try:
            view.is_on_this_machine = peer.getpeername()[0] == peer.getsockname()[0]
            _prepare(peer, limits, view.is_on_this_machine)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._shared, view),
                peer,
                ssl=None if listener.tls is None else listener.tls(),
                ssl_handshake_timeout=None if listener.tls is None else limits.handshake_s,
            )
        except (OSError, asyncio.CancelledError) as error:
            # TLS errors and time-outs are OSErrors too; a connection that opened has its own way out (lost).
            peer.close()
            if view.connection_id not in self._connections:
                self._leave(view.client_host)
            self._meters.connection_refused(listener.name, "handshake")
            where = f"{view.client_host}:{view.client_port}"
            log.info("handshake failed", extra={"peer": where, "listener": listener.name, "reason": str(error)})
            if isinstance(error, asyncio.CancelledError):
                raise

    def _leave(self, host: str) -> None:
        self._per_ip[host] -= 1
        if not self._per_ip[host]:
            del self._per_ip[host]

    # --- looking after ------------------------------------------------------------------------------------------

    async def _look_after(self) -> None:
        """Let every connection check its times about once per second, in portions so that none delays the others."""
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            self._look_at_certificates()
            connections = list(self._connections.values())
            for start in range(0, len(connections), _CHECKED_AT_ONCE):
                now = self._clock.monotonic()
                for connection in connections[start : start + _CHECKED_AT_ONCE]:
                    connection.check(now)
                await asyncio.sleep(0)

    def _look_at_certificates(self) -> None:
        now = self._clock.monotonic()
        if now >= self._certificates_due:
            self._certificates_due = now + self._shared.limits.certificates_s
            for listener in self._listeners:
                if listener.tls is not None:
                    listener.tls.look()

    @staticmethod
    def _spawn(tasks: "set[asyncio.Task[None]]", task: "asyncio.Task[None]") -> None:
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _listen(listener: Listener, backlog: int) -> socket.socket:
    where = f"listener {listener.name}: cannot listen on {listener.host or '*'}:{listener.port}"
    try:
        sock = _first_address(listener)
    except socket.gaierror as error:
        raise Refused(f"{where}: {error.strerror}") from error
    except OSError as error:
        hint = "; another process uses the port" if error.errno == errno.EADDRINUSE else ""
        raise Refused(f"{where}: {error.strerror}{hint}") from error
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def _first_address(listener: Listener) -> socket.socket:
    """A bound socket; an empty host is every interface, IPv4 and IPv6 where the system has both."""
    if not listener.host and socket.has_dualstack_ipv6():
        return socket.create_server(("", listener.port), family=socket.AF_INET6, dualstack_ipv6=True)
    found = socket.getaddrinfo(
        listener.host or "0.0.0.0", listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = found[0]
    return socket.create_server(address[:2], family=family)


def _prepare(peer: socket.socket, limits: Limits, is_on_this_machine: bool) -> None:
    peer.setblocking(False)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # -1 leaves it to the system, which may let it grow for a peer that is far away.
    send_buffer = limits.send_buffer
    if send_buffer < 0 and is_on_this_machine:
        send_buffer = _SEND_BUFFER_ON_ONE_MACHINE
    if send_buffer > 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    if limits.receive_buffer > 0:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer)


def _bound(listener: Listener, sock: socket.socket) -> Bound:
    return Bound(name=listener.name, host=listener.host, port=sock.getsockname()[1])


def _row(connection: Connection, now: float) -> ConnectionRow:
    view = connection.view
    return ConnectionRow(
        id=view.connection_id,
        listener=view.listener,
        peer=f"{view.client_host}:{view.client_port}",
        principal=view.principal or "",
        client_id=connection.client_id or "",
        software=f"{view.software_name} {view.software_version}".strip(),
        age_s=round(now - view.opened_at, 3),
        idle_s=round(now - connection.active_at, 3),
        requests=connection.requests,
        bytes_in=connection.bytes_in,
        bytes_out=connection.bytes_out,
        in_flight=connection.in_flight,
        unsent_bytes=view.unsent_bytes,
        blocked=connection.blocked,
    )


def versions_of(served: Iterable[tuple[int, int, int]]) -> frozenset[tuple[int, int]]:
    """`accepted` from rows of (key, least version, greatest version)."""
    return frozenset((key, version) for key, least, most in served for version in range(least, most + 1))


__all__ = ["Server", "versions_of"]
