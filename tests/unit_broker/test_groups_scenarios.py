"""Classic groups told as stories, one client's or operator's experience per test."""

import pytest
from automq_broker.groups.states import GroupState
from automq_broker.groups.values import LeavingMember, OffsetDeleteRequest, Protocol
from automq_broker.wire.codes import ErrorCode as E
from twins.group_log import Bench, durable_view


def state_of(bench: Bench, group_id: str = "g") -> GroupState:
    return bench.coordinator.groups[group_id].state


def test_01_a_lone_consumer_is_given_an_id_joins_leads_and_gets_its_own_assignment() -> None:
    bench = Bench()
    member_id, token = bench.join_new("app")
    assert member_id.startswith("app-")
    bench.advance(1)
    answer = bench.answers[token]
    assert (answer.error, answer.generation, answer.leader, answer.protocol_name) == (E.NONE, 1, member_id, "range")
    assert [m.member_id for m in answer.members] == [member_id]
    assert answer.members[0].metadata == b"r"
    synced = bench.sync(
        member_id, 1, assignments=((member_id, b"all"),), protocol_type="consumer", protocol_name="range"
    )
    assert (synced.error, synced.assignment, synced.protocol_name) == (E.NONE, b"all", "range")
    assert state_of(bench) is GroupState.STABLE
    assert bench.heartbeat(member_id, 1) is E.NONE


def test_02_before_version_4_a_client_joins_in_one_step() -> None:
    bench = Bench()
    token = bench.join(requires_known_member_id=False)
    bench.advance(1)
    assert bench.answers[token].error is E.NONE
    assert bench.answers[token].member_id == bench.answers[token].leader


def test_03_the_first_rebalance_waits_and_newcomers_extend_the_wait_but_not_beyond_the_rebalance_timeout() -> None:
    bench = Bench(initial_rebalance_delay_ms=3000)
    _, first = bench.join_new("a", rebalance_timeout_ms=8000)
    bench.advance(2500)
    _, second = bench.join_new("b", rebalance_timeout_ms=8000)
    bench.advance(600)
    assert first not in bench.answers  # extended once by 3 s
    bench.advance(1500)
    _, third = bench.join_new("c", rebalance_timeout_ms=8000)
    bench.advance(8000 - bench.ms + 1000 - 1)
    assert first not in bench.answers  # extended again, by what is left of 8 s
    bench.advance(1)
    assert {bench.answers[t].generation for t in (first, second, third)} == {1}


def test_04_a_third_consumer_makes_the_others_rejoin_and_nobody_is_answered_before_all_are_there() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    c, token_c = bench.join_new("c")
    assert bench.heartbeat(a, 1) is E.REBALANCE_IN_PROGRESS
    token_a = bench.join(a)
    assert token_a not in bench.answers
    answer_b = bench.join(b)
    assert answer_b.generation == 2
    assert bench.answers[token_a].generation == bench.answers[token_c].generation == 2
    assert len(bench.answers[token_a].members) == 3
    assert answer_b.members == ()
    waiting = bench.sync(b, 2)
    assert waiting not in bench.answers
    bench.sync(a, 2, assignments=((a, b"1"), (b, b"2")))
    assert bench.answers[waiting].assignment == b"2"
    assert bench.sync(c, 2).assignment == b""  # the leader forgot it; it stays in the group with nothing


def test_05_a_member_that_does_not_rejoin_in_time_is_left_behind() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b", rebalance_timeout_ms=9000)
    token = bench.join(a, protocols=(Protocol("range", b"changed"),), rebalance_timeout_ms=9000)
    bench.advance(8999)
    assert token not in bench.answers
    bench.advance(1)
    assert [m.member_id for m in bench.answers[token].members] == [a]
    assert bench.heartbeat(b, 1) is E.UNKNOWN_MEMBER_ID


def test_06_a_silent_member_is_dropped_after_its_session_and_the_rest_rebalance() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    bench.advance(6000)
    assert bench.heartbeat(a, 1) is E.NONE
    bench.advance(4001)
    assert state_of(bench) is GroupState.PREPARING_REBALANCE
    assert bench.heartbeat(a, 1) is E.REBALANCE_IN_PROGRESS
    assert bench.heartbeat(b, 1) is E.UNKNOWN_MEMBER_ID
    assert bench.join(a).generation == 2


def test_07_a_commit_keeps_the_session_alive_too() -> None:
    bench = Bench()
    (a,) = bench.stable("a")
    for _ in range(5):
        bench.advance(9000)
        assert bench.commit(7, member_id=a, generation=1).error is E.NONE
    assert state_of(bench) is GroupState.STABLE


