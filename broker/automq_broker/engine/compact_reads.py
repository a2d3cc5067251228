"""Brings what outputs of a compaction are made of: few ranged GETs, several at a time, never more than a set of bytes.

One GET after the other would be as slow as their latency: at 1000 partitions an output of 64 MiB lies in 190 objects.
"""

import asyncio
from collections.abc import Iterator, Sequence

from automq_broker.engine.cold import ColdReader
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import NotMine
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake import keys
from automq_broker.lake.compaction import PlannedObject, PlannedRead, plan_reads
from automq_broker.lake.objects import Batch
from automq_broker.lake.recode import batches_of_blocks
from automq_broker.lake.views import RangeView
from automq_broker.meta.rows import ObjectRow
from automq_broker.ports import Buffer, Metadata


class Pieces:
    """The bytes of some outputs' pieces, and where in their objects they lie."""

    def __init__(self, reads: Sequence[PlannedRead], bodies: Sequence[Buffer]) -> None:
        self._found: dict[ObjectId, list[tuple[PlannedRead, Buffer]]] = {}
        for read, body in zip(reads, bodies, strict=True):
            self._found.setdefault(read.object_id, []).append((read, body))

    def around(self, piece: RangeView) -> tuple[Buffer, int]:
        """Bytes that hold the whole piece, and the position of the first of them in its object."""
        for read, body in self._found[piece.object_id]:
            if read.position <= piece.position and piece.position + piece.length <= read.position + read.length:
                return body, read.position
        raise AssertionError(f"no read was planned for {piece}")


class CompactionReads:
    """Raises NotMine if an object was replaced meanwhile, Corrupt for damage."""

    def __init__(self, *, store: Store, metadata: Metadata, cold: ColdReader, knobs: EngineKnobs) -> None:
        self._store = store
        self._metadata = metadata
        self._cold = cold
        self._limits = knobs.compaction
        self._lane = asyncio.Semaphore(knobs.compaction_concurrency)

    def groups(self, outputs: Sequence[PlannedObject]) -> Iterator[list[PlannedObject]]:
        """Neighbours that are read together: no more bytes than the largest output may have."""
        group: list[PlannedObject] = []
        for output in outputs:
            if group and sum(one.length for one in group) + output.length > self._limits.object_bytes_max:
                yield group
                group = []
            group.append(output)
        if group:
            yield group

    async def pieces(self, group: Sequence[PlannedObject]) -> Pieces:
        """Everything that the outputs of a group are made of; their length is what it takes of memory."""
        reads = plan_reads(group, gap_bytes_max=self._limits.gap_bytes_max)
        try:
            async with asyncio.TaskGroup() as tasks:
                bodies = [tasks.create_task(self._get(read), name=f"get {read.object_id}") for read in reads]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return Pieces(reads, [body.result() for body in bodies])

    async def batches(self, piece: RangeView, pieces: Pieces) -> list[Batch]:
        """The blocks of a piece, their CRCs checked."""
        entries = [
            entry
            for entry in await self._cold.entries(self._row(piece.object_id), piece.stream_id)
            if piece.position <= entry.position < piece.position + piece.length
        ]
        body, position = pieces.around(piece)
        return batches_of_blocks(entries, body, position)

    async def checkpoint(self, pieces: Sequence[RangeView]) -> bytes:
        """What stands behind the last piece is the state behind the whole slice."""
        last = pieces[-1]
        if not last.checkpoint_length:
            return b""
        start = last.checkpoint_position
        return bytes(await self._store.get(keys.data_key(last.object_id), start, start + last.checkpoint_length))

    async def _get(self, read: PlannedRead) -> Buffer:
        async with self._lane:
            self._row(read.object_id)
            return await self._store.get(keys.data_key(read.object_id), read.position, read.position + read.length)

    def _row(self, object_id: ObjectId) -> ObjectRow:
        row = self._metadata.state.objects.get(object_id)
        if row is None:
            raise NotMine(f"object {object_id} was replaced")
        return row


__all__ = ["CompactionReads", "Pieces"]
