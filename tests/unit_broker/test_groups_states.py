"""Every event in every state, as one table; and what may never happen whatever clients do."""

from typing import Any

import pytest
from automq_broker.groups.group import Group
from automq_broker.groups.member import Member
from automq_broker.groups.states import GroupState, can_follow
from automq_broker.groups.values import LeavingMember, OffsetDeleteRequest
from automq_broker.groups.written import CommittedOffset
from automq_broker.kernel.errors import Bug
from automq_broker.wire.codes import ErrorCode as E
from twins.group_log import Bench, join_request

WAITS = "waits"
EMPTY, PREPARING, COMPLETING, STABLE = "Empty", "PreparingRebalance", "CompletingRebalance", "Stable"

TABLE: list[tuple[str, str, str, object]] = [
    # (state, who, event, what it is told)
    (EMPTY, "member", "join", E.UNKNOWN_MEMBER_ID),
    (EMPTY, "member", "sync", E.UNKNOWN_MEMBER_ID),
    (EMPTY, "member", "heartbeat", E.UNKNOWN_MEMBER_ID),
    (EMPTY, "member", "leave", E.UNKNOWN_MEMBER_ID),
    (EMPTY, "member", "commit", E.UNKNOWN_MEMBER_ID),
    (EMPTY, "admin", "commit", E.NONE),
    (EMPTY, "admin", "delete", E.NONE),
    (EMPTY, "admin", "offset delete", E.NONE),
    (EMPTY, "stranger", "join", E.MEMBER_ID_REQUIRED),
    (EMPTY, "stranger", "old join", WAITS),
    (PREPARING, "member", "join", WAITS),
    (PREPARING, "member", "changed join", WAITS),
    (PREPARING, "member", "sync", E.REBALANCE_IN_PROGRESS),
    (PREPARING, "member", "heartbeat", E.REBALANCE_IN_PROGRESS),
    (PREPARING, "member", "stale heartbeat", E.ILLEGAL_GENERATION),
    (PREPARING, "member", "leave", E.NONE),
    (PREPARING, "member", "commit", E.NONE),
    (PREPARING, "admin", "commit", E.UNKNOWN_MEMBER_ID),
    (PREPARING, "admin", "delete", E.NON_EMPTY_GROUP),
    (PREPARING, "admin", "offset delete", E.NONE),
    (PREPARING, "stranger", "join", E.MEMBER_ID_REQUIRED),
    (PREPARING, "stranger", "old join", WAITS),
    (COMPLETING, "member", "join", E.NONE),
    (COMPLETING, "member", "changed join", WAITS),
    (COMPLETING, "member", "sync", WAITS),
    (COMPLETING, "member", "stale sync", E.ILLEGAL_GENERATION),
    (COMPLETING, "member", "heartbeat", E.NONE),
    (COMPLETING, "member", "stale heartbeat", E.ILLEGAL_GENERATION),
    (COMPLETING, "member", "leave", E.NONE),
    (COMPLETING, "member", "commit", E.REBALANCE_IN_PROGRESS),
    (COMPLETING, "member", "stale commit", E.ILLEGAL_GENERATION),
    (COMPLETING, "admin", "commit", E.UNKNOWN_MEMBER_ID),
    (COMPLETING, "admin", "delete", E.NON_EMPTY_GROUP),
    (COMPLETING, "stranger", "heartbeat", E.UNKNOWN_MEMBER_ID),
    (COMPLETING, "stranger", "sync", E.UNKNOWN_MEMBER_ID),
    (COMPLETING, "stranger", "join", E.MEMBER_ID_REQUIRED),
    (STABLE, "member", "join", E.NONE),
    (STABLE, "member", "changed join", WAITS),
    (STABLE, "leader", "join", WAITS),
    (STABLE, "member", "sync", E.NONE),
    (STABLE, "member", "stale sync", E.ILLEGAL_GENERATION),
    (STABLE, "member", "heartbeat", E.NONE),
    (STABLE, "member", "stale heartbeat", E.ILLEGAL_GENERATION),
    (STABLE, "member", "leave", E.NONE),
    (STABLE, "member", "commit", E.NONE),
    (STABLE, "member", "stale commit", E.ILLEGAL_GENERATION),
    (STABLE, "stranger", "leave", E.UNKNOWN_MEMBER_ID),
    (STABLE, "stranger", "heartbeat", E.UNKNOWN_MEMBER_ID),
    (STABLE, "stranger", "sync", E.UNKNOWN_MEMBER_ID),
    (STABLE, "stranger", "commit", E.UNKNOWN_MEMBER_ID),
    (STABLE, "admin", "commit", E.UNKNOWN_MEMBER_ID),
    (STABLE, "admin", "delete", E.NON_EMPTY_GROUP),
    (STABLE, "stranger", "known join", E.UNKNOWN_MEMBER_ID),
    ("none", "stranger", "known join", E.UNKNOWN_MEMBER_ID),
    ("none", "stranger", "join", E.MEMBER_ID_REQUIRED),
    ("none", "stranger", "sync", E.UNKNOWN_MEMBER_ID),
    ("none", "stranger", "heartbeat", E.UNKNOWN_MEMBER_ID),
    ("none", "stranger", "leave", E.UNKNOWN_MEMBER_ID),
    ("none", "stranger", "commit", E.GROUP_ID_NOT_FOUND),
    ("none", "admin", "commit", E.NONE),
    ("none", "admin", "delete", E.GROUP_ID_NOT_FOUND),
    ("none", "admin", "offset delete", E.GROUP_ID_NOT_FOUND),
]


