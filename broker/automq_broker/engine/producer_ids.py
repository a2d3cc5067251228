"""Producer ids for idempotent producers, from blocks that the controller leases ahead of their use.

A lease is a metadata commit, which a bucket in trouble holds up; new producers must not notice. So a block is leased at
the start, and the next one when a tenth of it is left, as Kafka's RPCProducerIdManager does.
"""

import asyncio

from automq_broker.engine.patience import submit_patiently
from automq_broker.kernel.errors import NotMine, Retry
from automq_broker.kernel.ids import BrokerEpoch, NodeId
from automq_broker.meta.commands import AllocateProducerIds
from automq_broker.ports import Metadata

_WAIT_S = 2.0
"""A request waits this long for a block: a healthy lease takes a fraction of it, and the client asks again."""
_LEFT_FRACTION = 0.1
_RETRY_S = 0.5


class ProducerIds:
    """Each id is handed out once in the life of the cluster; what a dead incarnation left of its blocks is skipped."""

    def __init__(self, *, metadata: Metadata, node_id: NodeId, broker_epoch: BrokerEpoch) -> None:
        self._metadata = metadata
        self._lease = AllocateProducerIds(node_id=node_id, broker_epoch=broker_epoch)
        self._blocks: list[range] = []
        """What is left of the present block, then the next one once that is leased."""
        self._is_low = asyncio.Event()
        self._is_low.set()
        self._has_ids = asyncio.Event()

    async def run(self) -> None:
        """For ever: lease a block when one is wanted. A controller that cannot be reached is asked again."""
        while True:
            await self._is_low.wait()
            try:
                block = await submit_patiently(self._metadata, self._lease)
            except NotMine:  # the seat is somewhere else for now
                await asyncio.sleep(_RETRY_S)
                continue
            self._blocks.append(range(block.first, block.end))
            self._is_low.clear()
            self._has_ids.set()

    async def take(self) -> int:
        """The next id, at once while there is one. Raises Retry when no block comes in time."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while not self._blocks:  # several may have waited for what is left
                    await self._has_ids.wait()
        except TimeoutError:
            raise Retry("no producer id is left, and the controller has not leased more yet", 1.0) from None
        present = self._blocks[0]
        taken, rest = present[0], present[1:]
        self._blocks[:1] = [rest] if rest else []
        if not self._blocks:
            self._has_ids.clear()
        if len(self._blocks) < 2 and len(rest) <= _LEFT_FRACTION * self._lease.count:
            self._is_low.set()
        return taken


__all__ = ["ProducerIds"]
