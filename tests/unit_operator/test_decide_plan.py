"""Drains, rollouts and scaling, and how they wait for each other and for recoveries."""

from dataclasses import replace

import pytest
from automq_operator.decide.drain import is_anybody_else_there
from automq_operator.decide.plan import plan
from automq_operator.decide.values import FailoverPolicy, Plan, Policy, RolloutPolicy, ScalePolicy, Window
from automq_operator.decide.windows import is_open, opens_in
from automq_operator.steps import DrainBroker, ScaleTo, StartBroker, Step, StopBroker, UncordonBroker, node_of
from automq_operator.world import InstanceState, Load, Memory, Scaling, Status, World
from twins.operator_world import ClusterTwin

LOCAL = FailoverPolicy(restart_grace_s=0)
POLICY = Policy(failover=LOCAL)
SCALING = Policy(failover=LOCAL, scale=ScalePolicy(minimum=2, maximum=6))


def turn(twin: ClusterTwin, policy: Policy = POLICY) -> Plan:
    planned = plan(twin.world(), twin.now, policy)
    twin.memory = planned.memory
    for step in planned.steps:
        twin.carry_out(step)
    twin.pass_time()
    return planned


def run(twin: ClusterTwin, turns: int = 60) -> list[Step]:
    return [step for _ in range(turns) for step in turn(twin).steps]


def test_a_broker_that_is_no_longer_wanted_is_emptied_before_it_is_stopped() -> None:
    twin = ClusterTwin.of(3)
    twin.slots = twin.slots[:2]
    assert [type(step) for step in run(twin)] == [DrainBroker, StopBroker]
    assert twin.instances[3].state is InstanceState.ENDED
    assert turn(twin).steps == ()


def test_scale_in_waits_for_a_recovery_and_an_announced_end_of_a_machine_does_not() -> None:
    twin = ClusterTwin.of(4)
    twin.slots = twin.slots[:3]
    twin.freeze(2)
    twin.hosts["h1"] = replace(twin.hosts["h1"], is_leaving=True)
    planned = turn(twin)
    assert planned.steps == (DrainBroker(node_id=1, reason="its machine h1 is about to end"),)
    assert any("being recovered" in each.reason for each in planned.deferrals if each.subject == "broker 4")


def test_the_announced_end_of_a_broker_cannot_wait_for_a_recovery_and_it_is_no_place_for_others_partitions() -> None:
    twin = ClusterTwin.of(3)
    twin.kill(3, proof=None)
    twin.instances[2] = replace(twin.instances[2], leaving="EvictionByEvictionAPI")
    planned = plan(twin.world(), twin.now, POLICY)
    assert [each.node_id for each in planned.steps if isinstance(each, DrainBroker)] == [2]
    twin.instances[1] = replace(twin.instances[1], leaving="EvictionByEvictionAPI")
    assert not is_anybody_else_there(twin.world(), 1)


def test_a_broker_whose_machine_stays_after_all_gets_partitions_again() -> None:
    twin = ClusterTwin.of(3)
    twin.hosts["h1"] = replace(twin.hosts["h1"], is_leaving=True)
    run(twin, 5)
    twin.hosts["h1"] = replace(twin.hosts["h1"], is_leaving=False)
    assert [type(step) for step in run(twin)] == [UncordonBroker]
    assert twin.memory.drains == ()


def test_the_cordon_of_a_person_is_never_taken_away() -> None:
    twin = ClusterTwin.of(3)
    twin.brokers[2] = replace(twin.brokers[2], is_cordoned=True)
    assert run(twin) == []


def test_a_rollout_takes_one_broker_at_a_time_and_the_controller_last() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    steps = run(twin, 120)
    assert [(type(step), step.node_id) for step in steps] == [
        (kind, node) for node in (2, 3, 1) for kind in (DrainBroker, StopBroker, StartBroker, UncordonBroker)
    ]
    assert {each.revision for each in twin.instances.values()} == {"r2"}
    assert turn(twin).steps == ()


def test_a_rollout_goes_on_after_the_operator_was_replaced_and_knows_which_one_it_was_at() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    for _ in range(3):
        turn(twin)
    assert twin.memory.rolling == 2
    run(twin, 120)
    assert not any(each.is_cordoned for each in twin.brokers.values())


def test_a_rollout_halts_with_a_reason_while_a_broker_is_not_well() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    twin.freeze(3)
    planned = turn(twin)
    assert planned.steps == ()
    assert any(each.subject == "rollout" and "broker 3" in each.reason for each in planned.deferrals)


def test_a_single_broker_is_rolled_without_a_drain_that_could_never_end() -> None:
    twin = ClusterTwin.of(1)
    twin.revision = "r2"
    assert [type(step) for step in run(twin)] == [StopBroker, StartBroker]


def turns(twin: ClusterTwin, policy: Policy, count: int = 60) -> list[Step]:
    return [step for _ in range(count) for step in turn(twin, policy).steps]


