"""Keeps one cluster: turn after turn until its resource is gone, with Events and figures about each."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from automq_operator import kube, loop, names
from automq_operator.decide.values import Plan
from automq_operator.kube import ConflictError, KubeApi, KubeError, Object
from automq_operator.observe.frame import UnreadableError
from automq_operator.platforms.kubernetes.platform import GoneError, KubernetesPlatform
from automq_operator.report import metrics
from automq_operator.report.levels import Levels
from automq_operator.report.lines import Changes, describe
from automq_operator.steps import ApplyObject, ScaleTo, Step
from automq_operator.world import World

_LOG: Final = logging.getLogger("automq_operator")
_BUSY_S: Final = 1.0
"""Pause while anything is done or recovers: failover is counted in seconds."""
_CALM_S: Final = 30.0
"""Looks are rare where nothing is measured."""
_EVENTS_PER_TURN: Final = 20
_NOTE_MAX: Final = 1000


class Keeper:
    """One per resource. `wake` ends a pause early."""

    def __init__(
        self, platform: KubernetesPlatform, api: KubeApi, *, now: Callable[[], float], interval_s: float
    ) -> None:
        self._platform = platform
        self._api = api
        self._now = now
        self._interval_s = interval_s
        self._changes = Changes()
        self._levels = Levels(platform.title)
        self._deferred: set[tuple[str, str]] = set()
        self._again: frozenset[Step] = frozenset()
        """Steps of the last turn: what is repeated until the platform has done it is told once."""
        self._turn: tuple[World, Plan, dict[Step, str]] | None = None
        self.wake = asyncio.Event()
        self.turned_at = now()

    async def keep(self) -> None:
        """Returns when the resource is gone. What the API server does not do now is tried again by the next turn."""
        while True:
            self.wake.clear()
            try:
                pause_s = _BUSY_S if await self.turn() else self._rest_s()
            except GoneError:
                metrics.TURNS.labels("gone").inc()
                self._levels.forget()
                return
            except (KubeError, UnreadableError) as error:
                metrics.TURNS.labels("failed").inc()
                _LOG.warning("turn failed: %s", error)
                pause_s = _BUSY_S if isinstance(error, ConflictError) else self._interval_s
            self.turned_at = self._now()
            await self._pause(pause_s)

    def _rest_s(self) -> float:
        """What happens wakes a keeper; only brokers' figures have to be asked for again and again."""
        return self._interval_s if self._platform.is_measuring else max(self._interval_s, _CALM_S)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return

    async def turn(self) -> bool:
        """One turn; whether the next one should follow soon."""
        with metrics.TURN_SECONDS.time():
            await self._platform.refresh()
            planned = await loop.turn(self._platform, _Told(self._count), self._platform.policy, self._now)
            assert self._turn is not None
            world, _, failures = self._turn
            await self._platform.publish(planned, failures)
            await self._tell(world, planned, failures)
        self._levels.turned(world, planned, failures, self._now())
        metrics.TURNS.labels("ok").inc()
        is_new = not self._again.issuperset(planned.steps)
        self._again = frozenset(planned.steps)
        return is_new or world.is_ending or _is_under_way(world, planned)

    def _count(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """Count what was done and what waits."""
        for step in planned.steps:
            metrics.ACTIONS.labels(type(step).__name__, "failed" if step in failures else "done").inc()
            if isinstance(step, ScaleTo):
                metrics.SCALES.inc()
        waiting = {(each.subject, each.gate) for each in planned.deferrals}
        for _, gate in waiting - self._deferred:
            metrics.DEFERRALS.labels(gate).inc()
        self._deferred = waiting
        before = {(each.key, each.stage) for each in world.memory.recoveries}
        for each in planned.memory.recoveries:
            if (each.key, each.stage) not in before:
                metrics.STAGES.labels(str(each.stage)).inc()
        self._turn = world, planned, failures

    async def _tell(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """An Event for each decision; objects that were applied without trouble are told as one."""
        quiet = [each for each in planned.steps if isinstance(each, ApplyObject) and each not in failures]
        quiet = [each for each in quiet if each not in self._again]
        loud = Plan(
            steps=tuple(each for each in planned.steps if each not in quiet and each not in self._again),
            deferrals=planned.deferrals,
            memory=planned.memory,
        )
        lines = self._changes.of(world, loud, failures)
        lines += [_applied(quiet)] if quiet else []
        for line in lines:
            _LOG.info("%s", line)
        for line in lines[:_EVENTS_PER_TURN]:
            try:
                await self._api.create(kube.EVENT, _event(self._platform.resource, line, self._now()))
            except KubeError:
                # Events are told, not kept: what matters stands in the status.
                metrics.EVENTS_LOST.inc()


def _is_under_way(world: World, planned: Plan) -> bool:
    """Whether brokers are about to be done with something that nobody tells of: partitions that leave, a log's end."""
    memory = planned.memory
    leaving = [each for each in world.brokers if each.node_id in memory.drains]
    is_emptied = all(not each.partitions_open and not each.partitions_assigned for each in leaving)
    is_recovering = any(not each.is_done for each in memory.recoveries)
    return is_recovering or memory.rolling is not None or not is_emptied


class _Told:
    """Satisfies loop.Reporter."""

    def __init__(self, tell: Callable[[World, Plan, dict[Step, str]], None]) -> None:
        self.turn = tell

    def decided(self, world: World, planned: Plan) -> None:
        """See loop.Reporter. Each line tells of a step and how it went, so it waits for that."""


def _applied(steps: list[ApplyObject]) -> str:
    first = steps[0]
    if len(steps) == 1:
        return f"{describe(first)}: {first.reason}"
    return f"{len(steps)} objects brought into line, {first.kind} {first.name} first"


def _event(resource: Object, line: str, now: float) -> Object:
    metadata = resource["metadata"]
    is_bad = any(each in line for each in (" -- not done: ", "no proof", "unavailable", "cannot start"))
    regarding = {key: metadata[key] for key in ("namespace", "name", "uid", "resourceVersion") if key in metadata}
    return {
        "apiVersion": kube.EVENT.api_version,
        "kind": kube.EVENT.kind,
        "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
        "eventTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": f"{names.PREFIX}/operator",
        "reportingInstance": names.FIELD_MANAGER,
        "action": "Reconcile",
        "reason": "Waiting" if is_bad else "Decided",
        "regarding": {"apiVersion": kube.CLUSTER.api_version, "kind": kube.CLUSTER.kind, **regarding},
        "note": line[:_NOTE_MAX],
        "type": "Warning" if is_bad else "Normal",
    }


__all__ = ["Keeper"]
