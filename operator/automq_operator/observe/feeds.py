"""What all clusters look at, kept up to date by watches: one list at the start, then changes alone.

A feed follows one kind. It is never taken for the present longer than it is one: while its connection is broken for more
than some seconds, whoever asks gets UnavailableError and decides nothing. Steps that harm look once more by themselves.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from automq_operator import names
from automq_operator.kube import (
    ATTACHMENT,
    AUTOSCALER,
    CLUSTER,
    NODE,
    VOLUME,
    Change,
    Kind,
    KubeApi,
    KubeError,
    Object,
    UnavailableError,
)

BROKEN_MAX_S: Final = 10.0
_RETRY_S: Final = 1.0
_DEPARTED_S: Final = 300.0
_DEPARTED_MAX: Final = 10_000
_FIRST_S: Final = 15.0

_UNLABELLED: Final = frozenset({CLUSTER, VOLUME, ATTACHMENT, NODE, AUTOSCALER})
"""Kinds that the operator does not make, so that none of its labels selects them."""

Key = tuple[str, str]
Told = Callable[[Kind, Object, Object | None], None]
"""Called with what changed: the object as it is or was last, and as it was known before."""


class Feed:
    """One kind in one namespace, or in all. `run` never returns; everything else may be asked at any time."""

    def __init__(
        self, api: KubeApi, kind: Kind, namespace: str, selector: str, clock: Callable[[], float], told: Told
    ) -> None:
        self._api = api
        self._kind = kind
        self._namespace = namespace
        self._selector = selector
        self._clock = clock
        self._told = told
        self._objects: dict[Key, Object] = {}
        self._by_cluster: dict[Key, set[Key]] = {}
        self._departed: dict[Key, tuple[float, Object]] = {}
        self._broken_since: float | None = clock()
        self._why = "it was not listed yet"
        self._was_listed = False
        self._listed = asyncio.Event()
        """The first attempt to list is over, well or not."""

    async def run(self) -> None:
        """Follow, for ever."""
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._follow(version)
            except KubeError as error:
                if self._broken_since is None:
                    self._broken_since = self._clock()
                self._why = str(error)
                self._listed.set()
            await asyncio.sleep(_RETRY_S)

    async def _list(self) -> str:
        found, version = await self._api.list_from(self._kind, self._namespace, self._selector)
        present = {_key(each) for each in found}
        # Who came and went while nobody looked is not known, so who went last is not known any more.
        self._departed.clear()
        for key in [each for each in self._objects if each not in present]:
            self._remove(self._objects[key])
        for each in found:
            before = self._objects.get(_key(each))
            if before is None or before["metadata"]["resourceVersion"] != each["metadata"]["resourceVersion"]:
                self._put(each)
        self._broken_since = None
        self._was_listed = True
        self._listed.set()
        return version

    async def _follow(self, version: str) -> str:
        async for change, obj in self._api.watch(self._kind, self._namespace, self._selector, version):
            version = str(obj["metadata"]["resourceVersion"])
            match change:
                case Change.DELETED:
                    self._remove(obj)
                case Change.ADDED | Change.MODIFIED:
                    self._put(obj)
                case Change.BOOKMARK:
                    continue
        return version

    def _put(self, obj: Object) -> None:
        obj["metadata"].pop("managedFields", None)
        key = _key(obj)
        before = self._objects.get(key)
        if before is not None:
            self._by_cluster[_cluster(before)].discard(key)
        self._objects[key] = obj
        self._by_cluster.setdefault(_cluster(obj), set()).add(key)
        self._departed.pop(key, None)
        self._told(self._kind, obj, before)

    def _remove(self, obj: Object) -> None:
        key = _key(obj)
        before = self._objects.pop(key, None)
        if before is not None:
            self._by_cluster[_cluster(before)].discard(key)
        now = self._clock()
        self._departed = {each: kept for each, kept in self._departed.items() if now - kept[0] < _DEPARTED_S}
        if len(self._departed) < _DEPARTED_MAX:
            self._departed[key] = (now, obj)
        self._told(self._kind, obj, before)

    async def check(self) -> None:
        """Raises UnavailableError if what is known may not be the present."""
        if not self._listed.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_S):
                    await self._listed.wait()
        broken_s = 0.0 if self._broken_since is None else self._clock() - self._broken_since
        if broken_s > BROKEN_MAX_S or not self._was_listed:
            raise UnavailableError(f"{self._kind.plural} cannot be followed: {self._why}")

    def all(self) -> Iterator[Object]:
        """Everything."""
        return iter(list(self._objects.values()))

    def one(self, key: Key) -> Object | None:
        """As it is; None if there is none."""
        return self._objects.get(key)

    def of(self, cluster: Key) -> Iterator[Object]:
        """What belongs to one cluster, by its labels."""
        return (self._objects[key] for key in sorted(self._by_cluster.get(cluster, ())))

    def departed(self, cluster: Key) -> Iterator[Object]:
        """What is gone since a few minutes, as it was last, in the order in which it went."""
        return (obj for _, obj in self._departed.values() if _cluster(obj) == cluster)


class Watched:
    """Satisfies look.Views by feeds that begin when they are first asked for, or with `follow`, and end with `stop`.

    `ended` is set when one ended by an error that nobody foresaw: then the process must end and start anew.
    """

    def __init__(self, api: KubeApi, clock: Callable[[], float], namespaces: tuple[str, ...], told: Told) -> None:
        self._api = api
        self._clock = clock
        self._namespaces = namespaces
        self._told = told
        self._feeds: dict[Kind, list[Feed]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()
        self.failure: BaseException | None = None

    async def all(self, kind: Kind) -> list[Object]:
        """See look.Views."""
        return [obj for feed in await self._checked(kind) for obj in feed.all()]

    async def one(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """See look.Views."""
        found = (feed.one((namespace, name)) for feed in await self._checked(kind))
        return next((each for each in found if each is not None), None)

    async def of(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """See look.Views."""
        return [obj for feed in await self._checked(kind) for obj in feed.of((namespace, name))]

    async def departed(self, kind: Kind, namespace: str, name: str) -> list[Object]:
        """See look.Views."""
        return [obj for feed in await self._checked(kind) for obj in feed.departed((namespace, name))]

    async def _checked(self, kind: Kind) -> list[Feed]:
        feeds = self.follow(kind)
        for each in feeds:
            await each.check()
        return feeds

    def follow(self, kind: Kind) -> list[Feed]:
        """Begin, unless it has begun already."""
        feeds = self._feeds.get(kind)
        if feeds is None:
            scopes = (self._namespaces or ("",)) if kind.is_namespaced else ("",)
            selector = "" if kind in _UNLABELLED else f"app.kubernetes.io/managed-by={names.FIELD_MANAGER}"
            feeds = [Feed(self._api, kind, scope, selector, self._clock, self._told) for scope in scopes]
            self._feeds[kind] = feeds
            for each in feeds:
                task = asyncio.create_task(each.run(), name=f"watch of {kind.plural}")
                task.add_done_callback(self._over)
                self._tasks.append(task)
        return feeds

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self.ended.set()

    async def stop(self) -> None:
        """End all feeds."""
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _key(obj: Object) -> Key:
    return str(obj["metadata"].get("namespace", "")), str(obj["metadata"]["name"])


def _cluster(obj: Object) -> Key:
    metadata = obj["metadata"]
    instance = metadata.get("labels", {}).get("app.kubernetes.io/instance", "")
    return str(metadata.get("namespace", "")), str(instance)


__all__ = ["BROKEN_MAX_S", "Feed", "Told", "Watched"]
