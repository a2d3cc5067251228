"""Committed offsets of one group: who may commit, what is kept, what is forgotten and when.

A change shows in reads only once its record is durable, and reads wait for changes that are on their way: whoever
commits and then asks on the same connection sees its own commit, as with a broker that works one request at a time.
"""

from collections.abc import Iterator

from automq_broker.groups.group import Group
from automq_broker.groups.placement import utf16_length
from automq_broker.groups.states import COMMIT_ANSWERS, DELETE_ANSWERS, GroupState
from automq_broker.groups.turn import Continuation, Turn
from automq_broker.groups.values import (
    NO_MEMBER_ID,
    CommitAnswer,
    CommitRequest,
    FetchAnswer,
    FetchedTopic,
    FetchRequest,
    OffsetDeleteAnswer,
    OffsetDeleteRequest,
    OffsetToCommit,
    Token,
    TopicToFetch,
)
from automq_broker.groups.written import NO_TOPIC_ID, CommittedOffset, OffsetRecord
from automq_broker.wire.codes import ErrorCode

_INT64_MAX = (1 << 63) - 1
"""An old client may ask for ages; what is stored has 64 bits."""


def on_commit(turn: Turn, group: Group, request: CommitRequest, token: Token) -> None:
    """Write positions; answered when durable. A commit is also a sign of life of the member."""
    fault = commit_fault(group, request)
    if fault is not ErrorCode.NONE:
        turn.reply(token, CommitAnswer(fault))
        return
    member = group.members.get(request.member_id)
    if member is not None and group.state in (GroupState.STABLE, GroupState.PREPARING_REBALANCE):
        turn.heard_of(group, member)
    limit = turn.knobs.offset_metadata_length_max
    too_large = frozenset((o.topic, o.partition) for o in request.offsets if utf16_length(o.metadata) > limit)
    expire_ms = -1 if request.retention_ms < 0 else min(turn.now.wall_ms + request.retention_ms, _INT64_MAX)
    records = tuple(
        OffsetRecord(group.group_id, o.topic, o.partition, _committed(o, turn.now.wall_ms, expire_ms))
        for o in request.offsets
        if (o.topic, o.partition) not in too_large
    )
    if not records:
        turn.reply(token, CommitAnswer(ErrorCode.NONE, too_large))
        return
    write(turn, group, records, lambda turn, fault: turn.reply(token, CommitAnswer(fault, too_large)))


def _committed(asked: OffsetToCommit, now_ms: int, expire_ms: int) -> CommittedOffset:
    return CommittedOffset(asked.offset, asked.leader_epoch, asked.metadata, now_ms, expire_ms, asked.topic_id)


def commit_fault(group: Group, request: CommitRequest) -> ErrorCode:
    """Why this caller may not commit now, or NONE. Without a generation only an empty group takes commits."""
    if group.state is GroupState.DEAD:
        return COMMIT_ANSWERS[group.state]
    if request.generation < 0 and group.state is GroupState.EMPTY:
        return ErrorCode.NONE
    if request.generation < 0 and request.member_id == NO_MEMBER_ID and request.instance_id is None:
        return ErrorCode.UNKNOWN_MEMBER_ID
    fault = group.member_fault(request.member_id, request.instance_id)
    if fault is not ErrorCode.NONE:
        return fault
    if request.generation != group.generation:
        return ErrorCode.ILLEGAL_GENERATION
    return COMMIT_ANSWERS[group.state]


def on_fetch(turn: Turn, group: Group, request: FetchRequest, token: Token) -> None:
    """Committed positions; waits for changes that are on their way to the log."""
    turn.after_appends(
        group,
        lambda turn: turn.reply(token, FetchAnswer(ErrorCode.NONE, fetched(group, request.topics))),
        lambda turn, fault: turn.reply(token, FetchAnswer(fault)),
    )


def fetched(group: Group | None, topics: tuple[TopicToFetch, ...] | None) -> tuple[FetchedTopic, ...]:
    """Positions of `topics` in their order, or of all topics; a missing group has committed nothing."""
    offsets = {} if group is None else group.offsets
    if topics is None:
        return tuple(FetchedTopic(name, tuple(partitions.items())) for name, partitions in offsets.items())
    return tuple(
        FetchedTopic(
            topic.name, tuple((p, _of_same_topic(offsets.get(topic.name, {}).get(p), topic)) for p in topic.partitions)
        )
        for topic in topics
    )


