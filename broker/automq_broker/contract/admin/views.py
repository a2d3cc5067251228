"""What is: brokers, partitions, moves, recoveries, decisions."""

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from automq_broker.contract.admin.values import PAGE_ROWS_MAX, Answer


class BrokerStatus(StrEnum):
    """Where a broker stands in the cluster's metadata."""

    RECOVERING = "RECOVERING"
    """Registered, replays its write-ahead log; not advertised to clients."""
    ACTIVE = "ACTIVE"
    """Serves."""
    FENCED = "FENCED"
    """Missed heartbeats. The next one at the same epoch lifts it."""
    RESCUING = "RESCUING"
    """Proven dead: an adopter speaks for it."""
    STOPPED = "STOPPED"
    """Ended by itself, or drained by an adopter."""


class Endpoint(Answer):
    """Where a listener of a broker is reached."""

    listener: str
    host: str
    port: int
    security_protocol: str


class Controller(Answer):
    """Who holds the controller's seat, as far as the answering broker knows."""

    node_id: int | None = Field(description="None while nobody is known to hold it.")
    endpoint: str = ""
    epoch: int = 0


class Cluster(Answer):
    """The cluster in a few numbers."""

    cluster_id: str
    answered_by: int = Field(description="The broker that answered, from its own copy of the metadata.")
    controller: Controller
    brokers: dict[BrokerStatus, int] = Field(description="How many brokers are in each status.")
    topics: int
    partitions: int
    partitions_open: int
    partitions_served: int | None = Field(
        default=None,
        description="Those that are open at an ACTIVE broker: clients have a leader. Null from old brokers.",
    )
    partitions_moving: int
    recoveries: int = Field(description="Brokers that an adopter is to drain.")
    configs: dict[str, str] | None = Field(
        default=None, description="Dynamic configs that are set for all brokers. Null from old brokers."
    )


class Load(Answer):
    """What a broker told the controller with its last heartbeats; rates over some 15 seconds."""

    bytes_in_per_s: float
    bytes_out_per_s: float
    wal_used_bytes: int
    wal_capacity_bytes: int
    connections: int
    silent_ms: int = Field(description="How long ago the last heartbeat came.")


class Broker(Answer):
    """One broker as the metadata knows it."""

    node_id: int
    status: BrokerStatus
    broker_epoch: int
    rack: str
    endpoints: tuple[Endpoint, ...]
    volume_uuid: UUID
    volume_handle: str
    is_clean: bool = Field(description="Its write-ahead log holds nothing that the bucket does not.")
    is_cordoned: bool = Field(description="It gets no new partitions, because it is being drained.")
    partitions_assigned: int = Field(description="Partitions that it is to serve.")
    partitions_open: int = Field(description="Partitions that it has open; at 0 nothing depends on its log.")
    rescue: UUID | None = Field(default=None, description="Key of the rescue under way.")
    load: Load | None = Field(default=None, description="Known to the controller alone; None where another answers.")


class Brokers(Answer):
    """All brokers, by id."""

    brokers: tuple[Broker, ...]


class Partition(Answer):
    """One partition and its log."""

    topic: str
    partition: int
    stream_id: int
    assigned: int = Field(description="The broker that is to serve it.")
    owner: int | None = Field(description="The broker that has it open; None while nobody has.")
    leader_epoch: int
    start_offset: int
    committed_end: int = Field(description="End of what is in the bucket; newer records are in the owner's log.")


class Partitions(Answer):
    """A page of partitions, by topic and number."""

    partitions: tuple[Partition, ...]
    next: str | None = Field(default=None, description="Ask again with after=this for the next page; None at the end.")


class MoveStage(StrEnum):
    """How far a move is."""

    CLOSING = "CLOSING"
    """The old owner still has to upload and close it."""
    OPENING = "OPENING"
    """The new owner still has to open it."""


class Move(Answer):
    """A partition that is not yet open where it is to be."""

    topic: str
    partition: int
    source: int | None = Field(description="Who has it open; None once it is closed.")
    target: int
    stage: MoveStage
    reason: str


class Moves(Answer):
    """Partitions that are not open where they are to be."""

    moves: tuple[Move, ...]
    total: int = Field(description=f"All of them; at most {PAGE_ROWS_MAX} are named.")


class Recovery(Answer):
    """A dead broker whose write-ahead log an adopter drains."""

    node_id: int
    broker_epoch: int = Field(description="The epoch at which the adopter speaks for it.")
    rescue: UUID
    rack: str
    volume_uuid: UUID
    volume_handle: str
    partitions_left: int = Field(description="Partitions that are still open in its name.")


class Recoveries(Answer):
    """All brokers in status RESCUING."""

    recoveries: tuple[Recovery, ...]


class Decision(Answer):
    """Something that was decided, and why."""

    at_ms: int
    kind: str
    subject: str
    decision: str
    reason: str


class Decisions(Answer):
    """The newest decisions of the answering broker, newest first; they do not survive its restart."""

    decisions: tuple[Decision, ...]


__all__ = [
    "Broker",
    "BrokerStatus",
    "Brokers",
    "Cluster",
    "Controller",
    "Decision",
    "Decisions",
    "Endpoint",
    "Load",
    "Move",
    "MoveStage",
    "Moves",
    "Partition",
    "Partitions",
    "Recoveries",
    "Recovery",
]
