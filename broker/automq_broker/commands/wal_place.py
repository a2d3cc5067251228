"""Which write-ahead log a command means: a path, a bucket, or where the settings of a broker say that its log is."""

from dataclasses import dataclass

from automq_broker.commands.settings_options import settings_from
from automq_broker.contract.local import CLUSTER_FILE, properties_file
from automq_broker.kernel.errors import Refused
from automq_broker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class WalPlace:
    """`node_id` is whose log in the bucket at `uri`; None for a log on the disk at `uri`."""

    uri: str
    node_id: int | None = None


def wal_place(path: str | None, node_id: int | None, settings: Settings) -> WalPlace:
    """`path` as it is, else the log of broker `node_id` of the data directory. Raises Refused if that is not clear."""
    if path is not None:
        return WalPlace(uri=path, node_id=node_id)
    data = settings.data_dir
    if node_id is not None and (own := properties_file(data, node_id)).is_file():
        settings = settings_from(own, {}, ())
    elif (data / CLUSTER_FILE).is_file():
        raise Refused(f"{data} holds the logs of several brokers, as `automq up` made them; name one with --node")
    if settings.wal_bucket_uri is None:
        return WalPlace(uri=settings.wal_uri)
    return WalPlace(uri=settings.wal_bucket_uri, node_id=settings.node.node_id if node_id is None else node_id)


__all__ = ["WalPlace", "wal_place"]
