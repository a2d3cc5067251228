"""The AutoMQCluster resource as users write it: the source of crds/, of the chart's copy and of the reference page.

Types, bounds, defaults and texts stand in the models; what spans several fields stands beside them as CEL rules, which
the API server checks before anything is stored. A rule with `oldSelf` compares with what was stored before. Free forms
of Kubernetes' own (affinity, tolerations, ...) are passed on as they are and checked by the API server with the pods.
"""

from typing import Final

from automq_operator.spec.autoscaling import Autoscaling
from automq_operator.spec.brokers import Brokers, Template
from automq_operator.spec.cluster import AutoMQClusterSpec
from automq_operator.spec.disruption import Disruption, MaintenanceWindow
from automq_operator.spec.failover import Failover, FailoverProof, FailoverRelease
from automq_operator.spec.listeners import Advertised, Listener
from automq_operator.spec.parts import REPLICAS_MAX, FreeForm
from automq_operator.spec.security import GeneratedAuthority, IssuerRef, Security, TlsCertificate
from automq_operator.spec.storage import S3, Bucket, Storage
from automq_operator.spec.wal import Wal

GROUP: Final = "automq.io"
VERSION: Final = "v1alpha1"
KIND: Final = "AutoMQCluster"
PLURAL: Final = "automqclusters"

RESERVED_PORTS: Final = (9091, 9644)
"""Inter-broker listener and admin page of every broker."""

__all__ = [
    "GROUP",
    "KIND",
    "PLURAL",
    "REPLICAS_MAX",
    "RESERVED_PORTS",
    "S3",
    "VERSION",
    "Advertised",
    "AutoMQClusterSpec",
    "Autoscaling",
    "Brokers",
    "Bucket",
    "Disruption",
    "Failover",
    "FailoverProof",
    "FailoverRelease",
    "FreeForm",
    "GeneratedAuthority",
    "IssuerRef",
    "Listener",
    "MaintenanceWindow",
    "Security",
    "Storage",
    "Template",
    "TlsCertificate",
    "Wal",
]
