"""The admin API /v1: what it answers, what it can be asked, and every call in one table.

These models are the source of /v1/openapi.json; servers, the command line and the operator all read this page. Answers may
gain fields (a reader ignores what it does not know), requests may not hold any that are unknown. Every POST may be sent
again after a lost answer: it names the broker epoch or the key that it means, so the second one changes nothing.
"""

from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

PREFIX: Final = "/v1/"
"""What is below it is the API; pages for people and probes are beside it."""

PROBLEM_TYPE: Final = "application/problem+json"
"""Media type of every answer that is not a success. Source: RFC 9457."""

NODE_ID_MAX: Final = 2**31 - 1
EPOCH_MAX: Final = 2**63 - 1
COUNT_MAX: Final = 2**63 - 1
STOP_SECONDS_MAX: Final = 3600
PAGE_ROWS_MAX: Final = 1000
"""Rows of one page of partitions, and most moves or decisions that one answer names."""


def _whole(value: object) -> object:
    """1.0 is the integer 1, as JSON Schema has it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


NodeIdField = Annotated[
    int, Field(ge=0, le=NODE_ID_MAX, description="Kafka's broker id (node.id)."), BeforeValidator(_whole)
]
EpochField = Annotated[
    int,
    Field(ge=0, le=EPOCH_MAX, description="The broker epoch at which the node is expected."),
    BeforeValidator(_whole),
]
SecondsField = Annotated[int, Field(ge=0, le=STOP_SECONDS_MAX), BeforeValidator(_whole)]
CountField = Annotated[int, Field(ge=0, le=COUNT_MAX), BeforeValidator(_whole)]


class Answer(BaseModel):
    """What the API answers; unknown fields are ignored, so that an older reader understands a newer broker."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Question(BaseModel):
    """What the API is asked; an unknown field is refused, because ignoring it could mean doing the wrong thing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


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


class FenceRequest(Question):
    """Take a silent broker out of service until its next heartbeat."""

    node_id: NodeIdField
    broker_epoch: EpochField


class RescueRequest(Question):
    """Take a dead broker's epoch away and grant one to an adopter. Only with proof that it is dead."""

    node_id: NodeIdField
    broker_epoch: EpochField
    rescue: UUID = Field(description="Key of this rescue; the same key gets the same answer.")


class RescueGranted(Answer):
    """What an adopter starts with."""

    node_id: int
    broker_epoch: int


class AdoptDoneRequest(Question):
    """The adopter drained the log; refused while a partition of the node is open."""

    node_id: NodeIdField
    broker_epoch: EpochField


class AcceptWalLossRequest(Question):
    """Go on without a dead broker's write-ahead log. Only for a volume that is lost for good: it stays refused."""

    node_id: NodeIdField
    broker_epoch: EpochField
    volume_uuid: UUID = Field(description="The volume that is given up, as GET /v1/brokers names it.")
    volume_handle: str = Field(max_length=1024)


class LostBehind(Answer):
    """A partition of the given-up log: what was acknowledged at `committed_end` and behind it is gone."""

    topic: str
    partition: int
    committed_end: int


class WalLossAccepted(Answer):
    """The broker's partitions go on at their committed ends; it may start again on another volume."""

    node_id: int
    broker_epoch: int
    lost: tuple[LostBehind, ...] = Field(description="Empty if the loss had been accepted before.")
    total: int = Field(description=f"All of them; at most {PAGE_ROWS_MAX} are named.")


class Done(Answer):
    """It is so, whether by this call or by an earlier one."""

    node_id: int
    status: BrokerStatus


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


class Problem(Answer):
    """Why a call was not done. Source: RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Call(BaseModel):
    """One call of the API. `query` holds the names of what a GET takes, with their JSON schemas."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    method: str
    path: str
    answer: type[Answer]
    question: type[Question] | None = None
    query: dict[str, dict[str, Any]] = Field(default_factory=dict)
    meaning: str


def _get(name: str, answer: type[Answer], meaning: str, **query: dict[str, Any]) -> Call:
    return Call(name=name, method="GET", path=f"/v1/{name}", answer=answer, query=query, meaning=meaning)


def _post(name: str, question: type[Question], answer: type[Answer], meaning: str) -> Call:
    return Call(name=name, method="POST", path=f"/v1/{name}", question=question, answer=answer, meaning=meaning)


