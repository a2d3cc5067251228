"""JoinGroup: new and returning members, dynamic and static.

Source: Kafka's classic group protocol; KIP-394 (member id first), KIP-345 (static members), KIP-814 (static leader that
need not assign again).
"""

from automq_broker.groups.group import Group
from automq_broker.groups.member import Member
from automq_broker.groups.rebalancing import (
    complete_if_all_joined,
    current_generation,
    prepare,
    rebalance_or_complete,
)
from automq_broker.groups.states import GroupState
from automq_broker.groups.turn import TimerKind, Turn
from automq_broker.groups.values import NO_MEMBER_ID, JoinAnswer, JoinRequest, SyncAnswer, Token
from automq_broker.kernel.errors import Bug
from automq_broker.wire.codes import ErrorCode


def on_join(turn: Turn, group: Group, request: JoinRequest, token: Token) -> None:
    """A join of an existing group. Checks in Kafka's order: size, state, protocols, identity."""
    member_id = request.member_id
    if not _has_room(turn, group, member_id):
        _turn_away(turn, group, request, token)
    elif group.state is GroupState.DEAD:
        turn.reply(token, JoinAnswer(error=ErrorCode.COORDINATOR_NOT_AVAILABLE, member_id=member_id))
    elif not group.supports(request.protocol_type, request.protocols):
        turn.reply(token, JoinAnswer(error=ErrorCode.INCONSISTENT_GROUP_PROTOCOL, member_id=member_id))
    elif member_id == NO_MEMBER_ID:
        _join_new(turn, group, request, token)
    elif member_id in group.pending_joins and request.instance_id is None:
        _add(turn, group, request, member_id, token)
    else:
        # A handed-out id that comes back with an instance id fails here as UNKNOWN_MEMBER_ID: its client joins afresh.
        fault = group.member_fault(member_id, request.instance_id)
        if fault is not ErrorCode.NONE:
            turn.reply(token, JoinAnswer(error=fault, member_id=member_id))
        else:
            _rejoin(turn, group, group.members[member_id], request, token)


def _has_room(turn: Turn, group: Group, member_id: str) -> bool:
    """Existing members always have a place, except those that come last when the limit was lowered."""
    limit = turn.knobs.group_max_size
    if group.state in (GroupState.EMPTY, GroupState.DEAD):
        return True
    if group.state is GroupState.PREPARING_REBALANCE:
        member = group.members.get(member_id)
        return (member is not None and member.join_token is not None) or group.awaiting_joins < limit
    return member_id in group.members or len(group.members) < limit


def _turn_away(turn: Turn, group: Group, request: JoinRequest, token: Token) -> None:
    turn.disarm(group, TimerKind.SESSION, request.member_id)
    group.remove(request.member_id)
    turn.reply(token, JoinAnswer(error=ErrorCode.GROUP_MAX_SIZE_REACHED))
    complete_if_all_joined(turn, group)


def _join_new(turn: Turn, group: Group, request: JoinRequest, token: Token) -> None:
    new_member_id = f"{request.instance_id or request.client_id}-{request.fresh_id}"
    if request.instance_id is not None:
        old_member_id = group.static_members.get(request.instance_id)
        if old_member_id is None:
            _add(turn, group, request, new_member_id, token)
        else:
            _return_static(turn, group, request, token, old_member_id=old_member_id, new_member_id=new_member_id)
    elif request.requires_known_member_id:
        # A client that gives up before it knows its id would leave a ghost behind for a whole session (KIP-394).
        group.pending_joins.add(new_member_id)
        turn.arm(group, TimerKind.SESSION, request.session_timeout_ms, new_member_id)
        turn.reply(token, JoinAnswer(error=ErrorCode.MEMBER_ID_REQUIRED, member_id=new_member_id))
    else:
        _add(turn, group, request, new_member_id, token)


def _add(turn: Turn, group: Group, request: JoinRequest, member_id: str, token: Token) -> None:
    if group.state is GroupState.PREPARING_REBALANCE and group.previous_state is GroupState.EMPTY:
        group.has_new_member = True
    member = Member.joining(request, member_id)
    group.add(member, request.protocol_type)
    turn.await_join(group, member, token)
    # A waiting client cannot heartbeat yet and its death would go unseen, so its wait itself is limited.
    turn.arm(group, TimerKind.SESSION, turn.knobs.new_member_join_timeout_ms, member_id)
    rebalance_or_complete(turn, group)


