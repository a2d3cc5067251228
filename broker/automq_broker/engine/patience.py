"""Commands that this node must get through, however long the controller has to be waited for."""

import asyncio
from typing import TypeVar

from automq_broker.engine.control_values import OutcomeUnknown
from automq_broker.kernel.errors import Retry
from automq_broker.meta.commands import Command
from automq_broker.ports import Metadata

R = TypeVar("R")

_UNKNOWN_DELAY_S = 0.1


async def submit_patiently(metadata: Metadata, command: Command[R]) -> R:
    """Submit again for as long as the answer is Retry (fenced until a heartbeat, controller busy) or unknown.

    Refusals are raised as they are. Nothing that the broker owes (uploads, closes, opens) may be given up because the
    controller is slow or changes; commands are idempotent, so repeating one is safe.
    """
    while True:
        try:
            return await metadata.submit(command)
        except Retry as later:
            await asyncio.sleep(later.delay_s)
        except OutcomeUnknown:
            await asyncio.sleep(_UNKNOWN_DELAY_S)


__all__ = ["submit_patiently"]
