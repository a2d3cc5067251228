"""Offsets by time: ranges in the metadata narrow the search to one object, its index to one block, one batch is decoded.

Only that one batch is decompressed, off the loop and within the limits, so a lookup costs at most one index and one
block from the bucket however long the partition is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from automq_broker.cache.tail import Entry, TailCache
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.control import Control
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import Reader
from automq_broker.kernel.ids import Offset
from automq_broker.log import timestamps as by_time
from automq_broker.meta.rows import RangeRow
from automq_broker.ports import Workers
from automq_broker.wire import records


@dataclass(frozen=True, slots=True)
class Found:
    """A record found by time: its timestamp (ms), offset, and the epoch of the leader that wrote it."""

    timestamp: int
    offset: Offset
    leader_epoch: int


class TimeLookup:
    """ListOffsets by timestamp for this broker's partitions."""

    def __init__(
        self,
        *,
        cache: TailCache,
        cold: ColdReader,
        reader: Reader,
        control: Control,
        workers: Workers,
        knobs: EngineKnobs,
    ) -> None:
        self._cache = cache
        self._cold = cold
        self._reader = reader
        self._control = control
        self._workers = workers
        self._knobs = knobs

    async def first_at_or_after(self, partition: Partition, timestamp: int) -> Found | None:
        """The first readable record whose timestamp is at least `timestamp`; None if there is none."""
        for span in self._ranges(partition):
            if span.max_timestamp >= timestamp and span.end > partition.log.start_offset:
                found = await self._in_range(partition, span, timestamp)
                if found is not None:
                    return found
        for entry in self._tail(partition):
            if entry.max_timestamp >= timestamp:
                found = await self._in_batch(partition, await self._batch(entry), timestamp)
                if found is not None:
                    return found
        return None

    async def newest(self, partition: Partition) -> Found | None:
        """The first record that carries the largest timestamp of the partition (KIP-734)."""
        ranges = [span.max_timestamp for span in self._ranges(partition) if span.end > partition.log.start_offset]
        newest = max([*ranges, *(entry.max_timestamp for entry in self._tail(partition))], default=-1)
        return None if newest < 0 else await self.first_at_or_after(partition, newest)

    def _ranges(self, partition: Partition) -> Sequence[RangeRow]:
        stream = self._control.state.stream(partition.stream_id)
        return () if stream is None else stream.ranges

    def _tail(self, partition: Partition) -> list[Entry]:
        """Durable batches that the bucket does not have yet."""
        return list(self._cache.uncommitted(partition.stream_id, partition.log.high_watermark))

    async def _in_range(self, partition: Partition, span: RangeRow, timestamp: int) -> Found | None:
        row = self._control.state.objects[span.object_id]
        for entry in await self._cold.entries(row, partition.stream_id):
            if entry.max_timestamp < timestamp or entry.last_offset < partition.log.start_offset:
                continue
            pieces = await self._cold.read(partition.stream_id, Offset(entry.first_offset), 1, "by time")
            block = memoryview(pieces[0].block)
            for position, header in records.iter_headers(block):
                if header.max_timestamp >= timestamp:
                    found = await self._in_batch(partition, block[position : position + header.size_bytes], timestamp)
                    if found is not None:
                        return found
        return None

    async def _in_batch(self, partition: Partition, batch: memoryview, timestamp: int) -> Found | None:
        header = records.read_batch_header(batch)
        decoded = await self._workers.run(_decode, batch, self._knobs)
        at = by_time.first_record_at_or_after(decoded, timestamp, partition.log.start_offset)
        return None if at is None else Found(at.timestamp, Offset(at.offset), header.partition_leader_epoch)

    async def _batch(self, entry: Entry) -> memoryview:
        if entry.segments is None:
            return await self._reader.batch_from_ring(entry)
        return entry.segments[0] if len(entry.segments) == 1 else memoryview(b"".join(entry.segments))


def _decode(batch: memoryview, knobs: EngineKnobs) -> list[records.Record]:
    return records.decode_records(
        batch, limit_bytes=knobs.decompress_limit_bytes, limit_ratio=knobs.decompress_limit_ratio
    )


__all__ = ["Found", "TimeLookup"]
