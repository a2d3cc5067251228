"""The adopter's pod: the dead broker's claim, beside a survivor, once, with little, and no selector of ours matches it.

Where logs lie in a bucket there is no claim, and the adopter runs as soon as it is created."""

import json
from collections.abc import Sequence
from typing import Any, Final

from automq_operator import names
from automq_operator.shapes.cluster import Cluster, Manifest
from automq_operator.shapes.pods import container_defaults, environment, mounts, pod_defaults, revision, volumes
from automq_operator.steps import CreateAdopter
from automq_operator.world import RecoveryKey

DEADLINE_S: Final = 900
"""Counted from the kubelet's start of it, so one that hangs ends without an operator."""


def adopter(cluster: Cluster, step: CreateAdopter, *, beside: str, hosts: Sequence[str]) -> Manifest:
    """`hosts` are the nodes of live survivors in the zone, `beside` the preferred one; none: any node of the zone."""
    key = step.key
    about = {
        "nodeId": key.node_id,
        "brokerEpoch": key.broker_epoch,
        "volume": key.volume,
        "grantedEpoch": step.granted_epoch,
        "beside": step.beside,
        "attempt": step.attempt,
    }
    name = names.adopter(cluster.name, key.node_id, step.granted_epoch, step.attempt)
    priority = cluster.installation.adopter_priority_class
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **cluster.metadata(name, names.labels(cluster.name) | names.adopter_selector(cluster.name)),
            "annotations": {
                names.RECOVERY: json.dumps(about, sort_keys=True),
                names.REVISION: revision(cluster),
                "karpenter.sh/do-not-disrupt": "true",
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            },
        },
        "spec": {
            **pod_defaults(cluster),
            "restartPolicy": "Never",
            "activeDeadlineSeconds": DEADLINE_S,
            "terminationGracePeriodSeconds": 5,
            **({"priorityClassName": priority} if priority else {}),
            **({"affinity": _beside(beside, hosts)} if hosts else {}),
            "containers": [_container(cluster, step)],
            "volumes": [*volumes(cluster), *_log(cluster, key.node_id)],
        },
    }


def _log(cluster: Cluster, node_id: int) -> list[Manifest]:
    """The dead broker's volume; nothing where its log lies in a bucket."""
    if not cluster.has_volumes:
        return []
    claim = {"claimName": names.claim(cluster.name, cluster.zone_of(node_id), node_id)}
    return [{"name": names.CLAIM, "persistentVolumeClaim": claim}]


def read_about(pod: Manifest) -> tuple[RecoveryKey, dict[str, Any]]:
    """What an adopter is about, from its annotation. Raises KeyError or ValueError for a pod that is none of ours."""
    about = json.loads(pod["metadata"]["annotations"][names.RECOVERY])
    key = RecoveryKey(node_id=about["nodeId"], broker_epoch=about["brokerEpoch"], volume=about["volume"])
    return key, about


def _container(cluster: Cluster, step: CreateAdopter) -> Manifest:
    node_id = step.key.node_id
    return {
        "name": names.ADOPTER,
        **container_defaults(cluster),
        "args": [
            "adopt",
            "--config",
            f"{names.CONFIG_DIR}/{names.config_file(node_id)}",
            "--node",
            str(node_id),
            "--broker-epoch",
            str(step.granted_epoch),
            "--report",
            "/dev/termination-log",
        ],
        "env": environment(cluster),
        # It must fit on a node that is full: a survivor's node usually is.
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        **mounts(cluster),
    }


def _beside(preferred: str, hosts: Sequence[str]) -> Manifest:
    def of(values: Sequence[str]) -> Manifest:
        return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(values)}]}

    # matchFields takes one name at a time, and terms are alternatives.
    required = {"nodeSelectorTerms": [of([each]) for each in sorted(hosts)]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required,
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": of([preferred])}],
        }
    }


__all__ = ["DEADLINE_S", "adopter", "read_about"]
