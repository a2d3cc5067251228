"""What manifests are made from: the resource, the ranges of node ids, and what the operator's own installation says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from automq_operator import names
from automq_operator.spec import GROUP, KIND, VERSION, AutoMQClusterSpec, Bucket

Manifest = dict[str, Any]

BOOTSTRAP: Final = -1
"""In place of a node id: the Service of a listener by which any broker is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What the operator's own installation decides for all clusters."""

    image_repository: str
    version: str
    namespace: str = ""
    adopter_priority_class: str = ""
    """PriorityClass with preemptionPolicy Never; "" in installations that may not make one."""
    has_pod_monitors: bool = False
    """Whether the API server knows PodMonitors."""
    dynamic_configs: frozenset[str] = frozenset()
    """Settings that running brokers take from the metadata: they are no part of the pods' form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A zone, its range of node ids, and how many brokers are to exist in it: those that are being emptied too."""

    name: str
    base: int
    replicas: int

    def node_ids(self) -> range:
        """Those that are to exist."""
        return range(self.base, self.base + self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One AutoMQCluster. `addresses` holds what Services were given: (listener, node id) to host and port."""

    name: str
    namespace: str
    uid: str
    spec: AutoMQClusterSpec
    zones: tuple[Zone, ...]
    installation: Installation
    restart: str = ""
    addresses: Mapping[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    configuration: str = ""
    """The version that pods are to keep although it has such settings; "" for one without them."""
    authorities: str = ""
    """PEM of the authorities of its own that clients trust; "" where there are none yet."""

    @property
    def image(self) -> str:
        """The brokers' image."""
        return self.spec.image or f"{self.installation.image_repository}:{self.version}"

    @property
    def version(self) -> str:
        """Tag of the brokers' image, as far as it can be told."""
        if self.spec.image is not None:
            return self.spec.image.rpartition(":")[2] if ":" in self.spec.image.rpartition("/")[2] else "unknown"
        return self.spec.version or self.installation.version

    @property
    def bucket(self) -> str:
        """The bucket's URI."""
        return _uri(self.spec.storage.s3)

    @property
    def has_volumes(self) -> bool:
        """Whether write-ahead logs lie on volumes, and not in a bucket."""
        return self.spec.wal.type == "EBS"

    @property
    def wal_bucket(self) -> str:
        """s3.wal.path of logs in a bucket: "s3" is the data's own."""
        return f"0@{_uri(self.spec.wal.s3)}" if self.spec.wal.s3 is not None else "s3"

    @property
    def tls_secret(self) -> str | None:
        """The Secret with the listeners' certificate; None where no listener has TLS."""
        tls = self.spec.security.tls
        if tls is None or not any(each.tls for each in self.spec.listeners):
            return None
        made = names.certificate_secret(self.name) if tls.generated else names.tls_secret(self.name)
        return tls.certificate_secret or made

    @property
    def has_authority(self) -> bool:
        """Whether the operator makes the authority and the certificate."""
        tls = self.spec.security.tls
        return tls is not None and tls.generated is not None and self.tls_secret is not None

    def node_ids(self) -> list[int]:
        """Brokers that are to exist."""
        return [node_id for zone in self.zones for node_id in zone.node_ids()]

    def zone_of(self, node_id: int) -> str:
        """The zone whose range holds this node id."""
        return max((each for each in self.zones if each.base <= node_id), key=lambda each: each.base).name

    def stateful_set(self, zone: str) -> str:
        """Name of the StatefulSet of a zone's brokers."""
        return names.statefulset(self.name, zone)

    def base_of(self, node_id: int) -> int:
        """The first node id of its zone."""
        return max(each.base for each in self.zones if each.base <= node_id)

    def pod(self, node_id: int) -> str:
        """Name of a broker's pod."""
        return names.pod(self.name, self.zone_of(node_id), node_id)

    def host(self, node_id: int) -> str:
        """Name of a broker inside the Kubernetes cluster."""
        return f"{self.pod(node_id)}.{names.headless_service(self.name)}.{self.namespace}.svc"

    def metadata(self, name: str, labels: dict[str, str] | None = None) -> Manifest:
        """Metadata of an object that goes with the resource."""
        return {
            "name": name,
            "namespace": self.namespace,
            "labels": labels or names.labels(self.name),
            "ownerReferences": [self.owner()],
        }

    def owner(self) -> Manifest:
        """The resource as an owner: what it owns is collected when it is gone."""
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def _uri(place: Bucket) -> str:
    query = [f"region={place.region}"] if place.region else []
    query += [f"endpoint={place.endpoint}"] if place.endpoint else []
    query += ["pathStyle=true"] if place.path_style else []
    path = f"{place.bucket}/{place.prefix}" if place.prefix else place.bucket
    return f"s3://{path}?{'&'.join(query)}" if query else f"s3://{path}"


def filled(template: str, node_id: int | str, zone: str) -> str:
    """A template of the spec with a broker's values."""
    return template.replace("{nodeId}", str(node_id)).replace("{zone}", zone)


__all__ = ["BOOTSTRAP", "Cluster", "Installation", "Manifest", "Zone", "filled"]
