"""Conditions: what is well, what goes on, what waits, from one turn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from automq_operator.decide.values import Deferral, Plan
from automq_operator.steps import SetConfigs, Step
from automq_operator.world import InstanceState, Status, World


@dataclass(frozen=True, slots=True)
class Told:
    """A condition without its times."""

    type: str
    is_true: bool
    reason: str
    message: str = ""


def conditions(world: World, planned: Plan, failures: Mapping[Step, str]) -> list[Told]:
    """The six that are always there, then those that are there only while they hold."""
    down = [slot.node_id for slot in world.slots if not _serves(world, slot.node_id)]
    recovering = [each for each in planned.memory.recoveries if not each.is_done]
    failed = next(iter(failures.values()), "")
    moves = _why_progressing(world, planned)
    return [
        _ready(world, down),
        Told("Progressing", bool(moves), "Working" if moves else "Settled", moves),
        _degraded(recovering, failed, down),
        _recovered(world, len(recovering)),
        _scaling_limited(planned.deferrals),
        Told("ReconciliationPaused", bool(world.held), "Held" if world.held else "Active", world.held),
        *_while_they_hold(world, planned, failures),
    ]


def _ready(world: World, down: list[int]) -> Told:
    if world.held and not world.is_metadata_known:
        return Told("Ready", False, "Held", world.held)
    if not world.is_metadata_known:
        return Told("Ready", False, "NoBrokerAnswers", "no broker answers the operator")
    if down:
        return Told("Ready", False, "BrokersDown", f"brokers that do not serve: {', '.join(map(str, down))}")
    return Told("Ready", True, "AllServe", f"{len(world.slots)} brokers serve")


def _serves(world: World, node_id: int) -> bool:
    broker, instance = world.broker(node_id), world.instance(node_id)
    is_up = instance is not None and instance.state is InstanceState.RUNNING
    return is_up and broker is not None and broker.status is Status.ACTIVE


def _why_progressing(world: World, planned: Plan) -> str:
    if world.waits:
        return f"waits for {world.waits}"
    if world.is_ending:
        return "the cluster ends"
    if planned.memory.rolling is not None:
        return f"broker {planned.memory.rolling} is being renewed"
    if planned.memory.drains:
        return f"broker {planned.memory.drains[0]} is being drained"
    if world.stale:
        return f"{len(world.stale)} objects are being brought into line"
    known = {each.node_id for each in world.brokers}
    new = [slot.node_id for slot in world.slots if slot.node_id not in known]
    return f"brokers on their way: {', '.join(map(str, new))}" if new else ""


def _degraded(recovering: list[Any], failed: str, down: list[int]) -> Told:
    if recovering:
        first = recovering[0]
        return Told("Degraded", True, "Recovering", f"broker {first.key.node_id}: {first.stage}: {first.reason}")
    if failed:
        return Told("Degraded", True, "StepFailed", failed)
    if down:
        return Told("Degraded", True, "BrokersDown", f"brokers that do not serve: {', '.join(map(str, down))}")
    return Told("Degraded", False, "Whole")


def _recovered(world: World, recovering: int) -> Told:
    dirty = [
        each.node_id
        for each in world.brokers
        if each.status in (Status.FENCED, Status.RESCUING) and each.partitions_open
    ]
    if recovering or dirty:
        message = f"logs that hold what may be nowhere else: those of brokers {', '.join(map(str, dirty))}"
        return Told("WALRecovered", False, "Recovering", message if dirty else "a recovery is under way")
    return Told("WALRecovered", world.is_metadata_known, "NothingToRecover" if world.is_metadata_known else "Unknown")


_HALTS = {
    "not well": "BrokerNotWell",
    "growing": "VolumesGrow",
    "window": "OutsideWindow",
    "paused": "BrokerPaused",
}
"""Gates at which a rollout stands still until somebody, or a time, lifts them."""

_GATES = {
    "no proof": ("FencingPending", "NoProof"),
    "zone without survivor": ("WALUnavailable", "NoSurvivor"),
    "adopter without a machine": ("WALUnavailable", "Unschedulable"),
    "volumes kept": ("WALRetained", "NotKnownToBeClean"),
    "old brokers": ("ConfigNotApplied", "BrokersTooOld"),
}


def _while_they_hold(world: World, planned: Plan, failures: Mapping[Step, str]) -> list[Told]:
    found: dict[str, Told] = {}
    for each in planned.deferrals:
        if each.gate in _GATES:
            kind, reason = _GATES[each.gate]
            found.setdefault(kind, Told(kind, True, reason, f"{each.subject}: {each.reason}"))
        if each.subject == "rollout" and each.gate in _HALTS:
            found["RolloutHalted"] = Told("RolloutHalted", True, _HALTS[each.gate], each.reason)
    wanted = {slot.node_id for slot in world.slots}
    kept = [
        each.node_id
        for each in world.volumes
        if each.node_id not in wanted and world.instance(each.node_id) is None and not world.is_ending
    ]
    if kept:
        message = f"volumes of brokers that are gone: {', '.join(map(str, kept))}"
        found.setdefault("WALRetained", Told("WALRetained", True, "Kept", message))
    if world.unseen and not world.is_ending:
        message = f"no permission to look at {', '.join(world.unseen)}{_what_waits(world.unseen)}"
        found["PermissionsMissing"] = Told("PermissionsMissing", True, "NotGranted", message)
    found |= _cannot_start(world)
    for why in (failure for step, failure in failures.items() if isinstance(step, SetConfigs)):
        found["ConfigNotApplied"] = Told("ConfigNotApplied", True, why.partition(":")[0], why)
    leaving = [each.name for each in world.hosts if each.is_leaving]
    if leaving and world.unplaced:
        found["DisruptionBlocked"] = Told("DisruptionBlocked", True, "ReplacementPending", _why_blocked(world, leaving))
    return [found[each] for each in sorted(found)]


def _what_waits(unseen: tuple[str, ...]) -> str:
    return ": a dead node's volume waits for Kubernetes" if set(unseen) - {"autoscalers"} else ""


def _cannot_start(world: World) -> dict[str, Told]:
    """Pods that are there and do not begin to run, with the kubelet's words about the first."""
    wanted = {slot.node_id for slot in world.slots}
    stuck = [(f"broker {each.node_id}", each.cannot_start) for each in world.instances if each.node_id in wanted]
    stuck += [(f"adopter of broker {each.key.node_id}", each.cannot_start) for each in world.adopters]
    told = [(who, why) for who, why in stuck if why]
    if not told:
        return {}
    others = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    who, why = told[0]
    return {"PodsCannotStart": Told("PodsCannotStart", True, why.partition(":")[0], f"{who}: {why}{others}")}


