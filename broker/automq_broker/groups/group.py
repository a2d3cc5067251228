"""What one classic group is: members, leader, generation, votes, offsets. The rules that move it are its neighbours."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from automq_broker.groups.member import Member
from automq_broker.groups.states import STATES_THAT_CAN_REBALANCE, GroupState, can_follow
from automq_broker.groups.subscription import subscribed_topics
from automq_broker.groups.values import (
    CONSUMER_PROTOCOL_TYPE,
    DescribedGroup,
    JoinedMember,
    Protocol,
    Token,
)
from automq_broker.groups.written import CommittedOffset, GroupValue
from automq_broker.kernel.errors import Bug
from automq_broker.wire.codes import ErrorCode


class Postponed(NamedTuple):
    """Something that waits for the first `after` appends of its group: `resume` does it, `refuse` calls it off."""

    after: int
    resume: Callable[[Any], None]
    refuse: Callable[[Any, ErrorCode], None]


class Group:
    """Mutable state of one group; every method keeps `check()` true. Insertion order of members is their seniority."""

    __slots__ = (
        "appends_asked",
        "appends_ended",
        "awaiting_joins",
        "durable",
        "generation",
        "group_id",
        "has_new_member",
        "initial_delay_ms",
        "initial_remaining_ms",
        "is_storing",
        "leader",
        "members",
        "offsets",
        "pending_joins",
        "pending_syncs",
        "postponed",
        "previous_state",
        "protocol_name",
        "protocol_type",
        "state",
        "state_ms",
        "static_members",
        "subscribed",
        "votes",
    )

    def __init__(self, group_id: str, wall_ms: int) -> None:
        self.group_id = group_id
        self.state = GroupState.EMPTY
        self.previous_state = GroupState.DEAD
        self.state_ms = wall_ms
        self.generation = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}
        self.pending_joins: set[str] = set()
        """Ids handed out with MEMBER_ID_REQUIRED whose second join has not come yet."""
        self.pending_syncs: set[str] = set()
        """Members of the current generation that have not synced yet."""
        self.votes: Counter[str] = Counter()
        """How many members offer each protocol."""
        self.awaiting_joins = 0
        """How many members wait for the join phase to end; counted, because thousands may join at once."""
        self.subscribed: frozenset[str] | None = None
        """Topics of all members together; None when unknown (another protocol type, or bytes that do not parse)."""
        self.has_new_member = False
        self.initial_delay_ms = 0
        self.initial_remaining_ms = 0
        self.is_storing = False
        """The leader's assignment is on its way to the log."""
        self.offsets: dict[str, dict[int, CommittedOffset]] = {}
        self.durable: GroupValue | None = None
        """The last generation that is in the log: what a reload would find."""
        self.appends_asked = 0
        self.appends_ended = 0
        self.postponed: deque[Postponed] = deque()
        """What waits for appends that are on their way; they end in order."""

    @property
    def is_consumer_protocol(self) -> bool:
        """Whether the members are Kafka consumers, whose subscriptions can be read."""
        return self.protocol_type == CONSUMER_PROTOCOL_TYPE

    @property
    def is_settled(self) -> bool:
        """No record about it is on its way to the log."""
        return self.appends_asked == self.appends_ended

    @property
    def is_idle(self) -> bool:
        """Nobody is in it, nobody is about to be, and nothing about it is on its way to the log."""
        return self.state is GroupState.EMPTY and not self.pending_joins and self.is_settled

    @property
    def can_rebalance(self) -> bool:
        """Whether a rebalance may start now."""
        return self.state in STATES_THAT_CAN_REBALANCE

    @property
    def has_all_joined(self) -> bool:
        """Every member waits for the join phase to end, and nobody holds an id without having joined."""
        return not self.pending_joins and self.awaiting_joins == len(self.members)

    @property
    def rebalance_timeout_ms(self) -> int:
        """The most patient member decides."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def transition(self, state: GroupState, wall_ms: int) -> None:
        """Move to `state`; a move that the table does not know is a Bug."""
        if not can_follow(state, self.state):
            raise Bug(f"group {self.group_id} cannot go from {self.state} to {state}")
        self.previous_state, self.state, self.state_ms = self.state, state, wall_ms
        self.is_storing = False

    def member_fault(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """NONE if this caller is the member it says; FENCED_INSTANCE_ID if a newer one took its place."""
        if instance_id is not None:
            current = self.static_members.get(instance_id)
            if current is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if current != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    def supports(self, protocol_type: str, protocols: tuple[Protocol, ...]) -> bool:
        """Whether a member offering these could take part: one protocol must be common to everybody."""
        if self.state is GroupState.EMPTY:
            return bool(protocol_type and protocols)
        return self.protocol_type == protocol_type and any(
            self.votes[protocol.name] == len(self.members) for protocol in protocols
        )

    def add(self, member: Member, protocol_type: str) -> None:
        """Take in a member whose protocols are supported and whose instance id is free."""
        if member.instance_id is not None:
            if member.instance_id in self.static_members:
                raise Bug(f"instance id {member.instance_id} is already in group {self.group_id}")
            self.static_members[member.instance_id] = member.member_id
        if not self.members:
            self.protocol_type = protocol_type
        self.members[member.member_id] = member
        self.votes.update({protocol.name for protocol in member.protocols})
        self.leader = self.leader or member.member_id
        self.pending_joins.discard(member.member_id)

    def remove(self, member_id: str) -> None:
        """Take out a member or a pending id; the most senior of the others becomes leader if it led."""
        member = self.members.pop(member_id, None)
        if member is not None:
            self.take_join_token(member)
            self._withdraw_votes(member)
            if member.instance_id is not None:
                del self.static_members[member.instance_id]
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)
        self.pending_joins.discard(member_id)
        self.pending_syncs.discard(member_id)

    def await_join(self, member: Member, token: Token) -> None:
        """The member waits for the join phase to end; the token it waited with before must have been answered."""
        if member.join_token is not None:
            raise Bug(f"member {member.member_id} of group {self.group_id} already waits for a join")
        member.join_token = token
        self.awaiting_joins += 1

    def take_join_token(self, member: Member) -> Token | None:
        """The member no longer waits for the join phase; whoever calls this owes the answer."""
        token, member.join_token = member.join_token, None
        if token is not None:
            self.awaiting_joins -= 1
        return token

    def offer(self, member: Member, protocols: tuple[Protocol, ...]) -> None:
        """Replace what a member offers."""
        self._withdraw_votes(member)
        member.protocols = protocols
        self.votes.update({protocol.name for protocol in protocols})

    def replace_static(self, old_member_id: str, new_member_id: str) -> Member:
        """Give a static member's place, assignment and leadership to its new incarnation."""
        member = self.members.pop(old_member_id)
        if member.instance_id is None:
            raise Bug(f"{old_member_id} of group {self.group_id} is not a static member")
        member.member_id, member.is_new = new_member_id, False
        self.members[new_member_id] = member
        self.static_members[member.instance_id] = new_member_id
        if self.leader == old_member_id:
            self.leader = new_member_id
        if old_member_id in self.pending_syncs:
            self.pending_syncs.remove(old_member_id)
            self.pending_syncs.add(new_member_id)
        return member

    def elect_joined_leader(self) -> bool:
        """Make sure that the leader takes part in the next generation; False if nobody does."""
        leader = self.members.get(self.leader) if self.leader is not None else None
        if leader is not None and leader.join_token is not None:
            return True
        for member in self.members.values():
            if member.join_token is not None:
                self.leader = member.member_id
                return True
        return False

    def next_generation(self, wall_ms: int) -> None:
        """Close the join phase: a new generation with the members there are, or an empty one."""
        self.generation += 1
        self.pending_syncs.clear()
        self.protocol_name = self.select_protocol() if self.members else None
        self.transition(GroupState.COMPLETING_REBALANCE if self.members else GroupState.EMPTY, wall_ms)
        self.subscribed = self._all_subscriptions()

    def select_protocol(self) -> str:
        """The common protocol with the most votes; among equals the one named first."""
        candidates = {name for name, count in self.votes.items() if count == len(self.members)}
        ballots = Counter(member.vote(candidates) for member in self.members.values())
        return ballots.most_common(1)[0][0]

    def joined_members(self) -> tuple[JoinedMember, ...]:
        """The list that the leader assigns from."""
        return tuple(
            JoinedMember(member.member_id, member.instance_id, member.metadata(self.protocol_name))
            for member in self.members.values()
        )

    def is_subscribed(self, topic: str) -> bool:
        """Whether a member consumes `topic`; when subscriptions are unreadable, assume so for consumers."""
        return self.is_consumer_protocol if self.subscribed is None else topic in self.subscribed

    def to_value(self, assignments: Mapping[str, bytes]) -> GroupValue:
        """The current generation as a record, with these assignments."""
        return GroupValue(
            protocol_type=self.protocol_type or "",
            generation=self.generation,
            protocol_name=self.protocol_name,
            leader=self.leader,
            state_ms=self.state_ms,
            members=tuple(
                member.to_value(self.protocol_name, assignments.get(member.member_id, b""))
                for member in self.members.values()
            ),
        )

    def load(self, value: GroupValue) -> None:
        """Become what a record says. Offsets stay as they are."""
        self.state = GroupState.STABLE if value.members else GroupState.EMPTY
        self.previous_state = GroupState.DEAD
        self.generation = value.generation
        self.protocol_type = value.protocol_type or None
        self.protocol_name = value.protocol_name
        self.state_ms = value.state_ms
        self.members.clear()
        self.static_members.clear()
        self.votes.clear()
        self.leader = None
        for row in value.members:
            self.add(Member.loaded(row, value.protocol_name), value.protocol_type)
        self.leader = value.leader if value.leader in self.members else next(iter(self.members), None)
        self.subscribed = self._all_subscriptions()
        self.durable = value

    def describe(self) -> DescribedGroup:
        """For DescribeGroups; subscriptions are shown while stable only, when they fit the assignments."""
        is_stable = self.state is GroupState.STABLE
        shown = self.protocol_name if is_stable else None
        return DescribedGroup(
            group_id=self.group_id,
            state=str(self.state),
            protocol_type=self.protocol_type or "",
            protocol_name=shown or "",
            members=tuple(member.describe(shown) for member in self.members.values()),
        )

    def check(self) -> None:
        """Invariants; raises Bug. Run after every step in tests and in the simulator."""
        if self.members and self.leader not in self.members:
            raise Bug(f"leader {self.leader} of group {self.group_id} is not a member")
        if not self.members and self.leader is not None:
            raise Bug(f"group {self.group_id} has a leader but no members")
        if (self.state in (GroupState.EMPTY, GroupState.DEAD)) and self.members:
            raise Bug(f"group {self.group_id} is {self.state} with members")
        if self.state in (GroupState.COMPLETING_REBALANCE, GroupState.STABLE) and not self.members:
            raise Bug(f"group {self.group_id} is {self.state} without members")
        if any(count < 0 for count in self.votes.values()):
            raise Bug(f"votes of group {self.group_id} are negative")
        if self.awaiting_joins != sum(member.join_token is not None for member in self.members.values()):
            raise Bug(f"group {self.group_id} has lost count of who waits for a join")
        statics = {m.instance_id: m.member_id for m in self.members.values() if m.instance_id is not None}
        if statics != self.static_members:
            raise Bug(f"static members of group {self.group_id} disagree with its members")
        if self.state is not GroupState.COMPLETING_REBALANCE and any(m.sync_token for m in self.members.values()):
            raise Bug(f"a sync waits in group {self.group_id} while it is {self.state}")
        if not self.pending_syncs <= set(self.members) or self.pending_joins & set(self.members):
            raise Bug(f"pending members of group {self.group_id} disagree with its members")

    def _withdraw_votes(self, member: Member) -> None:
        for name in {protocol.name for protocol in member.protocols}:
            self.votes[name] -= 1
            if not self.votes[name]:
                del self.votes[name]

    def _all_subscriptions(self) -> frozenset[str] | None:
        if not self.is_consumer_protocol:
            return None
        found: set[str] = set()
        for member in self.members.values():
            topics = subscribed_topics(member.metadata(self.protocol_name))
            if topics is None:
                return None
            found |= topics
        return frozenset(found)


__all__ = ["Group", "Postponed"]