def test_a_restart_that_is_wanted_empties_and_stops_that_broker_alone() -> None:
    twin = ClusterTwin.of(3)
    twin.instances[2] = replace(twin.instances[2], wants_restart=True)
    steps = run(twin, 60)
    assert [(type(each), each.node_id) for each in steps] == [
        (kind, 2) for kind in (DrainBroker, StopBroker, StartBroker, UncordonBroker)
    ]


def test_a_paused_broker_is_left_out_of_a_rollout_and_the_others_are_renewed() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    paused = Policy(failover=LOCAL, paused=frozenset({2}))
    assert {each.node_id for each in turns(twin, paused, 120)} == {1, 3}
    planned = turn(twin, paused)
    assert [(each.subject, each.gate) for each in planned.deferrals] == [("rollout", "paused")]
    assert {each.node_id for each in turns(twin, POLICY, 60)} == {2}


def test_nothing_is_done_about_a_paused_broker_that_died_and_others_are_helped_meanwhile() -> None:
    twin = ClusterTwin.of(5)
    twin.kill(2)
    twin.kill(4)
    policy = Policy(failover=replace(LOCAL, brake_fraction=1.0, recoveries_max=1), paused=frozenset({2}))
    steps = turns(twin, policy, 60)
    assert {node_of(each) for each in steps} == {4}
    assert twin.instances[4].state is InstanceState.RUNNING
    assert any(each.subject == "broker 2" and each.gate == "paused" for each in turn(twin, policy).deferrals)
    turns(twin, POLICY, 30)
    assert twin.instances[2].state is InstanceState.RUNNING


def test_a_paused_broker_is_not_emptied_although_nobody_wants_it() -> None:
    twin = ClusterTwin.of(3)
    twin.slots = twin.slots[:2]
    paused = Policy(failover=LOCAL, paused=frozenset({3}))
    assert turns(twin, paused) == []
    assert [type(each) for each in run(twin)] == [DrainBroker, StopBroker]


def test_a_platform_that_renews_from_the_top_down_does_not_take_a_paused_broker_along() -> None:
    twin = ClusterTwin.of(4, zones=("a", "b"))
    twin.revision = "r2"
    world = replace(twin.world(), rolls_downwards=True)
    planned = plan(world, twin.now, Policy(failover=LOCAL, paused=frozenset({4})))
    assert [node_of(each) for each in planned.steps] == [3], "zone b waits for its broker 4"
    twin.instances = {
        each: replace(twin.instances[each], revision="r2" if each in (1, 3) else "r1") for each in (1, 2, 3, 4)
    }
    world = replace(twin.world(), rolls_downwards=True)
    planned = plan(world, twin.now, Policy(failover=LOCAL, paused=frozenset({4})))
    assert (planned.steps, planned.deferrals[0].gate) == ((), "paused")


MONDAY = 4 * 86_400.0
"""1970-01-05."""
NIGHT = Window(days=frozenset({0, 3}), start=22 * 60 + 30, length=180)


@pytest.mark.parametrize(
    ("day", "hour", "expected"),
    [
        (0, 22.4, False), (0, 22.5, True), (0, 23.99, True), (1, 0.5, True), (1, 1.49, True), (1, 1.5, False),
        (1, 23.0, False), (3, 23.0, True), (4, 1.0, True), (6, 23.0, False), (7, 23.0, True),
    ],
)  # fmt: skip
def test_a_window_is_open_from_its_start_for_its_length(day: int, hour: float, expected: bool) -> None:
    assert is_open((NIGHT,), MONDAY + day * 86_400 + hour * 3600) is expected


def test_the_next_window_is_found_also_a_week_away() -> None:
    assert is_open((), MONDAY)
    assert opens_in((NIGHT,), MONDAY) == 22.5 * 3600
    weekly = Window(days=frozenset({0}), start=0, length=10)
    assert opens_in((weekly,), MONDAY) == 7 * 86_400


def test_outside_its_windows_a_rollout_begins_with_no_further_broker_and_everything_else_goes_on() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    twin.now = MONDAY + 12 * 3600
    night = Policy(failover=LOCAL, rollout=RolloutPolicy(windows=(NIGHT,)))
    planned = turn(twin, night)
    assert (planned.steps, planned.deferrals[0].gate) == ((), "window")
    assert "opens in 630 minutes" in planned.deferrals[0].reason
    twin.now = MONDAY + 25.5 * 3600 - 5
    begun = turns(twin, night, 60)
    assert {each.node_id for each in begun} == {2}, "the one that was begun is brought to its end"
    assert not twin.brokers[2].is_cordoned
    twin.kill(1)
    turns(twin, night, 30)
    assert twin.instances[1].state is InstanceState.RUNNING


