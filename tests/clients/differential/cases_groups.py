"""Classic groups: joining, syncing, leaving, static members, commits, and what administrators ask."""

from typing import Any

from automq_broker.wire.apis.k08_offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from automq_broker.wire.apis.k09_offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)
from automq_broker.wire.apis.k10_find_coordinator import FindCoordinatorRequest
from automq_broker.wire.apis.k11_join_group import JoinGroupRequest, JoinGroupRequestProtocol
from automq_broker.wire.apis.k12_heartbeat import HeartbeatRequest
from automq_broker.wire.apis.k13_leave_group import LeaveGroupRequest, MemberIdentity
from automq_broker.wire.apis.k14_sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from automq_broker.wire.apis.k15_describe_groups import DescribeGroupsRequest
from automq_broker.wire.apis.k16_list_groups import ListGroupsRequest
from automq_broker.wire.apis.k42_delete_groups import DeleteGroupsRequest
from automq_broker.wire.apis.k47_offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)
from clients.differential.world import Ask, Hear, Steps, World, case

COMMIT, FETCH, FIND, JOIN, HEARTBEAT, LEAVE, SYNC = 8, 9, 10, 11, 12, 13, 14
DESCRIBE, LIST, DELETE, OFFSET_DELETE = 15, 16, 42, 47


def _join(group: str, member: str = "", **given: Any) -> JoinGroupRequest:
    protocols = [
        JoinGroupRequestProtocol(name=name, metadata=b"m-" + name.encode()) for name in given.pop("names", ("a",))
    ]
    fields = {"session_timeout_ms": 20000, "rebalance_timeout_ms": 20000, "protocol_type": "consumer", **given}
    return JoinGroupRequest(group_id=group, member_id=member, protocols=protocols, **fields)


def _sync(
    group: str, generation: int, member: str, plan: dict[str, bytes] | None = None, **given: Any
) -> SyncGroupRequest:
    rows = [SyncGroupRequestAssignment(member_id=name, assignment=share) for name, share in (plan or {}).items()]
    fields = {"protocol_type": "consumer", "protocol_name": "a", **given}
    return SyncGroupRequest(group_id=group, generation_id=generation, member_id=member, assignments=rows, **fields)


def _leave(version: int, group: str, *members: tuple[str, str | None]) -> LeaveGroupRequest:
    if version < 3:
        return LeaveGroupRequest(group_id=group, member_id=members[0][0])
    rows = [MemberIdentity(member_id=member, group_instance_id=instance) for member, instance in members]
    return LeaveGroupRequest(group_id=group, members=rows)


def _joined(world: World, group: str, **given: Any) -> tuple[str, int]:
    """Become the only, synced member of a group outside the comparison; returns (member id, generation)."""
    first = world.aside(_join(group, **given), 4 if "group_instance_id" not in given else 5)
    if first.error_code == 79:
        first = world.aside(_join(group, first.member_id, **given), 4)
    assert first.error_code == 0, first
    synced = world.aside(_sync(group, first.generation_id, first.member_id, {first.member_id: b"share"}), 3)
    assert synced.error_code == 0, synced
    return first.member_id, first.generation_id


@case(JOIN)
def a_member_joins_syncs_beats_and_leaves(world: World, version: int) -> Steps:
    group = world.group()
    answer = yield _join(group)
    if answer.error_code:
        answer = yield _join(group, answer.member_id)
    member, generation = answer.member_id, answer.generation_id
    yield Ask(message=_sync(group, generation, member, {member: b"all"}), version=min(version, 5))
    yield Ask(message=HeartbeatRequest(group_id=group, generation_id=generation, member_id=member), version=4)
    yield _join(group, member)
    yield Ask(message=HeartbeatRequest(group_id=group, generation_id=generation, member_id=member), version=4)
    yield Ask(message=_leave(5, group, (member, None)), version=5)
    yield Ask(message=HeartbeatRequest(group_id=group, generation_id=generation, member_id=member), version=4)


