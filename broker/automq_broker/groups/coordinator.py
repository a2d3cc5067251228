"""All groups of one partition of `__consumer_offsets`: routing of events, deadlines, records, loading, unloading.

Usage: feed an event with the time, carry out the effects in order, report every `Append` back through `on_appended` in
the order in which they were asked for. `next_deadline()` says when `on_tick` is due at the latest.
"""

from collections.abc import Iterable, Iterator
from functools import partial

from automq_broker.groups import joining, membership, offsets, rebalancing
from automq_broker.groups.group import Group
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.states import DELETE_ANSWERS, GroupState
from automq_broker.groups.timers import Timers
from automq_broker.groups.turn import Continuation, TimerKey, TimerKind, Turn
from automq_broker.groups.values import (
    NO_MEMBER_ID,
    CommitAnswer,
    CommitRequest,
    DeleteAnswer,
    DescribedGroup,
    Effect,
    FetchAnswer,
    FetchRequest,
    HeartbeatAnswer,
    HeartbeatRequest,
    JoinAnswer,
    JoinRequest,
    LeaveAnswer,
    LeaveRequest,
    Now,
    OffsetDeleteAnswer,
    OffsetDeleteRequest,
    SyncAnswer,
    SyncRequest,
    Token,
)
from automq_broker.groups.written import CommittedOffset, GroupRecord, OffsetRecord, Record
from automq_broker.wire.codes import ErrorCode

_EXPIRY_KEY: TimerKey = ("", TimerKind.EXPIRY, "")


