"""Carries out the lake's compaction plans: read blocks, write them again in fewer objects, replace in one commit.

Blocks travel as bytes with their CRCs checked, never parsed. A crash between PUT and commit leaves an orphan; a commit
that finds an input gone or changed is refused and the outputs become orphans: nothing is ever lost either way.
"""

import asyncio
import logging
import random

from automq_broker.engine.cold import ColdReader
from automq_broker.engine.compact_reads import CompactionReads, Pieces
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.object_ids import ObjectIds
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.engine.store import Store
from automq_broker.engine.upload import object_row
from automq_broker.kernel.errors import Corrupt, NotMine, Retry
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId
from automq_broker.lake import keys, objects
from automq_broker.lake.compaction import (
    CompactionPlan,
    PlannedObject,
    PlannedSlice,
    plan_merges,
    plan_stream_sets,
)
from automq_broker.meta.commands import ReplaceObjects
from automq_broker.meta.rows import ObjectRow, StreamRow
from automq_broker.ports import Clock, Metadata, NotFound

log = logging.getLogger("automq.compact")


class Compactor:
    """One plan at a time, the bytes of one large output object in memory at a time."""

    def __init__(
        self,
        *,
        store: Store,
        metadata: Metadata,
        cold: ColdReader,
        ids: ObjectIds,
        open_partitions: OpenPartitions,
        knobs: EngineKnobs,
        clock: Clock,
        rng: random.Random,
        node_id: NodeId,
        broker_epoch: BrokerEpoch,
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._cold = cold
        self._ids = ids
        self._open_partitions = open_partitions
        self._knobs = knobs
        self._clock = clock
        self._rng = rng
        self._reads = CompactionReads(store=store, metadata=metadata, cold=cold, knobs=knobs)
        self._node_id = node_id
        self._broker_epoch = broker_epoch
        self.plans_total = 0
        self.bytes_total = 0

    async def run(self) -> None:
        """For ever: plan and carry out at the compaction interval."""
        while True:
            await asyncio.sleep(self._knobs.compaction_interval_s * self._rng.uniform(0.8, 1.2))
            await self.compact()

    async def compact(self) -> int:
        """One round; returns how many plans were committed."""
        done = 0
        for plan in self._plans():
            try:
                await self._carry_out(plan)
            except (NotMine, Retry, NotFound) as refusal:  # an input changed meanwhile: the next round plans anew
                if isinstance(refusal, NotMine):
                    self._ids.give_up()
                log.info("compaction dropped", extra={"plan": plan.reason, "reason": str(refusal)})
                continue
            except Corrupt as damage:  # its readers are told; the other plans, and the broker, go on
                log.error("stored data cannot be compacted", extra={"plan": plan.reason, "reason": str(damage)})
                continue
            done += 1
        self.plans_total += done
        return done

    def _plans(self) -> list[CompactionPlan]:
        state = self._metadata.state
        own = {key: row for key, row in state.objects.items() if row.node_id == self._node_id}
        streams = [
            stream
            for partition in self._open_partitions.by_stream.values()
            if (stream := state.stream(partition.stream_id)) is not None and stream.ranges
        ]
        plans = []
        sets = plan_stream_sets(own.values(), streams, now_ms=self._clock.now_ms(), knobs=self._knobs.compaction)
        if sets is not None:
            plans.append(sets)
        is_pressing = len(state.objects) > self._knobs.compaction.objects_pressing
        for stream in streams:
            plans.extend(plan_merges(own, stream, knobs=self._knobs.compaction, is_pressing=is_pressing))
        return plans

    async def _carry_out(self, plan: CompactionPlan) -> None:
        rows = []
        for group in self._reads.groups(plan.outputs):
            pieces = await self._reads.pieces(group)
            for planned, object_id in zip(group, await self._ids.take(len(group)), strict=True):
                rows.append(await self._write(planned, object_id, pieces))
        await self._metadata.submit(
            ReplaceObjects(
                node_id=self._node_id,
                broker_epoch=self._broker_epoch,
                removed=plan.inputs,
                added=tuple(rows),
                now_ms=self._clock.now_ms(),
            )
        )
        for object_id in plan.inputs:
            self._cold.forget(object_id)
        self.bytes_total += plan.length
        log.info(
            "compacted",
            extra={"plan": plan.reason, "inputs": len(plan.inputs), "outputs": len(rows), "bytes": plan.length},
        )

    async def _write(self, planned: PlannedObject, object_id: ObjectId, pieces: Pieces) -> ObjectRow:
        header = objects.ObjectHeader(
            cluster_id=self._metadata.state.cluster_id,
            node_id=self._node_id,
            broker_epoch=self._broker_epoch,
            object_id=object_id,
            created_ms=self._clock.now_ms(),
            kind=planned.kind,
        )
        slices = [await self._slice(one, pieces) for one in planned.slices]
        encoded = objects.encode_object(header, slices, block_bytes=self._knobs.block_size_bytes)
        await self._store.put_new(keys.data_key(object_id), encoded)
        return object_row(header, encoded)

    async def _slice(self, planned: PlannedSlice, pieces: Pieces) -> objects.StreamSlice:
        stream = self._stream(planned)
        topic = self._metadata.state.topic_by_id(stream.topic_id)
        if topic is None:
            raise NotMine(f"the topic of stream {planned.stream_id} was deleted")
        batches: list[objects.Batch] = []
        for piece in planned.pieces:
            batches.extend(await self._reads.batches(piece, pieces))
        return objects.StreamSlice(
            stream_id=planned.stream_id,
            topic_id=stream.topic_id,
            topic=topic.name,
            partition=stream.partition,
            stream_epoch=planned.stream_epoch,
            batches=batches,
            checkpoint=await self._reads.checkpoint(planned.pieces),
        )

    def _stream(self, planned: PlannedSlice) -> StreamRow:
        stream = self._metadata.state.stream(planned.stream_id)
        if stream is None:
            raise NotMine(f"stream {planned.stream_id} was deleted")
        return stream


__all__ = ["Compactor"]
