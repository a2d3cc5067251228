"""The vocabulary of the group coordinator: what is asked, what is answered, what is written.

All values are immutable. Bytes (subscriptions, assignments) are opaque copies that nobody changes; times are in ms.
"""

import uuid
from dataclasses import dataclass, field
from typing import NamedTuple

from automq_broker.groups.written import NO_TOPIC_ID, CommittedOffset, Record
from automq_broker.wire.codes import ErrorCode

Token = object
"""Stands for one waiting caller. The machine only stores it and hands it back in exactly one `Reply`."""

NO_MEMBER_ID = ""
NO_GENERATION = -1

CONSUMER_PROTOCOL_TYPE = "consumer"
"""The only protocol type whose subscriptions are looked into (for OffsetDelete and expiry). All others are opaque."""


class Now(NamedTuple):
    """The time of one event: monotonic for deadlines, wall for what is written into records."""

    monotonic_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to assign partitions that a member offers, with its own subscription bytes."""

    name: str
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """JoinGroup. `fresh_id` is a random string from the caller, used if a new member id has to be made."""

    group_id: str
    member_id: str
    instance_id: str | None = None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[Protocol, ...]
    fresh_id: str
    requires_known_member_id: bool = True
    """Version 4 and later: a dynamic member is first told its id and joins with it in a second request (KIP-394)."""
    can_skip_assignment: bool = True
    """Version 9 and later: a static leader that returns to a stable group is told not to assign again (KIP-814)."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JoinedMember:
    """A row of the list that only the leader gets."""

    member_id: str
    instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAnswer:
    """Answer to JoinRequest; `members` is filled for the leader alone."""

    error: ErrorCode = ErrorCode.NONE
    member_id: str = NO_MEMBER_ID
    generation: int = NO_GENERATION
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str = NO_MEMBER_ID
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRequest:
    """SyncGroup; `assignments` comes from the leader alone, by member id."""

    group_id: str
    member_id: str
    generation: int
    instance_id: str | None = None
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignments: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAnswer:
    """Answer to SyncRequest: this member's assignment, empty if the leader gave none."""

    error: ErrorCode = ErrorCode.NONE
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatRequest:
    """Heartbeat."""

    group_id: str
    member_id: str
    generation: int
    instance_id: str | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """Answer to HeartbeatRequest: REBALANCE_IN_PROGRESS asks the member to join again."""

    error: ErrorCode = ErrorCode.NONE


@dataclass(frozen=True, slots=True)
class LeavingMember:
    """One member to remove: by id, or a static one by its instance id alone (the admin's way)."""

    member_id: str
    instance_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LeaveRequest:
    """LeaveGroup; versions below 3 carry exactly one member."""

    group_id: str
    members: tuple[LeavingMember, ...]


@dataclass(frozen=True, slots=True)
class LeaveAnswer:
    """Answer to LeaveRequest: `error` for the whole, `member_errors` in the order of the request."""

    error: ErrorCode = ErrorCode.NONE
    member_errors: tuple[ErrorCode, ...] = ()


@dataclass(frozen=True, slots=True)
class OffsetToCommit:
    """One position in a CommitRequest."""

    topic: str
    partition: int
    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    topic_id: uuid.UUID = NO_TOPIC_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """OffsetCommit. Generation -1 without member and instance id comes from an admin or a consumer without a group."""

    group_id: str
    offsets: tuple[OffsetToCommit, ...]
    member_id: str = NO_MEMBER_ID
    instance_id: str | None = None
    generation: int = NO_GENERATION
    retention_ms: int = -1
    knows_missing_groups: bool = True
    """Version 9 and later know GROUP_ID_NOT_FOUND; before, a missing group was an ILLEGAL_GENERATION."""


@dataclass(frozen=True, slots=True)
class CommitAnswer:
    """Answer to CommitRequest: `error` for every partition, except those whose metadata was `too_large`."""

    error: ErrorCode = ErrorCode.NONE
    too_large: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class TopicToFetch:
    """Positions asked for. A known topic id hides offsets that were committed for another topic of the same name."""

    name: str
    partitions: tuple[int, ...]
    topic_id: uuid.UUID = NO_TOPIC_ID


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """OffsetFetch for one group; `topics` None asks for every committed position."""

    group_id: str
    topics: tuple[TopicToFetch, ...] | None = None


@dataclass(frozen=True, slots=True)
class FetchedTopic:
    """Positions of one topic in the order asked for; None = nothing committed."""

    name: str
    partitions: tuple[tuple[int, CommittedOffset | None], ...]


@dataclass(frozen=True, slots=True)
class FetchAnswer:
    """Answer to FetchRequest."""

    error: ErrorCode = ErrorCode.NONE
    topics: tuple[FetchedTopic, ...] = ()


@dataclass(frozen=True, slots=True)
class OffsetDeleteRequest:
    """OffsetDelete: (topic, partition) pairs to forget."""

    group_id: str
    partitions: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class OffsetDeleteAnswer:
    """Answer to OffsetDeleteRequest: partitions of topics in `subscribed` were left alone."""

    error: ErrorCode = ErrorCode.NONE
    subscribed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DeleteAnswer:
    """Answer to DeleteGroups for one group."""

    error: ErrorCode = ErrorCode.NONE


Answer = (
    JoinAnswer
    | SyncAnswer
    | HeartbeatAnswer
    | LeaveAnswer
    | CommitAnswer
    | FetchAnswer
    | OffsetDeleteAnswer
    | DeleteAnswer
)


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the caller behind `token`; every token gets exactly one."""

    token: Token
    answer: Answer


@dataclass(frozen=True, slots=True)
class Append:
    """Make `records` durable, in the order of these effects; report `ticket` to `on_appended` in that order too."""

    ticket: int
    records: tuple[Record, ...]


Effect = Reply | Append


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedMember:
    """A member as DescribeGroups shows it; `metadata` is empty unless the group is stable."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes = b""
    assignment: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedGroup:
    """A group as DescribeGroups and ListGroups show it; `state` is Kafka's name of it."""

    group_id: str
    state: str
    protocol_type: str = ""
    protocol_name: str = ""
    members: tuple[DescribedMember, ...] = field(default=())


__all__ = [
    "CONSUMER_PROTOCOL_TYPE",
    "NO_GENERATION",
    "NO_MEMBER_ID",
    "Answer",
    "Append",
    "CommitAnswer",
    "CommitRequest",
    "DeleteAnswer",
    "DescribedGroup",
    "DescribedMember",
    "Effect",
    "FetchAnswer",
    "FetchRequest",
    "FetchedTopic",
    "HeartbeatAnswer",
    "HeartbeatRequest",
    "JoinAnswer",
    "JoinRequest",
    "JoinedMember",
    "LeaveAnswer",
    "LeaveRequest",
    "LeavingMember",
    "Now",
    "OffsetDeleteAnswer",
    "OffsetDeleteRequest",
    "OffsetToCommit",
    "Protocol",
    "Reply",
    "SyncAnswer",
    "SyncRequest",
    "Token",
    "TopicToFetch",
]
