"""Retention: every so often, move the start of partitions whose oldest ranges are too old or too many.

Only the metadata changes here (AdvanceStart); the objects follow when their last live range is gone and the grace
period has passed (see sweep.py).
"""

import asyncio
import logging
import random

from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.engine.partition import Partition
from automq_broker.engine.upload import Uploader
from automq_broker.kernel.errors import ClientFault, NotMine, Retry
from automq_broker.lake.retention import start_after_retention
from automq_broker.lake.views import RangeView
from automq_broker.meta.commands import AdvanceStart
from automq_broker.ports import Clock, Metadata

log = logging.getLogger("automq.retention")


class Retention:
    """Looks at this broker's open partitions. Whole committed ranges go, oldest first, each partition by itself."""

    def __init__(
        self,
        *,
        metadata: Metadata,
        open_partitions: OpenPartitions,
        uploader: Uploader,
        knobs: EngineKnobs,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._metadata = metadata
        self._open_partitions = open_partitions
        self._uploader = uploader
        self._knobs = knobs
        self._clock = clock
        self._rng = rng
        self.advanced_total = 0

    async def run(self) -> None:
        """For ever, with jitter, so that many brokers do not look at the same moment."""
        while True:
            await asyncio.sleep(self._knobs.retention_interval_s * self._rng.uniform(0.8, 1.2))
            await self.look()

    async def look(self) -> int:
        """One look at every open partition; returns how many starts moved."""
        moved = 0
        for partition in list(self._open_partitions.by_stream.values()):
            moved += await self._look_at(partition)
        return moved

    async def _look_at(self, partition: Partition) -> bool:
        try:
            config = self._open_partitions.effective_config
            if "delete" not in config(partition, "cleanup.policy").split(","):
                return False
            stream = self._metadata.state.stream(partition.stream_id)
            if stream is None or not stream.ranges:
                return False
            start = start_after_retention(
                stream,
                retention_ms=int(config(partition, "retention.ms")),
                retention_bytes=int(config(partition, "retention.bytes")),
                now_ms=self._clock.now_ms(),
                created_ms=self._created_ms,
                uncommitted_bytes=self._uploader.waiting_bytes_of(partition.stream_id),
            )
            if start <= stream.start_offset:
                return False
            await self._metadata.submit(
                AdvanceStart(stream_id=partition.stream_id, start_offset=start, now_ms=self._clock.now_ms())
            )
        except (ClientFault, NotMine, Retry) as refusal:  # deleted or moved meanwhile: the next look sees it
            log.debug("retention skipped", extra={"topic": partition.topic, "reason": str(refusal)})
            return False
        self.advanced_total += 1
        log.info("retention", extra={"topic": partition.topic, "partition": partition.index, "start_offset": start})
        return True

    def _created_ms(self, span: RangeView) -> int:
        return self._metadata.state.objects[span.object_id].created_ms


__all__ = ["Retention"]
