"""What a plan can ask for: a closed union. Every step may be carried out twice, and after any other was cut short.

A platform matches all of them (`assert_never` at the end). DESTRUCTIVE steps harm a broker that is alive after all, so
they are planned only with proof of its death, and carry it.
"""

from dataclasses import dataclass

from automq_operator.world import Proof, RecoveryKey


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantRescue:
    """Take the dead broker's epoch away at the controller; refused by it unless the node is at the key's epoch."""

    key: RecoveryKey
    proof: Proof
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseVolume:
    """Make the platform let go of a dead instance's volume. Only for the instance with this uid."""

    key: RecoveryKey
    holder: str
    proof: Proof
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAdopter:
    """Queue an adopter for the volume, beside a survivor. Harms nobody: whoever gets the volume, epochs decide."""

    key: RecoveryKey
    granted_epoch: int
    beside: int
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteAdopter:
    """Remove an adopter that ended, or whose recovery is history."""

    uid: str
    node_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmDrained:
    """Tell the controller that the adopter is done; refused by it while a partition of the node is open."""

    key: RecoveryKey
    granted_epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartBroker:
    """Run the node on its own volume, which it recovers if need be. Harms nobody: the volume admits one."""

    node_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainBroker:
    """Cordon the broker and move its partitions away."""

    node_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UncordonBroker:
    """Let the broker have partitions again."""

    node_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopBroker:
    """Ask a broker to end in order; only for the instance with this uid."""

    node_id: int
    uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetConfigs:
    """Change settings that brokers take at run time, of all brokers: every one of these, or none."""

    upserts: tuple[tuple[str, str], ...]
    deletes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleTo:
    """Change how many brokers are wanted."""

    count: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyObject:
    """Make an object of the platform what it is to be."""

    kind: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteObject:
    """Remove an object of the platform that is of no use any more; only the one with this uid."""

    kind: str
    name: str
    uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteVolume:
    """Delete a write-ahead log's volume, only the one with this uid, after it was seen that the bucket holds all of it."""

    node_id: int
    uid: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UntaintHost:
    """Take back what the operator itself said of a machine, and nothing else."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """The cluster has ended: nothing of it is left to be looked after."""

    reason: str


Step = (
    GrantRescue
    | ReleaseVolume
    | CreateAdopter
    | DeleteAdopter
    | ConfirmDrained
    | StartBroker
    | DrainBroker
    | UncordonBroker
    | StopBroker
    | SetConfigs
    | ScaleTo
    | ApplyObject
    | DeleteObject
    | DeleteVolume
    | UntaintHost
    | LetGo
)

DESTRUCTIVE = (GrantRescue, ReleaseVolume)


def node_of(step: Step) -> int | None:
    """Which broker a step is about; None for one about the cluster."""
    match step:
        case SetConfigs() | ScaleTo() | ApplyObject() | DeleteObject() | UntaintHost() | LetGo():
            return None
        case GrantRescue() | ReleaseVolume() | CreateAdopter() | ConfirmDrained():
            return step.key.node_id
        case _:
            return step.node_id


__all__ = [
    "DESTRUCTIVE",
    "ApplyObject",
    "ConfirmDrained",
    "CreateAdopter",
    "DeleteAdopter",
    "DeleteObject",
    "DeleteVolume",
    "DrainBroker",
    "GrantRescue",
    "LetGo",
    "ReleaseVolume",
    "ScaleTo",
    "SetConfigs",
    "StartBroker",
    "Step",
    "StopBroker",
    "UncordonBroker",
    "UntaintHost",
    "node_of",
]
