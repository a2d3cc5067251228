"""Object ids from blocks that the controller leases to this incarnation of this node."""

from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.patience import submit_patiently
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId
from automq_broker.meta.commands import AllocateObjectIds
from automq_broker.ports import Clock, Metadata


class ObjectIds:
    """Hands out ids, each once. A block older than half its life is given up, so that no commit meets a retired one."""

    def __init__(
        self, *, metadata: Metadata, node_id: NodeId, broker_epoch: BrokerEpoch, knobs: EngineKnobs, clock: Clock
    ) -> None:
        self._metadata = metadata
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._knobs = knobs
        self._clock = clock
        self._next = 0
        self._end = 0
        self._taken_at = 0.0

    async def take(self, count: int) -> list[ObjectId]:
        """`count` fresh ids; waits for the controller when the block is used up or too old."""
        taken: list[ObjectId] = []
        while len(taken) < count:
            if self._next >= self._end or self._is_old():
                await self._lease(max(self._knobs.id_block_count, count))
            taken.append(ObjectId(self._next))
            self._next += 1
        return taken

    def give_up(self) -> None:
        """An id was refused: its block may be retired, by another broker's clock, so the next id comes from a new one."""
        self._end = self._next

    def _is_old(self) -> bool:
        return (self._clock.monotonic() - self._taken_at) * 1000 > self._knobs.id_block_age_ms / 2

    async def _lease(self, count: int) -> None:
        block = await submit_patiently(
            self._metadata,
            AllocateObjectIds(
                node_id=self._node_id, broker_epoch=self._broker_epoch, count=count, now_ms=self._clock.now_ms()
            ),
        )
        self._next, self._end = block.first, block.end
        self._taken_at = self._clock.monotonic()


__all__ = ["ObjectIds"]