def test_a_rollout_whose_first_broker_does_not_come_up_halts_and_says_so() -> None:
    twin = ClusterTwin.of(3)
    twin.revision = "r2"
    for _ in range(4):
        turn(twin)
    broken = replace(twin.instances[2], state=InstanceState.ENDED, detail="ImagePullBackOff", proof=None)
    twin.instances[2] = broken
    twin.brokers[2] = replace(twin.brokers[2], status=Status.STOPPED)
    planned = turn(twin)
    (halted,) = [each for each in planned.deferrals if each.subject == "rollout"]
    assert halted.gate == "not well"
    assert "broker 2, which was renewed last, is not well (ImagePullBackOff)" in halted.reason
    assert not [each for each in planned.steps if node_of(each) != 2]


def loaded(twin: ClusterTwin, *ratios: float) -> World:
    loads = [
        Load(node_id=slot.node_id, measured_at=twin.now, bytes_in=ratio * 100, bytes_out=10, baseline=100)
        for slot, ratio in zip(twin.slots, ratios, strict=True)
    ]
    return replace(twin.world(), loads=tuple(loads))


def watch(twin: ClusterTwin, seconds: int, *ratios: float) -> Plan:
    """Look every ten seconds at these utilisations; stops at the first change."""
    for _ in range(0, seconds + 1, 10):
        planned = plan(loaded(twin, *ratios), twin.now, SCALING)
        twin.memory = planned.memory
        if planned.steps:
            return planned
        twin.now += 10
    return planned


def test_above_the_high_mark_for_a_whole_window_brokers_are_added() -> None:
    twin = ClusterTwin.of(3)
    assert watch(twin, 40, 1.0, 0.9, 0.8).steps == ()
    planned = watch(twin, 60, 1.0, 0.9, 0.8)
    assert [step.count for step in planned.steps if isinstance(step, ScaleTo)] == [5]
    assert "90% is above 80%" in planned.steps[0].reason


def test_windows_of_the_same_length_are_seen_whole_although_looks_come_a_little_late() -> None:
    """With samples of the last 60 s alone the oldest was 50 s old, and no window of 60 s was ever whole."""
    twin = ClusterTwin.of(3)
    policy = replace(SCALING, scale=replace(SCALING.scale, in_window_s=60.0))
    for _ in range(9):
        planned = plan(loaded(twin, 0.9, 0.9, 0.9), twin.now, policy)
        twin.memory = planned.memory
        if planned.steps:
            break
        twin.now += 10.02
    assert [type(step) for step in planned.steps] == [ScaleTo]
    assert len(twin.memory.scaling.samples) <= 8


def test_the_mean_counts_and_one_hot_broker_alone_does_not_add_any() -> None:
    twin = ClusterTwin.of(3)
    assert watch(twin, 300, 1.5, 0.3, 0.3).steps == ()


def test_fewer_brokers_come_late_one_at_a_time_and_only_if_the_rest_can_carry_it() -> None:
    twin = ClusterTwin.of(3)
    assert watch(twin, 200, 0.3, 0.3, 0.3).steps == ()
    planned = watch(twin, 200, 0.3, 0.3, 0.3)
    assert [step.count for step in planned.steps if isinstance(step, ScaleTo)] == [2]
    policy = replace(SCALING.scale, low=0.7)
    busy = replace(
        loaded(twin, 0.6, 0.6, 0.6), memory=Memory(scaling=Scaling(samples=((0.0, 0.6), (twin.now - 5, 0.6))))
    )
    deferred = plan(busy, twin.now, replace(SCALING, scale=policy))
    assert deferred.steps == ()


def test_after_a_change_the_next_one_waits_its_pause() -> None:
    twin = ClusterTwin.of(3)
    twin.memory = Memory(scaling=Scaling(changed_at=twin.now))
    planned = watch(twin, 120, 1.0, 1.0, 1.0)
    assert planned.steps == ()
    assert [each.gate for each in planned.deferrals] == ["pause"]
    assert watch(twin, 120, 1.0, 1.0, 1.0).steps


@pytest.mark.parametrize("ratio", [0.41, 0.6, 0.79])
def test_between_the_marks_nothing_changes_however_long(ratio: float) -> None:
    twin = ClusterTwin.of(3)
    assert watch(twin, 3000, ratio, ratio, ratio).steps == ()


def test_missing_figures_and_recoveries_end_the_window() -> None:
    twin = ClusterTwin.of(3)
    watch(twin, 50, 1.0, 1.0, 1.0)
    twin.freeze(2)
    assert plan(loaded(twin, 1.0, 1.0, 1.0), twin.now, SCALING).memory.scaling.samples[:-1] == ()
    stale = plan(replace(loaded(twin, 1.0, 1.0, 1.0), loads=()), twin.now, SCALING)
    assert any(each.subject == "scaling" for each in stale.deferrals)


def test_never_more_brokers_than_partitions_could_use() -> None:
    twin = ClusterTwin.of(3)
    world = replace(loaded(twin, 1.0, 1.0, 1.0), partitions=3)
    samples = tuple((twin.now - 60 + each * 10, 1.0) for each in range(6))
    planned = plan(replace(world, memory=Memory(scaling=Scaling(samples=samples))), twin.now, SCALING)
    assert planned.steps == ()
    assert "3 partitions use no more" in planned.deferrals[0].reason
