"""One event at work: the time, what has come out so far, and the hands of the partition's coordinator."""

from collections.abc import Callable
from enum import Enum

from automq_broker.groups.group import Group, Postponed
from automq_broker.groups.knobs import GroupKnobs
from automq_broker.groups.member import Member
from automq_broker.groups.timers import Timers
from automq_broker.groups.values import Answer, Append, Effect, JoinAnswer, Now, Reply, SyncAnswer, Token
from automq_broker.groups.written import GroupRecord, GroupValue, Record
from automq_broker.wire.codes import ErrorCode


class TimerKind(Enum):
    """What a deadline is about."""

    SESSION = "session"
    """A member (or an id handed out) was not heard of."""
    JOIN = "join"
    """The join phase of a group ends."""
    SYNC = "sync"
    """The sync phase of a group ends."""
    EXPIRY = "expiry"
    """Time to look for expired offsets in the whole partition."""


TimerKey = tuple[str, TimerKind, str]
"""(group id, kind, member id or empty)"""

Continuation = Callable[["Turn", ErrorCode], None]
"""Called when an append ended: NONE = durable, else it never entered the log and this is what clients are told."""


class Turn:
    """Lives for one event. Effects leave in the order in which they were caused."""

    __slots__ = ("_register", "effects", "knobs", "now", "timers")

    def __init__(
        self, now: Now, knobs: GroupKnobs, timers: Timers[TimerKey], register: Callable[[Continuation], int]
    ) -> None:
        self.now = now
        self.knobs = knobs
        self.timers = timers
        self.effects: list[Effect] = []
        self._register = register

    def reply(self, token: Token, answer: Answer) -> None:
        """Answer one waiting caller."""
        self.effects.append(Reply(token, answer))

    def append(self, group: Group, records: tuple[Record, ...], then: Continuation) -> None:
        """Ask for durable records of `group`; `then` runs in a later turn, and after it what waited for this append."""

        def ended(turn: "Turn", fault: ErrorCode) -> None:
            group.appends_ended += 1
            then(turn, fault)
            while group.postponed and group.postponed[0].after <= group.appends_ended:
                group.postponed.popleft().resume(turn)

        group.appends_asked += 1
        self.effects.append(Append(self._register(ended), records))

    def after_appends(self, group: Group, resume: Callable[["Turn"], None], refuse: Continuation) -> None:
        """Run `resume` once every append that the group asked for so far has ended; `refuse` if it is unloaded first.

        ORDER: who commits and then asks on one connection must see its own commit, and a deletion what it deletes.
        """
        if group.is_settled:
            resume(self)
        else:
            group.postponed.append(Postponed(group.appends_asked, resume, refuse))

    def append_group(self, group: Group, value: GroupValue | None, then: Continuation | None = None) -> None:
        """Write a generation, remember it as durable once it is, then go on with `then`."""

        def stored(turn: "Turn", fault: ErrorCode) -> None:
            if fault is ErrorCode.NONE:
                group.durable = value
            if then is not None:
                then(turn, fault)

        self.append(group, (GroupRecord(group.group_id, value),), stored)

    def arm(self, group: Group, kind: TimerKind, delay_ms: int, member_id: str = "") -> None:
        """Set or move a deadline of a group or of a member; always in the future, whatever clients ask for."""
        self.timers.set((group.group_id, kind, member_id), self.now.monotonic_ms + max(delay_ms, 1))

    def disarm(self, group: Group, kind: TimerKind, member_id: str = "") -> None:
        """Cancel a deadline."""
        self.timers.cancel((group.group_id, kind, member_id))

    def heard_of(self, group: Group, member: Member) -> None:
        """A sign of life: the member's session starts anew."""
        self.arm(group, TimerKind.SESSION, member.session_timeout_ms, member.member_id)

    def answer_join(self, group: Group, member: Member, answer: JoinAnswer) -> bool:
        """Answer the member if it waits for a join."""
        token = group.take_join_token(member)
        if token is None:
            return False
        self.reply(token, answer)
        return True

    def answer_sync(self, member: Member, answer: SyncAnswer) -> bool:
        """Answer the member if it waits for a sync."""
        token, member.sync_token = member.sync_token, None
        if token is None:
            return False
        self.reply(token, answer)
        return True

    def await_join(self, group: Group, member: Member, token: Token) -> None:
        """Let the member wait; a join of its own that it gave up on is answered, so that its connection flows again."""
        self.answer_join(group, member, JoinAnswer(error=ErrorCode.REBALANCE_IN_PROGRESS, member_id=member.member_id))
        group.await_join(member, token)


__all__ = ["Continuation", "TimerKey", "TimerKind", "Turn"]
