"""The newest batches of every stream, in the WAL buffers they were written from: most fetches end here.

The WAL's blocks are held whole, newest ones within a budget, and the oldest goes first, whoever's batches it holds,
because then whole WAL buffers become free. What lies where is an index of 40 bytes per batch; views of a batch are cut
when it is read. A batch that is not in the bucket yet stays in the index when its block goes, and the engine reads it
from the ring by LSN; a committed one goes with its block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from automq_broker.cache.entry import Entry
from automq_broker.cache.tail_blocks import BLOCK_BYTES, TailBlocks
from automq_broker.cache.tail_stream import ENTRY_BYTES, TailStream
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn, Offset, StreamId


class Backlog(NamedTuple):
    """What one stream has that is not in the bucket yet: the half-open offsets, bytes, and the first batch's LSN."""

    stream_id: StreamId
    start_offset: Offset
    end_offset: Offset
    first_lsn: Lsn
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TailStatistics:
    """The tail cache in numbers; `evicted_blocks` counts since the start."""

    budget_bytes: int
    used_bytes: int
    block_bytes: int
    index_bytes: int
    uncommitted_bytes: int
    streams: int
    blocks: int
    batches: int
    evicted_blocks: int


class TailCache:
    """The durable batches of every stream that are held or not yet committed, within `budget_bytes`.

    The budget covers blocks and index; it holds after every call. Only the index of un-committed batches can push it
    over (40 bytes per batch): nothing is lost then, and `index_bytes` tells the engine to upload early.
    """

    def __init__(self, budget_bytes: int, *, record_header_bytes: int, block_header_bytes: int) -> None:
        """The two lengths say how a record lies in its blocks (see wal/format)."""
        self.budget_bytes = budget_bytes
        self._streams: dict[StreamId, TailStream] = {}
        self._blocks = TailBlocks(record_header_bytes, block_header_bytes)
        self._batches = 0
        self._evicted_blocks = 0
        self._uncommitted_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Buffers pinned, plus the index."""
        return self._blocks.cost_bytes + self.index_bytes

    @property
    def index_bytes(self) -> int:
        """What the batches cost without their bytes."""
        return self._batches * ENTRY_BYTES

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes of all batches that are not in the bucket yet, evicted ones included."""
        return self._uncommitted_bytes

    def uncommitted_bytes_of(self, stream_id: StreamId) -> int:
        """As `uncommitted_bytes`, of one stream."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.uncommitted_bytes

    def hold(self, lsn: Lsn, block: memoryview) -> None:
        """Keep a durable block of the WAL as it was written; blocks come in LSN order, each before its batches."""
        self._blocks.push(lsn, block)
        if self.used_bytes > self.budget_bytes:
            self._evict_to_budget()

    def append(
        self,
        stream_id: StreamId,
        base_offset: Offset,
        last_offset: Offset,
        lsn: Lsn,
        size_bytes: int,
        max_timestamp: int,
        records_count: int,
    ) -> None:
        """Add a durable batch, in LSN order over all streams and contiguous in its stream.

        Its bytes are found if the block at its LSN is held, else (recovery) it is indexed only. Raises Bug on a gap in
        the stream's offsets.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = TailStream(stream_id, base_offset)
        elif base_offset != stream.end:
            raise Bug(f"stream {stream_id}: a batch at offset {base_offset} follows {stream.end}")
        stream.end = last_offset + 1
        stream.uncommitted_bytes += size_bytes
        stream.base.append(base_offset)
        stream.delta.append(last_offset - base_offset)
        stream.lsn.append(lsn)
        stream.size.append(size_bytes)
        stream.timestamp.append(max_timestamp)
        stream.count.append(records_count)
        self._uncommitted_bytes += size_bytes
        self._batches += 1
        blocks = self._blocks
        blocks.note(lsn, stream)
        if blocks.cost_bytes + self._batches * ENTRY_BYTES > self.budget_bytes:
            self._evict_to_budget()

    def read(
        self, stream_id: StreamId, offset: int, limit_offset: int, max_bytes: int, max_batches: int
    ) -> list[Entry]:
        """Whole batches from the one that contains `offset`, each ending below `limit_offset`, up to the two limits.

        The first comes even above `max_bytes`. Empty if `offset` is not in the tail. Entries come back without
        segments where the bytes were evicted. Views stay valid as long as the caller holds the entries.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not len(stream) or not stream.base[stream.head] <= offset < stream.end:
            return []
        found: list[Entry] = []
        start = stream.position(offset)
        for i in range(start, min(start + max_batches, len(stream.base))):
            if stream.base[i] + stream.delta[i] >= limit_offset:
                break
            max_bytes -= stream.size[i]
            if max_bytes < 0 and found:
                break
            found.append(self._entry(stream, i))
        return found

    def tail_start(self, stream_id: StreamId) -> Offset | None:
        """The first offset that is indexed; None if the stream has nothing here."""
        stream = self._streams.get(stream_id)
        return None if stream is None or not len(stream) else Offset(stream.base[stream.head])

    def summaries(self, stream_id: StreamId, offset: int = 0) -> Iterator[tuple[int, int, int]]:
        """(first offset, last offset, max timestamp) of every batch that ends at or above `offset`, in order."""
        stream = self._streams.get(stream_id)
        return iter(()) if stream is None else stream.summaries(stream.position(offset))

    def uncommitted(self, stream_id: StreamId, end_offset: int | None = None) -> Iterator[Entry]:
        """The stream's batches that are not in the bucket yet, in order, those that end below `end_offset`.

        They come without segments: an upload that held views of all it will take would keep the whole cache alive beside
        the cache; `body` has them when their turn comes. An iterator, since a ring full of small batches would not fit
        as entries; take from it without changing the cache in between.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        for i in range(stream.position(stream.committed_end), len(stream.base)):
            if end_offset is not None and stream.base[i] + stream.delta[i] >= end_offset:
                return
            yield self._entry(stream, i, is_with_body=False)

    def body(self, lsn: Lsn, size_bytes: int) -> tuple[memoryview, ...] | None:
        """Views of one batch's bytes, None once they were evicted. Views keep whole WAL buffers alive: drop them soon."""
        return self._blocks.body(lsn, size_bytes)

    def uncommitted_streams(self) -> list[Backlog]:
        """The streams that have batches which are not in the bucket yet, the one with the oldest batch first."""
        found = []
        for stream in self._streams.values():
            if stream.uncommitted_bytes:
                first = stream.position(stream.committed_end)
                start, lsn = Offset(stream.base[first]), Lsn(stream.lsn[first])
                found.append(Backlog(stream.stream_id, start, Offset(stream.end), lsn, stream.uncommitted_bytes))
        found.sort(key=attrgetter("first_lsn"))
        return found

    def mark_committed(self, stream_id: StreamId, end_offset: int) -> None:
        """Batches below `end_offset` are in the bucket and in the metadata applied here: they may go as a whole.

        Those without bytes go now, the others with their blocks.
        """
        stream = self._streams.get(stream_id)
        if stream is None or end_offset <= stream.committed_end:
            return
        if end_offset > stream.end:
            raise Bug(f"stream {stream_id}: committed up to {end_offset}, the tail ends at {stream.end}")
        self._settle_uncommitted(stream, end_offset)
        self._drop_evicted(stream)

    def drop_below(self, stream_id: StreamId, offset: int) -> None:
        """The partition's start moved to `offset`: forget the committed batches that end below it.

        Un-committed ones stay although nobody may read them any more: the ranges of a stream in the bucket have no
        holes, so they must still be uploaded; they go when they are committed and the budget wants it.
        """
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._drop_to(stream, stream.position(min(offset, stream.committed_end)))

    def forget(self, stream_id: StreamId) -> None:
        """Forget everything about a stream: it was closed or moved away. Its un-committed batches go too."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._settle_uncommitted(stream, stream.end)
            self._drop_to(stream, len(stream.base))

    def statistics(self) -> TailStatistics:
        """The cache in numbers."""
        return TailStatistics(
            budget_bytes=self.budget_bytes,
            used_bytes=self.used_bytes,
            block_bytes=self._blocks.cost_bytes - len(self._blocks) * BLOCK_BYTES,
            index_bytes=self.index_bytes,
            uncommitted_bytes=self._uncommitted_bytes,
            streams=len(self._streams),
            blocks=len(self._blocks),
            batches=self._batches,
            evicted_blocks=self._evicted_blocks,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if self.used_bytes > self.budget_bytes and len(self._blocks):
            raise Bug(f"tail cache uses {self.used_bytes} of {self.budget_bytes} bytes")
        batches = uncommitted = 0
        for stream_id, stream in self._streams.items():
            entries = [self._entry(stream, i) for i in range(stream.head, len(stream.base))]
            if not entries:
                raise Bug(f"stream {stream_id} has no batches and was not forgotten")
            for before, after in pairwise(entries):
                if after.base_offset != before.last_offset + 1 or after.lsn <= before.lsn:
                    raise Bug(f"stream {stream_id}: {after} follows {before}")
            batches += len(entries)
            pending = sum(entry.size_bytes for entry in entries if entry.last_offset >= stream.committed_end)
            if pending != stream.uncommitted_bytes:
                raise Bug(f"stream {stream_id}: {pending} bytes are un-committed, {stream.uncommitted_bytes} counted")
            if entries[0].segments is None and entries[0].last_offset < stream.committed_end:
                raise Bug(f"stream {stream_id}: a committed batch without bytes was kept")
            uncommitted += pending
        if (batches, uncommitted) != (self._batches, self._uncommitted_bytes):
            raise Bug(f"{batches} batches, {uncommitted} un-committed bytes; counted {self.statistics()}")

    def _entry(self, stream: TailStream, i: int, *, is_with_body: bool = True) -> Entry:
        base, lsn, size = stream.base[i], stream.lsn[i], stream.size[i]
        return Entry(
            Offset(base),
            Offset(base + stream.delta[i]),
            Lsn(lsn),
            size,
            stream.timestamp[i],
            stream.count[i],
            self._blocks.body(lsn, size) if is_with_body else None,
        )

    def _evict_to_budget(self) -> None:
        """Let the oldest blocks go until the budget holds, and with them the committed batches in them."""
        blocks = self._blocks
        while len(blocks) and self.used_bytes > self.budget_bytes:
            self._evicted_blocks += 1
            for stream in blocks.pop():
                self._drop_evicted(stream)

    def _drop_evicted(self, stream: TailStream) -> None:
        """Drop what is committed and has no bytes any more."""
        if len(stream):
            evicted = stream.evicted(self._blocks.held_from)
            self._drop_to(stream, min(evicted, stream.position(stream.committed_end)))

    def _drop_to(self, stream: TailStream, index: int) -> None:
        self._batches -= stream.drop_to(index)
        if not len(stream) and self._streams.get(stream.stream_id) is stream:
            del self._streams[stream.stream_id]

    def _settle_uncommitted(self, stream: TailStream, committed_end: int) -> None:
        """Move the committed end, and take the bytes below it from the un-committed ones."""
        size = stream.size_between(stream.position(stream.committed_end), stream.position(committed_end))
        stream.committed_end = committed_end
        stream.uncommitted_bytes -= size
        self._uncommitted_bytes -= size


__all__ = ["Backlog", "Entry", "TailCache", "TailStatistics"]
