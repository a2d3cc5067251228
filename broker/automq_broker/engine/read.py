"""The read path: tail cache, else the ring by LSN, else the bucket. Whole batches as views, never decompressed.

One step of the loop reads (start, high watermark) together, so an answer is a consistent cut. Everything below the high
watermark is durable; nothing above it is ever returned.
"""

import logging
from dataclasses import dataclass

from automq_broker.cache.tail import TailCache
from automq_broker.engine.cold import ColdReader
from automq_broker.engine.partition import Partition
from automq_broker.engine.ring_reads import RingReads
from automq_broker.kernel.errors import ClientFault, Corrupt, Retry
from automq_broker.kernel.ids import Offset
from automq_broker.lake.objects import IndexEntry
from automq_broker.ports import NotFound, WalDevice
from automq_broker.wal.writer import WalWriter
from automq_broker.wire import records
from automq_broker.wire.codes import ErrorCode

log = logging.getLogger("automq.read")

_RESOLVE_TRIES = 5
"""A 404 or an overwritten ring position means that the metadata moved on; each try resolves afresh."""

_BATCHES_IN_MEMORY_MAX = 4096
"""Upper bound on views in one answer; the rest comes with the next fetch."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """Views of whole batches in offset order, and the watermarks of the same moment."""

    segments: list[memoryview]
    size_bytes: int
    high_watermark: Offset
    log_start_offset: Offset


class Reader:
    """Reads of one broker's open partitions."""

    def __init__(self, *, cache: TailCache, cold: ColdReader, writer: WalWriter, device: WalDevice) -> None:
        self._cache = cache
        self._cold = cold
        self.ring = RingReads(writer, device)
        self.tail_bytes_total = 0
        self.storage_errors_total = 0

    def read_now(self, partition: Partition, offset: Offset, max_bytes: int) -> ReadAnswer | None:
        """The answer from memory, or None when the ring or the bucket is needed.

        Raises ClientFault OFFSET_OUT_OF_RANGE below the start or beyond the log's end.
        """
        log = partition.log
        if offset < log.start_offset or offset > log.end_offset:
            raise ClientFault(ErrorCode.OFFSET_OUT_OF_RANGE)
        if offset >= log.high_watermark or max_bytes <= 0:
            return ReadAnswer([], 0, log.high_watermark, log.start_offset)
        tail_start = self._cache.tail_start(partition.stream_id)
        if tail_start is None or offset < tail_start:
            return None
        entries = self._cache.read(partition.stream_id, offset, log.high_watermark, max_bytes, _BATCHES_IN_MEMORY_MAX)
        segments: list[memoryview] = []
        size = 0
        for entry in entries:
            if entry.segments is None:
                break
            segments.extend(entry.segments)
            size += entry.size_bytes
        if not segments:
            return None
        self.tail_bytes_total += size
        return ReadAnswer(segments, size, log.high_watermark, log.start_offset)

    async def read(self, partition: Partition, offset: Offset, max_bytes: int, reader: str = "") -> ReadAnswer:
        """As `read_now`, and waits for the ring or the bucket where memory does not have it.

        `reader` names the consumer for read-ahead. Raises ClientFault KAFKA_STORAGE_ERROR when a referenced object is
        missing or its bytes are wrong: that partition is in trouble, the broker stays. NOT_LEADER_OR_FOLLOWER when the
        partition went to another broker meanwhile and what was asked for is not there any more.
        """
        trouble: Exception | None = None
        for _ in range(_RESOLVE_TRIES):
            if (answer := self.read_now(partition, offset, max_bytes)) is not None:
                return answer
            tail_start = self._cache.tail_start(partition.stream_id)
            try:
                if tail_start is not None and offset >= tail_start:
                    segments, size = await self._from_ring(partition, offset, max_bytes)
                else:
                    segments, size = await self._from_bucket(partition, offset, max_bytes, reader)
            except (NotFound, Corrupt, Retry) as error:  # Retry: trimmed from the ring meanwhile
                if not partition.is_held:  # nobody tells it any more what the next owner deletes
                    raise ClientFault(ErrorCode.NOT_LEADER_OR_FOLLOWER, str(error)) from error
                trouble = error
                continue
            return ReadAnswer(segments, size, partition.log.high_watermark, partition.log.start_offset)
        self.storage_errors_total += 1
        log.error(
            "stored data cannot be read",
            extra={"topic": partition.topic, "partition": partition.index, "offset": offset, "reason": str(trouble)},
        )
        raise ClientFault(ErrorCode.KAFKA_STORAGE_ERROR, str(trouble))

    async def _from_ring(self, partition: Partition, offset: Offset, max_bytes: int) -> tuple[list[memoryview], int]:
        limit = partition.log.high_watermark
        entries = self._cache.read(partition.stream_id, offset, limit, max_bytes, _BATCHES_IN_MEMORY_MAX)
        evicted = [entry for entry in entries if entry.segments is None]
        segments = await self.ring.batches(evicted)
        size = sum(entry.size_bytes for entry in evicted)
        for entry in entries[len(evicted) :]:
            if entry.segments is None:
                break
            segments.extend(entry.segments)
            size += entry.size_bytes
        return segments, size

    async def _from_bucket(
        self, partition: Partition, offset: Offset, max_bytes: int, reader: str
    ) -> tuple[list[memoryview], int]:
        segments: list[memoryview] = []
        size, next_offset = 0, offset
        if offset < self._cold.start_offset(partition.stream_id):
            raise NotFound(f"offset {offset} of stream {partition.stream_id} was deleted meanwhile")
        limit = partition.log.high_watermark  # the bucket has more, once the partition went to another broker
        for entry, data in await self._cold.read(partition.stream_id, offset, max_bytes, reader):
            if entry.first_offset >= limit:
                break
            block = memoryview(data)
            begin, end, next_offset = _cut(block, entry, offset, limit, max_bytes - size, is_first=not segments)
            if end > begin:
                segments.append(block[begin:end])
                size += end - begin
            if end < len(block):
                break
        self._cold.served(partition.stream_id, reader, offset, next_offset, size)
        if not segments:
            raise NotFound(f"offset {offset} of stream {partition.stream_id} is in no batch of its block")
        return segments, size


def _cut(
    block: memoryview, entry: IndexEntry, offset: Offset, limit: Offset, max_bytes: int, *, is_first: bool
) -> tuple[int, int, Offset]:
    """Where the batches from `offset` to `limit` lie in a block, cut at `max_bytes` to whole ones; and the next offset."""
    after = Offset(entry.last_offset + 1)
    if entry.first_offset >= offset and after <= limit and len(block) <= max_bytes:
        return 0, len(block), after
    begin = end = -1
    for position, header in records.iter_headers(block):
        if header.last_offset < offset:
            continue
        if header.base_offset >= limit:
            return max(begin, 0), max(end, 0), Offset(header.base_offset)
        if begin < 0:
            begin = end = position
        if position + header.size_bytes - begin > max_bytes and not (is_first and end == begin):
            return begin, end, Offset(header.base_offset)
        end = position + header.size_bytes
    return (begin, end, after) if begin >= 0 else (len(block), len(block), after)


__all__ = ["ReadAnswer", "Reader"]
