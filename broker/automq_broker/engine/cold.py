"""Reads from the bucket: indexes, data blocks, read-ahead. A lane of its own with its own budget.

Catch-up consumers must never slow the tail: at most `catch_up_concurrency` ranged GETs run, what they bring has its room in
the block cache before they begin, and everything here awaits the network, never the loop's CPU for long.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.readahead import ReadAhead
from automq_broker.engine.cold_plan import Place, StreamEntries, runs, whole, without_rest
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import AutomqError, Corrupt
from automq_broker.kernel.ids import ObjectId, Offset, StreamId
from automq_broker.lake import keys, objects
from automq_broker.meta.rows import ObjectRow
from automq_broker.ports import Buffer, Metadata, NotFound

_GET_BYTES = 8 << 20
"""Adjacent blocks are fetched together, about this many bytes: a store was seen to spend 0.7 s of CPU per GB on GETs of
8 MiB, 0.9 s of 4 MiB, 2.4 s of 512 KiB."""

_RESTS_IN_GET = 4
"""Less than this part of a GET is not fetched early alone."""

_TURN_BYTES = 2 << 20
"""Checked in one turn of the loop: about 0.2 ms."""

_GETS_IN_CACHE = 32
"""But no more than this part of the block cache: what one GET brought is evicted together, and of a store that is 30 ms away
a reader needs several on their way (docs/benchmarks.md, Cold read)."""

CacheReader = tuple[StreamId, str]
"""Whose share of the block cache a block takes: each stream of a consumer reads ahead for itself."""


class Piece(NamedTuple):
    """One data block: what the index says of it, and its bytes, checked."""

    entry: objects.IndexEntry
    block: Buffer


class ColdReader:
    """Blocks of committed ranges, through the index cache and the block cache; each GET is shared by all who wait for it."""

    def __init__(
        self,
        *,
        store: Store,
        metadata: Metadata,
        cache: BlockCache,
        readahead: ReadAhead,
        knobs: EngineKnobs,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._store = store
        self._metadata = metadata
        self._cache = cache
        self._readahead = readahead
        self._knobs = knobs
        self._start_task = start_task
        self._get_bytes = min(_GET_BYTES, cache.budget_bytes // _GETS_IN_CACHE)
        self._lane = asyncio.Semaphore(knobs.catch_up_concurrency)
        self._indexes: OrderedDict[ObjectId, dict[StreamId, StreamEntries]] = OrderedDict()
        self._index_entries = 0
        self._loading: dict[tuple[ObjectId, int], asyncio.Future[Buffer]] = {}
        self._index_loading: dict[ObjectId, asyncio.Task[dict[StreamId, StreamEntries]]] = {}
        self.bytes_total = 0

    async def read(self, stream_id: StreamId, offset: Offset, max_bytes: int, reader: str) -> list[Piece]:
        """Committed blocks in offset order, from the one that holds `offset` on, until `max_bytes` are about reached.

        At least one block, and no last one that would have to be cut if what comes before it is half of `max_bytes`: the
        rest of it would be read twice. They may come from several objects. Raises NotFound when nothing committed holds
        the offset or an object is gone (refresh and resolve again), Corrupt when a block's checksum does not match.
        """
        places = whole(await self._places(stream_id, offset, max_bytes), max_bytes)
        if not places:
            raise NotFound(f"no committed range of stream {stream_id} holds offset {offset}")
        if any(not self._is_at_hand(row, entry) for row, entry in places):
            size = sum(entry.length for _, entry in places)
            wanted = self._readahead.missed(stream_id, reader, offset, self._spare_bytes)
            end = places[-1][1].last_offset + 1
            self._readahead.loaded(stream_id, reader, end, size)
            self._prefetch(stream_id, Offset(end), wanted - size, reader)
        waits = self._request(places, (stream_id, reader))
        pieces = []
        for (row, entry), wait in zip(places, waits, strict=True):
            if wait.done():
                pieces.append(Piece(entry, wait.result()))
            else:
                # Shielded: others may wait for the same block when this reader's connection goes.
                pieces.append(Piece(entry, await asyncio.shield(wait)))
                self._cache.taken(row.object_id, entry.position, (stream_id, reader))
        return pieces

    def start_offset(self, stream_id: StreamId) -> Offset:
        """What is below is deleted, as far as the metadata are known here, whoever owns the stream; 0 if it is gone."""
        head = self._metadata.state.stream_head(stream_id)
        return Offset(0) if head is None else head.start_offset

    def served(self, stream_id: StreamId, reader: str, offset: Offset, next_offset: Offset, size_bytes: int) -> None:
        """An answer from `offset` up to `next_offset` left: fetch early what this reader will want."""
        early = self._readahead.served(
            stream_id,
            reader,
            offset,
            next_offset,
            size_bytes=size_bytes,
            spare_bytes=self._spare_bytes,
        )
        if early is not None:
            self._prefetch(stream_id, early.start_offset, early.size_bytes, reader)

    @property
    def _spare_bytes(self) -> int:
        """Three quarters of a fair share: the rest is what the reader is taking now."""
        return self._cache.fair_share_bytes * 3 // 4

    def _prefetch(self, stream_id: StreamId, offset: Offset, size_bytes: int, reader: str) -> None:
        if size_bytes > 0:
            self._start_task(
                f"read ahead {stream_id}@{offset}", self._load_ahead(stream_id, offset, size_bytes, reader)
            )

    async def _load_ahead(self, stream_id: StreamId, offset: Offset, size_bytes: int, reader: str) -> None:
        """Best effort: what cannot be read now is met again, with its error, by the reader itself."""
        with contextlib.suppress(NotFound, Corrupt), self._planning(stream_id, reader):
            places = without_rest(await self._places(stream_id, offset, size_bytes), self._get_bytes // _RESTS_IN_GET)
            if places:
                self._request([place for place in places if not self._is_at_hand(*place)], (stream_id, reader))
                size = sum(entry.length for _, entry in places)
                self._readahead.loaded(stream_id, reader, places[-1][1].last_offset + 1, size)

    @contextlib.contextmanager
    def _planning(self, stream_id: StreamId, reader: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._readahead.planned(stream_id, reader)

    async def _places(self, stream_id: StreamId, offset: Offset, max_bytes: int) -> list[Place]:
        """Where the blocks lie that hold the offsets from `offset` on; ends at the last committed range."""
        places: list[Place] = []
        size = 0
        while size < max_bytes or not places:
            spans = self._metadata.state.ranges_from(stream_id, offset, 1)
            if not spans or (places and spans[0].start != offset):
                break
            row = self._metadata.state.objects[spans[0].object_id]
            entries = await self.entries(row, stream_id)
            first = max(0, bisect_right(entries, offset, key=lambda entry: entry.first_offset) - 1)
            for entry in entries[first:]:
                # A later slice of the stream in this object may lie behind ranges of other objects.
                if (places and size >= max_bytes) or entry.first_offset >= spans[0].end:
                    break
                places.append((row, entry))
                size += entry.length
            offset = spans[0].end
        return places

    def _is_at_hand(self, row: ObjectRow, entry: objects.IndexEntry) -> bool:
        return (row.object_id, entry.position) in self._loading or self._cache.has(row.object_id, entry.position)

    async def entries(self, row: ObjectRow, stream_id: StreamId) -> StreamEntries:
        """The index entries of one stream in one object, in offset order."""
        index = self._indexes.get(row.object_id)
        if index is None:
            index = await self._index(row)
        else:
            self._indexes.move_to_end(row.object_id)
        return index[stream_id]

    def forget(self, object_id: ObjectId) -> None:
        """The object was replaced or expired: nobody will ask again."""
        if (index := self._indexes.pop(object_id, None)) is not None:
            self._index_entries -= sum(map(len, index.values()))
        self._cache.drop_object(object_id)

    async def _index(self, row: ObjectRow) -> dict[StreamId, StreamEntries]:
        task = self._index_loading.get(row.object_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load_index(row), name=f"index {row.object_id}")
            self._index_loading[row.object_id] = task
            task.add_done_callback(lambda _: self._index_loading.pop(row.object_id, None))
        return await asyncio.shield(task)

    async def _load_index(self, row: ObjectRow) -> dict[StreamId, StreamEntries]:
        async with self._lane:
            data = await self._store.get(keys.data_key(row.object_id), row.index_position, row.size)
        decoded = objects.decode_index(data)
        index: dict[StreamId, StreamEntries] = {}
        for entry in decoded.entries:
            index.setdefault(entry.stream_id, []).append(entry)
        self._indexes[row.object_id] = index
        self._index_entries += len(decoded.entries)
        while self._index_entries > self._knobs.index_cache_entries and len(self._indexes) > 1:
            _, old = self._indexes.popitem(last=False)
            self._index_entries -= sum(map(len, old.values()))
        return index

    def _request(self, places: list[Place], reader: CacheReader) -> list[asyncio.Future[Buffer]]:
        """A future per block: cached, already on its way, or asked for now (adjacent blocks in one GET)."""
        loop = asyncio.get_running_loop()
        waits: list[asyncio.Future[Buffer]] = []
        missing: list[Place] = []
        for row, entry in places:
            key = (row.object_id, entry.position)
            future = self._loading.get(key)
            if future is None:
                future = loop.create_future()
                cached = self._cache.get(row.object_id, entry.position, reader)
                if cached is not None:
                    future.set_result(cached)
                else:
                    self._loading[key] = future
                    missing.append((row, entry))
            waits.append(future)
        for row, run in runs(missing, self._get_bytes):
            self._start_task(f"get {row.object_id}@{run[0].position}", self._get(row, run, reader))
        return waits

    async def _load(self, row: ObjectRow, run: StreamEntries, reader: CacheReader) -> list[tuple[int, Buffer]]:
        """The blocks of a run by position, checked; while they are on their way they have their room in the cache."""
        start, end = run[0].position, run[-1].position + run[-1].length
        async with self._lane:
            reserved = self._cache.reserve(end - start, reader)
            try:
                data = memoryview(await self._store.get(keys.data_key(row.object_id), start, end))
                blocks = await _checked(data, run)
            finally:
                self._cache.release(reserved)
        self.bytes_total += len(data)
        return blocks

    async def _get(self, row: ObjectRow, run: StreamEntries, reader: CacheReader) -> None:
        """One ranged GET; its error belongs to those who wait for its blocks, not to the process."""
        futures = [self._loading[row.object_id, entry.position] for entry in run]
        try:
            blocks = await self._load(row, run, reader)
            self._cache.put(row.object_id, blocks, reader)
            for (_, block), future in zip(blocks, futures, strict=True):
                if not future.done():
                    future.set_result(block)
        except (asyncio.CancelledError, AutomqError) as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # read-ahead blocks may have nobody who waits
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            for entry in run:
                self._loading.pop((row.object_id, entry.position), None)


async def _checked(data: memoryview, run: StreamEntries) -> list[tuple[int, Buffer]]:
    """The blocks by position; a checksum of all of them in one turn of the loop would be felt by producers."""
    start, turn = run[0].position, 0
    blocks: list[tuple[int, Buffer]] = []
    for entry in run:
        block = data[entry.position - start : entry.position - start + entry.length]
        objects.check_block(entry, block)
        blocks.append((entry.position, block))
        turn += entry.length
        if turn > _TURN_BYTES:
            turn = 0
            await asyncio.sleep(0)
    return blocks


__all__ = ["ColdReader", "Piece"]
