"""Failover on whole clusters: what happens, in which order, from which middle, and what never does."""

from dataclasses import replace

import pytest
from automq_operator.decide.failover import plan_failover
from automq_operator.decide.plan import plan
from automq_operator.decide.values import FailoverPolicy, Plan, Policy
from automq_operator.steps import (
    DESTRUCTIVE,
    ConfirmDrained,
    CreateAdopter,
    DeleteAdopter,
    GrantRescue,
    ReleaseVolume,
    StartBroker,
    Step,
)
from automq_operator.world import PROOFS_ABOUT_HOSTS, Host, InstanceState, Memory, Proof, Stage, Status, World
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.operator_world import ClusterTwin

LOCAL = FailoverPolicy(restart_grace_s=0)
POLICY = Policy(failover=LOCAL)


def tick(twin: ClusterTwin, policy: Policy = POLICY, *, steps_done: int | None = None, remembers: bool = True) -> Plan:
    """One turn of an operator; it may be cut off after some steps, and may forget."""
    planned = plan(twin.world(), twin.now, policy)
    if remembers:
        twin.memory = planned.memory
    for step in planned.steps[:steps_done]:
        twin.carry_out(step)
    return planned


def converge(twin: ClusterTwin, policy: Policy = POLICY, *, turns: int = 200) -> list[Step]:
    """Turn until nothing is left to do; all steps in their order. Fails if that never comes."""
    done: list[Step] = []
    for _ in range(turns):
        planned = tick(twin, policy)
        done += planned.steps
        is_settled = all(
            each.status is Status.ACTIVE for each in twin.brokers.values() if is_wanted(twin, each.node_id)
        )
        if not planned.steps and is_settled and not twin.adopters:
            return done
        twin.pass_time()
    raise AssertionError(f"no end: {planned.steps} {planned.deferrals} {twin.brokers}")


def is_wanted(twin: ClusterTwin, node_id: int) -> bool:
    return any(slot.node_id == node_id for slot in twin.slots)


def kinds(steps: list[Step]) -> list[type[Step]]:
    return [type(step) for step in steps]


def gates(planned: Plan) -> list[str]:
    return [each.gate for each in planned.deferrals]


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_a_cluster_in_which_all_is_well_gets_no_steps_and_no_deferrals(count: int) -> None:
    twin = ClusterTwin.of(count)
    planned = plan(twin.world(), twin.now, POLICY)
    assert (planned.steps, planned.deferrals, planned.memory) == ((), (), Memory())


def test_a_dead_brokers_log_is_drained_beside_a_survivor_before_it_starts_anew() -> None:
    twin = ClusterTwin.of(3)
    twin.kill(2)
    steps = converge(twin)
    assert kinds(steps) == [GrantRescue, CreateAdopter, ConfirmDrained, DeleteAdopter, StartBroker]
    told = twin.memory.recoveries[-1]
    stages = [stage for stage, _ in told.entered]
    assert stages[0] is Stage.PROVEN
    assert stages[-1] is Stage.DONE
    assert {Stage.GRANTED, Stage.DRAINING, Stage.STREAMS_CLOSED} <= set(stages)
    assert all(reason for reason in (step.reason for step in steps))


def test_a_volume_is_released_only_when_the_adopter_is_in_the_queue() -> None:
    twin = ClusterTwin.of(3)
    twin.is_releasing_needed = True
    twin.kill(2)
    steps = converge(twin)
    order = [kind for kind in kinds(steps) if kind in (GrantRescue, CreateAdopter, ReleaseVolume, StartBroker)]
    assert order == [GrantRescue, CreateAdopter, ReleaseVolume, StartBroker]


def test_a_silent_broker_is_suspected_and_left_alone_until_there_is_proof() -> None:
    twin = ClusterTwin.of(3)
    twin.freeze(2)
    for _ in range(50):
        planned = tick(twin)
        assert planned.steps == ()
        assert gates(planned) == ["no proof"]
        assert "suspicion and no proof of death" in planned.deferrals[0].reason
        twin.pass_time(60)
    twin.kill(2)
    assert GrantRescue in kinds(converge(twin))


