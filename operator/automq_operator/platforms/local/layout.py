"""The data directory of `automq up`: one folder per broker, the secrets, the ports, and what commands need to find it.

cluster.json  admin.token        for `automq cluster` and other commands
up/           up.lock  ports.json  memory.json  inter-broker.secret  adopters/
brokers/N/    server.properties  process.lock  broker.log  wal/
bucket/       unless another bucket is named
"""

import json
import os
import random
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from automq_broker.contract.local import CLUSTER_FILE, TOKEN_FILE, LocalCluster, broker_directory, properties_file

_ADMIN_PORT: Final = 9644
_INTERNAL_PORT: Final = 19092
_PORTS_ELSEWHERE: Final = (12_000, 32_000)
"""Below the usual ephemeral range: a client that reconnects to a dead broker's port must not be able to take it."""


_SETTING: Final = re.compile(r"(?:(?P<node>[0-9]+):)?(?P<setting>[^:=]+=.*)", re.DOTALL)


def split_setting(text: str) -> tuple[int | None, str]:
    """N:KEY=VALUE as N and KEY=VALUE; None for what is every broker's. Raises ValueError for neither."""
    parts = _SETTING.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is neither KEY=VALUE nor N:KEY=VALUE")
    return int(parts["node"]) if parts["node"] else None, parts["setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """TCP ports of one broker on 127.0.0.1."""

    kafka: int
    internal: int
    admin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything is. `settings` are KEY=VALUE for every broker, or N:KEY=VALUE for broker N alone; they win."""

    data: Path
    bucket: str
    ports: Mapping[int, Ports]
    settings: tuple[str, ...] = ()

    def settings_of(self, node_id: int) -> list[str]:
        """What was set for this broker; its own come last and win."""
        named = [split_setting(each) for each in self.settings]
        return [each for whose, each in named if whose is None] + [each for whose, each in named if whose == node_id]

    @property
    def token_file(self) -> Path:
        """The admin API's token."""
        return self.data / TOKEN_FILE

    @property
    def secret_file(self) -> Path:
        """What brokers prove to each other."""
        return self.data / "up" / "inter-broker.secret"

    @property
    def memory_file(self) -> Path:
        """What the operator remembers."""
        return self.data / "up" / "memory.json"

    @property
    def adopters(self) -> Path:
        """One file per adopter."""
        return self.data / "up" / "adopters"

    @property
    def bootstrap(self) -> str:
        """What Kafka clients connect to."""
        return ",".join(f"127.0.0.1:{each.kafka}" for _, each in sorted(self.ports.items()))

    def broker(self, node_id: int) -> Path:
        """The folder of a broker."""
        return broker_directory(self.data, node_id)

    def properties_file(self, node_id: int) -> Path:
        """Its settings, which its adopters have as well."""
        return properties_file(self.data, node_id)

    def volume(self, node_id: int) -> str:
        """Its write-ahead log, by a name that no other broker's has; where it lies is a setting."""
        return f"the log of broker {node_id}"


def lay_out(
    data: Path,
    *,
    brokers: int,
    bucket: str | None,
    port: int,
    settings: tuple[str, ...],
) -> Layout:
    """Choose ports (those of an earlier run stay), make secrets once, write every broker's settings."""
    data = data.absolute()
    (data / "up" / "adopters").mkdir(parents=True, exist_ok=True)
    ports = _choose_ports(data / "up" / "ports.json", brokers, port)
    layout = Layout(
        data=data,
        bucket=bucket or str(data / "bucket"),
        ports=ports,
        settings=settings,
    )
    for path in (layout.token_file, layout.secret_file):
        _write_secret_once(path)
    for node_id in ports:
        layout.broker(node_id).mkdir(parents=True, exist_ok=True)
        write_whole(layout.properties_file(node_id), _properties(layout, node_id))
    local = LocalCluster(
        admin=tuple(f"http://127.0.0.1:{each.admin}" for each in ports.values()),
        bootstrap=layout.bootstrap,
        token_file=str(layout.token_file),
    )
    write_whole(data / CLUSTER_FILE, local.model_dump_json(indent=2) + "\n")
    return layout


def _properties(layout: Layout, node_id: int) -> str:
    ports = layout.ports[node_id]
    given = {
        "node.id": node_id,
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka},INTERNAL://127.0.0.1:{ports.internal}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        "automq.inter.broker.secret.file": layout.secret_file,
        "admin.listener": f"127.0.0.1:{ports.admin}",
        "automq.admin.token.file": layout.token_file,
        "automq.data.dir": layout.broker(node_id),
        "s3.data.buckets": layout.bucket,
        "s3.wal.path": layout.broker(node_id) / "wal" / "wal.bin",
    }
    lines = [f"{key}={value}" for key, value in given.items()]
    return "\n".join(("# Written by automq up at each start.", *lines, *layout.settings_of(node_id))) + "\n"


def _choose_ports(path: Path, brokers: int, port: int) -> dict[int, Ports]:
    known = {int(node): Ports(**ports) for node, ports in _read_json(path).items()}
    taken = {number for each in known.values() for number in (each.kafka, each.internal, each.admin)}
    for node_id in range(1, brokers + 1):
        if node_id not in known:
            known[node_id] = Ports(
                kafka=_free_port(port + node_id - 1, taken),
                internal=_free_port(_INTERNAL_PORT + node_id - 1, taken),
                admin=_free_port(_ADMIN_PORT + node_id - 1, taken),
            )
    write_whole(path, json.dumps({node: _as_dict(each) for node, each in known.items()}, indent=2))
    return {node_id: known[node_id] for node_id in range(1, brokers + 1)}


def _as_dict(ports: Ports) -> dict[str, int]:
    return {"kafka": ports.kafka, "internal": ports.internal, "admin": ports.admin}


def _free_port(preferred: int, taken: set[int]) -> int:
    """This port if nobody has it, else any other; `taken` grows by the answer."""
    candidate = preferred
    while candidate in taken or not _is_free(candidate):
        candidate = random.randrange(*_PORTS_ELSEWHERE)
    taken.add(candidate)
    return candidate


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _write_secret_once(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32) + "\n")


def _read_json(path: Path) -> dict[str, dict[str, int]]:
    try:
        found: dict[str, dict[str, int]] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def write_whole(path: Path, text: str) -> None:
    """Replace a file so that a reader, or the next start after a crash, finds the old or the new one, whole."""
    draft = path.with_name(f"{path.name}.new")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


__all__ = ["Layout", "Ports", "lay_out", "split_setting", "write_whole"]
