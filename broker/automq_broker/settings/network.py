"""Listeners, connections and the memory that requests may hold."""

from automq_broker.settings.fields import INT_MAX, KIB, LONG_MAX, MIB, Group, integer, long, names


class NetworkSettings(Group):
    """Everything about sockets. Every limit states what happens when it is reached."""

    listeners: tuple[str, ...] = names(
        "listeners",
        ("PLAINTEXT://127.0.0.1:9092",),
        meaning="Addresses to listen on, NAME://host:port; an empty host is every interface.",
        why="Loopback only: without authentication nobody else should reach a laptop's broker.",
    )
    advertised_listeners: tuple[str, ...] | None = names(
        "advertised.listeners",
        None,
        meaning="Addresses that clients are told to connect to, one per listener name.",
        why="Unset: as in listeners, and this host's name for a listener on every interface.",
    )
    listener_security_protocol_map: tuple[str, ...] = names(
        "listener.security.protocol.map",
        ("SASL_SSL:SASL_SSL", "PLAINTEXT:PLAINTEXT", "SSL:SSL", "SASL_PLAINTEXT:SASL_PLAINTEXT"),
        meaning="The security protocol of each listener name.",
        why="Kafka's: each protocol's own name.",
    )
    socket_request_max_bytes: int = integer(
        "socket.request.max.bytes",
        100 * MIB,
        low=KIB,
        unit="bytes",
        meaning="Largest request; a larger one closes its connection before anything is allocated.",
        why="Kafka's default, because clients size their batches by it.",
    )
    sasl_server_max_receive_size: int = integer(
        "sasl.server.max.receive.size",
        512 * KIB,
        low=KIB,
        unit="bytes",
        meaning="Largest request before a connection is authenticated.",
        why="Kafka's default; strangers get little memory.",
    )
    queued_max_request_bytes: int = long(
        "queued.max.request.bytes",
        64 * MIB,
        low=MIB,
        unit="bytes",
        synonyms=("queued.max.requests.size.bytes",),
        meaning="Bytes that requests of all connections may hold together; at the limit connections are not read.",
        why="64 MiB keeps a laptop's broker small; a pod with many large producers takes more.",
    )
    connection_in_flight_max: int = integer(
        "automq.connection.max.in.flight.requests",
        -1,
        low=-1,
        high=10_000,
        meaning="Unanswered requests of one connection; at the limit it is not read. -1 is 64, and 1024 with a "
        "write-ahead log in a bucket, where an answer takes a hundred times as long.",
        why="-1: object storage is slow at times, and five in flight (Kafka clients' own habit) fit many times.",
    )
    connection_unsent_bytes_max: int = integer(
        "automq.connection.max.unsent.bytes",
        8 * MIB,
        low=64 * KIB,
        unit="bytes",
        meaning="Answers that a slow reader may leave unread before its next requests are not read either.",
        why="8 MiB: one consumer's usual answer; memory per slow connection stays bounded.",
    )
    connections_max_idle_ms: int = long(
        "connections.max.idle.ms",
        600_000,
        low=-1,
        unit="ms",
        meaning="A connection without requests and without answers owed is closed after this time; -1 never does.",
        why="Kafka's 10 minutes; clients close after 9, so they come first.",
    )
    max_connections: int = integer(
        "max.connections",
        10_000,
        low=1,
        meaning="Connections at the same time; a new one above the limit is closed.",
        why="10000 fits the usual limit of open files; Kafka's default is no limit.",
    )
    max_connections_per_ip: int = integer(
        "max.connections.per.ip",
        INT_MAX,
        low=0,
        meaning="Connections at the same time from one address; a new one above the limit is closed.",
        why="No limit: behind a proxy or a NAT gateway all clients share one address.",
    )
    max_connections_per_ip_overrides: tuple[str, ...] = names(
        "max.connections.per.ip.overrides",
        (),
        meaning="Other limits for certain addresses, address:count.",
        why="Empty: one limit for all.",
    )
    handshake_timeout_ms: int = integer(
        "automq.connection.handshake.timeout.ms",
        10_000,
        low=100,
        unit="ms",
        meaning="Time for the TLS handshake; then the connection is closed.",
        why="10 s: slow networks pass, sockets held by strangers do not.",
    )
    frame_timeout_ms: int = integer(
        "automq.connection.frame.timeout.ms",
        10_000,
        low=100,
        unit="ms",
        meaning="Grace for a request that arrives in pieces, before its rate is looked at.",
        why="10 s: a slow network passes, memory is not held by a trickle.",
    )
    min_receive_rate: int = integer(
        "automq.connection.min.receive.bytes.per.second",
        16 * KIB,
        low=0,
        unit="bytes/s",
        meaning="After the grace a request must have arrived at least this fast, else the connection is closed.",
        why="16 KiB/s: any real network is faster; 0 switches the check off.",
    )
    socket_listen_backlog_size: int = integer(
        "socket.listen.backlog.size",
        1024,
        low=1,
        meaning="Connections that the system may queue before they are accepted.",
        why="1024: a fleet of clients that reconnects at once should not be refused; Kafka's 50 is small.",
    )
    socket_send_buffer_bytes: int = integer(
        "socket.send.buffer.bytes",
        -1,
        low=-1,
        unit="bytes",
        meaning="Send buffer of each socket; -1 leaves it to the system, and is 256 KiB for clients on the same machine.",
        why="-1: Linux tunes it by itself up to megabytes, which long ways need; a short one is faster within the CPU's cache.",
    )
    socket_receive_buffer_bytes: int = integer(
        "socket.receive.buffer.bytes",
        -1,
        low=-1,
        unit="bytes",
        meaning="Receive buffer of each socket; -1 leaves it to the system.",
        why="-1: Linux tunes it by itself up to megabytes, a fixed size stops that.",
    )
    fetch_max_bytes: int = integer(
        "fetch.max.bytes",
        55 * MIB,
        low=1024,
        unit="bytes",
        meaning="Most that one Fetch answer carries, whatever the client asks for (one batch always fits).",
        why="Kafka's default.",
    )
    shutdown_grace_ms: int = long(
        "automq.shutdown.grace.ms",
        10_000,
        low=0,
        high=LONG_MAX,
        unit="ms",
        meaning="At a stop, how long requests that already arrived may take to be answered.",
        why="10 s, inside the 30 s that Kubernetes gives a pod.",
    )
    shutdown_timeout_ms: int = long(
        "automq.shutdown.timeout.ms",
        15_000,
        low=0,
        high=LONG_MAX,
        unit="ms",
        meaning="The whole stop, uploads included; what is not uploaded by then stays in the write-ahead log.",
        why="15 s: 500 MiB pass in a few seconds, and a bucket that is away must not hold up a stop.",
    )


__all__ = ["NetworkSettings"]
