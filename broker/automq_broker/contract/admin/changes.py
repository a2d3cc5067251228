"""What people and operators change of a cluster whose brokers live."""

from typing import Annotated

from pydantic import Field

from automq_broker.contract.admin.values import (
    CONFIG_VALUE_MAX,
    CONFIGS_MAX,
    Answer,
    CountField,
    NodeIdField,
    Question,
    SecondsField,
)


class DrainRequest(Question):
    """Cordon a broker and move its partitions to others; `is_cancelled` takes the cordon away again."""

    node_id: NodeIdField
    is_cancelled: bool = False


class StopClusterRequest(Question):
    """All brokers are about to be stopped: within `seconds` each that is keeps its partitions; 0 takes that back."""

    seconds: SecondsField = 60


class ClusterStopping(Answer):
    """What a broker that is stopped now does."""

    until_ms: int = Field(description="So long brokers that stop keep their partitions; 0: they hand them over.")


class ForgetRequest(Question):
    """A broker is gone for good and shall not be shown any more."""

    node_id: NodeIdField


class Forgotten(Answer):
    """The broker is not shown any more. Its volumes stay known: what was refused stays so."""

    node_id: int


class Drained(Answer):
    """How far the drain is; ask again until `partitions_left` is 0."""

    node_id: int
    moves: int = Field(description="Partitions that this call gave to others.")
    partitions_left: int = Field(description="Partitions that the broker still has open.")
    reason: str


class BalanceRequest(Question):
    """Look at the load now and even it out, also where the balancer is disabled."""

    is_dry_run: bool = Field(default=False, description="Only say what would be moved, and why not more.")


class BalanceMove(Answer):
    """A partition that goes to another broker for the sake of a goal."""

    topic: str
    partition: int
    source: int
    target: int
    goal: str
    reason: str


class NotMoved(Answer):
    """A goal, a broker or some partitions that were left as they are, and why."""

    subject: str
    reason: str


class Balanced(Answer):
    """What was given to others, or would be."""

    is_dry_run: bool
    moves: tuple[BalanceMove, ...]
    not_moved: tuple[NotMoved, ...]
    is_full: bool = Field(description="More would be useful than one batch may hold.")


ConfigName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]
ConfigValue = Annotated[str, Field(max_length=CONFIG_VALUE_MAX)]


class ConfigsRequest(Question):
    """Change dynamic configs of all brokers: every one of these, or none."""

    set: dict[ConfigName, ConfigValue] = Field(
        default={}, max_length=CONFIGS_MAX, json_schema_extra={"additionalProperties": False}
    )
    unset: tuple[ConfigName, ...] = Field(
        default=(), max_length=CONFIGS_MAX, description="Names that go back to each broker's own configuration."
    )


class Configs(Answer):
    """Every dynamic config that is set for all brokers now."""

    configs: dict[str, str]


class SweepRequest(Question):
    """Consent to the deletion of orphans that the sweep keeps because they are many. Without numbers: only look."""

    orphans: CountField = Field(default=0, description="Delete, if there are no more than these.")
    size_bytes: CountField = Field(default=0, description="And if they hold no more than this.")


class Swept(Answer):
    """Objects that were uploaded and never committed, of id blocks that nobody can commit from any more."""

    orphans: int = Field(description="Before this call.")
    size_bytes: int = Field(description="Bytes that they hold.")
    live_objects: int
    deleted: int = Field(description="All of the orphans, or none.")
    held_back: str = Field(description="Why they are kept; empty if they are not.")


__all__ = [
    "BalanceMove",
    "BalanceRequest",
    "Balanced",
    "ClusterStopping",
    "Configs",
    "ConfigsRequest",
    "DrainRequest",
    "Drained",
    "ForgetRequest",
    "Forgotten",
    "NotMoved",
    "StopClusterRequest",
    "SweepRequest",
    "Swept",
]
