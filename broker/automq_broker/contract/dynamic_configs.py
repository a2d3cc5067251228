"""Settings that running brokers take from the metadata, the same for all: nobody need be restarted for these.

Those that are about one broker alone are not among them (cordoned.log.dirs).
"""

from typing import Final

DYNAMIC_CONFIGS: Final = frozenset(
    {
        "autobalancer.controller.anomaly.detect.interval.ms",
        "autobalancer.controller.enable",
        "autobalancer.controller.exclude.broker.ids",
        "autobalancer.controller.exclude.topics",
        "autobalancer.controller.execution.concurrency",
        "autobalancer.controller.execution.interval.ms",
        "autobalancer.controller.goals",
        "autobalancer.controller.metrics.delay.ms",
        "autobalancer.controller.network.in.distribution.detect.avg.deviation",
        "autobalancer.controller.network.in.trivial.change.ratio",
        "autobalancer.controller.network.in.usage.distribution.detect.threshold",
        "autobalancer.controller.network.out.distribution.detect.avg.deviation",
        "autobalancer.controller.network.out.trivial.change.ratio",
        "autobalancer.controller.network.out.usage.distribution.detect.threshold",
        "automq.log.level",
        "compression.type",
        "log.cleanup.policy",
        "log.message.timestamp.after.max.ms",
        "log.message.timestamp.before.max.ms",
        "log.message.timestamp.type",
        "log.retention.bytes",
        "log.retention.ms",
        "message.max.bytes",
        "min.insync.replicas",
    }
)

__all__ = ["DYNAMIC_CONFIGS"]
