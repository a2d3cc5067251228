"""The newest batches of every stream, in the WAL buffers they were written from: most fetches end here.

A batch enters when it is durable. While it is not in the bucket it stays findable: eviction takes its bytes only, and
the engine reads them from the ring by LSN. Once committed it goes as a whole. The budget is one for all streams and
the oldest batch goes first, whoever owns it, because then whole WAL buffers become free.

COST: views pin the WAL's buffers, padding and other streams' batches included. So the bytes that count are the span
of LSNs from the oldest batch held to the newest, not the sum of the batches: small batches that were written one by
one occupy a 4 KiB block each, and a sum would let the buffers outgrow the budget twentyfold.
"""

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from automq_broker.cache.entry import Entry
from automq_broker.cache.tail_index import COLD_ENTRY_BYTES, ColdEntries
from automq_broker.cache.tail_stream import TailStream
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn, Offset, StreamId

HOT_ENTRY_BYTES: Final = 520
"""Counted per batch with bytes: the entry, its integers, its tuple, one view and its places in list and order.
Measured with tracemalloc: 501 bytes on CPython 3.11, x86-64. A further view (a batch that spans WAL blocks) is not
counted: it comes with a large batch, or once per group."""
STALE_SLACK: Final = 1024
"""The eviction order is rebuilt when more than this many, and half of its tokens, stand for dropped batches."""


class Backlog(NamedTuple):
    """What one stream has that is not in the bucket yet: the half-open offsets, bytes, and the first batch's LSN."""

    stream_id: StreamId
    start_offset: Offset
    end_offset: Offset
    first_lsn: Lsn
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TailStatistics:
    """The tail cache in numbers; the counters count since the start."""

    budget_bytes: int
    used_bytes: int
    segment_bytes: int
    index_bytes: int
    uncommitted_bytes: int
    streams: int
    hot_entries: int
    cold_entries: int
    evicted_entries: int


