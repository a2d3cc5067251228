"""Observe, decide, remember, act, report; again and again. Level-triggered: each turn starts from what is, not from what was.

ORDER: what a plan wants remembered is durable before its first step is tried. A step that fails ends nothing: the next
turn sees the world as it is then and plans again.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from automq_operator.decide.plan import plan
from automq_operator.decide.values import Plan, Policy
from automq_operator.steps import Step
from automq_operator.world import Memory, World


class StepFailedError(Exception):
    """A step could not be carried out now; the message says why. Nothing is retried but by the next plan."""


class Platform(Protocol):
    """Where brokers run."""

    async def observe(self) -> World:
        """What is, with what was remembered. Never raises for a broker that does not answer: that is an observation."""

    async def remember(self, memory: Memory) -> None:
        """Keep this durably for the next turn and the next operator."""

    async def act(self, step: Step) -> None:
        """Carry out one step; raises StepFailedError."""


class Reporter(Protocol):
    """Who tells people."""

    def decided(self, world: World, planned: Plan) -> None:
        """This is seen, and will be done now; a step may take a while."""

    def turn(self, world: World, planned: Plan, failures: dict[Step, str]) -> None:
        """One turn is over."""


async def turn(platform: Platform, reporter: Reporter, policy: Policy, now: Callable[[], float]) -> Plan:
    """One look, one plan, each of its steps once; returns the plan."""
    world = await platform.observe()
    planned = plan(world, now(), policy)
    if planned.memory != world.memory:
        await platform.remember(planned.memory)
    reporter.decided(world, planned)
    failures: dict[Step, str] = {}
    for step in planned.steps:
        try:
            await platform.act(step)
        except StepFailedError as error:
            failures[step] = str(error)
    reporter.turn(world, planned, failures)
    return planned


async def run(
    platform: Platform,
    reporter: Reporter,
    policy: Policy,
    *,
    now: Callable[[], float],
    wake: asyncio.Event,
    interval_s: float,
) -> None:
    """Turn until cancelled: every `interval_s`, and at once when `wake` is set."""
    while True:
        wake.clear()
        await turn(platform, reporter, policy, now)
        try:
            async with asyncio.timeout(interval_s):
                await wake.wait()
        except TimeoutError:
            continue


__all__ = ["Platform", "Reporter", "StepFailedError", "run", "turn"]
