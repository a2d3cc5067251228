"""The brokers' settings: a part that all share, whose digest names the ConfigMap, and a few lines for each broker.

A ConfigMap never changes what it once said, so a broker that comes back in the middle of a rollout finds what it had.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

from automq_operator import names
from automq_operator.shapes.cluster import Cluster, Manifest, filled
from automq_operator.spec import Listener

INTERNAL: Final = "INTERNAL"
_GIB: Final = 1 << 30
_MIB: Final = 1 << 20
_BYTES: Final = {"": 1, "k": 1000, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": _MIB, "Gi": _GIB, "Ti": 1 << 40}


def common(cluster: Cluster) -> str:
    """What all brokers share."""
    return cluster.configuration or _static(cluster)


def kept(cluster: Cluster, used: Iterable[str]) -> str:
    """Of the versions that pods use the one that stays because a new one would only leave dynamic settings out; else "".

    Such versions are from operators that knew fewer settings as dynamic. What the spec has no more must leave the file,
    for it would come back once it is unset at run time.
    """
    versions, static = list(used), _static(cluster)
    if static in versions:
        return ""
    return next((each for each in versions if _is_same(cluster, each, static)), "")


def _is_same(cluster: Cluster, version: str, static: str) -> bool:
    names_of = {line: line.partition("=")[0] for line in version.splitlines(keepends=True)}
    dynamic = {name for name in names_of.values() if name in cluster.installation.dynamic_configs}
    rest = "".join(line for line, name in names_of.items() if name not in dynamic)
    return rest == static and dynamic <= cluster.spec.brokers.config.keys()


def dynamic(cluster: Cluster) -> dict[str, str]:
    """What brokers are told at run time, by name."""
    given = sorted(cluster.spec.brokers.config.items())
    return {name: value for name, value in given if name in cluster.installation.dynamic_configs}


def _static(cluster: Cluster) -> str:
    spec = cluster.spec
    given = {
        "listeners": ",".join(f"{name}://:{port}" for name, port in _listeners(cluster)),
        "listener.security.protocol.map": ",".join(
            (
                f"{INTERNAL}:PLAINTEXT",
                *(f"{each.name.upper()}:{'SSL' if each.tls else 'PLAINTEXT'}" for each in spec.listeners),
            )
        ),
        "inter.broker.listener.name": INTERNAL,
        "automq.inter.broker.secret.file": f"{names.SECRETS_DIR}/{names.SECRET_KEY}",
        "admin.listener": f"0.0.0.0:{names.ADMIN_PORT}",
        "automq.admin.token.file": f"{names.SECRETS_DIR}/{names.TOKEN_KEY}",
        "automq.data.dir": names.DATA_DIR,
        "s3.data.buckets": cluster.bucket,
        **_wal(cluster),
        **_memory(cluster),
        **_tls(cluster),
    }
    own = {
        name: value
        for name, value in sorted(spec.brokers.config.items())
        if name not in cluster.installation.dynamic_configs
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in (given | own).items())


def digest(text: str) -> str:
    """A short name for a configuration."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def config_map(cluster: Cluster) -> Manifest:
    """The present version."""
    text = common(cluster)
    return of_nodes(cluster, text, cluster.node_ids())


def of_nodes(cluster: Cluster, text: str, node_ids: Iterable[int]) -> Manifest:
    """A version of the configuration with a file for each of these brokers whose addresses are known."""
    files = {names.config_file(each): text + lines for each in node_ids if (lines := _node(cluster, each)) is not None}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.metadata(names.config_map(cluster.name, digest(text))),
        "data": {names.COMMON_KEY: text, **files},
    }


