"""What is written to `__consumer_offsets`: generations of groups and committed offsets. Immutable; times in ms."""

import uuid
from dataclasses import dataclass

NO_TOPIC_ID = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class CommittedOffset:
    """A committed position. `leader_epoch` and `expire_ms` are -1 when absent (only old clients set an expiry)."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    commit_ms: int = -1
    expire_ms: int = -1
    topic_id: uuid.UUID = NO_TOPIC_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberValue:
    """A member as it is written: its subscription is that of the chosen protocol only."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    subscription: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupValue:
    """A generation as it is written (Kafka's GroupMetadataValue)."""

    protocol_type: str
    generation: int
    protocol_name: str | None
    leader: str | None
    state_ms: int
    members: tuple[MemberValue, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """The latest generation of a group; value None = the group is gone."""

    group_id: str
    value: GroupValue | None


@dataclass(frozen=True, slots=True)
class OffsetRecord:
    """The latest position of a group in a partition; value None = forgotten."""

    group_id: str
    topic: str
    partition: int
    value: CommittedOffset | None


Record = GroupRecord | OffsetRecord
"""What is written to `__consumer_offsets`. The last record of a key wins, whatever stands between."""


__all__ = ["NO_TOPIC_ID", "CommittedOffset", "GroupRecord", "GroupValue", "MemberValue", "OffsetRecord", "Record"]