def test_08_an_id_that_was_handed_out_but_never_used_does_not_hold_up_a_rebalance_for_ever() -> None:
    bench = Bench()
    (a,) = bench.stable("a", rebalance_timeout_ms=300_000)
    asked = bench.join(client_id="ghost")
    assert asked.error is E.MEMBER_ID_REQUIRED
    token = bench.join(a, protocols=(Protocol("range", b"changed"),), rebalance_timeout_ms=300_000)
    bench.advance(9_999)
    assert token not in bench.answers
    bench.advance(1)
    assert bench.answers[token].generation == 2
    assert bench.join(asked.member_id).error is E.UNKNOWN_MEMBER_ID


def test_09_a_leaving_member_starts_one_rebalance_and_the_last_one_empties_the_group() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    assert bench.leave(LeavingMember(a)).member_errors == (E.NONE,)
    assert state_of(bench) is GroupState.PREPARING_REBALANCE
    assert bench.coordinator.groups["g"].leader == b
    assert bench.leave(LeavingMember(b), LeavingMember("stranger")).member_errors == (E.NONE, E.UNKNOWN_MEMBER_ID)
    assert state_of(bench) is GroupState.EMPTY
    assert bench.coordinator.groups["g"].generation == 2
    assert bench.reloaded().groups["g"].generation == 2


def test_10_a_follower_that_rejoins_unchanged_disturbs_nobody_but_a_leader_does() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    answer = bench.join(b)
    assert (answer.error, answer.generation, answer.leader, answer.members) == (E.NONE, 1, a, ())
    assert state_of(bench) is GroupState.STABLE
    bench.join(a)
    assert state_of(bench) is GroupState.PREPARING_REBALANCE


def test_11_whoever_missed_its_join_answer_gets_the_running_generation_again() -> None:
    bench = Bench()
    a, token = bench.join_new("a")
    bench.advance(1)
    again = bench.join(a)
    assert again == bench.answers[token]


def test_12_a_static_member_returns_to_a_stable_group_without_a_rebalance_and_fences_its_old_self() -> None:
    bench = Bench()
    token = bench.join(instance_id="i1")
    bench.advance(1)
    old = bench.answers[token].member_id
    bench.sync(old, 1, instance_id="i1", assignments=((old, b"mine"),))
    back = bench.join(instance_id="i1")
    assert back.error is E.NONE
    assert back.member_id != old
    assert (back.generation, back.leader, back.skip_assignment) == (1, back.member_id, True)
    assert [m.instance_id for m in back.members] == ["i1"]
    assert state_of(bench) is GroupState.STABLE
    assert bench.sync(back.member_id, 1, instance_id="i1").assignment == b"mine"
    assert bench.heartbeat(old, 1, instance_id="i1") is E.FENCED_INSTANCE_ID
    assert bench.commit(1, member_id=old, generation=1, instance_id="i1").error is E.FENCED_INSTANCE_ID
    assert bench.join(old, instance_id="i1").error is E.FENCED_INSTANCE_ID
    assert bench.sync(old, 1, instance_id="i1").error is E.FENCED_INSTANCE_ID
    assert bench.leave(LeavingMember(old, "i1")).member_errors == (E.FENCED_INSTANCE_ID,)
    assert bench.reloaded().groups["g"].static_members == {"i1": back.member_id}


def test_13_before_version_9_the_returning_static_leader_is_told_that_its_old_self_leads_so_it_does_not_assign() -> (
    None
):
    bench = Bench()
    token = bench.join(instance_id="i1")
    bench.advance(1)
    old = bench.answers[token].member_id
    bench.sync(old, 1, instance_id="i1", assignments=((old, b"mine"),))
    back = bench.join(instance_id="i1", can_skip_assignment=False)
    assert (back.leader, back.members, back.skip_assignment) == (old, (), False)


def test_14_a_static_member_that_returns_with_another_common_protocol_does_start_a_rebalance() -> None:
    bench = Bench()
    token = bench.join(instance_id="i1")
    bench.advance(1)
    old = bench.answers[token].member_id
    bench.sync(old, 1, instance_id="i1", assignments=((old, b"mine"),))
    back = bench.join(instance_id="i1", protocols=(Protocol("roundrobin", b"only this"),))
    assert (back.generation, back.protocol_name) == (2, "roundrobin")