def advertised(cluster: Cluster, listener: Listener, node_id: int) -> tuple[str, int] | None:
    """Where clients are told to find a broker; None until its Service says so."""
    if listener.type == "Internal":
        return cluster.host(node_id), listener.port
    given, seen = listener.advertised, cluster.addresses.get((listener.name, node_id))
    if given.host_template is not None:
        host = filled(given.host_template, node_id, cluster.zone_of(node_id))
    elif seen is not None and seen[0]:
        host = seen[0]
    else:
        return None
    if given.port_base is not None:
        return host, given.port_base + node_id
    if listener.type == "LoadBalancer":
        return host, listener.port
    return (host, seen[1]) if seen is not None and seen[1] else None


def unknown_addresses(cluster: Cluster) -> list[str]:
    """Services that brokers wait for, since their addresses are not known yet."""
    return [
        names.broker_service(cluster.name, listener.name, node_id)
        for node_id in cluster.node_ids()
        for listener in cluster.spec.listeners
        if advertised(cluster, listener, node_id) is None
    ]


def _node(cluster: Cluster, node_id: int) -> str | None:
    addresses = [(each.name.upper(), advertised(cluster, each, node_id)) for each in cluster.spec.listeners]
    told = [f"{INTERNAL}://{cluster.host(node_id)}:{names.INTERNAL_PORT}"]
    for name, address in addresses:
        if address is None:
            return None
        told.append(f"{name}://{address[0]}:{address[1]}")
    zone = cluster.zone_of(node_id)
    rack = f"broker.rack={zone}\n" if zone else ""
    return f"node.id={node_id}\n{rack}advertised.listeners={','.join(told)}\n"


def _listeners(cluster: Cluster) -> list[tuple[str, int]]:
    return [(INTERNAL, names.INTERNAL_PORT), *((each.name.upper(), each.port) for each in cluster.spec.listeners)]


def _wal(cluster: Cluster) -> dict[str, object]:
    """A log on a volume measures it by itself: what a file system leaves of it, nobody knows before."""
    wal = cluster.spec.wal
    if not cluster.has_volumes:
        return {"s3.wal.path": cluster.wal_bucket, "s3.wal.capacity": size_bytes(wal.size)}
    pace = {"s3.wal.iops": wal.iops, "s3.wal.bandwidth": wal.throughput * _MIB}
    if wal.volume_mode == "Block":
        return pace | {"s3.wal.path": f"block://{names.WAL_DEVICE}"}
    return pace | {
        "s3.wal.path": f"file://{names.WAL_DIR}/wal.bin",
        "s3.wal.capacity": -1,
    }


def _memory(cluster: Cluster) -> dict[str, object]:
    """A quarter of the memory for what is new, an eighth for what is read back; nothing is said without a limit."""
    limit = (cluster.spec.brokers.resources.get("limits") or {}).get("memory")
    if limit is None or (total := size_bytes(str(limit))) < _GIB // 2:
        return {}
    return {"s3.wal.cache.size": total // 4 // _MIB * _MIB, "s3.block.cache.size": total // 8 // _MIB * _MIB}


def _tls(cluster: Cluster) -> dict[str, object]:
    given: dict[str, object] = {}
    if cluster.tls_secret is not None:
        given["ssl.keystore.location"] = f"{names.TLS_DIR}/{names.TLS_KEY}"
    for listener in cluster.spec.listeners:
        if listener.client_authentication == "Tls":
            prefix = f"listener.name.{listener.name}.ssl"
            given[f"{prefix}.client.auth"] = "required"
            given[f"{prefix}.truststore.location"] = f"{names.TLS_DIR}/{names.CA_KEY}"
    return given


def size_bytes(quantity: str) -> int:
    """Kubernetes' way to write a size. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", quantity)
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"{quantity!r} is no size in bytes")
    return int(float(match[1]) * _BYTES[match[2]])


def _escaped(value: str) -> str:
    """A value as Java's properties hold it."""
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return "\\" + escaped if escaped[:1] in (" ", "\t") else escaped


__all__ = [
    "advertised",
    "common",
    "config_map",
    "digest",
    "dynamic",
    "kept",
    "of_nodes",
    "size_bytes",
    "unknown_addresses",
]