class TailCache:
    """The durable batches of every stream that are hot or not yet committed, within `budget_bytes`.

    The budget covers buffers pinned and index; it holds after every call. Only the index of un-committed batches can
    push it over (40 bytes per batch): nothing is lost then, and `index_bytes` tells the engine to upload early.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._streams: dict[StreamId, TailStream] = {}
        self._order: deque[TailStream] = deque()
        """One token per hot batch, oldest first: the stream whose next hot batch is meant."""
        self._stale = 0
        self._oldest_lsn: int = 0
        self._newest_end: int = 0
        self._segment_bytes = 0
        self._hot_entries = 0
        self._cold_entries = 0
        self._evicted_entries = 0
        self._uncommitted_bytes = 0

    @property
    def used_bytes(self) -> int:
        """Buffers pinned by views, plus the index."""
        span = self._newest_end - self._oldest_lsn if self._hot_entries else 0
        return max(span, self._segment_bytes) + self.index_bytes

    @property
    def index_bytes(self) -> int:
        """What the entries themselves cost, without the batches."""
        return self._hot_entries * HOT_ENTRY_BYTES + self._cold_entries * COLD_ENTRY_BYTES

    @property
    def uncommitted_bytes(self) -> int:
        """Bytes of all batches that are not in the bucket yet, evicted ones included."""
        return self._uncommitted_bytes

    def append(self, stream_id: StreamId, entry: Entry) -> None:
        """Add a durable batch, in LSN order over all streams and contiguous in its stream.

        An entry without segments (recovery) is indexed only. Raises Bug on a gap in the stream's offsets.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = self._streams[stream_id] = TailStream(stream_id, entry.base_offset)
        elif entry.base_offset != stream.end:
            raise Bug(f"stream {stream_id}: a batch at offset {entry.base_offset} follows {stream.end}")
        size = entry.size_bytes
        stream.end = entry.last_offset + 1
        stream.uncommitted_bytes += size
        self._uncommitted_bytes += size
        if entry.segments is None:
            self._append_cold(stream, entry)
            return
        if not self._hot_entries:
            self._oldest_lsn = entry.lsn
        stream.hot.append(entry)
        self._order.append(stream)
        self._hot_entries = hot_entries = self._hot_entries + 1
        self._newest_end = newest_end = entry.lsn + size
        self._segment_bytes = used = self._segment_bytes + size
        span = newest_end - self._oldest_lsn
        if (
            used if used > span else span
        ) + hot_entries * HOT_ENTRY_BYTES + self._cold_entries * COLD_ENTRY_BYTES > self.budget_bytes:
            self._evict_to_budget()

    def read(self, stream_id: StreamId, offset: int, limit_offset: int, max_bytes: int) -> list[Entry]:
        """Whole batches from the one that contains `offset`, each ending below `limit_offset`, up to `max_bytes`.

        The first comes even above `max_bytes`. Empty if `offset` is not in the tail. Entries come back without
        segments where the bytes were evicted. Views stay valid as long as the caller holds the entries.
        """
        stream = self._streams.get(stream_id)
        if stream is None or offset >= stream.end or stream.is_empty() or offset < stream.start():
            return []
        found: list[Entry] = []
        for entry in stream.entries_from(offset):
            if entry.last_offset >= limit_offset:
                break
            max_bytes -= entry.size_bytes
            if max_bytes < 0 and found:
                break
            found.append(entry)
        return found

    def tail_start(self, stream_id: StreamId) -> Offset | None:
        """The first offset that is indexed; None if the stream has nothing here."""
        stream = self._streams.get(stream_id)
        return None if stream is None or stream.is_empty() else Offset(stream.start())

    def summaries(self, stream_id: StreamId, offset: int = 0) -> Iterator[tuple[int, int, int]]:
        """(first offset, last offset, max timestamp) of every batch that ends at or above `offset`, in order."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.cold:
            yield from stream.cold.summaries(stream.cold.position(offset))
        hot = stream.hot
        for i in range(stream.position(offset), len(hot)):
            yield hot[i].base_offset, hot[i].last_offset, hot[i].max_timestamp

    def uncommitted(self, stream_id: StreamId, end_offset: int | None = None) -> Iterator[Entry]:
        """The stream's batches that are not in the bucket yet, in order, those that end below `end_offset`.

        An iterator, since a ring full of small batches would not fit as entries; take from it without changing the
        cache in between.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        for entry in stream.entries_from(stream.committed_end):
            if end_offset is not None and entry.last_offset >= end_offset:
                return
            yield entry

    def uncommitted_streams(self) -> list[Backlog]:
        """The streams that have batches which are not in the bucket yet, the one with the oldest batch first."""
        found = []
        for stream in self._streams.values():
            if stream.uncommitted_bytes:
                first = next(stream.entries_from(stream.committed_end))
                found.append(
                    Backlog(
                        stream.stream_id, first.base_offset, Offset(stream.end), first.lsn, stream.uncommitted_bytes
                    )
                )
        found.sort(key=attrgetter("first_lsn"))
        return found

    def mark_committed(self, stream_id: StreamId, end_offset: int) -> None:
        """Batches below `end_offset` are in the bucket and in the metadata applied here: they may go as a whole.

        Those without bytes go now, the others when the budget wants it.
        """
        stream = self._streams.get(stream_id)
        if stream is None or end_offset <= stream.committed_end:
            return
        if end_offset > stream.end:
            raise Bug(f"stream {stream_id}: committed up to {end_offset}, the tail ends at {stream.end}")
        self._settle_uncommitted(stream, end_offset)
        if stream.cold:
            self._drop_cold(stream, stream.cold.position(stream.committed_end))
        self._forget_if_empty(stream)

    def drop_below(self, stream_id: StreamId, offset: int) -> None:
        """The partition's start moved to `offset`: forget the committed batches that end below it.

        Un-committed ones stay although nobody may read them any more: the ranges of a stream in the bucket have no
        holes, so they must still be uploaded; they go when they are committed and the budget wants it.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if not stream.cold:
            self._drop_hot(stream, stream.position(min(offset, stream.committed_end)) - stream.head)
        self._forget_if_empty(stream)

    def forget(self, stream_id: StreamId) -> None:
        """Forget everything about a stream: it was closed or moved away. Its un-committed batches go too."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        self._settle_uncommitted(stream, stream.end)
        if stream.cold:
            self._drop_cold(stream, len(stream.cold))
        self._drop_hot(stream, len(stream.hot) - stream.head)
        self._forget_if_empty(stream)

    def statistics(self) -> TailStatistics:
        """The cache in numbers."""
        return TailStatistics(
            budget_bytes=self.budget_bytes,
            used_bytes=self.used_bytes,
            segment_bytes=self._segment_bytes,
            index_bytes=self.index_bytes,
            uncommitted_bytes=self._uncommitted_bytes,
            streams=len(self._streams),
            hot_entries=self._hot_entries,
            cold_entries=self._cold_entries,
            evicted_entries=self._evicted_entries,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        if self.used_bytes > self.budget_bytes and self._hot_entries:
            raise Bug(f"tail cache uses {self.used_bytes} of {self.budget_bytes} bytes")
        tokens = Counter(id(stream) for stream in self._order)
        hot = cold = segment_bytes = uncommitted = 0
        for stream_id, stream in self._streams.items():
            entries = list(stream.entries_from(0))
            if not entries:
                raise Bug(f"stream {stream_id} has no entries and was not forgotten")
            for before, after in pairwise(entries):
                if after.base_offset != before.last_offset + 1 or after.lsn <= before.lsn:
                    raise Bug(f"stream {stream_id}: {after} follows {before}")
            with_bytes = [entry for entry in entries if entry.segments is not None]
            if tokens[id(stream)] != len(with_bytes) + stream.stale:
                raise Bug(f"stream {stream_id}: {len(with_bytes)} hot entries, {tokens[id(stream)]} tokens")
            hot += len(with_bytes)
            cold += len(entries) - len(with_bytes)
            segment_bytes += sum(entry.size_bytes for entry in with_bytes)
            pending = sum(entry.size_bytes for entry in entries if entry.last_offset >= stream.committed_end)
            if pending != stream.uncommitted_bytes:
                raise Bug(f"stream {stream_id}: {pending} bytes are un-committed, {stream.uncommitted_bytes} counted")
            uncommitted += pending
        counted = (self._hot_entries, self._cold_entries, self._segment_bytes, self._uncommitted_bytes)
        if (hot, cold, segment_bytes, uncommitted) != counted:
            raise Bug(f"tail cache holds {(hot, cold, segment_bytes, uncommitted)} and counts {counted}")

    def _append_cold(self, stream: TailStream, entry: Entry) -> None:
        if stream.head != len(stream.hot):
            raise Bug(f"stream {stream.stream_id}: a batch without bytes follows one with bytes")
        if stream.cold is None:
            stream.cold = ColdEntries()
        stream.cold.append(entry)
        self._cold_entries += 1
        self._evict_to_budget()

    def _evict_to_budget(self) -> None:
        """Take the bytes of the oldest batches until the budget holds; committed batches go as a whole."""
        order = self._order
        while self._refresh_oldest() and self.used_bytes > self.budget_bytes:
            stream = order.popleft()
            entry = stream.take_hot()
            self._hot_entries -= 1
            self._segment_bytes -= entry.size_bytes
            self._evicted_entries += 1
            if entry.last_offset >= stream.committed_end:
                if stream.cold is None:
                    stream.cold = ColdEntries()
                stream.cold.append(entry)
                self._cold_entries += 1
            self._forget_if_empty(stream)

    def _refresh_oldest(self) -> bool:
        """Skip the tokens of dropped batches and note the oldest batch left; False if there is none."""
        order = self._order
        while order:
            stream = order[0]
            if not stream.stale:
                self._oldest_lsn = stream.hot[stream.head].lsn
                return True
            stream.stale -= 1
            self._stale -= 1
            order.popleft()
        return False

    def _drop_cold(self, stream: TailStream, count: int) -> None:
        if stream.cold is not None and count:
            stream.cold.drop_front(count)
            self._cold_entries -= count
        if not stream.cold:
            stream.cold = None

    def _drop_hot(self, stream: TailStream, count: int) -> None:
        """Drop the first hot entries; their tokens stay in the order as stale ones."""
        for _ in range(count):
            self._segment_bytes -= stream.take_hot().size_bytes
        stream.stale += count
        self._hot_entries -= count
        self._stale += count
        if self._stale > STALE_SLACK and self._stale * 2 > len(self._order):
            self._rebuild_order()
        self._refresh_oldest()

    def _rebuild_order(self) -> None:
        """Leave the stale tokens out; per stream they are the oldest ones."""
        kept: deque[TailStream] = deque()
        for stream in self._order:
            if stream.stale:
                stream.stale -= 1
            else:
                kept.append(stream)
        self._order = kept
        self._stale = 0

    def _settle_uncommitted(self, stream: TailStream, committed_end: int) -> None:
        """Move the committed end, and take the bytes below it from the un-committed ones."""
        size, old_end = 0, stream.committed_end
        cold = stream.cold
        if cold:
            size += cold.size_between(cold.position(old_end), cold.position(committed_end))
        hot = stream.hot
        for i in range(stream.position(old_end), stream.position(committed_end)):
            size += hot[i].size_bytes
        stream.committed_end = committed_end
        stream.uncommitted_bytes -= size
        self._uncommitted_bytes -= size

    def _forget_if_empty(self, stream: TailStream) -> None:
        if stream.is_empty() and self._streams.get(stream.stream_id) is stream:
            del self._streams[stream.stream_id]


__all__ = ["Backlog", "Entry", "TailCache", "TailStatistics"]
