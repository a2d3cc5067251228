"""Deletes data that nobody needs: objects past their grace period, and orphans of retired id blocks.

Law (DESIGN 5a.9): the metadata commits first, the bucket follows. Age only proposes; the commit of RetireBlock is what
makes an id unusable, and only a listing that began after it is judged. Only the controller runs this.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import NotMine, Refused, Retry
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake import keys
from automq_broker.lake.sweep import DELETE_PAGE, Brake, ListedKey, SweepPlan, SweepTicket, leases_to_retire, plan_sweep
from automq_broker.meta.commands import ForgetObjects, RetireBlock
from automq_broker.ports import Clock, Metadata, ObjectStat

log = logging.getLogger("automq.sweep")


class Sweeper:
    """`forget(object_id)` tells caches that an object is gone. `held_back` is why the last sweep kept its orphans, or ""."""

    def __init__(
        self,
        *,
        store: Store,
        metadata: Metadata,
        knobs: EngineKnobs,
        clock: Clock,
        rng: random.Random,
        forget: Callable[[ObjectId], None],
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._knobs = knobs
        self._clock = clock
        self._rng = rng
        self._forget = forget
        self._one_at_a_time = asyncio.Lock()
        self.deleted_total = 0
        self.orphans_total = 0
        self.held_back = ""

    async def run(self) -> None:
        """For ever: expired objects at the delete interval, orphans at the sweep interval."""
        swept_at = self._clock.monotonic()
        while True:
            await asyncio.sleep(self._knobs.delete_interval_s * self._rng.uniform(0.8, 1.2))
            if not self._metadata.is_holder:
                continue
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
        due = sorted(object_id for object_id, since_ms in self._metadata.state.deleting.items() if since_ms <= limit_ms)
        for first in range(0, len(due), DELETE_PAGE):
            page = due[first : first + DELETE_PAGE]
            await self._store.delete_many([keys.data_key(object_id) for object_id in page])
            await self._metadata.submit(ForgetObjects(object_ids=tuple(page)))
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
            self._metadata.state.blocks.values(), now_ms=now_ms, age_ms=self._knobs.id_block_age_ms
        ):
            await self._metadata.submit(RetireBlock(first=lease))
        plan = await self._sweep(Brake())
        if plan.held_back:
            log.error(
                "orphans are kept until somebody looks",
                extra={"reason": plan.held_back, "hint": "automq cluster sweep-orphans"},
            )
        return len(plan.delete)

    async def sweep_consented(self, consent: Brake) -> SweepPlan:
        """Delete the orphans of blocks that are retired by now, unless they are more than `consent`.

        No block is retired here, so what one call found is what the next may delete. Raises NotMine unless this process
        is the controller.
        """
        if not self._metadata.is_holder:
            raise NotMine("only the controller sweeps the bucket")
        return await self._sweep(consent)

    async def _sweep(self, brake: Brake) -> SweepPlan:
        async with self._one_at_a_time:
            plan = await self._judge(brake)
            for first in range(0, len(plan.delete), DELETE_PAGE):
                await self._store.delete_many([listed.key for listed in plan.delete[first : first + DELETE_PAGE]])
            self.orphans_total += len(plan.delete)
            self.held_back = plan.held_back
        if plan.delete:
            log.info("orphans deleted", extra={"objects": len(plan.delete), "bytes": plan.size_bytes})
        return plan

    async def _judge(self, brake: Brake) -> SweepPlan:
        """List the bucket and tell orphans from the rest."""
        state = self._metadata.state
        leases = [(block.first, block.end) for block in state.blocks.values()]
        ticket = SweepTicket(
            is_leased=lambda object_id: any(first <= object_id < end for first, end in leases),
            next_object_id=ObjectId(state.next_object_id),
        )
        listing = [ListedKey(key=stat.key, size=stat.size) for stat in await self._list_data()]
        now = self._metadata.state
        return plan_sweep(
            ticket,
            listing,
            is_known=lambda object_id: now.object_or_deleting(object_id) is not None,
            live_objects=len(now.objects),
            brake=brake,
        )

    async def _list_data(self) -> list[ObjectStat]:
        found: list[ObjectStat] = []
        last = ""
        while page := await self._store.list(keys.DATA_PREFIX, last):
            found.extend(page)
            last = page[-1].key
        return found


__all__ = ["Sweeper"]