CLUSTER = _get("cluster", Cluster, "The cluster in a few numbers.")
BROKERS = _get("brokers", Brokers, "All brokers with their status, epoch, volume and load of partitions.")
PARTITIONS = _get(
    "partitions",
    Partitions,
    "Partitions with their owners and offsets, a page at a time.",
    after={"type": "string", "pattern": "^([a-zA-Z0-9._-]{1,249}/[0-9]{1,9})?$"},
    limit={"type": "integer", "minimum": 1, "maximum": PAGE_ROWS_MAX},
)
MOVES = _get("moves", Moves, "Partitions that are not open where they are to be.")
RECOVERIES = _get("recoveries", Recoveries, "Dead brokers whose logs adopters drain.")
DECISIONS = _get("decisions", Decisions, "What was decided lately, and why.")
DRAIN = _post("drain", DrainRequest, Drained, "Move every partition off a broker; safe to repeat until it is empty.")
BALANCE = _post("balance", BalanceRequest, Balanced, "Even out the load; only the controller knows it, others refuse.")
FENCE = _post("fence", FenceRequest, Done, "Take a silent broker out of service until its next heartbeat.")
RESCUE = _post("rescue", RescueRequest, RescueGranted, "Grant an epoch to an adopter of a broker that is proven dead.")
ADOPT_DONE = _post("adopt-done", AdoptDoneRequest, Done, "The adopter is done: no partition of the node is open.")
ACCEPT_WAL_LOSS = _post(
    "accept-wal-loss",
    AcceptWalLossRequest,
    WalLossAccepted,
    "Give up a dead broker's write-ahead log, and with it every record that is not in the bucket.",
)
STOP_CLUSTER = _post(
    "stop-cluster",
    StopClusterRequest,
    ClusterStopping,
    "Announce that all brokers stop: they keep their partitions, and open them again when they are back.",
)
FORGET = _post(
    "forget",
    ForgetRequest,
    Forgotten,
    "Show a broker that has stopped for good no more; refused while partitions depend on it.",
)
SWEEP = _post("sweep", SweepRequest, Swept, "Look for orphans in the bucket, and delete those that were agreed to.")

CALLS: Final = (
    CLUSTER,
    BROKERS,
    PARTITIONS,
    MOVES,
    RECOVERIES,
    DECISIONS,
    DRAIN,
    BALANCE,
    FENCE,
    RESCUE,
    ADOPT_DONE,
    ACCEPT_WAL_LOSS,
    STOP_CLUSTER,
    FORGET,
    SWEEP,
)
"""Every call, in the order of the documentation."""

OPENAPI_PATH: Final = "/v1/openapi.json"

__all__ = [
    "ACCEPT_WAL_LOSS",
    "ADOPT_DONE",
    "BALANCE",
    "BROKERS",
    "CALLS",
    "CLUSTER",
    "DECISIONS",
    "DRAIN",
    "EPOCH_MAX",
    "FENCE",
    "FORGET",
    "MOVES",
    "NODE_ID_MAX",
    "OPENAPI_PATH",
    "PAGE_ROWS_MAX",
    "PARTITIONS",
    "PROBLEM_TYPE",
    "RECOVERIES",
    "RESCUE",
    "STOP_CLUSTER",
    "STOP_SECONDS_MAX",
    "SWEEP",
    "AcceptWalLossRequest",
    "AdoptDoneRequest",
    "Answer",
    "BalanceMove",
    "BalanceRequest",
    "Balanced",
    "Broker",
    "BrokerStatus",
    "Brokers",
    "Call",
    "Cluster",
    "ClusterStopping",
    "Controller",
    "Decision",
    "Decisions",
    "Done",
    "DrainRequest",
    "Drained",
    "Endpoint",
    "FenceRequest",
    "ForgetRequest",
    "Forgotten",
    "Load",
    "LostBehind",
    "Move",
    "MoveStage",
    "Moves",
    "NotMoved",
    "Partition",
    "Partitions",
    "Problem",
    "Question",
    "Recoveries",
    "Recovery",
    "RescueGranted",
    "RescueRequest",
    "StopClusterRequest",
    "SweepRequest",
    "Swept",
    "WalLossAccepted",
]