@case(JOIN, least=5)
def two_members_agree_on_a_protocol(world: World, version: int) -> Steps:
    group = world.group()
    first = yield _join(group, names=("a", "b"))
    first = yield _join(group, first.member_id, names=("a", "b"))
    yield Ask(message=_sync(group, 1, first.member_id, {first.member_id: b"all"}), version=5)
    second = yield Ask(message=_join(group, names=("b", "c")), connection=1)
    yield Ask(message=_join(group, second.member_id, names=("b", "c")), connection=1, is_waiting=False)
    beat = HeartbeatRequest(group_id=group, generation_id=1, member_id=first.member_id)
    world.until(beat, 4, lambda answer: answer.error_code == 27)

    def view(answer: Any) -> Any:
        ids = sorted(row.member_id for row in answer.members)  # in no particular order
        is_complete = ids == sorted((first.member_id, second.member_id))
        is_led = answer.leader == first.member_id
        return [answer.error_code, answer.generation_id, answer.protocol_name, is_led, is_complete, len(ids)]

    yield Ask(message=_join(group, first.member_id, names=("a", "b")), view=view)
    yield Hear(connection=1, view=view)
    yield Ask(message=_sync(group, 2, second.member_id, protocol_name="b"), version=5, connection=1, is_waiting=False)
    plan = {first.member_id: b"one", second.member_id: b"two"}
    yield Ask(message=_sync(group, 2, first.member_id, plan, protocol_name="b"), version=5)
    yield Hear(connection=1)


@case(JOIN)
def impossible_joins_are_refused(world: World, version: int) -> Steps:
    group = world.group()
    yield _join("")
    yield _join(group, "stranger")
    for timeout_ms in (1, 10_000_000):
        yield _join(group, session_timeout_ms=timeout_ms)
    yield _join(group, names=())
    yield _join(group, protocol_type="")
    _joined(world, group)
    yield _join(group, names=("other",))
    yield _join(group, protocol_type="connect")


@case(JOIN, least=5)
def static_members_return_and_fence(world: World, version: int) -> Steps:
    group = world.group()
    first = yield _join(group, group_instance_id="i")
    yield Ask(message=_sync(group, 1, first.member_id, {first.member_id: b"all"}, group_instance_id="i"), version=5)
    second = yield _join(group, group_instance_id="i")
    yield Ask(message=_sync(group, second.generation_id, second.member_id, group_instance_id="i"), version=5)
    old = HeartbeatRequest(group_id=group, generation_id=1, member_id=first.member_id, group_instance_id="i")
    yield Ask(message=old, version=4)
    yield _join(group, first.member_id, group_instance_id="i")
    yield _join(group, "stranger", group_instance_id="unknown")
    yield Ask(message=_leave(5, group, ("", "nobody"), ("stranger", "i"), ("", "i")), version=5)


@case(SYNC)
def impossible_syncs_are_refused(world: World, version: int) -> Steps:
    group = world.group()
    yield _sync(group, 1, "stranger")
    member, generation = _joined(world, group)
    yield _sync(group, generation, "stranger")
    yield _sync(group, generation + 1, member)
    yield _sync("", generation, member)
    yield _sync(group, generation, member)
    if version >= 5:
        yield _sync(group, generation, member, protocol_name="other")
        yield _sync(group, generation, member, protocol_type="connect")
        yield _sync(group, generation, member, protocol_type=None, protocol_name=None)


@case(HEARTBEAT)
def heartbeats_know_group_member_and_generation(world: World, version: int) -> Steps:
    group = world.group()
    yield HeartbeatRequest(group_id="", generation_id=1, member_id="m")
    yield HeartbeatRequest(group_id=group, generation_id=1, member_id="stranger")
    member, generation = _joined(world, group)
    for asked_member, asked in ((member, generation), (member, generation + 1), (member, -1), ("stranger", generation)):
        yield HeartbeatRequest(group_id=group, generation_id=asked, member_id=asked_member)