def test_15_a_static_member_that_leaves_its_process_keeps_its_place_through_a_rebalance_until_its_session_ends() -> (
    None
):
    bench = Bench()
    token = bench.join(instance_id="i1", rebalance_timeout_ms=1000)
    bench.advance(1)
    old = bench.answers[token].member_id
    bench.sync(old, 1, instance_id="i1", assignments=((old, b"mine"),))
    b, token_b = bench.join_new("b", rebalance_timeout_ms=1000)
    bench.advance(1000)
    answer = bench.answers[token_b]
    assert (answer.generation, answer.leader) == (2, b)
    assert {m.member_id for m in answer.members} == {old, b}
    bench.sync(b, 2)
    bench.advance(60_000)
    assert old not in bench.coordinator.groups["g"].members


def test_16_a_static_member_that_returns_while_the_leader_assigns_starts_a_new_round() -> None:
    bench = Bench()
    tokens = [bench.join(instance_id=name) for name in ("i1", "i2")]
    bench.advance(1)
    one, two = (bench.answers[t].member_id for t in tokens)
    waiting = bench.sync(one, 1, instance_id="i1") if bench.answers[tokens[0]].leader != one else bench.sync(two, 1)
    back = bench.join(instance_id="i2")
    assert bench.answers[waiting].error in (E.REBALANCE_IN_PROGRESS, E.FENCED_INSTANCE_ID)
    assert isinstance(back, int)
    assert back not in bench.answers
    assert state_of(bench) is GroupState.PREPARING_REBALANCE


def test_17_an_admin_removes_a_static_member_by_its_instance_id_alone() -> None:
    bench = Bench()
    token = bench.join(instance_id="i1")
    bench.advance(1)
    member_id = bench.answers[token].member_id
    bench.sync(member_id, 1, instance_id="i1")
    answer = bench.leave(LeavingMember("", "i1"), LeavingMember("", "i9"), LeavingMember("", None))
    assert answer.member_errors == (E.NONE, E.UNKNOWN_MEMBER_ID, E.UNKNOWN_MEMBER_ID)
    assert state_of(bench) is GroupState.EMPTY


def test_18_the_assignment_leaves_only_once_it_is_durable() -> None:
    bench = Bench()
    a, _token = bench.join_new("a")
    bench.advance(1)
    bench.holds = True
    waiting = bench.sync(a, 1, assignments=((a, b"x"),))
    assert waiting not in bench.answers
    assert state_of(bench) is GroupState.COMPLETING_REBALANCE
    again = bench.sync(a, 1, assignments=((a, b"y"),))
    assert bench.answers[waiting].error is E.REBALANCE_IN_PROGRESS  # given up by its client; the first write goes on
    bench.let_go()
    assert bench.answers[again].assignment == b"x"
    assert state_of(bench) is GroupState.STABLE
    assert durable_view(bench.reloaded()) == durable_view(bench.coordinator)


def test_19_when_the_assignment_cannot_be_written_everybody_is_told_and_joins_again() -> None:
    bench = Bench()
    a, _ = bench.join_new("a")
    bench.advance(1)
    bench.refuses = E.COORDINATOR_NOT_AVAILABLE
    assert bench.sync(a, 1, assignments=((a, b"x"),)).error is E.COORDINATOR_NOT_AVAILABLE
    bench.refuses = None
    assert bench.heartbeat(a, 1) is E.REBALANCE_IN_PROGRESS
    assert bench.join(a).generation == 2


def test_20_members_that_never_sync_are_dropped_after_the_rebalance_timeout() -> None:
    bench = Bench()
    a, _ = bench.join_new("a", rebalance_timeout_ms=5000, session_timeout_ms=30_000)
    b, _ = bench.join_new("b", rebalance_timeout_ms=5000, session_timeout_ms=30_000)
    bench.advance(1)
    bench.sync(a, 1, assignments=((a, b"x"), (b, b"y")))
    assert state_of(bench) is GroupState.STABLE
    bench.advance(5000)
    assert list(bench.coordinator.groups["g"].members) == [a]
    assert bench.heartbeat(a, 1) is E.REBALANCE_IN_PROGRESS


def test_21_a_simple_consumer_commits_without_a_group_and_reads_back_offset_and_metadata() -> None:
    bench = Bench()
    assert bench.commit(42, metadata="ünïcode ✓").error is E.NONE
    ((_, value),) = bench.fetch().topics[0].partitions
    assert (value.offset, value.metadata, value.leader_epoch) == (42, "ünïcode ✓", -1)
    assert bench.position(partition=1) is None
    assert bench.position(group_id="nobody") is None


