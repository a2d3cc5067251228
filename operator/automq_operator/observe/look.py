"""One look at a cluster: everything that the API server has about it, as plain objects, read in a moment."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from automq_operator import kube, names
from automq_operator.kube import ForbiddenError, Kind, KubeApi, NotFoundError, Object, UnavailableError
from automq_operator.observe.autoscalers import target_of
from automq_operator.world import Proof

K = TypeVar("K")
SHARED_MAX_AGE_S = 2.0
RIGHTS_MAX_AGE_S = 60.0
SECRET_MAX_AGE_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen. None where the operator's account may not look."""

    resource: Object
    rivals: list[Object] = field(default_factory=list)
    """Other resources on the same bucket that are older."""
    stateful_sets: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    left: list[Object] = field(default_factory=list)
    """Pods in a namespace that ends: nobody waits for them any more."""
    departed: list[Object] = field(default_factory=list)
    """Pods that are gone, as they were seen last."""
    claims: list[Object] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    """All other objects of the cluster that the operator makes."""
    secret: Object | None = None
    authority: Object | None = None
    """Secret of the authority of the cluster's own, and below that of the certificate it signed."""
    certificate: Object | None = None
    volumes: list[Object] | None = None
    attachments: list[Object] | None = None
    nodes: list[Object] | None = None
    autoscalers: list[Object] | None = None
    """Those that drive this resource."""
    may_hold_pods: bool = False
    """Whether the account may change pods, also when their namespace ends: asked only at the end of a cluster."""
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    """What a provider proves about machines, by node name."""


