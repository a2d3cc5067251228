"""What holds of one cluster now, as figures: its conditions, what waits, what recovers, and when it was looked at."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from automq_operator.decide.values import Plan
from automq_operator.report import metrics
from automq_operator.report.conditions import conditions
from automq_operator.steps import Step
from automq_operator.world import World

OF_RESOURCES: Final = (metrics.CONDITION, metrics.WAITING, metrics.RECOVERIES, metrics.TURNED_AT)


class Levels:
    """The figures of one resource ("namespace/name"); `forget` takes them away with it."""

    def __init__(self, resource: str) -> None:
        self._resource = resource
        self._conditions: set[str] = set()
        self._gates: set[str] = set()
        self._is_told = False

    def turned(self, world: World, planned: Plan, failures: Mapping[Step, str], now: float) -> None:
        """After a turn that went well."""
        told = {each.type: each.is_true for each in conditions(world, planned, failures)}
        waiting = Counter(each.gate for each in planned.deferrals)
        self._drop(self._conditions - set(told), self._gates - set(waiting))
        for kind, is_true in told.items():
            metrics.CONDITION.labels(self._resource, kind).set(is_true)
        for gate, count in waiting.items():
            metrics.WAITING.labels(self._resource, gate).set(count)
        self._conditions, self._gates, self._is_told = set(told), set(waiting), True
        recovering = sum(not each.is_done for each in planned.memory.recoveries)
        metrics.RECOVERIES.labels(self._resource).set(recovering)
        metrics.TURNED_AT.labels(self._resource).set(now)

    def forget(self) -> None:
        """The resource is gone, and nobody may be woken because of it."""
        self._drop(self._conditions, self._gates)
        if self._is_told:
            metrics.RECOVERIES.remove(self._resource)
            metrics.TURNED_AT.remove(self._resource)
        self._conditions, self._gates, self._is_told = set(), set(), False

    def _drop(self, kinds: set[str], gates: set[str]) -> None:
        for kind in kinds:
            metrics.CONDITION.remove(self._resource, kind)
        for gate in gates:
            metrics.WAITING.remove(self._resource, gate)


__all__ = ["OF_RESOURCES", "Levels"]