def test_a_broker_that_thaws_is_left_alone_and_leaves_no_trace() -> None:
    twin = ClusterTwin.of(3)
    twin.freeze(2)
    tick(twin)
    twin.instances[2] = replace(twin.instances[2], state=InstanceState.RUNNING)
    twin.brokers[2] = replace(twin.brokers[2], status=Status.ACTIVE)
    assert tick(twin).steps == ()
    assert twin.memory.recoveries == ()


def test_within_the_restart_grace_nothing_is_moved() -> None:
    twin = ClusterTwin.of(3)
    twin.kill(2)
    planned = tick(twin, Policy(failover=FailoverPolicy(restart_grace_s=60)))
    assert planned.steps == ()
    assert gates(planned) == ["restart grace"]
    twin.now += 61
    assert kinds(list(tick(twin, Policy(failover=FailoverPolicy(restart_grace_s=60))).steps)) == [GrantRescue]


def test_a_broker_without_open_partitions_is_replaced_without_a_takeover() -> None:
    twin = ClusterTwin.of(3)
    twin.brokers[2] = replace(twin.brokers[2], partitions_open=0)
    twin.kill(2)
    assert kinds(converge(twin)) == [StartBroker]


@pytest.mark.parametrize("proof", sorted(PROOFS_ABOUT_HOSTS))
def test_a_proof_about_a_machine_is_void_while_the_machine_is_ready(proof: Proof) -> None:
    twin = ClusterTwin.of(3)
    twin.kill(2, proof)
    assert gates(tick(twin)) == ["no proof"]
    twin.hosts["h2"] = replace(twin.hosts["h2"], is_ready=False)
    assert kinds(list(tick(twin).steps)) == [GrantRescue]


def test_without_a_survivor_in_the_zone_it_is_said_and_the_broker_recovers_its_own_log() -> None:
    twin = ClusterTwin.of(3, zones=("a", "b", "c"))
    twin.kill(2)
    planned = tick(twin)
    assert gates(planned) == ["zone without survivor"]
    assert "WAL of broker 2 unavailable: no survivor in zone b" in planned.deferrals[0].reason
    assert kinds(list(planned.steps)) == [StartBroker]
    converge(twin)


def test_survivors_of_the_same_zone_with_the_fewest_partitions_are_chosen() -> None:
    twin = ClusterTwin.of(6, zones=("a", "b"))
    twin.brokers[4] = replace(twin.brokers[4], partitions_open=9, partitions_assigned=9)
    twin.kill(2)
    steps = converge(twin)
    assert [step.beside for step in steps if isinstance(step, CreateAdopter)] == [6]


def test_when_many_fail_at_once_they_are_first_started_where_they_were() -> None:
    twin = ClusterTwin.of(3)
    twin.kill(2)
    twin.kill(3)
    planned = tick(twin)
    assert gates(planned) == ["brake", "brake"]
    assert kinds(list(planned.steps)) == [StartBroker, StartBroker]
    converge(twin)


def test_the_brake_is_lifted_by_time_even_if_nobody_comes_back() -> None:
    twin = ClusterTwin.of(4)
    for node_id in (3, 4):
        twin.kill(node_id, Proof.MACHINE_STOPPED)
        twin.hosts[f"h{node_id}"] = replace(twin.hosts[f"h{node_id}"], is_ready=False)
    tick(twin, steps_done=0)
    twin.now += LOCAL.brake_s + 1
    assert GrantRescue in kinds(list(tick(twin).steps))


def test_one_log_at_a_time_is_drained_in_a_zone_and_the_next_follows() -> None:
    twin = ClusterTwin.of(12)
    for node_id in (2, 3, 4):
        twin.kill(node_id)
    planned = tick(twin)
    assert kinds(list(planned.steps)) == [GrantRescue]
    assert gates(planned) == ["limit", "limit"]
    assert "log of broker 2 is being drained" in planned.deferrals[0].reason
    steps = converge(twin)
    assert kinds(steps).count(CreateAdopter) == 3


def test_failing_adopters_are_tried_elsewhere_and_then_the_broker_recovers_its_own_log() -> None:
    twin = ClusterTwin.of(3)
    twin.fails_adopters = 99
    twin.kill(2)
    steps = converge(twin)
    assert kinds(steps).count(CreateAdopter) == LOCAL.attempts_max
    assert kinds(steps)[-1] is StartBroker


