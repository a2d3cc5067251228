"""What the operator asks of an API server: ten calls on plain objects, each short, and what can come of them.

Every delete names the uid that it means; every patch names the resourceVersion that it was made for, or a uid. So a call
that comes late, twice, or from an operator that lost its Lease meets ConflictError instead of somebody else's object.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects and where the API server has them."""

    api_version: str
    kind: str
    plural: str
    is_namespaced: bool = True

    @property
    def group(self) -> str:
        """ "" for the core group."""
        return self.api_version.rpartition("/")[0]


POD: Final = Kind("v1", "Pod", "pods")
SERVICE: Final = Kind("v1", "Service", "services")
CONFIG_MAP: Final = Kind("v1", "ConfigMap", "configmaps")
SECRET: Final = Kind("v1", "Secret", "secrets")
SERVICE_ACCOUNT: Final = Kind("v1", "ServiceAccount", "serviceaccounts")
CLAIM: Final = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
VOLUME: Final = Kind("v1", "PersistentVolume", "persistentvolumes", is_namespaced=False)
NAMESPACE: Final = Kind("v1", "Namespace", "namespaces", is_namespaced=False)
NODE: Final = Kind("v1", "Node", "nodes", is_namespaced=False)
EVENT: Final = Kind("events.k8s.io/v1", "Event", "events")
STATEFUL_SET: Final = Kind("apps/v1", "StatefulSet", "statefulsets")
DISRUPTION_BUDGET: Final = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY: Final = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
ATTACHMENT: Final = Kind("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", is_namespaced=False)
LEASE: Final = Kind("coordination.k8s.io/v1", "Lease", "leases")
POD_MONITOR: Final = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
CERTIFICATE: Final = Kind("cert-manager.io/v1", "Certificate", "certificates")
AUTOSCALER: Final = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
CLUSTER: Final = Kind("automq.io/v1alpha1", "AutoMQCluster", "automqclusters")

SHAPED: Final = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SERVICE,
    NETWORK_POLICY,
    DISRUPTION_BUDGET,
    STATEFUL_SET,
)
"""Kinds that every cluster consists of; POD_MONITOR and CERTIFICATE join where they exist."""

KINDS: Final = {
    each.kind: each
    for each in (
        *SHAPED,
        POD,
        SECRET,
        CLAIM,
        VOLUME,
        NODE,
        EVENT,
        ATTACHMENT,
        LEASE,
        POD_MONITOR,
        CERTIFICATE,
        AUTOSCALER,
        CLUSTER,
        NAMESPACE,
    )
}


class Change(StrEnum):
    """What a watch tells, in the API's words."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    """Nothing happened; the object has a resourceVersion alone."""


class KubeError(Exception):
    """A call was not done; the message is the API server's."""


class NotFoundError(KubeError):
    """There is no such object, or no such kind."""


class ConflictError(KubeError):
    """The object is another one, or has changed, or exists already: look again."""


class ForbiddenError(KubeError):
    """The operator's account may not do that."""


class InvalidError(KubeError):
    """The object is refused as it is."""


class UnavailableError(KubeError):
    """No answer in time, or one that says to come back later. It may have been done or not."""


class KubeApi(Protocol):
    """Safe to call at the same time; none waits longer than a few seconds."""

    async def list_all(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        """All that the selector matches; of all namespaces if none is named."""

    async def list_from(self, kind: Kind, namespace: str = "", selector: str = "") -> tuple[list[Object], str]:
        """The same, and the resourceVersion that a watch goes on from."""

    def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[Change, Object]]:
        """What happens after that version, until the API server ends it, a minute or so later: go on from the last.

        Raises UnavailableError if the connection breaks, and if the version is too old: then list anew.
        """

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """One object, as it is now."""

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Raises ConflictError if it exists."""

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """Server-side apply, as the owner of every field that is named, taking those that others own."""

    async def patch(self, kind: Kind, namespace: str, name: str, operations: list[Object], part: str = "") -> Object:
        """JSON patch (RFC 6902), of the subresource `part`; a failed test is a ConflictError."""

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """The whole object; its resourceVersion must be the present one."""

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """Only the object with this uid. One that is gone is no error."""

    async def may(self, verb: str, kind: Kind, namespace: str = "") -> bool:
        """Whether the account may do that (SelfSubjectAccessReview)."""

    async def knows(self, kind: Kind) -> bool:
        """Whether the API server has such a kind."""


def kind_of(obj: Object) -> Kind:
    """The kind of an object that names it."""
    return KINDS[obj["kind"]]


__all__ = [
    "ATTACHMENT",
    "AUTOSCALER",
    "CERTIFICATE",
    "CLAIM",
    "CLUSTER",
    "CONFIG_MAP",
    "DISRUPTION_BUDGET",
    "EVENT",
    "KINDS",
    "LEASE",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "POD",
    "POD_MONITOR",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "SHAPED",
    "STATEFUL_SET",
    "VOLUME",
    "Change",
    "ConflictError",
    "ForbiddenError",
    "InvalidError",
    "Kind",
    "KubeApi",
    "KubeError",
    "NotFoundError",
    "Object",
    "UnavailableError",
    "kind_of",
]
