"""All clusters that are looked after: one keeper and one task each, from the first sight of a resource to its end."""

import asyncio
from collections.abc import Callable
from typing import Final

from automq_operator import kube
from automq_operator.kube import Kind, Object
from automq_operator.observe.autoscalers import target_of
from automq_operator.observe.pods import matters
from automq_operator.platforms.kubernetes.keeper import Keeper
from automq_operator.report import metrics

DEAF_S: Final = 60.0
_INSTANCE: Final = "app.kubernetes.io/instance"


class Keepers:
    """`ended` is set when a keeper ended by an error that nobody foresaw: then the process must end and start anew."""

    def __init__(self, make: Callable[[str, str], Keeper], now: Callable[[], float]) -> None:
        self._make = make
        self._now = now
        self._kept: dict[tuple[str, str], tuple[Keeper, asyncio.Task[None]]] = {}
        self.ended = asyncio.Event()
        self.failure: BaseException | None = None

    def seen(self, namespace: str, name: str) -> None:
        """A resource, or something of it, is there or has changed."""
        key = namespace, name
        if key not in self._kept:
            keeper = self._make(namespace, name)
            task = asyncio.create_task(keeper.keep(), name=f"keeper of {namespace}/{name}")
            self._kept[key] = (keeper, task)
            task.add_done_callback(lambda done: self._over(key, done))
            metrics.CLUSTERS.set(len(self._kept))
        self._kept[key][0].wake.set()

    def changed(self, namespace: str, name: str) -> None:
        """Something of a cluster changed; one that nobody keeps is none of ours."""
        if (namespace, name) in self._kept:
            self._kept[namespace, name][0].wake.set()

    def told(self, kind: Kind, obj: Object, before: Object | None) -> None:
        """Something that is followed changed: whom it concerns has a look. See observe.feeds.Told."""
        metadata = obj["metadata"]
        if kind is kube.CLUSTER:
            # A second door beside kopf's, which was seen to be deaf for ever after a start at a bad moment. What is gone
            # is seen here too: its keeper finds nothing, and ends.
            self.seen(str(metadata.get("namespace")), str(metadata["name"]))
            return
        if kind is kube.AUTOSCALER:
            # Its status changes every few seconds, and is nobody's business here.
            target = target_of(obj)
            if target is not None and (before is None or before["spec"] != obj["spec"]):
                self.changed(*target)
            return
        if kind.is_namespaced:
            self.changed(str(metadata.get("namespace")), str(metadata.get("labels", {}).get(_INSTANCE)))
        elif before is None or matters(obj) != matters(before):
            for keeper, _ in self._kept.values():
                keeper.wake.set()

    def _over(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._kept[key]
        metrics.CLUSTERS.set(len(self._kept))
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self.ended.set()

    def why_deaf(self) -> str | None:
        """A cluster that had no turn for a minute; None if all had one."""
        for (namespace, name), (keeper, _) in self._kept.items():
            if self._now() - keeper.turned_at > DEAF_S:
                return f"{namespace}/{name} had no turn for {self._now() - keeper.turned_at:.0f} s"
        return None

    def queue(self) -> int:
        """How many clusters wait for a turn because something happened to them. Any thread may ask."""
        return sum(keeper.wake.is_set() for keeper, _ in list(self._kept.values()))

    async def stop(self) -> None:
        """End all tasks; steps are cut off where they are, and the next operator goes on."""
        tasks = [task for _, task in self._kept.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["Keepers"]