def test_a_lost_adopter_is_replaced_once_its_machine_is_proven_dead() -> None:
    twin = ClusterTwin.of(4)
    twin.kill(2)
    tick(twin)
    tick(twin)
    adopter = next(iter(twin.adopters.values()))
    twin.pass_time()
    twin.kill(adopter.beside, Proof.MACHINE_STOPPED)
    host = f"h{adopter.beside}"
    twin.hosts[host] = replace(twin.hosts[host], is_ready=False)
    running = twin.adopters[adopter.uid]
    assert not any(isinstance(step, DeleteAdopter) for step in plan(twin.world(), twin.now, POLICY).steps)
    twin.adopters[adopter.uid] = replace(running, proof=Proof.MACHINE_STOPPED)
    released = next(step for step in plan(twin.world(), twin.now, POLICY).steps if isinstance(step, ReleaseVolume))
    assert released.holder == adopter.uid


def test_a_broker_that_ends_at_every_start_is_started_at_growing_intervals() -> None:
    twin = ClusterTwin.of(3)
    twin.brokers[2] = replace(twin.brokers[2], partitions_open=0)
    twin.kill(2)
    twin.instances[2] = replace(twin.instances[2], quick_ends=4, detail="exit code 1")
    planned = tick(twin)
    assert (planned.steps, gates(planned)) == ((), ["backoff"])
    assert "exit code 1" in planned.deferrals[0].reason
    twin.now += 9
    assert kinds(list(tick(twin).steps)) == [StartBroker]


def test_a_broker_that_ended_thousands_of_times_waits_for_the_longest_interval_and_no_longer() -> None:
    twin = ClusterTwin.of(3)
    twin.brokers[2] = replace(twin.brokers[2], partitions_open=0)
    twin.kill(2)
    twin.instances[2] = replace(twin.instances[2], quick_ends=5000, detail="exit code 1")
    assert gates(tick(twin)) == ["backoff"]
    twin.now += POLICY.failover.restart_backoff_max_s + 1
    assert kinds(list(tick(twin).steps)) == [StartBroker]


def test_while_no_broker_answers_everything_wanted_is_started_and_nothing_else_is_done() -> None:
    twin = ClusterTwin.of(3)
    for node_id in (1, 2, 3):
        twin.kill(node_id)
    twin.is_metadata_known = False
    assert kinds(list(tick(twin).steps)) == [StartBroker] * 3
    twin.is_metadata_known = True
    converge(twin)


def test_an_adopter_of_an_older_rescue_is_removed() -> None:
    twin = ClusterTwin.of(3)
    twin.kill(2)
    tick(twin)
    tick(twin)
    stale = next(iter(twin.adopters))
    twin.boot(2)
    planned = tick(twin)
    assert [step.uid for step in planned.steps if isinstance(step, DeleteAdopter)] == [stale]


@pytest.mark.parametrize("remembers", [True, False], ids=["with memory", "memory lost"])
@pytest.mark.parametrize("is_releasing_needed", [True, False], ids=["kubernetes", "local"])
@pytest.mark.parametrize("cut_at", range(1, 9))
@pytest.mark.parametrize("steps_done", [0, 1])
def test_from_every_interrupted_middle_a_fresh_operator_brings_it_to_the_end(
    cut_at: int, steps_done: int, is_releasing_needed: bool, remembers: bool
) -> None:
    twin = ClusterTwin.of(3)
    twin.is_releasing_needed = is_releasing_needed
    twin.kill(2)
    for turn in range(1, cut_at + 1):
        tick(twin, steps_done=steps_done if turn == cut_at else None)
        if turn < cut_at:
            twin.pass_time()
    if not remembers:
        twin.memory = Memory()
    converge(twin)
    assert twin.harmed == []
    assert twin.brokers[2].status is Status.ACTIVE


def test_every_step_done_twice_leads_to_the_same_end() -> None:
    twin = ClusterTwin.of(3)
    twin.is_releasing_needed = True
    twin.kill(2)
    for _ in range(60):
        planned = tick(twin)
        for step in planned.steps:
            twin.carry_out(step)
        twin.pass_time()
    assert twin.brokers[2].status is Status.ACTIVE
    assert tick(twin).steps == ()


