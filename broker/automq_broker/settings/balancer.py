"""The balancer's settings, under AutoMQ's names and with AutoMQ's defaults where it has one."""

from typing import Literal, get_args

from automq_broker.settings.fields import INT_MAX, LONG_MAX, MIB, Group, Update, boolean, decimal, integer, long, names

_CLUSTER = Update.CLUSTER_WIDE
_PREFIX = "autobalancer.controller."

GoalName = Literal[
    "NetworkInUsageDistributionGoal",
    "NetworkOutUsageDistributionGoal",
    "LeaderCountDistributionGoal",
    "kafka.autobalancer.goals.NetworkInUsageDistributionGoal",
    "kafka.autobalancer.goals.NetworkOutUsageDistributionGoal",
]
"""AutoMQ's files hold the names of its classes, with their package."""


class BalancerSettings(Group):
    """Many brokers: when the controller moves partitions by itself, and what it leaves alone."""

    autobalancer_controller_enable: bool = boolean(
        _PREFIX + "enable",
        True,
        update=_CLUSTER,
        meaning="Whether the controller moves partitions by itself so that the load is even.",
        why="AutoMQ's default: a broker that was added helps without anybody's doing.",
    )
    autobalancer_controller_goals: tuple[GoalName, ...] = names(
        _PREFIX + "goals",
        ("NetworkInUsageDistributionGoal", "NetworkOutUsageDistributionGoal", "LeaderCountDistributionGoal"),
        choices=get_args(GoalName),
        update=_CLUSTER,
        meaning="What is to be even, by weight: a goal never undoes one before it.",
        why="AutoMQ's two, and the count of leaders, so that an idle cluster is spread before the load comes.",
    )
    autobalancer_controller_anomaly_detect_interval_ms: int = long(
        _PREFIX + "anomaly.detect.interval.ms",
        60_000,
        low=1,
        high=LONG_MAX,
        unit="ms",
        update=_CLUSTER,
        meaning="How often the load is looked at; a broker that joined is looked at as soon as its load is known.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_metrics_delay_ms: int = long(
        _PREFIX + "metrics.delay.ms",
        60_000,
        low=1,
        high=LONG_MAX,
        unit="ms",
        update=_CLUSTER,
        meaning="A broker whose newest load report is older takes no part.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_network_in_usage_distribution_detect_threshold: int = long(
        _PREFIX + "network.in.usage.distribution.detect.threshold",
        MIB,
        low=0,
        high=LONG_MAX,
        unit="bytes/s",
        update=_CLUSTER,
        meaning="As long as no broker takes more than this in, nothing is moved for it.",
        why="AutoMQ's default, 1 MiB/s: little load needs no balance.",
    )
    autobalancer_controller_network_in_distribution_detect_avg_deviation: float = decimal(
        _PREFIX + "network.in.distribution.detect.avg.deviation",
        0.1,
        low=0.01,
        high=10.0,
        update=_CLUSTER,
        meaning="Bytes in that are further from the average than this part of it are uneven.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_network_in_trivial_change_ratio: float = decimal(
        _PREFIX + "network.in.trivial.change.ratio",
        0.05,
        low=0.0,
        high=1.0,
        update=_CLUSTER,
        meaning="A partition with less than this part of its broker's average partition is not worth a move.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_network_out_usage_distribution_detect_threshold: int = long(
        _PREFIX + "network.out.usage.distribution.detect.threshold",
        MIB,
        low=0,
        high=LONG_MAX,
        unit="bytes/s",
        update=_CLUSTER,
        meaning="As long as no broker gives more than this out, nothing is moved for it.",
        why="AutoMQ's default, 1 MiB/s.",
    )
    autobalancer_controller_network_out_distribution_detect_avg_deviation: float = decimal(
        _PREFIX + "network.out.distribution.detect.avg.deviation",
        0.1,
        low=0.01,
        high=10.0,
        update=_CLUSTER,
        meaning="Bytes out that are further from the average than this part of it are uneven.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_network_out_trivial_change_ratio: float = decimal(
        _PREFIX + "network.out.trivial.change.ratio",
        0.05,
        low=0.0,
        high=1.0,
        update=_CLUSTER,
        meaning="As network.in.trivial.change.ratio, for bytes out.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_execution_concurrency: int = integer(
        _PREFIX + "execution.concurrency",
        50,
        low=1,
        high=1000,
        unit="moves",
        update=_CLUSTER,
        meaning="The most moves that are under way together.",
        why="AutoMQ's default is 50 for each broker; here it is for all, one batch at a time.",
    )
    autobalancer_controller_execution_interval_ms: int = long(
        _PREFIX + "execution.interval.ms",
        5000,
        low=100,
        high=INT_MAX,
        unit="ms",
        update=_CLUSTER,
        meaning="The shortest time between two batches.",
        why="AutoMQ's default.",
    )
    autobalancer_controller_exclude_broker_ids: tuple[str, ...] = names(
        _PREFIX + "exclude.broker.ids",
        (),
        update=_CLUSTER,
        meaning="Brokers that neither give nor get partitions.",
        why="Nobody is left out by default.",
    )
    autobalancer_controller_exclude_topics: tuple[str, ...] = names(
        _PREFIX + "exclude.topics",
        (),
        update=_CLUSTER,
        meaning="Topics whose partitions stay where they are; their load still counts.",
        why="Nothing is left out by default.",
    )


__all__ = ["BalancerSettings", "GoalName"]
