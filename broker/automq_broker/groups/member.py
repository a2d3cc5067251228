"""One member of a classic group: what it offered, what it was given, and whether it waits for an answer."""

from automq_broker.groups.values import DescribedMember, JoinRequest, Protocol, Token
from automq_broker.groups.written import MemberValue


class Member:
    """Mutable; owned by its group. `join_token` and `sync_token` are set while the member waits for that answer."""

    __slots__ = (
        "assignment",
        "client_host",
        "client_id",
        "instance_id",
        "is_new",
        "join_token",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
        "sync_token",
    )

    def __init__(
        self,
        *,
        member_id: str,
        instance_id: str | None,
        client_id: str,
        client_host: str,
        session_timeout_ms: int,
        rebalance_timeout_ms: int,
        protocols: tuple[Protocol, ...],
        assignment: bytes = b"",
    ) -> None:
        self.member_id = member_id
        self.instance_id = instance_id
        self.client_id = client_id
        self.client_host = client_host
        self.session_timeout_ms = session_timeout_ms
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.protocols = protocols
        self.assignment = assignment
        self.is_new = False
        self.join_token: Token | None = None
        self.sync_token: Token | None = None

    @classmethod
    def joining(cls, request: JoinRequest, member_id: str) -> "Member":
        """A member that was not in the group before."""
        member = cls(
            member_id=member_id,
            instance_id=request.instance_id,
            client_id=request.client_id,
            client_host=request.client_host,
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=request.rebalance_timeout_ms,
            protocols=request.protocols,
        )
        member.is_new = True
        return member

    @classmethod
    def loaded(cls, value: MemberValue, protocol_name: str | None) -> "Member":
        """A member as its record describes it; only the chosen protocol is known."""
        return cls(
            member_id=value.member_id,
            instance_id=value.instance_id,
            client_id=value.client_id,
            client_host=value.client_host,
            session_timeout_ms=value.session_timeout_ms,
            rebalance_timeout_ms=value.rebalance_timeout_ms,
            protocols=(Protocol(protocol_name or "", value.subscription),),
            assignment=value.assignment,
        )

    @property
    def is_static(self) -> bool:
        """Whether it has a group instance id (KIP-345)."""
        return self.instance_id is not None

    @property
    def is_awaiting(self) -> bool:
        """Waiting for a join or a sync counts as a heartbeat, except for a new member's first join."""
        return not self.is_new and (self.join_token is not None or self.sync_token is not None)

    def metadata(self, protocol_name: str | None) -> bytes:
        """Subscription bytes for a protocol; empty if the member does not offer it."""
        for protocol in self.protocols:
            if protocol.name == protocol_name:
                return protocol.metadata
        return b""

    def vote(self, candidates: set[str]) -> str:
        """The first of its protocols that everybody supports."""
        return next(protocol.name for protocol in self.protocols if protocol.name in candidates)

    def to_value(self, protocol_name: str | None, assignment: bytes) -> MemberValue:
        """The member as a record keeps it."""
        return MemberValue(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            session_timeout_ms=self.session_timeout_ms,
            subscription=self.metadata(protocol_name),
            assignment=assignment,
        )

    def describe(self, protocol_name: str | None) -> DescribedMember:
        """For DescribeGroups; with protocol None the subscription is left out."""
        return DescribedMember(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.client_id,
            client_host=self.client_host,
            metadata=b"" if protocol_name is None else self.metadata(protocol_name),
            assignment=self.assignment,
        )


__all__ = ["Member"]