def _rejoin(turn: Turn, group: Group, member: Member, request: JoinRequest, token: Token) -> None:
    """A known member joins again: a rebalance only if that could change an assignment."""
    is_unchanged = member.protocols == request.protocols
    match group.state:
        case GroupState.PREPARING_REBALANCE:
            _update(turn, group, member, request, token)
        case GroupState.COMPLETING_REBALANCE if is_unchanged:
            # It probably missed the answer to its first join.
            turn.reply(token, current_generation(group, member))
        case GroupState.STABLE if is_unchanged and group.leader != member.member_id:
            turn.reply(token, current_generation(group, member))
        case GroupState.COMPLETING_REBALANCE | GroupState.STABLE:
            # A leader rejoins on purpose, e.g. because topics grew; others because their subscription changed.
            _update(turn, group, member, request, token)
        case _:
            turn.reply(token, JoinAnswer(error=ErrorCode.UNKNOWN_MEMBER_ID, member_id=member.member_id))


def _update(turn: Turn, group: Group, member: Member, request: JoinRequest, token: Token) -> None:
    _adopt(turn, group, member, request, token)
    rebalance_or_complete(turn, group)


def _adopt(turn: Turn, group: Group, member: Member, request: JoinRequest, token: Token) -> None:
    group.offer(member, request.protocols)
    member.rebalance_timeout_ms = request.rebalance_timeout_ms
    member.session_timeout_ms = request.session_timeout_ms
    turn.await_join(group, member, token)


def _return_static(
    turn: Turn, group: Group, request: JoinRequest, token: Token, *, old_member_id: str, new_member_id: str
) -> None:
    """A static member is back under a new id; whoever still uses the old id is fenced."""
    old_leader = group.leader or ""
    member = group.members[old_member_id]
    turn.disarm(group, TimerKind.SESSION, old_member_id)
    turn.answer_join(group, member, JoinAnswer(error=ErrorCode.FENCED_INSTANCE_ID, member_id=old_member_id))
    turn.answer_sync(member, SyncAnswer(error=ErrorCode.FENCED_INSTANCE_ID))
    group.replace_static(old_member_id, new_member_id)
    member.client_id, member.client_host = request.client_id, request.client_host
    _adopt(turn, group, member, request, token)
    turn.heard_of(group, member)
    match group.state:
        case GroupState.STABLE if group.select_protocol() == group.protocol_name:
            _keep_stable(turn, group, member, request, old_leader=old_leader)
        case GroupState.STABLE | GroupState.COMPLETING_REBALANCE:
            # While completing, the leader may be assigning to the old id already: only a new round is safe.
            prepare(turn, group)
        case GroupState.PREPARING_REBALANCE:
            complete_if_all_joined(turn, group)
        case _:
            raise Bug(f"static member {request.instance_id} returned to group {group.group_id} while {group.state}")


def _keep_stable(turn: Turn, group: Group, member: Member, request: JoinRequest, *, old_leader: str) -> None:
    """No rebalance: the new id is written with the running generation, and answered once that is durable.

    If the write is refused, the new id stays in memory: its owner was never told it, joins again with its instance id
    and replaces it in turn; the log still names the old id, which is what a reload would let it replace.
    """
    token = member.join_token

    def stored(turn: Turn, fault: ErrorCode) -> None:
        if member.join_token is not token or group.state is not GroupState.STABLE:
            return  # a rebalance began meanwhile and answers, or has answered, this join
        if fault is not ErrorCode.NONE:
            turn.answer_join(group, member, JoinAnswer(error=fault, leader=old_leader))
        elif request.can_skip_assignment:
            is_leader = group.leader == member.member_id
            turn.answer_join(group, member, current_generation(group, member, skip_assignment=is_leader))
        else:
            # Naming the old id as leader keeps an old client from assigning, which a stable group would ignore.
            turn.answer_join(
                group,
                member,
                JoinAnswer(
                    member_id=member.member_id,
                    generation=group.generation,
                    protocol_type=group.protocol_type,
                    protocol_name=group.protocol_name,
                    leader=old_leader,
                ),
            )

    assignments = {m.member_id: m.assignment for m in group.members.values()}
    turn.append_group(group, group.to_value(assignments), stored)


__all__ = ["on_join"]
