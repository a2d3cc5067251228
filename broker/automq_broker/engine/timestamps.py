"""Offsets by time: ranges in the metadata narrow the search to one object, its index to one block, one batch is decoded.

Only that one batch is decompressed, off the loop and within the limits, so a lookup costs at most one index and one
block from the bucket however long the partition is.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from automq_broker.cache.tail import Entry, TailCache
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.partition import Partition
from automq_broker.engine.read import Reader
from automq_broker.kernel.errors import ClientFault
from automq_broker.kernel.ids import Offset
from automq_broker.log import timestamps as by_time
from automq_broker.meta.rows import RangeRow
from automq_broker.ports import Metadata, Workers
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode

T = TypeVar("T")

_TRIES = 10
_RANGES_AT_ONCE = 64
_SUMMARIES_AT_ONCE = 10_000
"""Batches of the tail looked at in one turn of the loop: a few milliseconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """A record found by time: its timestamp (ms), offset, and the epoch of the leader that wrote it."""

    timestamp: int
    offset: Offset
    leader_epoch: int


class _TailMoved(Exception):
    """Batches of the tail were committed and dropped during a lookup: the metadata has them now."""


class TimeLookup:
    """ListOffsets by timestamp for this broker's partitions."""

    def __init__(
        self,
        *,
        cache: TailCache,
        cold: ColdReader,
        reader: Reader,
        metadata: Metadata,
        workers: Workers,
        knobs: EngineKnobs,
    ) -> None:
        self._cache = cache
        self._cold = cold
        self._reader = reader
        self._metadata = metadata
        self._workers = workers
        self._knobs = knobs

    async def first_at_or_after(self, partition: Partition, timestamp: int) -> Found | None:
        """The first readable record whose timestamp is at least `timestamp`; None if there is none."""
        return await _settled(lambda: self._first_at_or_after(partition, timestamp))

    async def _first_at_or_after(self, partition: Partition, timestamp: int) -> Found | None:
        after = partition.log.start_offset - 1
        for span in self._ranges(partition):
            after = max(after, span.end - 1)
            if span.max_timestamp >= timestamp and span.end > partition.log.start_offset:
                found = await self._in_range(partition, span, timestamp)
                if found is not None:
                    return found
        while (summary := await self._in_tail(partition, timestamp, after)) is not None:
            first, after, _ = summary
            entries = self._cache.read(partition.stream_id, first, partition.log.high_watermark, 1, 1)
            if not entries:
                raise _TailMoved
            found = await self._in_batch(partition, await self._batch(entries[0]), timestamp)
            if found is not None:
                return found
        return None

    async def newest(self, partition: Partition) -> Found | None:
        """The first record that carries the largest timestamp of the partition (KIP-734)."""
        newest = await _settled(lambda: self._largest_timestamp(partition))
        return None if newest < 0 else await self.first_at_or_after(partition, newest)

    async def _largest_timestamp(self, partition: Partition) -> int:
        newest, after = -1, partition.log.start_offset - 1
        for span in self._ranges(partition):
            after = max(after, span.end - 1)
            if span.end > partition.log.start_offset:
                newest = max(newest, span.max_timestamp)
        async for _, _, max_timestamp in self._tail(partition, after):
            newest = max(newest, max_timestamp)
        return newest

    def _ranges(self, partition: Partition) -> Iterator[RangeRow]:
        """The committed ranges from the log's start on, a page at a time, as the metadata has them when asked."""
        offset = int(partition.log.start_offset)
        while page := self._metadata.state.ranges_from(partition.stream_id, offset, _RANGES_AT_ONCE):
            yield from page
            offset = int(page[-1].end)

    async def _in_tail(self, partition: Partition, timestamp: int, after: int) -> by_time.Summary | None:
        async for summary in self._tail(partition, after):
            if summary[2] >= timestamp:
                return summary
        return None

    async def _tail(self, partition: Partition, after: int) -> AsyncIterator[by_time.Summary]:
        """Summaries of the durable batches above the offset `after`: those that the bucket does not have yet.

        A ring may hold millions of them, so the loop gets its turn in between. Raises _TailMoved if batches went to the
        bucket meanwhile that were not seen yet.
        """
        while True:
            found = list(islice(self._cache.summaries(partition.stream_id, after + 1), _SUMMARIES_AT_ONCE))
            if found and found[0][0] > after + 1:
                raise _TailMoved
            for summary in found:
                if summary[1] >= partition.log.high_watermark:
                    return
                yield summary
            if len(found) < _SUMMARIES_AT_ONCE:
                return
            after = found[-1][1]
            await asyncio.sleep(0)

    async def _in_range(self, partition: Partition, span: RangeRow, timestamp: int) -> Found | None:
        row = self._metadata.state.objects[span.object_id]
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
            return (await self._reader.ring.batches([entry]))[0]
        return entry.segments[0] if len(entry.segments) == 1 else memoryview(b"".join(entry.segments))


async def _settled(lookup: Callable[[], Awaitable[T]]) -> T:
    """Look again when the tail moved meanwhile; it cannot do so for ever, since each time more is in the bucket."""
    for _ in range(_TRIES):
        with contextlib.suppress(_TailMoved):
            return await lookup()
        await asyncio.sleep(0)
    raise ClientFault(ErrorCode.KAFKA_STORAGE_ERROR, "the log's tail does not hold still")


def _decode(batch: memoryview, knobs: EngineKnobs) -> list[records.Record]:
    return records.decode_records(
        batch, limit_bytes=knobs.decompress_limit_bytes, limit_ratio=knobs.decompress_limit_ratio
    )


__all__ = ["Found", "TimeLookup"]
