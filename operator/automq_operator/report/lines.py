"""A turn as lines: each step with its reason, each deferral and stage once when it changes, each failure."""

from typing import Final

from automq_operator.decide.values import Plan
from automq_operator.steps import (
    ApplyObject,
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    DeleteObject,
    DeleteVolume,
    DrainBroker,
    GrantRescue,
    LetGo,
    ReleaseVolume,
    ScaleTo,
    SetConfigs,
    StartBroker,
    Step,
    StopBroker,
    UncordonBroker,
    UntaintHost,
)
from automq_operator.world import Stage, World


def describe(step: Step) -> str:
    """What is done, in words."""
    return _DESCRIPTIONS[type(step)].format(step=step)


_DESCRIPTIONS: Final[dict[type, str]] = {
    GrantRescue: "fence broker {step.key.node_id} at epoch {step.key.broker_epoch} and grant its rescue",
    ReleaseVolume: "release the volume of broker {step.key.node_id}",
    CreateAdopter: "drain the log of broker {step.key.node_id} beside broker {step.beside} (attempt {step.attempt})",
    DeleteAdopter: "remove the adopter of broker {step.node_id}",
    ConfirmDrained: "the log of broker {step.key.node_id} is drained",
    StartBroker: "start broker {step.node_id}",
    DrainBroker: "drain broker {step.node_id}",
    UncordonBroker: "let broker {step.node_id} have partitions again",
    StopBroker: "stop broker {step.node_id}",
    SetConfigs: "change settings of all brokers",
    ScaleTo: "scale to {step.count} brokers",
    ApplyObject: "apply {step.kind} {step.name}",
    DeleteObject: "delete {step.kind} {step.name}",
    DeleteVolume: "delete the volume of broker {step.node_id}",
    UntaintHost: "take the out-of-service taint from node {step.host}",
    LetGo: "let the cluster go",
}


class Changes:
    """Remembers what was told, so that a state that lasts is told once."""

    def __init__(self) -> None:
        self._deferred: dict[str, str] = {}
        self._stages: dict[int, Stage] = {}

    def of(self, world: World, planned: Plan, failures: dict[Step, str]) -> list[str]:
        """What is new in this turn; without failures also before anything is done."""
        lines = self._stage_lines(planned)
        for step in planned.steps:
            failure = failures.get(step)
            lines.append(f"{describe(step)}: {step.reason}" + (f" -- not done: {failure}" if failure else ""))
        deferred = {f"{each.subject}/{each.gate}": f"{each.subject}: {each.reason}" for each in planned.deferrals}
        lines += [line for key, line in deferred.items() if key not in self._deferred]
        self._deferred = deferred
        return lines

    def failed(self, failures: dict[Step, str]) -> list[str]:
        """Which steps could not be done, where they were told before."""
        return [f"{describe(step)} -- not done: {failure}" for step, failure in failures.items()]

    def _stage_lines(self, planned: Plan) -> list[str]:
        lines = []
        for each in planned.memory.recoveries:
            node_id = each.key.node_id
            if each.is_done:
                if self._stages.pop(node_id, None) is not None:
                    lines.append(f"broker {node_id}: recovered in {each.seconds:.1f} s")
            elif self._stages.get(node_id) is not each.stage:
                self._stages[node_id] = each.stage
                lines.append(f"broker {node_id}: {each.stage}: {each.reason}")
        return lines


__all__ = ["Changes", "describe"]