EVENTS = st.sampled_from(
    [
        "kill",
        "kill host",
        "host back",
        "freeze",
        "rumour",
        "thaw",
        "fail adopters",
        "forget",
        "cut",
        "hide",
        "show",
        "leave",
        "stay",
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    count=st.integers(1, 6),
    zones=st.sampled_from([("",), ("a", "b"), ("a", "b", "c")]),
    is_releasing_needed=st.booleans(),
    events=st.lists(st.tuples(EVENTS, st.integers(1, 6), st.integers(0, 3)), max_size=14),
)
def test_whatever_happens_nobody_alive_is_harmed_and_when_it_is_over_all_is_well(
    count: int, zones: tuple[str, ...], is_releasing_needed: bool, events: list[tuple[str, int, int]]
) -> None:
    twin = ClusterTwin.of(count, zones)
    twin.is_releasing_needed = is_releasing_needed
    for event, node, turns in events:
        happen(twin, event, (node - 1) % count + 1)
        for _ in range(turns):
            world = twin.world()
            planned = tick(twin, steps_done=1 if event == "cut" else None, remembers=event != "forget")
            assert_proven(world, planned)
            twin.pass_time(5)
    heal(twin)
    converge(twin, turns=600)
    assert twin.harmed == []
    assert all(twin.brokers[slot.node_id].status is Status.ACTIVE for slot in twin.slots)


def happen(twin: ClusterTwin, event: str, node: int) -> None:
    host = f"h{node}"
    state = twin.instances[node].state
    match event:
        case "kill" if state is not InstanceState.ENDED:
            twin.kill(node)
        case "kill host" if state is not InstanceState.ENDED:
            twin.kill(node, Proof.MACHINE_STOPPED)
            twin.hosts[host] = replace(twin.hosts[host], is_ready=False)
        case "host back":
            twin.hosts[host] = replace(twin.hosts[host], is_ready=True)
        case "freeze" if state is InstanceState.RUNNING and twin.brokers[node].status is Status.ACTIVE:
            twin.freeze(node)
        case "rumour" if state is InstanceState.RUNNING and twin.hosts[host].is_ready:
            twin.freeze(node)
            twin.instances[node] = replace(twin.instances[node], proof=Proof.MACHINE_STOPPED)
        case "thaw" if state is InstanceState.SILENT and node in twin.truly_alive:
            thaw(twin, node)
        case "fail adopters":
            twin.fails_adopters = 2
        case "forget":
            twin.memory = Memory()
        case "hide" | "show":
            twin.is_metadata_known = event == "show"
        case "leave" | "stay":
            twin.hosts[host] = replace(twin.hosts[host], is_leaving=event == "leave")
        case _:
            pass


def thaw(twin: ClusterTwin, node: int) -> None:
    twin.instances[node] = replace(twin.instances[node], state=InstanceState.RUNNING, since=twin.now, proof=None)
    if twin.brokers[node].status is Status.FENCED:
        twin.brokers[node] = replace(twin.brokers[node], status=Status.ACTIVE)


def heal(twin: ClusterTwin) -> None:
    """Machines come back, the frozen thaw, the dead are seen to be dead, brokers answer again."""
    twin.fails_adopters = 0
    twin.is_metadata_known = True
    for name, host in twin.hosts.items():
        twin.hosts[name] = replace(host, is_ready=True, is_leaving=False)
    for node, instance in list(twin.instances.items()):
        if node in twin.truly_alive and instance.state is InstanceState.SILENT:
            thaw(twin, node)
        elif node not in twin.truly_alive:
            twin.instances[node] = replace(instance, state=InstanceState.ENDED, proof=Proof.CONTAINERS_TERMINATED)


def assert_proven(world: World, planned: Plan) -> None:
    """Stated anew, without the planner's own predicate: a destructive step names something that is dead for certain."""
    for step in planned.steps:
        if isinstance(step, DESTRUCTIVE):
            instance = world.instance(step.key.node_id)
            assert instance is not None
            assert instance.proof is not None
            host = world.host(instance.host) or Host(name="gone", is_ready=False)
            if instance.proof in PROOFS_ABOUT_HOSTS:
                assert not host.is_ready
            else:
                assert instance.state is InstanceState.ENDED


def test_the_same_world_and_time_always_give_the_same_plan() -> None:
    twin = ClusterTwin.of(6, ("a", "b"))
    for node_id in (2, 5):
        twin.kill(node_id)
    assert plan_failover(twin.world(), twin.now, LOCAL) == plan_failover(twin.world(), twin.now, LOCAL)