def test_22_commits_of_strangers_to_a_group_with_members_are_refused() -> None:
    bench = Bench()
    (a,) = bench.stable("a")
    assert bench.commit(1).error is E.UNKNOWN_MEMBER_ID
    assert bench.commit(1, member_id="x", generation=1).error is E.UNKNOWN_MEMBER_ID
    assert bench.commit(1, member_id=a, generation=0).error is E.ILLEGAL_GENERATION
    assert bench.commit(1, member_id=a, generation=-1).error is E.ILLEGAL_GENERATION
    assert bench.commit(1, member_id=a, generation=1).error is E.NONE
    assert bench.commit(1, group_id="new", member_id="x", generation=3).error is E.GROUP_ID_NOT_FOUND
    old = {"group_id": "new", "member_id": "x", "generation": 3, "knows_missing_groups": False}
    assert bench.commit(1, **old).error is E.ILLEGAL_GENERATION


def test_23_commits_wait_out_the_sync_phase_but_are_taken_while_preparing() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    bench.join(a)
    assert bench.commit(5, member_id=b, generation=1).error is E.NONE
    bench.join(b)
    assert state_of(bench) is GroupState.COMPLETING_REBALANCE
    assert bench.commit(6, member_id=b, generation=2).error is E.REBALANCE_IN_PROGRESS


def test_24_metadata_beyond_the_limit_fails_alone_and_counts_utf16_units() -> None:
    bench = Bench(offset_metadata_length_max=4)
    assert bench.commit(1, metadata="12345").too_large == {("t", 0)}
    assert bench.position() is None
    assert bench.commit(2, metadata="😀😀").too_large == frozenset()
    assert bench.commit(3, metadata="😀😀x").too_large == {("t", 0)}
    assert bench.position() == 2


def test_25_who_commits_and_asks_without_waiting_sees_its_own_commit() -> None:
    bench = Bench()
    bench.commit(1)
    bench.holds = True
    committed = bench.commit(2)
    asked = bench.fetch()
    later = bench.commit(3)
    assert committed not in bench.answers
    assert asked not in bench.answers
    bench.let_go(1)
    assert bench.answers[committed].error is E.NONE
    assert bench.answers[asked].topics[0].partitions[0][1].offset == 2
    assert later not in bench.answers  # a steady stream of commits does not starve a reader


def test_26_a_refused_commit_changes_nothing() -> None:
    bench = Bench()
    bench.commit(1)
    bench.refuses = E.COORDINATOR_NOT_AVAILABLE
    assert bench.commit(2).error is E.COORDINATOR_NOT_AVAILABLE
    assert bench.position() == 1


def test_27_deleting_a_group_needs_it_empty_and_forgets_its_offsets() -> None:
    bench = Bench()
    (a,) = bench.stable("a")
    bench.commit(1, member_id=a, generation=1)
    assert bench.ask("delete", "g").error is E.NON_EMPTY_GROUP
    assert bench.ask("delete", "nobody").error is E.GROUP_ID_NOT_FOUND
    bench.leave(LeavingMember(a))
    assert bench.ask("delete", "g").error is E.NONE
    assert bench.position() is None
    assert bench.reloaded().groups == {}


def test_28_a_commit_on_its_way_does_not_survive_a_deletion_that_was_answered() -> None:
    bench = Bench()
    bench.holds = True
    bench.commit(1)
    deleted = bench.ask("delete", "g")
    assert deleted not in bench.answers
    bench.let_go()
    bench.let_go()
    assert bench.answers[deleted].error is E.NONE
    assert bench.reloaded().groups == {}


def test_29_a_deletion_that_was_refused_leaves_the_group_as_it_was() -> None:
    bench = Bench()
    bench.commit(1)
    bench.refuses = E.NOT_COORDINATOR
    assert bench.ask("delete", "g").error is E.NOT_COORDINATOR
    bench.refuses = None
    assert bench.position() == 1


def test_30_offsets_of_consumed_topics_cannot_be_deleted_but_others_can() -> None:
    bench = Bench()
    subscription = b"\0\1" + b"\0\0\0\1" + b"\0\4used" + b"\0\0\0\0"
    (a,) = bench.stable("a", protocols=(Protocol("range", subscription),))
    for topic in ("used", "unused"):
        bench.commit(5, topic=topic, member_id=a, generation=1)
    answer = bench.ask("offset_delete", OffsetDeleteRequest("g", (("used", 0), ("unused", 0), ("never", 0))))
    assert (answer.error, answer.subscribed) == (E.NONE, {"used"})
    assert bench.position(topic="used") == 5
    assert bench.position(topic="unused") is None
    assert bench.ask("offset_delete", OffsetDeleteRequest("x", ())).error is E.GROUP_ID_NOT_FOUND


