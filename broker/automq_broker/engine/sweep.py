"""Deletes data that nobody needs: objects past their grace period, and orphans of retired id blocks.

Law (DESIGN 5a.9): the metadata commits first, the bucket follows. Age only proposes; the commit of RetireBlock is what
makes an id unusable, and only a listing that began after it is judged. Only the controller runs this.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from automq_broker.engine.control import Control
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import NotMine, Refused, Retry
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake import keys
from automq_broker.lake.sweep import DELETE_PAGE, Brake, ListedKey, SweepTicket, leases_to_retire, plan_sweep
from automq_broker.meta.commands import ForgetObjects, RetireBlock
from automq_broker.ports import Clock, ObjectStat

log = logging.getLogger("automq.sweep")

_DELETE_INTERVAL_S = 60.0


class Sweeper:
    """`forget(object_id)` tells caches that an object is gone."""

    def __init__(
        self,
        *,
        store: Store,
        control: Control,
        knobs: EngineKnobs,
        clock: Clock,
        rng: random.Random,
        forget: Callable[[ObjectId], None],
    ) -> None:
        self._store = store
        self._control = control
        self._knobs = knobs
        self._clock = clock
        self._rng = rng
        self._forget = forget
        self.deleted_total = 0
        self.orphans_total = 0

    async def run(self) -> None:
        """For ever: expired objects about once a minute, orphans at the sweep interval."""
        swept_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(_DELETE_INTERVAL_S * self._rng.uniform(0.8, 1.2))
            try:
                await self.delete_expired()
                if self._clock.monotonic() - swept_at >= self._knobs.sweep_interval_s:
                    swept_at = self._clock.monotonic()
                    await self.sweep_orphans()
            except (NotMine, Retry, Refused) as refusal:  # the seat was lost, or the state moved on: next round
                log.info("sweep postponed", extra={"reason": str(refusal)})

    async def delete_expired(self) -> int:
        """Delete what has waited for its grace period, then forget it; returns the number of objects."""
        limit_ms = self._clock.now_ms() - self._knobs.delete_grace_ms
        due = sorted(object_id for object_id, since_ms in self._control.state.deleting.items() if since_ms <= limit_ms)
        for first in range(0, len(due), DELETE_PAGE):
            page = due[first : first + DELETE_PAGE]
            await self._store.delete_many([keys.data_key(object_id) for object_id in page])
            await self._control.submit(ForgetObjects(object_ids=tuple(page)))
            for object_id in page:
                self._forget(object_id)
        self.deleted_total += len(due)
        if due:
            log.info("objects deleted", extra={"objects": len(due)})
        return len(due)

    async def sweep_orphans(self) -> int:
        """Retire old id blocks, list the bucket, delete what no commit can ever name; returns the number of orphans."""
        now_ms = self._clock.now_ms()
        for lease in leases_to_retire(
            self._control.state.blocks.values(), now_ms=now_ms, age_ms=self._knobs.id_block_age_ms
        ):
            await self._control.submit(RetireBlock(first=lease))
        state = self._control.state
        leases = [(block.first, block.end) for block in state.blocks.values()]
        ticket = SweepTicket(
            is_leased=lambda object_id: any(first <= object_id < end for first, end in leases),
            next_object_id=ObjectId(state.next_object_id),
        )
        listing = [ListedKey(key=stat.key, size=stat.size) for stat in await self._list_data()]
        now = self._control.state
        plan = plan_sweep(
            ticket,
            listing,
            is_known=lambda object_id: now.object_or_deleting(object_id) is not None,
            live_objects=len(now.objects),
            brake=Brake(),
        )
        if plan.held_back:
            log.error("orphans are kept until somebody looks", extra={"reason": plan.held_back})
        for first in range(0, len(plan.delete), DELETE_PAGE):
            await self._store.delete_many([listed.key for listed in plan.delete[first : first + DELETE_PAGE]])
        self.orphans_total += len(plan.delete)
        if plan.delete:
            log.info("orphans deleted", extra={"objects": len(plan.delete), "bytes": plan.size_bytes})
        return len(plan.delete)

    async def _list_data(self) -> list[ObjectStat]:
        found: list[ObjectStat] = []
        last = ""
        while page := await self._store.list(keys.DATA_PREFIX, last):
            found.extend(page)
            last = page[-1].key
        return found


__all__ = ["Sweeper"]
