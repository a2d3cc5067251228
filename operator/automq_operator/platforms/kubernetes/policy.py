"""What a resource says about decisions."""

from typing import Final

from automq_operator.decide.values import FailoverPolicy, Policy, RolloutPolicy, ScalePolicy, Window
from automq_operator.spec import AutoMQClusterSpec, MaintenanceWindow

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def policy_of(spec: AutoMQClusterSpec) -> Policy:
    """Everything else is the operator's own."""
    scaling = spec.autoscaling
    scale = ScalePolicy()
    if scaling.mode == "Watermark":
        scale = ScalePolicy(
            minimum=scaling.min_replicas,
            maximum=scaling.max_replicas,
            high=scaling.high_watermark,
            low=scaling.low_watermark,
            window_s=scaling.windows.scale_out_seconds,
            in_window_s=scaling.windows.scale_in_seconds,
            out_pause_s=scaling.windows.pause_after_scale_out_seconds,
            in_pause_s=scaling.windows.pause_after_scale_in_seconds,
            out_step=scaling.steps.scale_out,
        )
    has_volumes = spec.wal.type == "EBS"
    failover = FailoverPolicy(
        restart_grace_s=spec.failover.restart_grace_seconds,
        recoveries_max=spec.failover.max_concurrent,
        # Zones have nothing to do with logs in a bucket.
        recoveries_per_zone_max=1 if has_volumes else spec.failover.max_concurrent,
        remembers_machines=spec.failover.proof.cloud_api != "None",
    )
    return Policy(
        failover=failover,
        rollout=RolloutPolicy(windows=tuple(map(_window, spec.maintenance_windows))),
        scale=scale,
        paused=frozenset(spec.brokers.paused),
        retires_volumes=has_volumes and spec.wal.retain.when_scaled == "DeleteWhenClean",
        ends_with_volumes=has_volumes and spec.deletion_policy == "Delete",
    )


def _window(given: MaintenanceWindow) -> Window:
    hours, minutes = given.start.split(":")
    days = frozenset(map(_DAYS.index, given.days or _DAYS))
    return Window(days=days, start=int(hours) * 60 + int(minutes), length=given.minutes)


__all__ = ["policy_of"]
