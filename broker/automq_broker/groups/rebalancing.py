"""The rebalance itself: everybody joins again, the join phase closes, assignments are handed out, members are lost."""

from collections.abc import Mapping

from automq_broker.groups.group import Group
from automq_broker.groups.member import Member
from automq_broker.groups.states import GroupState
from automq_broker.groups.turn import TimerKind, Turn
from automq_broker.groups.values import JoinAnswer, SyncAnswer
from automq_broker.wire.codes import ErrorCode

_PATIENCE_MS_MIN = 1000
"""A group that nobody joins is looked at no more often than this, whatever timeout its clients chose."""


def rebalance_or_complete(turn: Turn, group: Group) -> None:
    """After a change of membership: start a rebalance, or if one is on, see whether its join phase can end."""
    if group.can_rebalance:
        prepare(turn, group)
    else:
        complete_if_all_joined(turn, group)


def prepare(turn: Turn, group: Group) -> None:
    """Ask everybody to join again. The first rebalance of an empty group waits a little, as more members will come."""
    if group.state is GroupState.COMPLETING_REBALANCE:
        drop_assignments(turn, group, ErrorCode.REBALANCE_IN_PROGRESS)
    group.pending_syncs.clear()
    turn.disarm(group, TimerKind.SYNC)
    is_initial = group.state is GroupState.EMPTY
    group.transition(GroupState.PREPARING_REBALANCE, turn.now.wall_ms)
    if is_initial:
        delay = turn.knobs.initial_rebalance_delay_ms
        group.has_new_member = False
        group.initial_delay_ms = delay
        group.initial_remaining_ms = max(group.rebalance_timeout_ms - delay, 0)
        turn.arm(group, TimerKind.JOIN, delay)
    elif group.has_all_joined:
        complete(turn, group)
    else:
        turn.arm(group, TimerKind.JOIN, group.rebalance_timeout_ms)


def complete_if_all_joined(turn: Turn, group: Group) -> None:
    """End the join phase early if nobody is missing; the initial delay is always waited for."""
    is_preparing = group.state is GroupState.PREPARING_REBALANCE
    if is_preparing and group.previous_state is not GroupState.EMPTY and group.has_all_joined:
        complete(turn, group)


def on_join_deadline(turn: Turn, group: Group) -> None:
    """The join phase has lasted long enough, or the initial delay has; newcomers extend the latter."""
    if group.state is not GroupState.PREPARING_REBALANCE:
        return
    is_initial = group.previous_state is GroupState.EMPTY
    delay = min(turn.knobs.initial_rebalance_delay_ms, group.initial_remaining_ms)
    if is_initial and group.has_new_member and delay > 0:
        group.has_new_member = False
        group.initial_remaining_ms = max(group.initial_remaining_ms - group.initial_delay_ms, 0)
        group.initial_delay_ms = delay
        turn.arm(group, TimerKind.JOIN, delay)
    else:
        complete(turn, group)


def complete(turn: Turn, group: Group) -> None:
    """Close the join phase: drop who did not come (static members keep their place), start the next generation."""
    turn.disarm(group, TimerKind.JOIN)
    for member in [m for m in group.members.values() if m.join_token is None and not m.is_static]:
        forget_member(turn, group, member)
    if group.members and not group.elect_joined_leader():
        # Only static members are left and none of them came: their sessions decide, not this deadline.
        turn.arm(group, TimerKind.JOIN, max(group.rebalance_timeout_ms, _PATIENCE_MS_MIN))
        return
    group.next_generation(turn.now.wall_ms)
    if group.state is GroupState.EMPTY:
        # Nobody waits for this record. If it is refused, the old generation comes back on a reload and times out.
        turn.append_group(group, group.to_value({}))
        return
    for member in group.members.values():
        turn.answer_join(group, member, current_generation(group, member))
        turn.heard_of(group, member)
        member.is_new = False
        group.pending_syncs.add(member.member_id)
    turn.arm(group, TimerKind.SYNC, group.rebalance_timeout_ms)


def current_generation(group: Group, member: Member, *, skip_assignment: bool = False) -> JoinAnswer:
    """What a member of the running generation is told when it joins; the leader gets the list of members."""
    return JoinAnswer(
        member_id=member.member_id,
        generation=group.generation,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol_name,
        leader=group.leader or "",
        skip_assignment=skip_assignment,
        members=group.joined_members() if group.leader == member.member_id else (),
    )


def on_sync_deadline(turn: Turn, group: Group) -> None:
    """Members that joined but never synced are gone; the others rebalance without them."""
    if group.state not in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE) or not group.pending_syncs:
        return
    for member_id in sorted(group.pending_syncs):
        forget_member(turn, group, group.members[member_id])
    prepare(turn, group)


def hand_out(turn: Turn, group: Group, assignments: Mapping[str, bytes]) -> None:
    """The assignment is durable: give it to everybody who waits; later syncs read it from the members."""
    for member in group.members.values():
        member.assignment = assignments.get(member.member_id, b"")
        answer = SyncAnswer(
            protocol_type=group.protocol_type, protocol_name=group.protocol_name, assignment=member.assignment
        )
        if turn.answer_sync(member, answer):
            turn.heard_of(group, member)
    group.transition(GroupState.STABLE, turn.now.wall_ms)


def drop_assignments(turn: Turn, group: Group, error: ErrorCode) -> None:
    """The sync phase fails for everybody who waits in it."""
    for member in group.members.values():
        member.assignment = b""
        if turn.answer_sync(member, SyncAnswer(error=error)):
            turn.heard_of(group, member)


def forget_member(turn: Turn, group: Group, member: Member) -> None:
    """Take a member out. Whatever it waits for is answered UNKNOWN_MEMBER_ID, so that it joins afresh if it lives."""
    turn.disarm(group, TimerKind.SESSION, member.member_id)
    turn.answer_join(group, member, JoinAnswer(error=ErrorCode.UNKNOWN_MEMBER_ID))
    turn.answer_sync(member, SyncAnswer(error=ErrorCode.UNKNOWN_MEMBER_ID))
    group.remove(member.member_id)


def on_session_deadline(turn: Turn, group: Group, member_id: str) -> None:
    """A member (or a handed-out id) was silent for its session timeout."""
    if member_id in group.pending_joins:
        group.remove(member_id)
        if group.state is GroupState.PREPARING_REBALANCE and group.has_all_joined:
            complete(turn, group)
        return
    member = group.members.get(member_id)
    if member is None or member.is_awaiting:
        return
    forget_member(turn, group, member)
    if group.state in (GroupState.STABLE, GroupState.COMPLETING_REBALANCE):
        prepare(turn, group)
    elif group.state is GroupState.PREPARING_REBALANCE and group.has_all_joined:
        complete(turn, group)


__all__ = [
    "complete",
    "complete_if_all_joined",
    "current_generation",
    "drop_assignments",
    "forget_member",
    "hand_out",
    "on_join_deadline",
    "on_session_deadline",
    "on_sync_deadline",
    "prepare",
    "rebalance_or_complete",
]