def test_31_groups_of_other_protocol_types_must_be_empty_for_offset_deletion() -> None:
    bench = Bench()
    bench.stable("a", protocol_type="connect")
    answer = bench.ask("offset_delete", OffsetDeleteRequest("g", (("t", 0),)))
    assert answer.error is E.NON_EMPTY_GROUP


def test_32_offsets_go_a_retention_after_the_group_became_empty_not_after_the_commit() -> None:
    day = 24 * 3600 * 1000
    bench = Bench(offsets_retention_ms=day, offsets_check_interval_ms=3600_000)
    (a,) = bench.stable("a", session_timeout_ms=1_800_000)
    bench.commit(5, member_id=a, generation=1)
    for _ in range(30):
        bench.advance(3600_000 // 4 * 1)
        bench.heartbeat(a, 1)
    bench.advance(100)
    assert bench.position() == 5
    bench.leave(LeavingMember(a))
    bench.advance(day - 3600_000)
    assert bench.position() == 5
    bench.advance(2 * 3600_000)
    assert bench.coordinator.groups == {}
    assert bench.reloaded().groups == {}


def test_33_a_simple_group_loses_each_offset_a_retention_after_its_commit() -> None:
    bench = Bench(offsets_retention_ms=10_000, offsets_check_interval_ms=1000)
    bench.commit(1, topic="old")
    bench.advance(6000)
    bench.commit(2, topic="new")
    bench.advance(5000)
    assert bench.position(topic="old") is None
    assert bench.position(topic="new") == 2


def test_34_a_stable_consumer_group_forgets_only_topics_that_nobody_subscribes_to() -> None:
    bench = Bench(offsets_retention_ms=10_000, offsets_check_interval_ms=1000)
    subscription = b"\0\1" + b"\0\0\0\1" + b"\0\4used" + b"\0\0\0\0"
    (a,) = bench.stable("a", protocols=(Protocol("range", subscription),), session_timeout_ms=60_000)
    for topic in ("used", "unused"):
        bench.commit(5, topic=topic, member_id=a, generation=1)
    bench.advance(20_000)
    assert (bench.position(topic="used"), bench.position(topic="unused")) == (5, None)


def test_35_positions_in_deleted_topics_are_forgotten() -> None:
    bench = Bench()
    bench.commit(1, topic="gone")
    bench.commit(2, topic="kept")
    bench.run(bench.coordinator.on_topics_deleted(frozenset({"gone", "other"}), bench.now))
    assert (bench.position(topic="gone"), bench.position(topic="kept")) == (None, 2)
    assert durable_view(bench.reloaded()) == durable_view(bench.coordinator)


def test_36_a_full_group_turns_newcomers_away() -> None:
    bench = Bench(group_max_size=2)
    a, _b = bench.stable("a", "b")
    assert bench.join(client_id="c").error is E.GROUP_MAX_SIZE_REACHED
    assert bench.heartbeat(a, 1) is E.NONE


def test_37_after_the_limit_was_lowered_the_last_to_rejoin_stays_out() -> None:
    bench = Bench()
    ids = bench.stable("a", "b", "c")
    smaller = Bench(group_max_size=2)
    smaller.log = bench.log
    smaller.coordinator = smaller.reloaded()
    smaller.run(smaller.coordinator.on_loaded(smaller.now))
    assert smaller.heartbeat(ids[0], 1) is E.REBALANCE_IN_PROGRESS
    tokens = [smaller.join(ids[0]), smaller.join(ids[1])]
    assert smaller.join(ids[2]).error is E.GROUP_MAX_SIZE_REACHED
    assert {smaller.answers[t].generation for t in tokens} == {2}


def test_38_a_broker_restart_keeps_the_generation_and_gives_members_a_whole_session() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    bench.commit(9, member_id=a, generation=1)
    after = Bench()
    after.coordinator = bench.reloaded()
    after.run(after.coordinator.on_loaded(after.now))
    assert after.heartbeat(a, 1) is E.NONE
    assert after.sync(b, 1).assignment == f"for {b}".encode()
    assert after.position() == 9
    after.advance(9_999)
    assert after.coordinator.groups["g"].state is GroupState.STABLE
    after.advance(2)
    assert b not in after.coordinator.groups["g"].members


def test_39_when_the_partition_moves_everybody_who_waits_is_told_so() -> None:
    bench = Bench()
    _a, _token = bench.join_new("a")
    bench.stable("x", "y", group_id="h")
    bench.commit(1, group_id="s")
    bench.holds = True
    committed = bench.commit(2, group_id="s")
    asked = bench.fetch(group_id="s")
    joining = bench.join(group_id="j", requires_known_member_id=False)
    bench.run(bench.coordinator.on_unload(bench.now))
    assert bench.answers[joining].error is E.NOT_COORDINATOR
    assert bench.answers[asked].error is E.NOT_COORDINATOR
    bench.let_go()
    assert bench.answers[committed].error is E.NONE  # it was in the log before the partition closed


def test_40_a_client_that_repeats_its_join_gets_both_answered() -> None:
    bench = Bench()
    a, b = bench.stable("a", "b")
    first = bench.join(a)
    second = bench.join(a)
    assert bench.answers[first].error is E.REBALANCE_IN_PROGRESS
    bench.join(b)
    assert bench.answers[second].generation == 2


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"session_timeout_ms": 5999}, E.INVALID_SESSION_TIMEOUT),
        ({"session_timeout_ms": 1_800_001}, E.INVALID_SESSION_TIMEOUT),
        ({"protocol_type": ""}, E.INCONSISTENT_GROUP_PROTOCOL),
        ({"protocols": ()}, E.INCONSISTENT_GROUP_PROTOCOL),
    ],
)
def test_41_impossible_joins_are_refused(changes: dict[str, object], error: E) -> None:
    assert Bench().join(**changes).error is error


