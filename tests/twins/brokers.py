"""Several of our own brokers as one cluster: `automq serve` processes that share a bucket and a secret."""

from collections.abc import Mapping
from pathlib import Path

from twins.broker_process import BrokerProcess
from twins.child_process import free_ports

SECRET = "a secret of the tests, long enough\n"


def cluster_processes(
    directory: Path, count: int, *, bucket: str | None = None, settings: Mapping[str, str] | None = None
) -> list[BrokerProcess]:
    """`count` brokers with ids from 1, not started yet; the bucket is a directory beside them unless a URI is given."""
    secret = directory / "secret"
    directory.mkdir(parents=True, exist_ok=True)
    secret.write_text(SECRET)
    brokers = []
    for node_id in range(1, count + 1):
        (private,) = free_ports(1)
        broker = BrokerProcess(
            directory / f"node-{node_id}",
            bucket=bucket if bucket is not None else str(directory / "bucket"),
            settings={
                "node.id": str(node_id),
                "inter.broker.listener.name": "INTERNAL",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT",
                "automq.inter.broker.secret.file": str(secret),
                "s3.wal.capacity": str(64 << 20),
                **(settings or {}),
            },
        )
        broker.directory.mkdir(parents=True, exist_ok=True)
        broker.settings["listeners"] = f"PLAINTEXT://127.0.0.1:{broker.port},INTERNAL://127.0.0.1:{private}"
        brokers.append(broker)
    return brokers


__all__ = ["SECRET", "cluster_processes"]
