"""Asks the write-ahead log's device every second whether it still answers, when nobody else does.

A broker whose volume was taken away must not find that out with the next produce request: until then it would answer
fetches from memory beside the partition's next owner. The question is a superblock that says what the last one said: it
needs no room in the ring. A failed answer ends the process as every failed write does; so does none at all.
"""

import asyncio

from automq_broker.engine.append import Appender
from automq_broker.engine.ring_keeper import RingKeeper
from automq_broker.ports import WalDevice, WalWriteFailed

_SILENT_LOOKS_MAX = 10
"""Looks in a row with a write on its way and no answer. Counted, not timed: a process that was stopped for a minute
finds the answers of that minute waiting for it."""


async def watch_device(device: WalDevice, appender: Appender, keeper: RingKeeper, interval_s: float) -> None:
    """For ever. Raises WalWriteFailed when the device answers nothing any more, unless it is a patient one."""
    seen, asked, silent_looks = appender.answers_total, 0, 0
    while True:
        await asyncio.sleep(interval_s)
        answers, seen = appender.answers_total - seen, appender.answers_total
        if appender.is_waiting:
            silent_looks = 0 if answers else silent_looks + 1
            if silent_looks >= _SILENT_LOOKS_MAX and not device.is_patient:
                raise WalWriteFailed(f"the WAL device has not answered a write for {silent_looks * interval_s:g} s")
            continue
        silent_looks = 0
        is_idle = answers <= asked
        asked = 1 if is_idle else 0
        if is_idle:
            keeper.repeat_superblock()


__all__ = ["watch_device"]
