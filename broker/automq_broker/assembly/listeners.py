"""The front's listeners and limits, cut from the settings."""

import ssl

from automq_broker.front.identity import principal_mapping
from automq_broker.front.tls import ReloadingContext, TlsFiles
from automq_broker.front.values import Bound, Limits, Listener
from automq_broker.meta.rows import Endpoint
from automq_broker.settings import Settings

_IN_FLIGHT_OF_DISKS = 64
_IN_FLIGHT_OF_BULKS = 1024


def limits(settings: Settings) -> Limits:
    """Bounds of everything that a peer can make grow."""
    network = settings.network
    return Limits(
        frame_max=network.socket_request_max_bytes,
        frame_before_authentication_max=network.sasl_server_max_receive_size,
        in_flight_bytes=network.queued_max_request_bytes,
        in_flight_requests=_in_flight_requests(settings),
        unsent_bytes=network.connection_unsent_bytes_max,
        connections=network.max_connections,
        connections_per_ip=network.max_connections_per_ip,
        ip_overrides=settings.ip_limits,
        idle_s=network.connections_max_idle_ms / 1000 if network.connections_max_idle_ms >= 0 else float("inf"),
        handshake_s=network.handshake_timeout_ms / 1000,
        frame_grace_s=network.frame_timeout_ms / 1000,
        receive_rate_min=network.min_receive_rate,
        backlog=network.socket_listen_backlog_size,
        send_buffer=network.socket_send_buffer_bytes,
        receive_buffer=network.socket_receive_buffer_bytes,
        slow_request_s=settings.node.slow_request_ms / 1000,
    )


def _in_flight_requests(settings: Settings) -> int:
    given = settings.network.connection_in_flight_max
    if given > 0:
        return given
    return _IN_FLIGHT_OF_DISKS if settings.wal_bucket_uri is None else _IN_FLIGHT_OF_BULKS


def client_listeners(settings: Settings) -> list[Listener]:
    """What to bind for clients: every listener but the one for other brokers."""
    return [each for each in _listeners(settings) if each.name != settings.inter_broker_listener]


def inter_broker_listeners(settings: Settings) -> list[Listener]:
    """What to bind for other brokers: one listener, or none for a lone broker."""
    return [each for each in _listeners(settings) if each.name == settings.inter_broker_listener]


def _listeners(settings: Settings) -> list[Listener]:
    """Every listener, with its TLS context where it has one."""
    return [
        Listener(
            name=listener.name,
            host=listener.host,
            port=listener.port,
            tls=_tls(settings, listener.name) if listener.is_tls else None,
            principal_of=principal_mapping(settings.tls_of(listener.name).principal_mapping_rules),
        )
        for listener in settings.listeners
    ]


def admin_tls(settings: Settings) -> ssl.SSLContext | None:
    """The admin page's TLS, whose files may change: each handshake takes the newest context. None without TLS."""
    if settings.node.admin_security_protocol != "SSL":
        return None
    newest = _tls(settings, "ADMIN")
    context = newest()

    def take_newest(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _first: ssl.SSLContext) -> None:
        newest.look()
        connection.context = newest()

    context.sni_callback = take_newest
    return context


def _tls(settings: Settings, name: str) -> ReloadingContext:
    tls = settings.tls_of(name)
    return ReloadingContext(
        name,
        TlsFiles(
            key_file=tls.keystore_location,
            key_text=tls.keystore_key,
            chain_text=tls.keystore_certificate_chain,
            key_password=tls.key_password,
            trust_file=tls.truststore_location,
            trust_text=tls.truststore_certificates,
            client_auth=tls.client_auth,
            versions=tls.enabled_protocols,
            ciphers=tls.cipher_suites,
        ),
    )


def endpoints(settings: Settings, bound: list[Bound]) -> tuple[Endpoint, ...]:
    """What clients are told; a port that the system chose is filled in."""
    ports = {each.name: each.port for each in bound}
    protocols = {listener.name: "SSL" if listener.is_tls else "PLAINTEXT" for listener in settings.listeners}
    return tuple(
        Endpoint(
            listener=endpoint.name,
            host=endpoint.host,
            port=endpoint.port or ports[endpoint.name],
            security_protocol=protocols[endpoint.name],
        )
        for endpoint in settings.endpoints
    )


__all__ = ["admin_tls", "client_listeners", "endpoints", "inter_broker_listeners", "limits"]