def _of_same_topic(value: CommittedOffset | None, topic: TopicToFetch) -> CommittedOffset | None:
    """A position committed for a deleted topic means nothing in a new one of the same name."""
    if value is None or NO_TOPIC_ID in (value.topic_id, topic.topic_id) or value.topic_id == topic.topic_id:
        return value
    return None


def on_offset_delete(turn: Turn, group: Group, request: OffsetDeleteRequest, token: Token) -> None:
    """Forget positions of topics that no member consumes; answered when durable."""
    turn.after_appends(
        group,
        lambda turn: _delete(turn, group, request, token),
        lambda turn, fault: turn.reply(token, OffsetDeleteAnswer(fault)),
    )


def _delete(turn: Turn, group: Group, request: OffsetDeleteRequest, token: Token) -> None:
    fault = DELETE_ANSWERS[group.state]
    if fault is ErrorCode.NON_EMPTY_GROUP and group.is_consumer_protocol:
        fault = ErrorCode.NONE  # its subscriptions can be read: decided topic by topic
    if fault is not ErrorCode.NONE:
        turn.reply(token, OffsetDeleteAnswer(fault))
        return
    subscribed = frozenset(topic for topic, _ in request.partitions if group.is_subscribed(topic))
    records = tuple(
        OffsetRecord(group.group_id, topic, partition, None)
        for topic, partition in dict.fromkeys(request.partitions)
        if topic not in subscribed and partition in group.offsets.get(topic, {})
    )
    if not records:
        turn.reply(token, OffsetDeleteAnswer(ErrorCode.NONE, subscribed))
        return
    write(turn, group, records, lambda turn, fault: turn.reply(token, OffsetDeleteAnswer(fault, subscribed)))


def write(turn: Turn, group: Group, records: tuple[OffsetRecord, ...], then: Continuation | None = None) -> None:
    """Append offset records; they show in reads, and `then` runs, once they are durable."""

    def stored(turn: Turn, fault: ErrorCode) -> None:
        if fault is ErrorCode.NONE:
            for record in records:
                apply(group, record)
        if then is not None:
            then(turn, fault)

    turn.append(group, records, stored)


def apply(group: Group, record: OffsetRecord) -> None:
    """The one place where positions change: for live commits and for a reload alike."""
    if record.value is not None:
        group.offsets.setdefault(record.topic, {})[record.partition] = record.value
        return
    partitions = group.offsets.get(record.topic)
    if partitions is not None:
        partitions.pop(record.partition, None)
        if not partitions:
            del group.offsets[record.topic]


def all_tombstones(group: Group) -> tuple[OffsetRecord, ...]:
    """Records that forget everything."""
    return tuple(
        OffsetRecord(group.group_id, t, p, None) for t, partitions in group.offsets.items() for p in partitions
    )


def topic_tombstones(group: Group, topics: frozenset[str]) -> tuple[OffsetRecord, ...]:
    """Records that forget deleted topics."""
    return tuple(OffsetRecord(group.group_id, t, p, None) for t in topics for p in group.offsets.get(t, {}))


def expired(group: Group, now_ms: int, retention_ms: int) -> Iterator[OffsetRecord]:
    """Records that forget what nobody has needed for the retention time.

    With members: only topics that no consumer subscribes to any more, by commit time, and only while stable. Empty:
    from the moment when the group became empty. Never had members (simple group): by commit time.
    """
    if group.protocol_type is None:
        base_ms = -1
    elif group.state is GroupState.EMPTY:
        base_ms = group.state_ms
    elif group.is_consumer_protocol and group.state is GroupState.STABLE and group.subscribed is not None:
        base_ms = -1
    else:
        return
    for topic, partitions in group.offsets.items():
        if group.is_subscribed(topic):
            continue
        for partition, value in partitions.items():
            since_ms = value.commit_ms if base_ms < 0 else base_ms
            has_passed = now_ms >= value.expire_ms if value.expire_ms >= 0 else now_ms - since_ms >= retention_ms
            if has_passed:
                yield OffsetRecord(group.group_id, topic, partition, None)


__all__ = [
    "all_tombstones",
    "apply",
    "commit_fault",
    "expired",
    "fetched",
    "on_commit",
    "on_fetch",
    "on_offset_delete",
    "topic_tombstones",
    "write",
]
