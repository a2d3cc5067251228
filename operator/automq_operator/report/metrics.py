"""The operator's own figures, for Prometheus."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

TURNS: Final = Counter(
    "automq_operator_reconciles_total", "Turns by their result: ok, failed or gone.", ("result",), registry=REGISTRY
)
TURN_SECONDS: Final = Histogram("automq_operator_reconcile_seconds", "Time of a turn.", registry=REGISTRY)
ACTIONS: Final = Counter(
    "automq_operator_actions_total", "Steps by kind and result: done or failed.", ("kind", "result"), registry=REGISTRY
)
DEFERRALS: Final = Counter(
    "automq_operator_deferrals_total",
    "What was not done, by what held it up, counted once.",
    ("gate",),
    registry=REGISTRY,
)
STAGES: Final = Counter(
    "automq_operator_recovery_stages_total", "Stages that recoveries entered.", ("stage",), registry=REGISTRY
)
SCALES: Final = Counter(
    "automq_operator_scale_decisions_total", "Changes of the wanted number of brokers.", registry=REGISTRY
)
EVENTS_LOST: Final = Counter(
    "automq_operator_events_lost_total", "Events that the API server did not take.", registry=REGISTRY
)
CLUSTERS: Final = Gauge("automq_operator_clusters", "Resources that are looked after.", registry=REGISTRY)
QUEUE: Final = Gauge(
    "automq_operator_queue", "Resources to which something happened since their last turn began.", registry=REGISTRY
)
CONDITION: Final = Gauge(
    "automq_operator_condition",
    "1 while a condition of the resource is True, else 0.",
    ("resource", "type"),
    registry=REGISTRY,
)
WAITING: Final = Gauge(
    "automq_operator_waiting", "What waits now, by what holds it up.", ("resource", "gate"), registry=REGISTRY
)
RECOVERIES: Final = Gauge("automq_operator_recoveries", "Recoveries under way.", ("resource",), registry=REGISTRY)
TURNED_AT: Final = Gauge(
    "automq_operator_last_turn_timestamp_seconds",
    "When the resource was last looked after to the end.",
    ("resource",),
    registry=REGISTRY,
)
LEADER: Final = Gauge("automq_operator_leader", "1 while this process holds the Lease.", registry=REGISTRY)

__all__ = [
    "ACTIONS",
    "CLUSTERS",
    "CONDITION",
    "DEFERRALS",
    "EVENTS_LOST",
    "LEADER",
    "QUEUE",
    "RECOVERIES",
    "REGISTRY",
    "SCALES",
    "STAGES",
    "TURNED_AT",
    "TURNS",
    "TURN_SECONDS",
    "WAITING",
]
