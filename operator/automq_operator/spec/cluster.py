"""What is wanted of a cluster, with the rules that span several parts."""

from typing import Annotated, Literal

from pydantic import Field

from automq_operator.spec.autoscaling import Autoscaling
from automq_operator.spec.brokers import Brokers
from automq_operator.spec.disruption import Disruption, MaintenanceWindow
from automq_operator.spec.failover import Failover
from automq_operator.spec.listeners import Listener
from automq_operator.spec.parts import ZONES_MAX, Part, Zone, ruled
from automq_operator.spec.security import Security
from automq_operator.spec.storage import Storage
from automq_operator.spec.wal import Wal


class AutoMQClusterSpec(Part):
    """What is wanted."""

    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")] | None = None
    """Tag of the brokers' image; unset: the operator's version at the time when the resource was made."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """Whole name of the brokers' image, in place of the operator's default and `version`."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """As in a pod."""
    brokers: Brokers = Brokers()
    """How many brokers, and what they are given."""
    zones: Annotated[list[Zone], Field(max_length=ZONES_MAX, json_schema_extra={"x-kubernetes-list-type": "set"})] = []
    """Zones (topology.kubernetes.io/zone) that brokers are spread over; a zone keeps its range of node ids for ever. Two
    brokers in each zone let one stand in for the other. Empty: the scheduler chooses."""
    wal: Wal = Wal()
    """The write-ahead log's volumes."""
    storage: Storage
    """Where the data live."""
    listeners: Annotated[
        list[Listener],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = [Listener(name="plain")]
    """Where clients connect."""
    security: Security = Security()
    """Certificates."""
    autoscaling: Autoscaling = Autoscaling()
    """Who decides how many brokers are wanted."""
    failover: Failover = Failover()
    """What is done for a broker that failed."""
    disruption: Disruption = Disruption()
    """Announced ends of nodes."""
    maintenance_windows: Annotated[list[MaintenanceWindow], Field(max_length=20)] = []
    """When brokers may be renewed because of a new image, new settings or a wanted restart. One that was begun is brought
    to its end. Failover, drains and scaling wait for none of them. Empty: at any time."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the write-ahead logs' volumes when the resource is deleted. Delete: those that are known to hold
    nothing but what is in the bucket are deleted. The bucket is never touched."""
    paused: bool = False
    """Nothing is changed while it is true; what is seen is still reported."""

    model_config = ruled(
        (
            "self.autoscaling.minReplicas <= self.brokers.replicas && "
            "self.brokers.replicas <= self.autoscaling.maxReplicas",
            "brokers.replicas is outside autoscaling.minReplicas and maxReplicas",
        ),
        (
            "self.autoscaling.mode != 'Watermark' || oldSelf.autoscaling.mode != 'Watermark' || "
            "self.brokers.replicas == oldSelf.brokers.replicas",
            "in autoscaling mode Watermark the operator decides how many brokers run; choose mode External to scale",
        ),
        (
            "(size(self.zones) == 0) == (size(oldSelf.zones) == 0)",
            "a cluster with zones cannot become one without, nor the other way round: brokers keep their zones",
        ),
        (
            "self.listeners.all(a, self.listeners.all(b, a.name == b.name || a.port != b.port))",
            "two listeners have the same port",
        ),
        (
            "self.wal.type != 'S3' || self.deletionPolicy == 'Retain'",
            "deletionPolicy Delete is about volumes, and with wal.type S3 there are none",
        ),
        (
            "!self.listeners.exists(l, l.tls) || (has(self.security) && has(self.security.tls))",
            "a listener has tls: true, but security.tls names no certificate",
        ),
    )


__all__ = ["AutoMQClusterSpec"]
