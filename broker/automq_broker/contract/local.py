"""What `automq up` leaves in its data directory, so that other commands find the cluster without being told where."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

CLUSTER_FILE: Final = "cluster.json"
TOKEN_FILE: Final = "admin.token"
DEFAULT_ADMIN_URL: Final = "http://127.0.0.1:9644"
"""Where a lone broker's admin page is unless told otherwise."""


def broker_directory(data: Path, node_id: int) -> Path:
    """Where everything of one broker is, below the data directory."""
    return data / "brokers" / str(node_id)


def properties_file(data: Path, node_id: int) -> Path:
    """The settings of one broker, which its adopters and commands have as well."""
    return broker_directory(data, node_id) / "server.properties"


class LocalCluster(BaseModel):
    """The whole of CLUSTER_FILE. Addresses of all brokers, any of which may be down."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    admin: tuple[str, ...]
    """URLs of the admin pages."""

    bootstrap: str
    """What Kafka clients connect to: host:port, with commas between."""

    token_file: str
    """The file with the admin API's token."""


__all__ = ["CLUSTER_FILE", "DEFAULT_ADMIN_URL", "TOKEN_FILE", "LocalCluster", "broker_directory", "properties_file"]