class Coordinator:
    """One partition's groups. Every `on_` method takes one event and returns its effects; none waits."""

    def __init__(self, knobs: GroupKnobs) -> None:
        self.knobs = knobs
        self.groups: dict[str, Group] = {}
        self._timers: Timers[TimerKey] = Timers()
        self._continuations: dict[int, Continuation] = {}
        self._tickets = 0

    # --- membership ---------------------------------------------------------------------------------------------

    def on_join(self, request: JoinRequest, token: Token, now: Now) -> list[Effect]:
        """JoinGroup. A member without an id creates the group; the answer may come in a later turn."""
        turn = self._turn(now)
        if not self.knobs.session_timeout_ms_min <= request.session_timeout_ms <= self.knobs.session_timeout_ms_max:
            turn.reply(token, JoinAnswer(error=ErrorCode.INVALID_SESSION_TIMEOUT, member_id=request.member_id))
            return turn.effects
        group = self.groups.get(request.group_id)
        if group is None:
            if request.member_id != NO_MEMBER_ID:
                turn.reply(token, JoinAnswer(error=ErrorCode.UNKNOWN_MEMBER_ID, member_id=request.member_id))
                return turn.effects
            group = self._create(request.group_id, now)
        joining.on_join(turn, group, request, token)
        return turn.effects

    def on_sync(self, request: SyncRequest, token: Token, now: Now) -> list[Effect]:
        """SyncGroup; answered when the leader's assignment is durable."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None or group.state is GroupState.EMPTY:
            turn.reply(token, SyncAnswer(error=ErrorCode.UNKNOWN_MEMBER_ID))
        else:
            membership.on_sync(turn, group, request, token)
        return turn.effects

    def on_heartbeat(self, request: HeartbeatRequest, token: Token, now: Now) -> list[Effect]:
        """Heartbeat; always answered at once."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None:
            turn.reply(token, HeartbeatAnswer(ErrorCode.UNKNOWN_MEMBER_ID))
        else:
            membership.on_heartbeat(turn, group, request, token)
        return turn.effects

    def on_leave(self, request: LeaveRequest, token: Token, now: Now) -> list[Effect]:
        """LeaveGroup; always answered at once."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None:
            unknown = tuple(ErrorCode.UNKNOWN_MEMBER_ID for _ in request.members)
            turn.reply(token, LeaveAnswer(ErrorCode.NONE, unknown))
        else:
            membership.on_leave(turn, group, request, token)
        return turn.effects

    # --- offsets ------------------------------------------------------------------------------------------------

    def on_commit(self, request: CommitRequest, token: Token, now: Now) -> list[Effect]:
        """OffsetCommit; answered when durable. Without a generation it creates a simple group."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None and request.generation >= 0:
            known = request.knows_missing_groups
            turn.reply(token, CommitAnswer(ErrorCode.GROUP_ID_NOT_FOUND if known else ErrorCode.ILLEGAL_GENERATION))
        else:
            offsets.on_commit(turn, group or self._create(request.group_id, now), request, token)
        return turn.effects

    def on_fetch(self, request: FetchRequest, token: Token, now: Now) -> list[Effect]:
        """OffsetFetch for one group; an unknown group has committed nothing, which is no error."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None:
            turn.reply(token, FetchAnswer(ErrorCode.NONE, offsets.fetched(None, request.topics)))
        else:
            offsets.on_fetch(turn, group, request, token)
        return turn.effects

    def on_offset_delete(self, request: OffsetDeleteRequest, token: Token, now: Now) -> list[Effect]:
        """OffsetDelete; answered when durable."""
        turn = self._turn(now)
        group = self.groups.get(request.group_id)
        if group is None:
            turn.reply(token, OffsetDeleteAnswer(ErrorCode.GROUP_ID_NOT_FOUND))
        else:
            offsets.on_offset_delete(turn, group, request, token)
        return turn.effects

    def on_delete(self, group_id: str, token: Token, now: Now) -> list[Effect]:
        """DeleteGroups for one group: its offsets and itself; answered when durable."""
        turn = self._turn(now)
        group = self.groups.get(group_id)
        if group is None:
            turn.reply(token, DeleteAnswer(ErrorCode.GROUP_ID_NOT_FOUND))
            return turn.effects
        self._delete_if_empty(turn, group, token)
        return turn.effects

    def on_topics_deleted(self, topics: frozenset[str], now: Now) -> list[Effect]:
        """Topics are gone: every group forgets its positions in them."""
        turn = self._turn(now)
        for group in self.groups.values():
            turn.after_appends(group, partial(_forget_topics, group, topics), _nobody_waits)
        return turn.effects

    # --- time and durability ------------------------------------------------------------------------------------

    def next_deadline(self) -> int | None:
        """Monotonic ms at which `on_tick` is due, None if nothing is pending."""
        return self._timers.next_deadline()

    def on_tick(self, now: Now) -> list[Effect]:
        """Whatever has come due: sessions, phases of rebalances, expiry of offsets."""
        turn = self._turn(now)
        for key in self._timers.due(now.monotonic_ms):
            group_id, kind, member_id = key
            group = self.groups.get(group_id)
            if kind is TimerKind.EXPIRY:
                self._expire(turn)
            elif group is None:
                continue
            elif kind is TimerKind.SESSION:
                rebalancing.on_session_deadline(turn, group, member_id)
            elif kind is TimerKind.JOIN:
                rebalancing.on_join_deadline(turn, group)
            else:
                rebalancing.on_sync_deadline(turn, group)
        return turn.effects

    def on_appended(self, ticket: int, fault: ErrorCode, now: Now) -> list[Effect]:
        """An append ended: NONE = durable; anything else = it never entered the log, and clients are told `fault`."""
        turn = self._turn(now)
        self._continuations.pop(ticket)(turn, fault)
        return turn.effects

    # --- loading and unloading ----------------------------------------------------------------------------------

    def load(self, records: Iterable[Record]) -> None:
        """Build the state from the latest record of each key, in any order of keys. Call before the first event."""
        for record in records:
            group = self.groups.get(record.group_id)
            if record.value is None:
                continue
            if group is None:
                group = self.groups[record.group_id] = Group(record.group_id, -1)
            match record:
                case GroupRecord(_, value) if value is not None:
                    group.load(value)
                case OffsetRecord():
                    offsets.apply(group, record)

    def on_loaded(self, now: Now) -> list[Effect]:
        """Start the clocks of what was loaded: every member gets a whole session to be heard of."""
        turn = self._turn(now)
        self._timers.set(_EXPIRY_KEY, now.monotonic_ms + self.knobs.offsets_check_interval_ms)
        for group in self.groups.values():
            for member in group.members.values():
                turn.heard_of(group, member)
            if len(group.members) > self.knobs.group_max_size:
                rebalancing.prepare(turn, group)  # the limit was lowered: who rejoins last stays out
        return turn.effects

    def on_unload(self, now: Now, error: ErrorCode = ErrorCode.NOT_COORDINATOR) -> list[Effect]:
        """The partition goes elsewhere: everybody who waits is told. Appends on their way are still reported back."""
        turn = self._turn(now)
        for group in self.groups.values():
            for member in group.members.values():
                turn.answer_join(group, member, JoinAnswer(error=error, member_id=member.member_id))
                turn.answer_sync(member, SyncAnswer(error=error))
            while group.postponed:
                group.postponed.popleft().refuse(turn, error)
            group.members.clear()
            group.static_members.clear()
            group.votes.clear()
            group.pending_joins.clear()
            group.pending_syncs.clear()
            group.leader = None
            if group.state is not GroupState.DEAD:
                group.transition(GroupState.DEAD, now.wall_ms)
        self.groups.clear()
        self._timers = Timers()
        return turn.effects

    def snapshot(self, group_id: str) -> tuple[Record, ...]:
        """One group's durable state as records; complete only while no append of the partition is on its way."""
        group = self.groups.get(group_id)
        if group is None:
            return ()
        records: list[Record] = [] if group.durable is None else [GroupRecord(group_id, group.durable)]
        records.extend(
            OffsetRecord(group_id, topic, partition, value)
            for topic, partitions in group.offsets.items()
            for partition, value in partitions.items()
        )
        return tuple(records)

    # --- looking --------------------------------------------------------------------------------------------------

    def describe(self, group_id: str) -> DescribedGroup | None:
        """One group as DescribeGroups shows it, None if unknown."""
        group = self.groups.get(group_id)
        return None if group is None else group.describe()

    def listed(self) -> Iterator[Group]:
        """All groups but those whose end is being written, for ListGroups."""
        return (group for group in self.groups.values() if group.state is not GroupState.DEAD)

    def committed_offsets(self) -> Iterator[tuple[str, str, int, CommittedOffset]]:
        """(group, topic, partition, position) of everything committed."""
        for group in self.groups.values():
            for topic, partitions in group.offsets.items():
                for partition, value in partitions.items():
                    yield group.group_id, topic, partition, value

    def statistics(self) -> dict[str, int]:
        """Counts for metrics: groups by state, members, offsets, deadlines, appends on their way."""
        counts = {f"groups_{state.name.lower()}": 0 for state in GroupState}
        members = committed = 0
        for group in self.groups.values():
            counts[f"groups_{group.state.name.lower()}"] += 1
            members += len(group.members)
            committed += sum(map(len, group.offsets.values()))
        pending = len(self._continuations)
        return {**counts, "members": members, "offsets": committed, "timers": len(self._timers), "appends": pending}

    def check(self) -> None:
        """Invariants of every group; raises Bug."""
        for group in self.groups.values():
            group.check()

    # --- inside -----------------------------------------------------------------------------------------------------

    def _turn(self, now: Now) -> Turn:
        return Turn(now, self.knobs, self._timers, self._register)

    def _register(self, then: Continuation) -> int:
        self._tickets += 1
        self._continuations[self._tickets] = then
        return self._tickets

    def _create(self, group_id: str, now: Now) -> Group:
        group = self.groups[group_id] = Group(group_id, now.wall_ms)
        return group

    def _delete_if_empty(self, turn: Turn, group: Group, token: Token) -> None:
        fault = DELETE_ANSWERS[group.state]
        if fault is ErrorCode.NONE and not group.is_settled:
            # ORDER: the end of a group must follow every record about it that is on its way, and name all its keys.
            turn.after_appends(group, partial(self._delete_if_empty, group=group, token=token), _refuse_delete(token))
        elif fault is ErrorCode.NONE:
            self._delete(turn, group, token)
        else:
            turn.reply(token, DeleteAnswer(fault))

    def _delete(self, turn: Turn, group: Group, token: Token | None) -> None:
        """Write the end of an empty group; until that is durable the group is DEAD and callers are asked to try again.

        SAFETY: nothing may be added to a group whose end may be in the log already, nor be lost if the end is refused.
        """
        emptied_ms = group.state_ms

        def stored(turn: Turn, fault: ErrorCode) -> None:
            if fault is ErrorCode.NONE:
                self._forget(group)
            elif self.groups.get(group.group_id) is group:
                group.transition(GroupState.EMPTY, emptied_ms)
            if token is not None:
                turn.reply(token, DeleteAnswer(fault))

        records: tuple[Record, ...] = offsets.all_tombstones(group)
        if group.durable is not None:
            records = (*records, GroupRecord(group.group_id, None))
        for member_id in group.pending_joins:
            turn.disarm(group, TimerKind.SESSION, member_id)
        group.pending_joins.clear()
        group.transition(GroupState.DEAD, turn.now.wall_ms)
        if records:
            turn.append(group, records, stored)
        else:
            stored(turn, ErrorCode.NONE)

    def _forget(self, group: Group) -> None:
        group.offsets.clear()
        if self.groups.get(group.group_id) is group:
            del self.groups[group.group_id]

    def _expire(self, turn: Turn) -> None:
        self._timers.set(_EXPIRY_KEY, turn.now.monotonic_ms + self.knobs.offsets_check_interval_ms)
        for group in list(self.groups.values()):
            if not group.is_settled:
                continue  # ORDER: a tombstone must not follow a commit that it has not seen; the next check will
            records = tuple(offsets.expired(group, turn.now.wall_ms, self.knobs.offsets_retention_ms))
            if group.is_idle and len(records) == sum(map(len, group.offsets.values())):
                self._delete(turn, group, None)
            elif records:
                offsets.write(turn, group, records)


def _nobody_waits(turn: Turn, fault: ErrorCode) -> None:
    """What was postponed on nobody's behalf is dropped in silence."""


def _refuse_delete(token: Token) -> Continuation:
    return lambda turn, fault: turn.reply(token, DeleteAnswer(fault))


def _forget_topics(group: Group, topics: frozenset[str], turn: Turn) -> None:
    records = offsets.topic_tombstones(group, topics)
    if records:
        offsets.write(turn, group, records)


__all__ = ["Coordinator"]
