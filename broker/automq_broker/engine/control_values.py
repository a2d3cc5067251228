"""What the controller's loop is told and what it tells: identity, knobs, refusals, figures."""

from dataclasses import dataclass
from enum import Enum
from random import Random
from uuid import UUID

from automq_broker.kernel.errors import NotMine
from automq_broker.kernel.ids import NodeId
from automq_broker.meta.head import Head, Holder

MIB = 1 << 20


class NotController(NotMine):
    """This process does not hold the seat, so nothing was done: send the same command to the holder."""


class OutcomeUnknown(NotMine):
    """The controller lost its seat while the command was on its way: it may or may not have been carried out.

    Repeat it, unchanged, at the new controller; every command is idempotent.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this process is. It must hold the exclusive lock of the WAL that `volume_uuid` names while the loop runs.

    `incarnation` is fresh for every process. `wal_cluster_id` is what the WAL's superblock says, "" for a new WAL:
    together with the node id and the volume it proves that a head written before a crash was this node's own.
    """

    node_id: NodeId
    incarnation: UUID
    endpoint: str
    volume_uuid: UUID
    wal_cluster_id: str = ""
    is_candidate: bool = True
    """Whether it takes the seat when that is free. An adopter never does: it only follows, and makes no cluster."""

    def as_holder(self) -> Holder:
        """This process as the head names it."""
        return Holder(
            node_id=self.node_id,
            endpoint=self.endpoint,
            volume_uuid=self.volume_uuid,
            incarnation=self.incarnation,
        )

    def is_holder_of(self, head: Head) -> bool:
        """Whether the recorded holder is this node in an earlier life, so that nobody needs to wait for its session."""
        return (
            head.holder.node_id == self.node_id
            and head.holder.volume_uuid == self.volume_uuid
            and head.cluster_id == self.wal_cluster_id
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlKnobs:
    """Times in seconds, sizes in bytes."""

    renew_interval_s: float = 3.0
    """An idle holder rewrites the head this often, so that others see it live. A lone broker may take a long one."""

    session_s: float = 9.0
    """A head that did not change for this long, and for three promised renewals, has no living holder."""

    watch_interval_s: float = 1.0
    """How often a candidate looks at the head."""

    backoff_first_s: float = 0.05
    backoff_max_s: float = 5.0
    """Pauses after a failed call of the bucket: doubled each time, half of each is jitter."""

    inline_bytes_max: int = 64 * 1024
    """Batches that ride in the head itself; beyond this they move to a delta object first."""

    snapshot_commits: int = 1_000
    snapshot_bytes: int = 64 * MIB
    """A new snapshot after so many commits, or so many bytes of them."""

    queue_max: int = 20_000
    """Commands that may wait; one more is answered Retry."""

    batch_max: int = 5_000
    """Commands in one commit."""

    load_concurrency: int = 16
    """Delta objects read at the same time while loading."""

    stop_grace_s: float = 5.0
    """How long an orderly stop waits for the bucket."""

    confirms_every_answer: bool = False
    """Whether answers that changed nothing wait for a PUT of the head as well. With many brokers they must: a holder
    that was overtaken while it slept would else answer from an old state. A lone broker has nobody to be misled."""

    recent_bytes: int = 8 * MIB
    """Batches kept in memory for followers that are a little behind."""


class Role(Enum):
    """LOADING until `start` returned; then HOLDER, or CANDIDATE after losing the seat; ENDED after stop or failure.

    With many brokers, FOLLOWER is a candidate that keeps its copy of the metadata up to date.
    """

    LOADING = "loading"
    CANDIDATE = "candidate"
    FOLLOWER = "follower"
    HOLDER = "holder"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlStatistics:
    """Figures for metrics and people."""

    role: Role
    epoch: int
    seq: int
    waiting: int
    commits: int
    commands: int
    renewals: int
    snapshots: int
    swept: int
    unknown_outcomes: int
    last_commit_s: float
    batches: int
    commit_s: float
    commits_since_snapshot: int
    bytes_since_snapshot: int
    trouble: str | None


class Backoff:
    """Pauses with jitter for one series of attempts."""

    __slots__ = ("_delay_s", "_max_s", "_rng")

    def __init__(self, rng: Random, knobs: ControlKnobs) -> None:
        self._rng = rng
        self._delay_s = knobs.backoff_first_s
        self._max_s = knobs.backoff_max_s

    def next_s(self) -> float:
        """The next pause in seconds."""
        pause_s = self._rng.uniform(self._delay_s / 2, self._delay_s)
        self._delay_s = min(self._delay_s * 2, self._max_s)
        return pause_s


__all__ = [
    "Backoff",
    "ControlKnobs",
    "ControlStatistics",
    "Identity",
    "NotController",
    "OutcomeUnknown",
    "Role",
]