@case(LEAVE)
def leaving_twice_and_leaving_unknown(world: World, version: int) -> Steps:
    group = world.group()
    yield _leave(version, group, ("stranger", None))
    member, _ = _joined(world, group)
    yield _leave(version, "", (member, None))
    yield _leave(version, group, ("stranger", None))
    yield _leave(version, group, (member, None))
    yield _leave(version, group, (member, None))


def _commit(world: World, version: int, group: str, topic: str, offset: int = 7, **given: Any) -> OffsetCommitRequest:
    row_fields = ("partition_index", "committed_leader_epoch", "committed_metadata")
    row = {key: given.pop(key) for key in row_fields if key in given}
    partitions = [OffsetCommitRequestPartition(committed_offset=offset, **row)]
    named = OffsetCommitRequestTopic(name=topic, partitions=partitions)
    if version >= 10:
        named = OffsetCommitRequestTopic(topic_id=world.topic_id(topic), partitions=partitions)
    fields = {"generation_id_or_member_epoch": -1, "member_id": "", **given}
    return OffsetCommitRequest(group_id=group, topics=[named], **fields)


def _fetch(
    world: World, version: int, group: str, topic: str | None, *partitions: int, **given: Any
) -> OffsetFetchRequest:
    if version < 8:
        rows = None if topic is None else [OffsetFetchRequestTopic(name=topic, partition_indexes=list(partitions))]
        return OffsetFetchRequest(group_id=group, topics=rows, **given)
    many: list[OffsetFetchRequestTopics] | None = None
    if topic is not None:
        named = {"topic_id": world.topic_id(topic)} if version >= 10 else {"name": topic}
        many = [OffsetFetchRequestTopics(partition_indexes=list(partitions), **named)]
    return OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id=group, topics=many)], **given)


