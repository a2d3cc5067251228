"""Producer ids for idempotent producers, from blocks that the controller leases."""

import asyncio

from automq_broker.engine.control import Control
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import AllocateProducerIds


class ProducerIds:
    """Each id is handed out once in the life of the cluster; what a dead incarnation left of its block is skipped."""

    def __init__(self, *, control: Control, node_id: NodeId, broker_epoch: BrokerEpoch) -> None:
        self._control = control
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self._next = 0
        self._end = 0
        self._lease = asyncio.Lock()

    async def take(self) -> int:
        """The next id; waits for the controller when the block is used up."""
        async with self._lease:  # several requests wait for one lease, not for one each
            if self._next >= self._end:
                block = await self._control.submit(
                    AllocateProducerIds(node_id=self._node_id, broker_epoch=self._broker_epoch)
                )
                self._next, self._end = block.first, block.end
            taken = self._next
            self._next += 1
            return taken


__all__ = ["ProducerIds"]
