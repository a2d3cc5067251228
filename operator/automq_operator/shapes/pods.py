"""The form of brokers' and adopters' pods: restricted, without API token, secrets as files alone."""

import hashlib
import json
from typing import Any, Final

from automq_operator import names
from automq_operator.shapes import config
from automq_operator.shapes.cluster import Cluster, Manifest

GRACE_S: Final = 60
"""terminationGracePeriodSeconds of every broker: a stop takes 15 s at most, and what is computed would roll brokers."""


def broker_template(cluster: Cluster, zone: str) -> Manifest:
    """Pod template of a zone's brokers. The revision in it is the same in all zones."""
    template = _template(cluster)
    template["metadata"]["annotations"][names.REVISION] = revision(cluster)
    if zone:
        template["metadata"]["labels"][names.ZONE_LABEL] = zone
        template["spec"]["nodeSelector"] = template["spec"]["nodeSelector"] | {names.TOPOLOGY_ZONE: zone}
    return template


def revision(cluster: Cluster) -> str:
    """What tells whether a pod is as it should be: a digest of its form and its configuration."""
    text = json.dumps(_template(cluster), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _template(cluster: Cluster) -> Manifest:
    given = cluster.spec.brokers.template
    noted = {names.RESTART: cluster.restart} if cluster.restart else {}
    noted |= {names.WAL_SIZE: cluster.spec.wal.size} if cluster.has_volumes else {}
    return {
        "metadata": {
            "labels": given.labels | names.labels(cluster.name) | names.selector(cluster.name),
            "annotations": given.annotations | noted,
        },
        "spec": {
            **pod_defaults(cluster),
            "terminationGracePeriodSeconds": GRACE_S,
            "affinity": given.affinity if given.affinity is not None else _apart(cluster),
            **(
                {"topologySpreadConstraints": given.topology_spread_constraints}
                if given.topology_spread_constraints
                else {}
            ),
            **({"priorityClassName": given.priority_class_name} if given.priority_class_name else {}),
            "containers": [_broker(cluster)],
            "volumes": [*volumes(cluster), *given.volumes],
        },
    }


def pod_defaults(cluster: Cluster) -> Manifest:
    """What brokers' and adopters' pods have in common."""
    given = cluster.spec.brokers.template
    return {
        "serviceAccountName": names.service_account(cluster.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.USER_ID,
            "runAsGroup": names.USER_ID,
            "fsGroup": names.USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": given.image_pull_secrets} if given.image_pull_secrets else {}),
        "nodeSelector": given.node_selector,
        **({"tolerations": given.tolerations} if given.tolerations else {}),
    }


def container_defaults(cluster: Cluster) -> Manifest:
    """What brokers' and adopters' containers have in common: image, files, no rights."""
    return {
        "image": cluster.image,
        "imagePullPolicy": cluster.spec.image_pull_policy,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def mounts(cluster: Cluster) -> Manifest:
    """volumeMounts, and volumeDevices where the log is a raw device."""
    files = [
        {"name": "automq-config", "mountPath": names.CONFIG_DIR, "readOnly": True},
        {"name": "automq-secrets", "mountPath": names.SECRETS_DIR, "readOnly": True},
        {"name": "automq-data", "mountPath": names.DATA_DIR},
        {"name": "automq-tmp", "mountPath": "/tmp"},
    ]
    if cluster.tls_secret is not None:
        files.append({"name": "automq-tls", "mountPath": names.TLS_DIR, "readOnly": True})
    if cluster.spec.storage.s3.credentials_secret is not None:
        files.append({"name": "automq-aws", "mountPath": names.AWS_DIR, "readOnly": True})
    if not cluster.has_volumes:
        return {"volumeMounts": files}
    if cluster.spec.wal.volume_mode == "Block":
        return {"volumeMounts": files, "volumeDevices": [{"name": names.CLAIM, "devicePath": names.WAL_DEVICE}]}
    return {"volumeMounts": [*files, {"name": names.CLAIM, "mountPath": names.WAL_DIR}]}


def volumes(cluster: Cluster) -> list[Manifest]:
    """Everything but the log's own volume, which the StatefulSet or the adopter adds."""
    found: list[Manifest] = [
        {
            "name": "automq-config",
            "configMap": {"name": names.config_map(cluster.name, config.digest(config.common(cluster)))},
        },
        {"name": "automq-secrets", "secret": {"secretName": names.internal_secret(cluster.name), "defaultMode": 0o440}},
        {"name": "automq-data", "emptyDir": {}},
        {"name": "automq-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
    ]
    if cluster.tls_secret is not None:
        found.append({"name": "automq-tls", "secret": {"secretName": cluster.tls_secret, "defaultMode": 0o440}})
    credentials = cluster.spec.storage.s3.credentials_secret
    if credentials is not None:
        items = [{"key": credentials.key, "path": "credentials"}]
        secret = {"secretName": credentials.name, "defaultMode": 0o440, "items": items}
        found.append({"name": "automq-aws", "secret": secret})
    return found


def environment(cluster: Cluster) -> list[Manifest]:
    """Paths and names, never a secret."""
    if cluster.spec.storage.s3.credentials_secret is None:
        return []
    return [{"name": "AWS_SHARED_CREDENTIALS_FILE", "value": f"{names.AWS_DIR}/credentials"}]


def _broker(cluster: Cluster) -> Manifest:
    given = cluster.spec.brokers.template
    index = {"fieldRef": {"fieldPath": f"metadata.labels['{names.POD_INDEX}']"}}
    added = mounts(cluster)
    added["volumeMounts"] = [*added["volumeMounts"], *given.volume_mounts]
    rack: list[Manifest] = []
    if not cluster.spec.zones:
        # Kubernetes copies its node's zone to a pod from 1.35 on; before that no rack is told.
        zone = {"fieldRef": {"fieldPath": f"metadata.labels['{names.TOPOLOGY_ZONE}']"}}
        rack = [{"name": "AUTOMQ_BROKER_RACK", "valueFrom": zone}]
    return {
        "name": names.CONTAINER,
        **container_defaults(cluster),
        "args": ["serve", "--config", f"{names.CONFIG_DIR}/{names.config_file('$(NODE_ID)')}"],
        "env": [{"name": "NODE_ID", "valueFrom": index}, *rack, *environment(cluster), *given.env],
        "ports": [
            *({"name": each.name, "containerPort": each.port} for each in cluster.spec.listeners),
            {"name": "internal", "containerPort": names.INTERNAL_PORT},
            {"name": "admin", "containerPort": names.ADMIN_PORT},
        ],
        "resources": cluster.spec.brokers.resources,
        # Start and life ask whether the loop turns, and no more: neither the bucket nor a recovery ends a broker.
        "startupProbe": _probe("/healthz", period_s=2, failures=60),
        "livenessProbe": _probe("/healthz", period_s=10, failures=6),
        "readinessProbe": _probe("/readyz", period_s=3, failures=2),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **added,
    }


def _probe(path: str, *, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _apart(cluster: Cluster) -> Manifest:
    term = {"labelSelector": {"matchLabels": names.selector(cluster.name)}, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


__all__ = [
    "GRACE_S",
    "broker_template",
    "container_defaults",
    "environment",
    "mounts",
    "pod_defaults",
    "revision",
    "volumes",
]
