"""One seed, from its options to its outcome."""

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any

from sim.cluster_run import ClusterRun
from sim.loop import SeededLoop, run_seeded
from sim.options import Options
from sim.run import Outcome, Run
from sim.trace import Trace
from sim.world import World


def simulate(options: Options, *, show: Callable[[str], None] | None = None, world_of: Any = World) -> Outcome:
    """Run a seed. The same options give the same trace, also in another interpreter."""
    logging.getLogger().setLevel(logging.CRITICAL + 1)
    trace = Trace(show)
    gc.disable()  # a finalizer runs where the allocator pleases, which is no part of the seed
    try:
        return run_seeded(lambda: _outcome(options, trace, world_of), options.seed)
    except RuntimeError as stuck:  # the loop says that everything waits for ever, or that something spins
        return Outcome(
            options=options,
            violation=f"I15: {stuck}",
            digest=trace.digest(),
            faults=list(trace.faults),
            recent=list(trace.recent),
            counts={"faults": 0},
        )
    finally:
        gc.enable()


async def _outcome(options: Options, trace: Trace, world_of: Any) -> Outcome:
    if options.cluster is not None:
        outcome = await ClusterRun(options, trace).outcome()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SeededLoop)
        loop.thaw_all()
        return outcome
    return await Run(options, trace, world_of).outcome()


__all__ = ["simulate"]
