"""The states of a classic group, where each may go, and what a known member is answered in each."""

from enum import StrEnum

from automq_broker.wire.codes import ErrorCode


class GroupState(StrEnum):
    """Values are the names that Kafka's tools show."""

    EMPTY = "Empty"
    """No members; offsets may remain. Answers commits without a generation; a join starts the initial rebalance."""

    PREPARING_REBALANCE = "PreparingRebalance"
    """Members are asked to join again; joins wait here. Ends when all joined or the rebalance timeout passed."""

    COMPLETING_REBALANCE = "CompletingRebalance"
    """A generation exists; syncs wait for the leader's assignment to be durable. Commits are refused."""

    STABLE = "Stable"
    """Everybody has an assignment. Any change of membership leads back to PREPARING_REBALANCE."""

    DEAD = "Dead"
    """Its end is on its way to the log, or its partition is gone: who comes is asked to look for the coordinator and try
    again. Leads back to EMPTY only if the log refuses the end."""


_MAY_COME_FROM = {
    GroupState.EMPTY: {GroupState.PREPARING_REBALANCE, GroupState.DEAD},
    GroupState.PREPARING_REBALANCE: {GroupState.EMPTY, GroupState.STABLE, GroupState.COMPLETING_REBALANCE},
    GroupState.COMPLETING_REBALANCE: {GroupState.PREPARING_REBALANCE},
    GroupState.STABLE: {GroupState.COMPLETING_REBALANCE},
    GroupState.DEAD: set(GroupState) - {GroupState.DEAD},
}

HEARTBEAT_ANSWERS = {
    GroupState.EMPTY: ErrorCode.UNKNOWN_MEMBER_ID,
    GroupState.PREPARING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
    GroupState.COMPLETING_REBALANCE: ErrorCode.NONE,
    GroupState.STABLE: ErrorCode.NONE,
    GroupState.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""What a heartbeat of a member of the current generation is told."""

COMMIT_ANSWERS = {
    GroupState.EMPTY: ErrorCode.NONE,
    GroupState.PREPARING_REBALANCE: ErrorCode.NONE,
    GroupState.COMPLETING_REBALANCE: ErrorCode.REBALANCE_IN_PROGRESS,
    GroupState.STABLE: ErrorCode.NONE,
    GroupState.DEAD: ErrorCode.COORDINATOR_NOT_AVAILABLE,
}
"""What a commit of a member of the current generation is told. While preparing, members still save their progress."""

DELETE_ANSWERS = {
    GroupState.EMPTY: ErrorCode.NONE,
    GroupState.PREPARING_REBALANCE: ErrorCode.NON_EMPTY_GROUP,
    GroupState.COMPLETING_REBALANCE: ErrorCode.NON_EMPTY_GROUP,
    GroupState.STABLE: ErrorCode.NON_EMPTY_GROUP,
    GroupState.DEAD: ErrorCode.GROUP_ID_NOT_FOUND,
}
"""What DeleteGroups is told; OffsetDelete too, where the subscribed topics are not known."""

STATES_THAT_CAN_REBALANCE = frozenset(_MAY_COME_FROM[GroupState.PREPARING_REBALANCE])


def can_follow(state: GroupState, previous: GroupState) -> bool:
    """Whether a group may go from `previous` to `state`."""
    return previous in _MAY_COME_FROM[state]


__all__ = [
    "COMMIT_ANSWERS",
    "DELETE_ANSWERS",
    "HEARTBEAT_ANSWERS",
    "STATES_THAT_CAN_REBALANCE",
    "GroupState",
    "can_follow",
]