class Views(Protocol):
    """Where objects are looked up. Raises kube.KubeError where what is known may not be the present."""

    async def all(self, kind: Kind) -> list[Object]:
        """Everything of a kind, in the namespaces that are watched."""

    async def one(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """As it was told last; None where nobody tells."""

    async def of(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """What belongs to one cluster."""

    async def departed(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """What belonged to it and is gone since some minutes, as it was seen last."""


class Polled:
    """Views that ask each time; what all clusters share every two seconds at most. For a single look."""

    def __init__(self, api: KubeApi, clock: Callable[[], float], namespaces: tuple[str, ...]) -> None:
        self._api = api
        self._clock = clock
        self._namespaces = namespaces
        self._lists: dict[Kind, tuple[float, list[Object]]] = {}

    async def all(self, kind: Kind) -> list[Object]:
        """See Views."""
        seen = self._lists.get(kind)
        if seen is not None and self._clock() - seen[0] < SHARED_MAX_AGE_S:
            return seen[1]
        scopes = (self._namespaces or ("",)) if kind.is_namespaced else ("",)
        lists = [await self._api.list_all(kind, each) for each in scopes]
        found = [each for part in lists for each in part]
        self._lists[kind] = (self._clock(), found)
        return found

    async def one(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See Views: nobody tells who looks once."""
        return None

    async def of(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """See Views."""
        return await self._api.list_all(kind, namespace, names.selector_text(names.labels(name)))

    async def departed(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """See Views: who looks once sees nobody go."""
        return []


class Shared:
    """Where all clusters look, and what the account may: asked once a minute for all of them."""

    def __init__(self, api: KubeApi, clock: Callable[[], float], views: Views) -> None:
        self._api = api
        self._clock = clock
        self.views = views
        self._rights: dict[tuple[Kind, str], tuple[float, bool]] = {}
        self._kinds: dict[Kind, tuple[float, bool]] = {}
        self._secrets: dict[tuple[str, str], tuple[float, Object]] = {}

    async def all(self, kind: Kind, namespace: str = "") -> list[Object] | None:
        """All objects of a kind; None if the account may not see them: in this namespace, which is as good as any."""
        is_doubtful = not kind.is_namespaced or kind is kube.AUTOSCALER
        if is_doubtful and not await self.may("list watch", kind, namespace):
            return None
        return await self.views.all(kind)

    async def may(self, verbs: str, kind: Kind, namespace: str = "") -> bool:
        """Whether the account may do all of this, in one namespace or in any."""

        async def ask() -> bool:
            return all([await self._api.may(verb, kind, namespace) for verb in verbs.split()])

        return await self._known(self._rights, (kind, verbs), ask)

    async def internal_secret(self, namespace: str, cluster: str) -> Object | None:
        """A cluster's, some minutes old at most: it is made once. It cannot be followed, since nobody may list Secrets."""
        seen = self._secrets.get((namespace, cluster))
        if seen is not None and self._clock() - seen[0] < SECRET_MAX_AGE_S:
            return seen[1]
        found = await _get(self._api, namespace, names.internal_secret(cluster))
        if found is not None:
            self._secrets[namespace, cluster] = (self._clock(), found)
        return found

    def forget_secret(self, namespace: str, cluster: str) -> None:
        """It is read anew: it may be another one."""
        self._secrets.pop((namespace, cluster), None)

    async def has_kind(self, kind: Kind) -> bool:
        """Whether the API server has such a kind."""
        return await self._known(self._kinds, kind, lambda: self._api.knows(kind))

    async def _known(self, answers: dict[K, tuple[float, bool]], kind: K, ask: Callable[[], Awaitable[bool]]) -> bool:
        seen = answers.get(kind)
        if seen is None or self._clock() - seen[0] > RIGHTS_MAX_AGE_S:
            seen = answers[kind] = (self._clock(), await ask())
        return seen[1]


async def look(api: KubeApi, shared: Shared, namespace: str, name: str, known: Object) -> Look | None:
    """Everything about one cluster; None if there is no such resource. Raises kube.KubeError.

    `known` is the resource as it was seen or written last: it is read again unless the watch tells of the very same.
    """
    told = await shared.views.one(kube.CLUSTER, namespace, name)
    try:
        resource = known if _is_same(told, known) else await api.get(kube.CLUSTER, namespace, name)
    except NotFoundError:
        shared.forget_secret(namespace, name)
        return None
    if await _is_ending_with_its_namespace(api, resource):
        return Look(resource=resource, left=await _pods_left(shared, namespace, name))
    kinds = [each for each in kube.SHAPED if each is not kube.STATEFUL_SET]
    kinds += [each for each in (kube.POD_MONITOR, kube.CERTIFICATE) if await shared.has_kind(each)]
    is_signing = "generated" in ((resource["spec"].get("security") or {}).get("tls") or {})
    of = partial(shared.views.of, namespace=namespace, name=name)
    objects = await asyncio.gather(*map(of, kinds))
    return Look(
        resource=resource,
        rivals=await _rivals(shared, resource),
        stateful_sets=await of(kube.STATEFUL_SET),
        pods=await of(kube.POD),
        departed=await shared.views.departed(kube.POD, namespace, name),
        claims=await of(kube.CLAIM),
        objects=[each for found in objects for each in found],
        secret=await shared.internal_secret(namespace, name),
        authority=await _get(api, namespace, names.authority_secret(name)) if is_signing else None,
        certificate=await _get(api, namespace, names.certificate_secret(name)) if is_signing else None,
        volumes=await shared.all(kube.VOLUME),
        attachments=await shared.all(kube.ATTACHMENT),
        nodes=await shared.all(kube.NODE),
        may_hold_pods="deletionTimestamp" in resource["metadata"] and await shared.may("patch", kube.POD),
        autoscalers=await _autoscalers(shared, namespace, name),
    )


async def _autoscalers(shared: Shared, namespace: str, name: str) -> list[Object] | None:
    """They are told about and never acted upon: where they cannot be seen, everything else goes on."""
    try:
        found = await shared.all(kube.AUTOSCALER, namespace)
    except (NotFoundError, UnavailableError):
        return None
    return None if found is None else [each for each in found if target_of(each) == (namespace, name)]


async def _is_ending_with_its_namespace(api: KubeApi, resource: Object) -> bool:
    """Then Kubernetes deletes everything in it, our permission to see it too: only our finalizer is left to be taken away."""
    if "deletionTimestamp" not in resource["metadata"]:
        return False
    try:
        namespace = await api.get(kube.NAMESPACE, "", resource["metadata"]["namespace"])
    except (ForbiddenError, NotFoundError):
        return False
    return "deletionTimestamp" in namespace["metadata"]


async def _pods_left(shared: Shared, namespace: str, name: str) -> list[Object]:
    """None where they cannot be seen any more: then they are not held either, since that is done only with lasting rights."""
    try:
        return await shared.views.of(kube.POD, namespace, name)
    except (ForbiddenError, UnavailableError):
        return []


async def _get(api: KubeApi, namespace: str, name: str) -> Object | None:
    try:
        return await api.get(kube.SECRET, namespace, name)
    except NotFoundError:
        return None


def _is_same(told: Object | None, known: Object) -> bool:
    """Whether nothing happened to the resource since. A version that is not the same may be an older one."""
    if told is None or not known:
        return False
    first, second = told["metadata"], known["metadata"]
    return (first["uid"], first["resourceVersion"]) == (second["uid"], second["resourceVersion"])


async def _rivals(shared: Shared, resource: Object) -> list[Object]:
    """Those that had its bucket first. Kubernetes tells ages in seconds: of one second, first is who has brokers."""
    uid, places = resource["metadata"]["uid"], _places(resource)
    everybody = await shared.all(kube.CLUSTER) or []
    others = [each for each in everybody if each["metadata"]["uid"] != uid and _places(each) & places]
    if not others:
        return []
    own = await _seniority(shared, resource)
    return [each for each in others if await _seniority(shared, each) < own]


async def _seniority(shared: Shared, resource: Object) -> tuple[str, bool, str]:
    metadata = resource["metadata"]
    has_none = not await shared.views.of(kube.STATEFUL_SET, metadata["namespace"], metadata["name"])
    return metadata.get("creationTimestamp", ""), has_none, metadata["uid"]


def _places(resource: Object) -> set[tuple[str, str, str]]:
    """Where its data lie, and its logs if they lie in another bucket."""
    spec = resource["spec"]
    found = [spec.get("storage", {}).get("s3", {}), (spec.get("wal") or {}).get("s3")]
    return {(each.get("endpoint", ""), each.get("bucket", ""), each.get("prefix", "")) for each in found if each}


__all__ = ["Look", "Polled", "Shared", "Views", "look"]
