"""What the front is told (listeners, limits), what it hands on (the view of a connection), what it shows (rows)."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

KIB, MIB = 1 << 10, 1 << 20

FETCH, JOIN_GROUP, SYNC_GROUP, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 1, 11, 14, 17, 18, 36


class TlsContext(Protocol):
    """Gives the context for the next handshake; asked once per connection, so that a reload needs no restart."""

    def __call__(self) -> ssl.SSLContext:
        """The context to use now."""

    def look(self) -> bool:
        """Notice changed files; called every `Limits.certificates_s`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address to bind. An empty host is every interface; port 0 lets the system choose."""

    name: str
    host: str
    port: int
    tls: TlsContext | None = None

    principal_of: Callable[[str], str] = str
    """Turns a certificate's distinguished name into the name of a principal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where a listener really listens."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of everything a peer can make grow. Sizes in bytes, times in seconds."""

    frame_max: int = 100 * MIB
    frame_before_authentication_max: int = 512 * KIB
    in_flight_bytes: int = 64 * MIB
    """Shared by all connections; reserved before a request is read, given back when it is answered."""

    in_flight_requests: int = 64
    """Unanswered requests per connection."""

    unsent_bytes: int = 8 * MIB
    """Answers that wait for a slow reader before its next requests wait as well."""

    connections: int = 10_000
    connections_per_ip: int = 2**31 - 1
    ip_overrides: dict[str, int] = field(default_factory=dict)
    idle_s: float = 600.0
    handshake_s: float = 10.0
    """For the TLS handshake, and then for authentication."""

    frame_grace_s: float = 10.0
    receive_rate_min: int = 16 * KIB
    """Bytes per second at which a request must arrive on average, once the grace is over; 0 = any."""

    closing_s: float = 10.0
    """How long a closed connection may take to read its last answers."""

    certificates_s: float = 10.0
    """How often TLS files are looked at for changes."""

    backlog: int = 1024
    send_buffer: int = -1
    receive_buffer: int = -1
    slow_request_s: float = 1.0
    """0 switches the slow-request log off."""

    one_at_a_time: frozenset[int] = frozenset({FETCH})
    """APIs of which one connection has at most one unanswered request: their answers are large, and this bounds memory
    to one answer per connection, as in Kafka, whose connections run one request at a time anyway."""

    before_authentication: frozenset[int] = frozenset({SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE})
    """The APIs that a connection without a principal may call; any other closes it."""

    waiting: frozenset[int] = frozenset({FETCH, JOIN_GROUP, SYNC_GROUP})
    """APIs that wait by design: never slow, and given up first when the broker stops."""

    cancelled_when_lost: frozenset[int] = frozenset({FETCH})
    """APIs whose work has no use once the peer is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRow:
    """One connection as /status shows it. Ages in seconds."""

    id: int
    listener: str
    peer: str
    principal: str
    client_id: str
    software: str
    age_s: float
    idle_s: float
    requests: int
    bytes_in: int
    bytes_out: int
    in_flight: int
    unsent_bytes: int
    blocked: tuple[str, ...]


__all__ = [
    "API_VERSIONS",
    "FETCH",
    "JOIN_GROUP",
    "KIB",
    "MIB",
    "SASL_AUTHENTICATE",
    "SASL_HANDSHAKE",
    "SYNC_GROUP",
    "Bound",
    "ConnectionRow",
    "Limits",
    "Listener",
    "TlsContext",
]
