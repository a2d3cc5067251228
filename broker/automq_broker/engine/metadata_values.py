"""Times and sizes of a broker's place among many, what it says for itself, and how far its members are."""

from dataclasses import dataclass, field

from automq_broker.engine.control_values import ControlKnobs
from automq_broker.meta.commands import (
    AllocateObjectIds,
    AllocateProducerIds,
    CloseStream,
    CommitObject,
    ConfirmWal,
    NodeRecovered,
    NodeStopped,
    OpenStream,
    RegisterNode,
    ReplaceObjects,
)

OWN_SPEECH = (
    AllocateObjectIds,
    AllocateProducerIds,
    CloseStream,
    CommitObject,
    ConfirmWal,
    NodeRecovered,
    NodeStopped,
    OpenStream,
    RegisterNode,
    ReplaceObjects,
)
"""What a broker says for itself: it has nothing better to do than to wait for a controller that hears it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterKnobs:
    """Times in seconds, sizes in bytes."""

    control: ControlKnobs = field(default_factory=lambda: ControlKnobs(confirms_every_answer=True))

    session_s: float = 9.0
    """A node that is not heard of for this long is fenced (broker.session.timeout.ms)."""

    recovery_s: float = 900.0
    """A node that registered and does not serve after this long loses its epoch: it hangs, or died and nobody told.
    Its process ends at its next word and may register again, or an adopter drains its WAL (DESIGN 5a.2)."""

    return_s: float = 60.0
    """Partitions of a node that has stopped and kept them wait so long for its return, once another one serves."""

    heartbeat_s: float = 2.0
    """How often a node says that it lives (broker.heartbeat.interval.ms)."""

    tail_wait_s: float = 2.0
    """How long the controller holds a follower's question when there is nothing new."""

    tail_bytes_max: int = 1 << 20
    """Batches in one answer to a follower; a single larger batch goes alone."""

    call_timeout_s: float = 10.0
    """A call that is not answered by then has an unknown outcome and is sent again."""

    grace_s: float = 2.0
    """What the network may add to a question that the controller holds."""

    submit_timeout_s: float = 30.0
    """How long a command that somebody waits for may look for a controller. What a broker says for itself
    is repeated for as long as it takes: there is nothing better to do."""

    retry_s: float = 0.5
    """Longest pause before a command is sent again."""

    outbox_commands_max: int = 2_000
    outbox_bytes_max: int = 1 << 20
    """Commands that travel together."""

    outbox_in_flight: int = 2
    """Calls with commands under way at once."""

    remembered_commands: int = 8_192
    """Commands per sender of which the controller knows that it had them already."""

    remembered_senders: int = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One broker as the controller heard of it last: complete up to commit `seq`, `silent_ms` ago."""

    node_id: int
    seq: int
    silent_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quorum:
    """Who holds the controller's seat, at which epoch and commit, and the brokers that follow it."""

    leader_id: int
    epoch: int
    seq: int
    followers: tuple[Progress, ...] = ()


__all__ = ["OWN_SPEECH", "ClusterKnobs", "Progress", "Quorum"]