def _why_blocked(world: World, leaving: list[str]) -> str:
    """Until a replacement runs, one broker is missing, and the disruption budget lets no other be evicted."""
    node_id, why = world.unplaced[0]
    waiting = ", ".join(str(each) for each, _ in world.unplaced)
    told = f" ({why})" if why else ""
    return f"brokers {waiting} have no node{told}, so broker {node_id} holds up the drain of {', '.join(leaving)}"


_LIMITS = {"bounds": "AutoscalerBounds", "limit": "Limit", "simulation": "Simulation", "busy": "Busy"}
"""Gates at which scaling is held up by something that may last."""


def _scaling_limited(deferrals: Iterable[Deferral]) -> Told:
    for each in deferrals:
        if each.subject == "scaling" and each.gate in _LIMITS:
            return Told("ScalingLimited", True, _LIMITS[each.gate], each.reason)
    return Told("ScalingLimited", False, "NotLimited")


def merged(told: list[Told], before: list[dict[str, Any]], generation: int, stamp: str) -> list[dict[str, Any]]:
    """As the status has them: the time of a condition's last change stays as long as its status does."""
    known = {each["type"]: each for each in before}
    found = []
    for each in told:
        status = "True" if each.is_true else "False"
        old = known.get(each.type, {})
        since = old["lastTransitionTime"] if old.get("status") == status else stamp
        found.append(
            {
                "type": each.type,
                "status": status,
                "reason": each.reason,
                "message": each.message[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return found


__all__ = ["Told", "conditions", "merged"]
