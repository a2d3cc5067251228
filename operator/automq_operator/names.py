"""Every label, annotation, key, path, port and object name that the operator gives: nothing else spells one.

All names of a cluster begin with its own, and what follows is fixed, so two clusters of a namespace never share one.
"""

import hashlib
from typing import Final

PREFIX: Final = "automq.io"
FIELD_MANAGER: Final = "automq-operator"
FINALIZER: Final = f"{PREFIX}/stop-brokers"
"""Set and removed by the operator's loop alone; kopf has none on the resource."""
POD_FINALIZER: Final = f"{PREFIX}/see-its-end"
"""Of brokers' pods while their cluster ends with its volumes: how each ended must be on record before it is gone."""

ZONE_LABEL: Final = f"{PREFIX}/zone"
NODE_LABEL: Final = f"{PREFIX}/node-id"
REVISION: Final = f"{PREFIX}/revision"
"""Annotation of pods: which form of the pod and which configuration they run with."""
WAL_SIZE: Final = f"{PREFIX}/wal-size"
"""Annotation of brokers' pods: the size of the volumes that they are to use. A larger one is used from the next start on."""
RECOVERY: Final = f"{PREFIX}/recovery"
"""Annotation of adopters: which death, granted epoch, survivor and attempt they are about."""
RESTART: Final = f"{PREFIX}/restart"
"""Annotation of the resource: any new value restarts the brokers one by one."""
RESTART_BROKER: Final = f"{PREFIX}/restart-broker"
"""Annotation of a broker's pod: it is emptied and restarted, in its turn; the new pod does not have it."""
RECLAIM: Final = f"{PREFIX}/reclaim-policy"
"""Annotation of volumes: the reclaim policy that they had before the operator made it Retain."""

TOPOLOGY_ZONE: Final = "topology.kubernetes.io/zone"
INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
OUT_OF_SERVICE: Final = "node.kubernetes.io/out-of-service"
OWN_TAINT: Final = "automq-operator"
"""Value of the out-of-service taint that the operator sets: one of its own is no proof, and the only one it removes."""
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
POD_NAME: Final = "statefulset.kubernetes.io/pod-name"

INTERNAL_PORT: Final = 9091
ADMIN_PORT: Final = 9644

CONTAINER: Final = "broker"
ADOPTER: Final = "adopter"
CLAIM: Final = "wal"
USER_ID: Final = 65532

CONFIG_DIR: Final = "/etc/automq/config"
SECRETS_DIR: Final = "/etc/automq/secrets"
TLS_DIR: Final = "/etc/automq/tls"
AWS_DIR: Final = "/etc/automq/aws"
DATA_DIR: Final = "/var/lib/automq"
WAL_DIR: Final = "/var/lib/automq-wal"
WAL_DEVICE: Final = "/dev/wal"

SECRET_KEY: Final = "inter-broker.secret"
TOKEN_KEY: Final = "admin.token"
COMMON_KEY: Final = "common"
"""Key of the configuration's common part; the others are one file per broker."""
TLS_KEY: Final = "tls-combined.pem"
CA_KEY: Final = "ca.crt"

LOG_IN_BUCKET: Final = "bucket"
"""In place of a volume's name."""

NODE_IDS_PER_ZONE: Final = 1000
_NAME_MAX: Final = 50
"""Room for a StatefulSet's revision hash (11) and its pods' numbers within 63."""


def selector(cluster: str) -> dict[str, str]:
    """Labels of the brokers' pods of all zones, and of nothing else."""
    return {
        "app.kubernetes.io/name": "automq",
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/component": CONTAINER,
    }


def adopter_selector(cluster: str) -> dict[str, str]:
    """Labels of the adopters' pods: no selector for brokers matches them."""
    return selector(cluster) | {"app.kubernetes.io/component": ADOPTER}


def labels(cluster: str) -> dict[str, str]:
    """Labels of everything that belongs to a cluster."""
    return {
        "app.kubernetes.io/name": "automq",
        "app.kubernetes.io/instance": cluster,
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
    }


def selector_text(chosen: dict[str, str]) -> str:
    """A selector as the API takes it."""
    return ",".join(f"{key}={value}" for key, value in sorted(chosen.items()))


def statefulset(cluster: str, zone: str) -> str:
    """Brokers of one zone; "" where there are no zones."""
    name = f"{cluster}-broker-{zone}" if zone else f"{cluster}-broker"
    if len(name) <= _NAME_MAX:
        return name
    return f"{name[: _NAME_MAX - 7]}-{hashlib.sha256(zone.encode()).hexdigest()[:6]}"


def pod(cluster: str, zone: str, node_id: int) -> str:
    """A broker's pod; its ordinal is its node id."""
    return f"{statefulset(cluster, zone)}-{node_id}"


def claim(cluster: str, zone: str, node_id: int) -> str:
    """The claim of its write-ahead log."""
    return f"{CLAIM}-{pod(cluster, zone, node_id)}"


def adopter(cluster: str, node_id: int, granted_epoch: int, attempt: int) -> str:
    """An adopter's pod: the same attempt has the same name, so it is created once."""
    return f"{cluster}-adopt-{node_id}-{granted_epoch}-{attempt}"


def headless_service(cluster: str) -> str:
    """Gives each broker a name."""
    return f"{cluster}-brokers"


def bootstrap_service(cluster: str) -> str:
    """Any broker, inside the Kubernetes cluster."""
    return f"{cluster}-bootstrap"


def outer_bootstrap_service(cluster: str, listener: str) -> str:
    """Any broker, from outside, by one listener."""
    return f"{cluster}-{listener}-bootstrap"


def broker_service(cluster: str, listener: str, node_id: int) -> str:
    """One broker, from outside, by one listener."""
    return f"{cluster}-{listener}-{node_id}"


def config_map(cluster: str, digest: str) -> str:
    """A version of the configuration; it never changes but by more brokers."""
    return f"{cluster}-config-{digest}"


def internal_secret(cluster: str) -> str:
    """What brokers prove to each other, and the admin API's token."""
    return f"{cluster}-internal"


def tls_secret(cluster: str) -> str:
    """The certificate that cert-manager makes."""
    return f"{cluster}-tls"


def authority_secret(cluster: str) -> str:
    """The authority of the cluster's own, with its key: no pod mounts it."""
    return f"{cluster}-authority"


def certificate_secret(cluster: str) -> str:
    """The certificate that this authority signs for the brokers."""
    return f"{cluster}-certificate"


def authorities(cluster: str) -> str:
    """The ConfigMap with what clients trust."""
    return f"{cluster}-ca"


def service_account(cluster: str) -> str:
    """The brokers' and adopters' account."""
    return f"{cluster}-broker"


def config_file(node_id: int | str) -> str:
    """A broker's key in the configuration."""
    return f"{node_id}.properties"
