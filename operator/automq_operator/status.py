"""The status of an AutoMQCluster as the operator writes it: the second half of the resource's schema.

`memory` is the operator's own: progress that the next operator goes on from (world.Memory). Everything else is for people
and their tools, made anew from what is seen at each turn.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class ZoneStatus(_Part):
    """A zone and its range of node ids, written once."""

    name: str
    """The zone; empty in a cluster without zones."""
    base: int
    """Node id of its first broker."""


class BrokerStatus(_Part):
    """One broker."""

    id: int
    """Its node id."""
    epoch: int | None = None
    """Its broker epoch."""
    state: str
    """ACTIVE, RECOVERING, FENCED, RESCUING, STOPPED; Unknown while no broker answers."""
    zone: str = ""
    """Its zone."""
    node: str = ""
    """The node that its pod is on."""
    wal_volume: str = ""
    """Claim of its write-ahead log."""
    wal_state: Literal["Clean", "InUse", "Recovering", "Dirty", "Unknown"] = "Unknown"
    """Dirty: it holds what may be nowhere else, and nobody works on it."""
    partitions: int = 0
    """Partitions that it has open."""


class BlockedStatus(_Part):
    """Something that waits, and why."""

    subject: str
    """What it is about."""
    gate: str
    """What holds it up, in a word."""
    reason: str
    """The same for people."""


class ScalingStatus(_Part):
    """The watermark loop."""

    desired: int | None = None
    """How many brokers are wanted."""
    utilisation_percent: int | None = None
    """Mean of the brokers' utilisation; 100 is the network's baseline."""
    blocked_by: str = ""
    """Why nothing is changed although it should be."""
    last_scale_time: str | None = None
    """When the number of wanted brokers last changed."""


class StageStatus(_Part):
    """A stage of a recovery."""

    name: str
    """Its name."""
    seconds: float
    """How long it took, or has taken."""


class RecoveryStatus(_Part):
    """One recovery of a broker that failed."""

    broker: int
    """Its node id."""
    epoch: int
    """The broker epoch that ended."""
    began_at: str
    """When the failure was first seen."""
    stage: str
    """How far it is."""
    seconds: float
    """From the first sight to that stage."""
    reason: str = ""
    """Why it goes on as it does."""
    stages: list[StageStatus] = []
    """What it consisted of."""


class ListenerStatus(_Part):
    """Where clients find a listener."""

    name: str
    """The listener."""
    bootstrap: str
    """host:port for bootstrap.servers."""


class Condition(_Part):
    """A condition, as everywhere in Kubernetes."""

    type: Annotated[str, Field(max_length=316)]
    """Its name."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)]
    """Why, in one word."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """Why, for people."""
    observed_generation: int | None = None
    """Generation of the spec that it is about."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the status last changed."""


class AutoMQClusterStatus(_Part):
    """What is."""

    observed_generation: int | None = None
    """Generation of the spec that was last worked on."""
    replicas: int = 0
    """Brokers that exist, those that wait for a node included; what autoscalers count."""
    ready_replicas: int = 0
    """Brokers that serve."""
    selector: str = ""
    """Label selector of the brokers' pods, for autoscalers."""
    version: str = ""
    """Version of the image that all brokers are on, or are on their way to."""
    zones: list[ZoneStatus] = []
    """Zones with their ranges of node ids."""
    zone_spread: str = ""
    """Brokers in each zone, in short."""
    bootstrap: str = ""
    """Bootstrap address of the first listener."""
    listeners: list[ListenerStatus] = []
    """Bootstrap addresses."""
    cluster_id: str = ""
    """Kafka's id of the cluster; it stays when the resource is made anew on the same bucket."""
    recovering: int = 0
    """Recoveries under way."""
    brokers: list[BrokerStatus] = []
    """Every broker."""
    scaling: ScalingStatus = ScalingStatus()
    """The watermark loop."""
    recoveries: list[RecoveryStatus] = []
    """Those under way and the last ten."""
    blocked: list[BlockedStatus] = []
    """What waits, and why."""
    memory: Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})] = {}
    """The operator's own notes, from which the next operator goes on."""
    conditions: Annotated[
        list[Condition],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = []
    """Ready, Progressing, Degraded, WALRecovered, ScalingLimited, ReconciliationPaused; and while they hold FencingPending,
    WALUnavailable, WALRetained, PodsCannotStart, DisruptionBlocked, RolloutHalted, ConfigNotApplied, PermissionsMissing."""


__all__ = [
    "AutoMQClusterStatus",
    "BlockedStatus",
    "BrokerStatus",
    "Condition",
    "ListenerStatus",
    "RecoveryStatus",
    "ScalingStatus",
    "StageStatus",
    "ZoneStatus",
]
