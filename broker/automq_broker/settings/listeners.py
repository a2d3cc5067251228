"""Listeners as values: where to bind, what to tell clients, and how each one is secured."""

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from automq_broker.kernel.errors import Refused

_LISTENER = re.compile(
    r"(?P<name>[A-Za-z0-9_.-]+)://(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]:/]*)):(?P<port>-?\d+)"
)
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One address to bind. `host` is empty for every interface; port 0 lets the system choose."""

    name: str
    host: str
    port: int
    is_tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """What clients of the listener of the same name are told to connect to."""

    name: str
    host: str
    port: int


def parse_addresses(key: str, entries: Sequence[str]) -> list[Endpoint]:
    """NAME://host:port entries in order, names in upper case; raises Refused naming the key and the entry."""
    found = []
    for entry in entries:
        match = _LISTENER.fullmatch(entry)
        if match is None or not 0 <= int(match["port"]) <= 65535:
            raise Refused(f"{key}: {entry!r} is not an address; allowed: NAME://host:port, the port from 0 to 65535")
        found.append(
            Endpoint(name=match["name"].upper(), host=match["v6"] or match["host"] or "", port=int(match["port"]))
        )
    if len({e.name for e in found}) != len(found):
        raise Refused(f"{key}: each listener name may stand only once, got {', '.join(entries)}")
    return found


def parse_protocol_map(entries: Sequence[str]) -> dict[str, str]:
    """NAME:PROTOCOL entries; raises Refused on anything else."""
    found = {}
    for entry in entries:
        name, _, protocol = entry.partition(":")
        if not name or protocol.upper() not in _PROTOCOLS:
            allowed = "NAME:PROTOCOL with one of " + ", ".join(_PROTOCOLS)
            raise Refused(f"listener.security.protocol.map: {entry!r} is not understood; allowed: {allowed}")
        found[name.upper()] = protocol.upper()
    return found


def bound_listeners(
    listeners: Sequence[str], protocols: Mapping[str, str], controller_names: Sequence[str] = ()
) -> list[Listener]:
    """The listeners to bind; those named in `controller_names` are left out. Raises Refused."""
    found = [_secured(e, protocols) for e in parse_addresses("listeners", listeners) if e.name not in controller_names]
    if not found:
        raise Refused("listeners: at least one listener for clients is needed, such as PLAINTEXT://127.0.0.1:9092")
    taken: dict[tuple[str, int], str] = {}
    for listener in found:
        other = taken.setdefault((listener.host, listener.port), listener.name) if listener.port else listener.name
        if other != listener.name:
            raise Refused(f"listeners: {other} and {listener.name} cannot share port {listener.port}")
    return found


def _secured(endpoint: Endpoint, protocols: Mapping[str, str]) -> Listener:
    protocol = protocols.get(endpoint.name)
    if protocol is None:
        known = ", ".join(sorted(protocols)) or "none"
        raise Refused(
            f"listeners: {endpoint.name} has no security protocol; add {endpoint.name}:PLAINTEXT or "
            f"{endpoint.name}:SSL to listener.security.protocol.map (it knows {known})"
        )
    if protocol.startswith("SASL"):
        raise Refused(
            f"listeners: {endpoint.name} asks for {protocol}, and this version has no SASL mechanism; "
            "allowed: PLAINTEXT, SSL (with client certificates if you need identities)"
        )
    return Listener(name=endpoint.name, host=endpoint.host, port=endpoint.port, is_tls=protocol == "SSL")


def advertised_endpoints(
    listeners: Sequence[Listener], advertised: Sequence[str] | None, controller_names: Sequence[str] = ()
) -> list[Endpoint]:
    """What to tell the clients of each listener, in the listeners' order; raises Refused.

    Those named in `controller_names` are left out, as they are of `bound_listeners`.

    A listener that is not mentioned is advertised as it is bound, and one on every interface under this host's name.
    Port 0 stays 0: whoever binds knows the port. Source: Kafka's advertised.listeners.
    """
    named = parse_addresses("advertised.listeners", advertised or ())
    given = {endpoint.name: endpoint for endpoint in named if endpoint.name not in controller_names}
    unknown = sorted(set(given) - {listener.name for listener in listeners})
    if unknown:
        raise Refused(
            f"advertised.listeners: {unknown[0]} is not in listeners ({', '.join(x.name for x in listeners)})"
        )
    for endpoint in given.values():
        if _is_everywhere(endpoint.host):
            raise Refused(
                f"advertised.listeners: {endpoint.name} must name a host that clients can reach, not {endpoint.host!r}"
            )
    return [given.get(listener.name) or _as_bound(listener) for listener in listeners]


def _as_bound(listener: Listener) -> Endpoint:
    host = socket.getfqdn() if _is_everywhere(listener.host) else listener.host
    return Endpoint(name=listener.name, host=host, port=listener.port)


def _is_everywhere(host: str) -> bool:
    if not host:
        return True
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def parse_host_port(key: str, value: str) -> tuple[str, int]:
    """host:port or [v6]:port; raises Refused."""
    match = _LISTENER.fullmatch(f"X://{value}")
    if match is None or not 0 <= int(match["port"]) <= 65535:
        raise Refused(f"{key}: {value!r} is not an address; allowed: host:port, such as 127.0.0.1:9644")
    return match["v6"] or match["host"] or "", int(match["port"])


__all__ = [
    "Endpoint",
    "Listener",
    "advertised_endpoints",
    "bound_listeners",
    "parse_addresses",
    "parse_host_port",
    "parse_protocol_map",
]
