"""SyncGroup, Heartbeat and LeaveGroup of one group."""

from automq_broker.groups.group import Group
from automq_broker.groups.rebalancing import (
    complete_if_all_joined,
    drop_assignments,
    forget_member,
    hand_out,
    prepare,
    rebalance_or_complete,
)
from automq_broker.groups.states import HEARTBEAT_ANSWERS, GroupState
from automq_broker.groups.turn import TimerKind, Turn
from automq_broker.groups.values import (
    NO_MEMBER_ID,
    HeartbeatAnswer,
    HeartbeatRequest,
    LeaveAnswer,
    LeaveRequest,
    LeavingMember,
    SyncAnswer,
    SyncRequest,
    Token,
)
from automq_broker.wire.codes import ErrorCode


def on_sync(turn: Turn, group: Group, request: SyncRequest, token: Token) -> None:
    """Collect members that joined; the leader's sync carries the assignment, which all get once it is durable."""
    fault = _sync_fault(group, request)
    if fault is not ErrorCode.NONE:
        turn.reply(token, SyncAnswer(error=fault))
        return
    member = group.members[request.member_id]
    group.pending_syncs.discard(member.member_id)
    if not group.pending_syncs:
        turn.disarm(group, TimerKind.SYNC)
    if group.state is GroupState.STABLE:
        turn.reply(
            token,
            SyncAnswer(
                protocol_type=group.protocol_type, protocol_name=group.protocol_name, assignment=member.assignment
            ),
        )
        return
    turn.answer_sync(member, SyncAnswer(error=ErrorCode.REBALANCE_IN_PROGRESS))  # a sync it gave up on
    member.sync_token = token
    if group.leader == member.member_id and not group.is_storing:
        _store_assignment(turn, group, dict(request.assignments))


def _sync_fault(group: Group, request: SyncRequest) -> ErrorCode:
    if group.state is GroupState.DEAD:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    fault = group.member_fault(request.member_id, request.instance_id)
    if fault is not ErrorCode.NONE:
        return fault
    if request.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    if _differ(request.protocol_type, group.protocol_type) or _differ(request.protocol_name, group.protocol_name):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if group.state is GroupState.PREPARING_REBALANCE:
        return ErrorCode.REBALANCE_IN_PROGRESS
    return ErrorCode.NONE


def _differ(asked: str | None, actual: str | None) -> bool:
    """Versions below 5 do not say which protocol they mean."""
    return asked is not None and actual is not None and asked != actual


def _store_assignment(turn: Turn, group: Group, assignments: dict[str, bytes]) -> None:
    generation = group.generation

    def stored(turn: Turn, fault: ErrorCode) -> None:
        if group.state is not GroupState.COMPLETING_REBALANCE or group.generation != generation:
            return  # a rebalance overtook the write; its waiters were told
        if fault is ErrorCode.NONE:
            hand_out(turn, group, assignments)
        else:
            drop_assignments(turn, group, fault)
            prepare(turn, group)

    group.is_storing = True
    turn.append_group(group, group.to_value(assignments), stored)


def on_heartbeat(turn: Turn, group: Group, request: HeartbeatRequest, token: Token) -> None:
    """A sign of life, also while rebalancing; the answer tells whether to join again."""
    turn.reply(token, HeartbeatAnswer(_heartbeat(turn, group, request)))


def _heartbeat(turn: Turn, group: Group, request: HeartbeatRequest) -> ErrorCode:
    if group.state is GroupState.DEAD:
        return HEARTBEAT_ANSWERS[group.state]
    fault = group.member_fault(request.member_id, request.instance_id)
    if fault is not ErrorCode.NONE:
        return fault
    if request.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    turn.heard_of(group, group.members[request.member_id])
    return HEARTBEAT_ANSWERS[group.state]


def on_leave(turn: Turn, group: Group, request: LeaveRequest, token: Token) -> None:
    """Remove members, each with its own answer; one rebalance for all of them."""
    if group.state is GroupState.DEAD:
        turn.reply(token, LeaveAnswer(ErrorCode.COORDINATOR_NOT_AVAILABLE))
        return
    errors = tuple(_leave(turn, group, leaving) for leaving in request.members)
    if ErrorCode.NONE in errors:
        if group.state is GroupState.PREPARING_REBALANCE:
            complete_if_all_joined(turn, group)
        elif group.state is not GroupState.EMPTY:
            rebalance_or_complete(turn, group)
    turn.reply(token, LeaveAnswer(ErrorCode.NONE, errors))


def _leave(turn: Turn, group: Group, leaving: LeavingMember) -> ErrorCode:
    member_id = leaving.member_id
    if member_id == NO_MEMBER_ID:
        # An admin removes a static member without knowing its current id.
        member_id = group.static_members.get(leaving.instance_id or "", NO_MEMBER_ID)
        if leaving.instance_id is None or member_id == NO_MEMBER_ID:
            return ErrorCode.UNKNOWN_MEMBER_ID
    elif member_id in group.pending_joins:
        turn.disarm(group, TimerKind.SESSION, member_id)
        group.remove(member_id)
        return ErrorCode.NONE
    else:
        fault = group.member_fault(member_id, leaving.instance_id)
        if fault is not ErrorCode.NONE:
            return fault
    forget_member(turn, group, group.members[member_id])
    return ErrorCode.NONE


__all__ = ["on_heartbeat", "on_leave", "on_sync"]