def test_42_a_member_that_shares_no_protocol_with_the_others_cannot_join() -> None:
    bench = Bench()
    (a,) = bench.stable("a")
    assert bench.join(protocols=(Protocol("sticky", b""),)).error is E.INCONSISTENT_GROUP_PROTOCOL
    assert bench.join(protocol_type="connect").error is E.INCONSISTENT_GROUP_PROTOCOL
    assert bench.sync(a, 1, protocol_name="sticky").error is E.INCONSISTENT_GROUP_PROTOCOL
    assert bench.sync(a, 1, protocol_type="connect").error is E.INCONSISTENT_GROUP_PROTOCOL
    assert bench.sync(a, 1).error is E.NONE


def test_43_the_protocol_that_most_members_prefer_among_the_common_ones_is_chosen() -> None:
    bench = Bench()
    both = (Protocol("x", b"x"), Protocol("y", b"y"))
    turned = (Protocol("y", b"y"), Protocol("x", b"x"))
    tokens = [bench.join_new(c, protocols=p)[1] for c, p in (("a", both), ("b", turned), ("c", turned))]
    bench.advance(1)
    assert bench.answers[tokens[0]].protocol_name == "y"
    assert {m.metadata for m in bench.answers[tokens[0]].members} == {b"y"}


def test_44_while_the_end_of_a_group_is_being_written_callers_are_asked_to_try_again() -> None:
    bench = Bench()
    bench.commit(1)
    bench.holds = True
    deleted = bench.ask("delete", "g")
    assert bench.commit(2).error is E.COORDINATOR_NOT_AVAILABLE
    assert bench.join().error is E.COORDINATOR_NOT_AVAILABLE
    assert bench.ask("delete", "g").error is E.GROUP_ID_NOT_FOUND
    assert list(bench.coordinator.listed()) == []
    asked = bench.fetch()
    bench.let_go()
    assert bench.answers[deleted].error is E.NONE
    assert bench.answers[asked].topics[0].partitions == ((0, None),)
    bench.holds = False
    assert bench.commit(3).error is E.NONE
    assert durable_view(bench.reloaded()) == durable_view(bench.coordinator)


def test_45_a_group_whose_end_is_on_its_way_can_be_unloaded() -> None:
    bench = Bench()
    bench.commit(1)
    bench.holds = True
    deleted = bench.ask("delete", "g")
    asked = bench.fetch()
    bench.run(bench.coordinator.on_unload(bench.now))
    assert bench.answers[asked].error is E.NOT_COORDINATOR
    bench.refuses = E.NOT_COORDINATOR
    bench.let_go()
    assert bench.answers[deleted].error is E.NOT_COORDINATOR