@case(COMMIT)
def a_commit_without_members_is_kept(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()
    yield _commit(world, version, group, topic, 42, committed_metadata="note", committed_leader_epoch=3)
    yield Ask(message=_fetch(world, 7, group, topic, 0, 1), version=7)
    yield _commit(world, version, group, topic, 1, partition_index=1, committed_metadata=None)
    yield Ask(message=_fetch(world, 7, group, topic, 0, 1), version=7)


@case(COMMIT)
def impossible_commits_are_refused(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()
    yield _commit(world, version, group, topic, committed_metadata="x" * 4097)
    yield _commit(world, version, group, topic, partition_index=99)
    yield _commit(world, version, group, topic, member_id="stranger", generation_id_or_member_epoch=1)
    yield _commit(world, version, "", topic)
    if version < 10:
        yield _commit(world, version, group, "nobody-made-this")
    member, generation = _joined(world, group)
    for asked_member, asked in (("", -1), (member, generation + 1), ("stranger", generation), (member, generation)):
        yield _commit(world, version, group, topic, member_id=asked_member, generation_id_or_member_epoch=asked)


@case(FETCH)
def offsets_come_back_or_are_absent(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()
    yield _fetch(world, version, group, topic, 0)
    world.aside(_commit(world, 8, group, topic, 42, committed_metadata="note", committed_leader_epoch=3), 8)
    yield _fetch(world, version, group, topic, 0, 1, 99)
    if version >= 2:
        yield _fetch(world, version, group, None)
    yield _fetch(world, version, world.name("never-used"), topic, 0)
    if version < 10:
        yield _fetch(world, version, group, "nobody-made-this", 0)


@case(FETCH, least=7)
def stable_offsets_are_given_when_nothing_is_pending(world: World, version: int) -> Steps:
    yield _fetch(world, version, world.group(), world.empty_topic(), 0, require_stable=True)


@case(FETCH, least=8)
def several_groups_in_one_question(world: World, version: int) -> Steps:
    one, two, topic = world.group("one"), world.group("two"), world.empty_topic()
    world.aside(_commit(world, 8, two, topic, 5), 8)
    first, second = (_fetch(world, version, group, topic, 0) for group in (one, two))
    yield OffsetFetchRequest(groups=[*first.groups, *second.groups])


@case(FETCH, least=9)
def a_stranger_may_not_fetch_for_a_member(world: World, version: int) -> Steps:
    group = world.group()
    request = _fetch(world, version, group, world.empty_topic(), 0)
    request.groups[0].member_id, request.groups[0].member_epoch = "stranger", 5
    yield request


@case(FIND)
def coordinators_are_found(world: World, version: int) -> Steps:
    group = world.group()
    key: dict[str, Any] = {"coordinator_keys": [group, ""]} if version >= 4 else {"key": group}
    yield FindCoordinatorRequest(key_type=0, **key)
    kinds = (9,) if version else ()
    for kind in kinds:
        yield FindCoordinatorRequest(key_type=kind, **key)


@case(DESCRIBE)
def groups_are_described(world: World, version: int) -> Steps:
    group, empty = world.group(), world.group("empty")
    world.aside(_commit(world, 8, empty, world.empty_topic(), 5), 8)
    _joined(world, group)
    for name in (group, empty, world.name("never-used"), ""):
        yield Ask(message=DescribeGroupsRequest(groups=[name]))
    yield DescribeGroupsRequest(groups=[])


@case(DESCRIBE, least=3)
def operations_on_a_group_when_asked(world: World, version: int) -> Steps:
    group = world.group()
    _joined(world, group)
    yield DescribeGroupsRequest(groups=[group], include_authorized_operations=True)


@case(LIST)
def groups_are_listed(world: World, version: int) -> Steps:
    group, empty = world.group(), world.group("empty")
    world.aside(_commit(world, 8, empty, world.empty_topic(), 5), 8)
    _joined(world, group)

    def view(answer: Any) -> Any:
        mine = [row for row in answer.groups if row.group_id in (group, empty)]
        return [answer.error_code, sorted(mine, key=lambda row: row.group_id)]

    yield Ask(message=ListGroupsRequest(), view=view)
    if version >= 4:
        for states in (["Stable"], ["empty"], ["Dead"], ["nonsense"]):
            yield Ask(message=ListGroupsRequest(states_filter=states), view=view)
    if version >= 5:
        for types in (["classic"], ["Consumer"], ["nonsense"]):
            yield Ask(message=ListGroupsRequest(types_filter=types), view=view)


@case(DELETE)
def only_empty_groups_are_deleted(world: World, version: int) -> Steps:
    group, empty = world.group(), world.group("empty")
    world.aside(_commit(world, 8, empty, world.empty_topic(), 5), 8)
    _joined(world, group)
    for name in (group, empty, empty, world.name("never-used"), ""):
        yield DeleteGroupsRequest(groups_names=[name])
    yield Ask(message=_fetch(world, 7, empty, world.empty_topic(), 0), version=7)


@case(OFFSET_DELETE)
def offsets_are_deleted_one_by_one(world: World, version: int) -> Steps:
    group, topic = world.group(), world.empty_topic()
    world.aside(_commit(world, 8, group, topic, 5), 8)

    def asked(name: str, wanted: str, *partitions: int) -> OffsetDeleteRequest:
        rows = [OffsetDeleteRequestPartition(partition_index=index) for index in partitions]
        return OffsetDeleteRequest(group_id=name, topics=[OffsetDeleteRequestTopic(name=wanted, partitions=rows)])

    yield asked(world.name("never-used"), topic, 0)
    yield asked(group, "nobody-made-this", 0)

    def view(answer: Any) -> Any:
        rows = [row for found in answer.topics for row in found.partitions]
        return [answer.error_code, sorted((row.partition_index, row.error_code) for row in rows)]

    yield Ask(message=asked(group, topic, 0, 1, 99), view=view)
    yield asked(group, topic, 0)
    yield Ask(message=_fetch(world, 7, group, topic, 0), version=7)
    world.aside(_commit(world, 8, group, topic, 5), 8)
    _joined(world, group)
    yield asked(group, topic, 0)
