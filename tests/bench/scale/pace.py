"""How fast one head object is: the real controller on virtual time over a bucket with S3's latency."""

import asyncio

from automq_broker.meta.commands import AllocateProducerIds
from twins.control_world import ControlWorld, register
from twins.memory_bucket import Faults
from twins.virtual_time import run_virtual

from bench.scale.costs import BATCH

S3_LATENCY_S = (0.04, 0.09)
"""A conditional PUT of some ten KiB, as public measurements have it."""


def commits(seconds: float = 30.0) -> dict[str, float]:
    """Commits and commands per second with 5 000 commands always waiting, then commits per second of an idle cluster.

    Time is virtual: what is measured is the protocol (one PUT in flight, group commit), not this machine.
    """
    return run_virtual(_scenario(seconds))


async def _scenario(seconds: float) -> dict[str, float]:
    world = ControlWorld()
    control = await world.started(faults=Faults(latency_s=S3_LATENCY_S))
    lease = AllocateProducerIds(node_id=0, broker_epoch=await register(control), count=1)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    begun, before, answered = loop.time(), len(world.history), 0

    async def ask() -> None:
        nonlocal answered
        while loop.time() - begun < seconds:
            await control.submit(lease)
            answered += 1

    await asyncio.gather(*(ask() for _ in range(BATCH)))
    busy_s, puts = loop.time() - begun, len(world.history) - before
    await asyncio.sleep(seconds)
    idle = len(world.history) - before - puts
    await control.stop()
    return {
        "head_puts_per_s": puts / busy_s,
        "commands_per_s": answered / busy_s,
        "idle_head_puts_per_s": idle / seconds,
    }


__all__ = ["S3_LATENCY_S", "commits"]
