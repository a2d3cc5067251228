"""One turn: what is remembered before what is done, and what a failing step does to the others."""

import asyncio
from dataclasses import replace

from automq_operator.decide.values import FailoverPolicy, Plan, Policy
from automq_operator.loop import StepFailedError, turn
from automq_operator.steps import GrantRescue, StartBroker, Step
from automq_operator.world import Memory, World
from twins.operator_world import ClusterTwin


class TwinPlatform:
    """The cluster twin behind the platform's port; `fails` names kinds of steps that fail."""

    def __init__(self, twin: ClusterTwin, *fails: type) -> None:
        self.twin = twin
        self.fails = fails
        self.events: list[object] = []

    async def observe(self) -> World:
        return self.twin.world()

    async def remember(self, memory: Memory) -> None:
        self.events.append(memory)
        self.twin.memory = memory

    async def act(self, step: Step) -> None:
        self.events.append(step)
        if isinstance(step, self.fails):
            raise StepFailedError("not now")
        self.twin.carry_out(step)


class Told:
    """Keeps the newest turn."""

    failures: dict[Step, str]

    def __init__(self, events: list[object] | None = None) -> None:
        self.events = events

    def decided(self, world: World, planned: Plan) -> None:
        if self.events is not None:
            self.events.append(planned)

    def turn(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        self.failures = failures


def run_turn(platform: TwinPlatform, told: Told) -> Plan:
    policy = Policy(failover=FailoverPolicy(restart_grace_s=0))
    return asyncio.run(turn(platform, told, policy, lambda: platform.twin.now))


def test_progress_is_remembered_before_the_first_step_is_tried() -> None:
    platform = TwinPlatform(ClusterTwin.of(3))
    platform.twin.kill(2)
    run_turn(platform, Told())
    assert [type(event) for event in platform.events] == [Memory, GrantRescue]


def test_what_is_seen_is_told_before_a_step_that_may_take_a_while() -> None:
    platform = TwinPlatform(ClusterTwin.of(3))
    platform.twin.kill(2)
    run_turn(platform, Told(platform.events))
    assert [type(event) for event in platform.events] == [Memory, Plan, GrantRescue]


def test_a_failed_step_is_told_and_holds_no_other_up() -> None:
    platform = TwinPlatform(ClusterTwin.of(12), GrantRescue)
    platform.twin.kill(2)
    platform.twin.kill(3)
    platform.twin.brokers[3] = replace(platform.twin.brokers[3], partitions_open=0)
    told = Told()
    planned = run_turn(platform, told)
    assert {type(step) for step in planned.steps} == {GrantRescue, StartBroker}
    assert list(told.failures.values()) == ["not now"]
    assert platform.twin.instances[3].state == "running"


def test_nothing_is_written_while_nothing_changes() -> None:
    platform = TwinPlatform(ClusterTwin.of(3))
    run_turn(platform, Told())
    assert platform.events == []
