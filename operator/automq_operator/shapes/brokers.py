"""The StatefulSets, one per zone. A broker's ordinal is its node id; its log's claim outlives everything."""

from typing import Final

from automq_operator import names
from automq_operator.shapes.cluster import Cluster, Manifest, Zone
from automq_operator.shapes.pods import broker_template

ABOVE_ALL: Final = 100_000
"""A partition that no ordinal reaches: a pod that comes back has the form that it had, until its turn has come."""

ON_DELETE: Final = {"type": "OnDelete"}
"""While one that cannot run is made anew: no other pod is touched, and one that is missing comes in the new form."""


def rolling(partition: int = ABOVE_ALL) -> Manifest:
    """The update strategy of all other times."""
    return {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}


def statefulset(
    cluster: Cluster, zone: Zone, *, strategy: Manifest | None = None, claim_size: str | None = None
) -> Manifest:
    """Brokers of one zone. `claim_size` is that of the existing StatefulSet, which cannot be changed; claims grow alone."""
    labels = names.labels(cluster.name) | ({names.ZONE_LABEL: zone.name} if zone.name else {})
    chosen = names.selector(cluster.name) | ({names.ZONE_LABEL: zone.name} if zone.name else {})
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": cluster.metadata(names.statefulset(cluster.name, zone.name), labels),
        "spec": {
            "serviceName": names.headless_service(cluster.name),
            "replicas": zone.replicas,
            "ordinals": {"start": zone.base},
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "updateStrategy": strategy or rolling(),
            "selector": {"matchLabels": chosen},
            "template": broker_template(cluster, zone.name),
            **_claims(cluster, claim_size),
        },
    }


def _claims(cluster: Cluster, claim_size: str | None) -> Manifest:
    """None for logs that lie in a bucket."""
    if not cluster.has_volumes:
        return {}
    return {"volumeClaimTemplates": [_claim(cluster, claim_size or cluster.spec.wal.size)]}


def _claim(cluster: Cluster, size: str) -> Manifest:
    wal = cluster.spec.wal
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.CLAIM, "labels": names.labels(cluster.name)},
        "spec": {
            "accessModes": ["ReadWriteOncePod"],
            "volumeMode": wal.volume_mode,
            **({"storageClassName": wal.storage_class_name} if wal.storage_class_name else {}),
            "resources": {"requests": {"storage": size}},
        },
    }


__all__ = ["ABOVE_ALL", "ON_DELETE", "rolling", "statefulset"]
