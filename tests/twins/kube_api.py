"""An API server in memory (kube.KubeApi): resourceVersions, uids, conflicts, finalizers, owners, graceful deletion, faults.

A fault is drawn before each call from the seed: the call is refused, or done and its answer lost. What controllers do
stands in kube_controllers.
"""

import asyncio
import base64
import copy
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from automq_operator import kube
from automq_operator.kube import (
    Change,
    ConflictError,
    ForbiddenError,
    InvalidError,
    Kind,
    NotFoundError,
    Object,
    UnavailableError,
)
from twins.admission import admit

Key = tuple[str, str, str]


@dataclass(slots=True)
class KubeTwin:
    """`fault_rate` of all writes meet a fault; `forbidden` are kinds that may not be listed."""

    now: float = 1_700_000_000.0
    seed: int = 0
    fault_rate: float = 0.0
    forbidden: frozenset[str] = frozenset()
    denied: frozenset[tuple[str, str]] = frozenset()
    """Verb and kind of what may not be done."""
    objects: dict[Key, Object] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, kind and name of every write that changed anything."""
    ending_namespaces: set[str] = field(default_factory=set)
    """Nothing can be created in these."""
    before_write: Callable[[str, Kind, str], None] | None = None
    """Called before each write; may raise what an operator that is killed meets."""
    lists: int = 0
    dropped: dict[Key, Object] = field(default_factory=dict)
    """What is gone, as it was last."""
    broken: set[str] = field(default_factory=set)
    """Kinds whose watches break, and whose lists fail."""
    watched: list[asyncio.Event] = field(default_factory=list)
    _version: int = 0
    _uid: int = 0
    _applied: dict[Key, Object] = field(default_factory=dict)
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._random.seed(self.seed)

    # --- what the operator calls

    async def list_all(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        """By the labels of the selector, all of which must match."""
        self.lists += 1
        if kind.kind in self.forbidden:
            raise ForbiddenError(f"{kind.plural} is forbidden")
        return self._matching(kind, namespace, selector)

    def _matching(self, kind: Kind, namespace: str, selector: str) -> list[Object]:
        labels = dict(each.split("=", 1) for each in selector.split(",") if each)
        return [
            copy.deepcopy(obj)
            for (name, space, _), obj in sorted(self.objects.items())
            if name == kind.kind
            and namespace in ("", space)
            and labels.items() <= obj["metadata"].get("labels", {}).items()
        ]

    async def list_from(self, kind: Kind, namespace: str = "", selector: str = "") -> tuple[list[Object], str]:
        """The same, at the present version."""
        if kind.kind in self.broken:
            raise UnavailableError("connection refused")
        return await self.list_all(kind, namespace, selector), str(self._version)

    async def watch(
        self, kind: Kind, namespace: str, selector: str, version: str
    ) -> AsyncIterator[tuple[Change, Object]]:
        """Tells at each `announce` what is different since the last one; it never ends by itself."""
        known = {_key(each): each for each in self._matching(kind, namespace, selector)}
        news = asyncio.Event()
        self.watched.append(news)
        try:
            while True:
                await news.wait()
                news.clear()
                if kind.kind in self.broken:
                    raise UnavailableError("the connection broke")
                now = {_key(each): each for each in self._matching(kind, namespace, selector)}
                for key in [each for each in known if each not in now]:
                    yield Change.DELETED, copy.deepcopy(self.dropped[key])
                for key, obj in now.items():
                    if obj != known.get(key):
                        yield Change.MODIFIED if key in known else Change.ADDED, copy.deepcopy(obj)
                known = now
        finally:
            self.watched.remove(news)

    async def announce(self) -> None:
        """Watchers are told what has changed."""
        for news in self.watched:
            news.set()
        for _ in range(10):
            await asyncio.sleep(0)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """A copy."""
        if kind.kind in self.forbidden:
            raise ForbiddenError(f"{kind.plural} is forbidden")
        return copy.deepcopy(self._find(kind, namespace, name))

    async def create(self, kind: Kind, obj: Object) -> Object:
        """Names with generateName are made."""
        with_name = copy.deepcopy(obj)
        metadata = with_name["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{self._uid}"
        return self._write("create", kind, metadata["name"], lambda: self.put(with_name))

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """What is named is set, what was named before and is no longer is removed, what others set stays."""
        key = _key(obj)

        def do() -> Object:
            live = self.objects.get(key)
            before, self._applied[key] = self._applied.get(key, {}), copy.deepcopy(obj)
            if live is None:
                return self.put(copy.deepcopy(obj))
            merged = _merge(live, obj, before)
            return self.put(merged) if merged != live else live

        return self._write("apply", kind, obj["metadata"]["name"], do)

    async def patch(self, kind: Kind, namespace: str, name: str, operations: list[Object], part: str = "") -> Object:
        """JSON patch: test, add, replace."""

        def do() -> Object:
            draft = copy.deepcopy(self._find(kind, namespace, name))
            for each in operations:
                _operate(draft, each)
            return self.put(draft)

        return self._write("patch", kind, name, do)

    async def replace(self, kind: Kind, obj: Object) -> Object:
        """Only at the present resourceVersion."""

        def do() -> Object:
            live = self._find(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            if live["metadata"]["resourceVersion"] != obj["metadata"].get("resourceVersion"):
                raise ConflictError("the object has been modified")
            return self.put(copy.deepcopy(obj))

        return self._write("replace", kind, obj["metadata"]["name"], do)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, grace_s: int | None = None) -> None:
        """One that is gone is no error."""

        def do() -> Object:
            live = self.objects.get((kind.kind, namespace, name))
            if live is None:
                return {}
            if live["metadata"]["uid"] != uid:
                raise ConflictError("the uid is another one")
            self.remove(live, is_forced=grace_s == 0)
            return live

        self._write("delete", kind, name, do)

    async def may(self, verb: str, kind: Kind, namespace: str = "") -> bool:
        """All but what is forbidden or denied."""
        return kind.kind not in self.forbidden and (verb, kind.kind) not in self.denied

    async def knows(self, kind: Kind) -> bool:
        """Kubernetes' own kinds and ours."""
        return kind not in (kube.POD_MONITOR, kube.CERTIFICATE)

    # --- what controllers and tests do

    def of(self, kind: str) -> list[Object]:
        """All objects of a kind, themselves."""
        return [obj for (name, _, _), obj in sorted(self.objects.items()) if name == kind]

    def stamp(self) -> str:
        """Now, as the API has it."""
        return datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def put(self, obj: Object) -> Object:
        """Store, with a new resourceVersion; AutoMQClusters pass the CRD's schema and rules."""
        key, metadata = _key(obj), obj["metadata"]
        live = self.objects.get(key)
        if live is not None and live["metadata"]["uid"] != metadata.get("uid", live["metadata"]["uid"]):
            raise ConflictError("the uid is another one")
        if live is not None and "uid" not in metadata:
            raise ConflictError(f"{key} exists already")
        if obj["kind"] == kube.CLUSTER.kind:
            obj, problems = admit(obj, live)
            if problems:
                raise InvalidError("; ".join(problems))
            metadata = obj["metadata"]
            changed = live is None or live["spec"] != obj["spec"]
            metadata["generation"] = (live["metadata"]["generation"] if live else 0) + changed
        if live is None and metadata.get("namespace") in self.ending_namespaces:
            raise ForbiddenError(f"unable to create new content in namespace {metadata['namespace']}")
        if live is None:
            self._uid += 1
            metadata |= {"uid": f"u{self._uid}", "creationTimestamp": self.stamp()}
            if obj["kind"] == "Pod":
                obj.setdefault("status", {"phase": "Pending"})
            if "stringData" in obj:
                text = obj.pop("stringData")
                obj["data"] = {name: base64.b64encode(each.encode()).decode() for name, each in text.items()}
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[key] = obj
        is_free = "deletionTimestamp" in metadata and not metadata.get("finalizers")
        if is_free and (obj["kind"] != "Pod" or metadata.get("deletionGracePeriodSeconds") == 0):
            self._drop(obj)
        return copy.deepcopy(obj)

    def remove(self, obj: Object, *, is_forced: bool = False) -> None:
        """Mark it as going; what nobody holds goes at once, pods by force or when their kubelet says so."""
        before = dict(obj["metadata"])
        obj["metadata"].setdefault("deletionTimestamp", self.stamp())
        if obj["kind"] == "Pod" and is_forced:
            obj["metadata"]["deletionGracePeriodSeconds"] = 0
        if obj["metadata"] != before:
            self._version += 1
            obj["metadata"]["resourceVersion"] = str(self._version)
        is_alive = obj["kind"] == "Pod" and obj["spec"].get("nodeName") and not is_forced
        if not obj["metadata"].get("finalizers") and not is_alive:
            self._drop(obj)

    def end_namespace(self, name: str) -> None:
        """As kubectl delete namespace does: everything in it is deleted, and nothing new gets in."""
        self.ending_namespaces.add(name)
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "finalizers": ["kubernetes"]}}
        self.remove(self.objects[_key(self.put(space))])
        for obj in [each for (_, space, _), each in self.objects.items() if space == name]:
            self.remove(obj)

    def _drop(self, obj: Object) -> None:
        self.objects.pop(_key(obj), None)
        self.dropped[_key(obj)] = obj
        uid = obj["metadata"]["uid"]
        for child in list(self.objects.values()):
            if any(each["uid"] == uid for each in child["metadata"].get("ownerReferences", ())):
                self.remove(child)

    def _find(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.objects.get((kind.kind, namespace if kind.is_namespaced else "", name))
        if found is None:
            raise NotFoundError(f"{kind.plural} {name!r} not found")
        return found

    def _write(self, verb: str, kind: Kind, name: str, do: Callable[[], Object]) -> Object:
        if self.before_write is not None:
            self.before_write(verb, kind, name)
        if (verb, kind.kind) in self.denied:
            raise ForbiddenError(f"{kind.plural} {name!r} is forbidden: cannot {verb}")
        fault = self._random.random()
        if fault < self.fault_rate / 2:
            raise UnavailableError("no answer: it was not done")
        before = self._version, len(self.objects)
        result = copy.deepcopy(do())
        if (self._version, len(self.objects)) != before or verb == "delete":
            self.writes.append((verb, kind.kind, name))
        if fault < self.fault_rate:
            raise UnavailableError("no answer: it was done")
        return result


def _key(obj: Object) -> Key:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _merge(live: Any, wanted: Any, before: Any) -> Any:
    if isinstance(live, dict) and isinstance(wanted, dict):
        old = before if isinstance(before, dict) else {}
        merged = {key: each for key, each in live.items() if key in wanted or key not in old}
        for key, each in wanted.items():
            merged[key] = _merge(live.get(key), each, old.get(key)) if key in live else copy.deepcopy(each)
        return merged
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        return [_merge(first, second, None) for first, second in zip(live, wanted, strict=True)]
    return copy.deepcopy(wanted)


def _operate(draft: Object, operation: Object) -> None:
    parts = [each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:]]
    target: Any = draft
    for part in parts[:-1]:
        if part not in target:
            raise InvalidError(f"no such path: {operation['path']}")
        target = target[part]
    if operation["op"] == "test":
        if target.get(parts[-1]) != operation["value"]:
            raise ConflictError(f"test failed: {operation['path']}")
    else:
        target[parts[-1]] = copy.deepcopy(operation["value"])
