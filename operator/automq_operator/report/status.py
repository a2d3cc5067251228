"""The status of a resource after one turn, and whether it is worth a write."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from automq_operator import names
from automq_operator.decide.values import Plan
from automq_operator.report.conditions import conditions, merged
from automq_operator.shapes import services
from automq_operator.shapes.cluster import Cluster
from automq_operator.status import (
    AutoMQClusterStatus,
    BlockedStatus,
    BrokerStatus,
    Condition,
    ListenerStatus,
    RecoveryStatus,
    ScalingStatus,
    StageStatus,
    ZoneStatus,
)
from automq_operator.steps import Step
from automq_operator.world import Broker, Recovery, Status, World

_VOLATILE = ("utilisationPercent", "blockedBy")
"""Changes of these alone are written with the next change of anything else, or once a minute."""


def stamp(at: float) -> str:
    """A time as the API has it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(
    before: Mapping[str, Any],
    cluster: Cluster,
    world: World,
    planned: Plan,
    failures: Mapping[Step, str],
    *,
    generation: int,
    replicas: int,
    cluster_id: str,
    memory: dict[str, Any],
    bases: Mapping[str, int],
    now: float,
) -> dict[str, Any]:
    """The whole status. `replicas` are the pods that the StatefulSets have, those without a node included."""
    told = conditions(world, planned, failures)
    listeners = [
        ListenerStatus(name=each.name, bootstrap=services.bootstrap(cluster, each)) for each in cluster.spec.listeners
    ]
    made = AutoMQClusterStatus(
        observed_generation=generation,
        replicas=replicas,
        ready_replicas=sum(1 for slot in world.slots if _state(world, slot.node_id) == "ACTIVE"),
        selector=names.selector_text(names.selector(cluster.name)),
        version=cluster.version if cluster.spec.image is None else str(before.get("version", cluster.version)),
        zones=[ZoneStatus(name=zone, base=base) for zone, base in bases.items()],
        zone_spread=", ".join(f"{zone.name or 'any'}: {zone.replicas}" for zone in cluster.zones),
        bootstrap=listeners[0].bootstrap,
        listeners=listeners,
        cluster_id=cluster_id or str(before.get("clusterId", "")),
        recovering=sum(not each.is_done for each in planned.memory.recoveries),
        brokers=[_broker(cluster, world, node_id) for node_id in world.node_ids()],
        scaling=_scaling(world, planned, now),
        recoveries=[_recovery(each, now) for each in planned.memory.recoveries],
        blocked=[
            BlockedStatus(subject=each.subject, gate=each.gate, reason=_steady(each.reason))
            for each in planned.deferrals
        ],
        memory=memory,
        conditions=[
            Condition.model_validate(each)
            for each in merged(told, list(before.get("conditions") or ()), generation, stamp(now))
        ],
    )
    return made.model_dump(mode="json", by_alias=True, exclude_none=True)


def is_worth_writing(before: Mapping[str, Any], after: Mapping[str, Any], *, is_minute_over: bool) -> bool:
    """Whether the change is more than what moves all the time."""
    if is_minute_over:
        return dict(before) != dict(after)
    return _calm(before) != _calm(after)


def _calm(whole: Mapping[str, Any]) -> dict[str, Any]:
    scaling = {key: value for key, value in (whole.get("scaling") or {}).items() if key not in _VOLATILE}
    recoveries = [
        {"broker": each["broker"], "stage": each["stage"], "epoch": each["epoch"]}
        for each in whole.get("recoveries") or ()
    ]
    told = [(each["type"], each["status"], each["reason"]) for each in whole.get("conditions") or ()]
    blocked = [(each["subject"], each["gate"]) for each in whole.get("blocked") or ()]
    kept = {key: value for key, value in whole.items() if key not in ("scaling", "recoveries", "conditions", "blocked")}
    return kept | {"scaling": scaling, "recoveries": recoveries, "conditions": told, "blocked": blocked}


def _steady(reason: str) -> str:
    return reason[:1000]


def _state(world: World, node_id: int) -> str:
    broker = world.broker(node_id)
    return str(broker.status) if broker is not None else "Unknown"


def _broker(cluster: Cluster, world: World, node_id: int) -> BrokerStatus:
    broker, instance, volume = world.broker(node_id), world.instance(node_id), world.volume(node_id)
    return BrokerStatus(
        id=node_id,
        epoch=broker.broker_epoch if broker else None,
        state=_state(world, node_id),
        zone=(volume.zone if volume else "") or cluster.zone_of(node_id),
        node=instance.host if instance else "",
        wal_volume=volume.name if volume else "",
        wal_state=_wal(broker),
        partitions=broker.partitions_open if broker else 0,
    )


def _wal(broker: Broker | None) -> Any:
    if broker is None:
        return "Unknown"
    match broker.status:
        case Status.RESCUING | Status.RECOVERING:
            return "Recovering"
        case Status.FENCED if broker.partitions_open:
            return "Dirty"
        case Status.STOPPED:
            return "Clean" if broker.is_clean and not broker.partitions_open else "Dirty"
        case _:
            return "InUse"


def _scaling(world: World, planned: Plan, now: float) -> ScalingStatus:
    loads = [each for each in world.loads if each.baseline > 0 and now - each.measured_at < 60.0]
    mean = sum(each.utilisation for each in loads) / len(loads) if loads else None
    changed_at = planned.memory.scaling.changed_at
    blocked = next((each.reason for each in planned.deferrals if each.subject == "scaling"), "")
    return ScalingStatus(
        desired=planned.memory.scaling.desired,
        utilisation_percent=round(mean * 100) if mean is not None else None,
        blocked_by=blocked,
        last_scale_time=stamp(changed_at) if changed_at is not None else None,
    )


def _recovery(recovery: Recovery, now: float) -> RecoveryStatus:
    ends = [at for _, at in recovery.entered[1:]]
    ends.append(recovery.entered[-1][1] if recovery.is_done else now)
    stages = [
        StageStatus(name=stage, seconds=round(max(end - at, 0.0), 1))
        for (stage, at), end in zip(recovery.entered, ends, strict=True)
    ]
    return RecoveryStatus(
        broker=recovery.key.node_id,
        epoch=recovery.key.broker_epoch,
        began_at=stamp(recovery.began_at),
        stage=recovery.stage,
        seconds=round(recovery.seconds, 1),
        reason=recovery.reason,
        stages=stages,
    )


__all__ = ["is_worth_writing", "stamp", "status"]