def bench_in(state: str) -> tuple[Bench, str, str, int]:
    """(bench, leader, follower, generation) with a group of two members in `state`."""
    bench = Bench()
    if state == "none":
        return bench, "x", "x", 1
    leader, member = bench.stable("a", "b")
    bench.commit(1, member_id=leader, generation=1)
    generation = 1
    if state == EMPTY:
        bench.leave(LeavingMember(leader), LeavingMember(member))
    if state in (PREPARING, COMPLETING):
        bench.join(leader)
    if state == COMPLETING:
        bench.join(member)
        generation = 2
    assert bench.coordinator.groups["g"].state == state
    return bench, leader, member, generation


def ask(bench: Bench, event: str, member_id: str, generation: int) -> Any:
    match event:
        case "join" | "known join":
            return bench.join(member_id)
        case "old join":
            return bench.join(member_id, requires_known_member_id=False)
        case "changed join":
            changed = join_request().protocols[:1]
            return bench.join(member_id, protocols=changed)
        case "sync":
            return bench.sync(member_id, generation)
        case "stale sync":
            return bench.sync(member_id, generation - 1)
        case "heartbeat":
            return bench.heartbeat(member_id, generation)
        case "stale heartbeat":
            return bench.heartbeat(member_id, generation + 1)
        case "leave":
            return bench.leave(LeavingMember(member_id)).member_errors[0]
        case "commit":
            return bench.commit(5, member_id=member_id, generation=generation)
        case "stale commit":
            return bench.commit(5, member_id=member_id, generation=generation - 1)
        case "delete":
            return bench.ask("delete", "g")
        case _:
            return bench.ask("offset_delete", OffsetDeleteRequest("g", (("never", 0),)))


@pytest.mark.parametrize(("state", "who", "event", "told"), TABLE, ids=str)
def test_every_event_in_every_state(state: str, who: str, event: str, told: object) -> None:
    bench, leader, member, generation = bench_in(state)
    ids = {"member": member, "leader": leader, "admin": "", "stranger": "" if "join" in event else "stranger"}
    member_id = "stranger" if event == "known join" else ids[who]
    answer = ask(bench, event, member_id, -1 if who == "admin" else generation)
    error = getattr(answer, "error", answer)
    if event == "changed join" and state == PREPARING:
        # the follower was the last one missing, so its join completes the round
        assert error is E.NONE
    elif event == "join" and state == PREPARING and who == "member":
        assert error is E.NONE
    elif told == WAITS:
        assert isinstance(answer, int)
        assert answer not in bench.answers
    else:
        assert error is told


def test_offsets_of_a_consumer_group_whose_subscriptions_do_not_parse_are_kept() -> None:
    bench, _, _, _ = bench_in(STABLE)
    answer = bench.ask("offset_delete", OffsetDeleteRequest("g", (("t", 0),)))
    assert answer.subscribed == {"t"}


@pytest.mark.parametrize("previous", list(GroupState))
def test_dead_leads_back_to_empty_alone_and_every_state_can_die(previous: GroupState) -> None:
    leads_to = {state for state in GroupState if can_follow(state, previous)}
    assert leads_to == {GroupState.EMPTY} if previous is GroupState.DEAD else GroupState.DEAD in leads_to


def test_impossible_moves_and_broken_states_are_bugs() -> None:
    group = Group("g", 0)
    with pytest.raises(Bug):
        group.transition(GroupState.STABLE, 0)
    member = Member.joining(join_request(instance_id="i"), "m")
    group.add(member, "consumer")
    with pytest.raises(Bug, match="Empty with members"):
        group.check()
    with pytest.raises(Bug, match="already in group"):
        group.add(Member.joining(join_request(instance_id="i"), "n"), "consumer")
    group.await_join(member, "token")
    with pytest.raises(Bug, match="already waits"):
        group.await_join(member, "other")
    group.leader = "nobody"
    with pytest.raises(Bug, match="leader"):
        group.check()


def test_a_member_that_offers_a_protocol_twice_has_one_vote() -> None:
    group = Group("g", 0)
    offered = join_request().protocols
    group.add(Member.joining(join_request(protocols=offered + offered), "m"), "consumer")
    assert dict(group.votes) == {"range": 1, "roundrobin": 1}
    group.offer(group.members["m"], offered[:1] * 3)
    assert dict(group.votes) == {"range": 1}
    group.remove("m")
    assert dict(group.votes) == {}


def test_positions_committed_for_a_deleted_topic_do_not_count_for_its_successor() -> None:
    import uuid

    from automq_broker.groups.offsets import fetched
    from automq_broker.groups.values import TopicToFetch

    group = Group("g", 0)
    old, new = uuid.UUID(int=1), uuid.UUID(int=2)
    group.offsets = {"t": {0: CommittedOffset(5, topic_id=old)}}
    for topic_id, is_seen in ((old, True), (new, False), (uuid.UUID(int=0), True)):
        ((_, value),) = fetched(group, (TopicToFetch("t", (0,), topic_id),))[0].partitions
        assert (value is not None) is is_seen
