"""Reads from the bucket: indexes, data blocks, read-ahead. A lane of its own with its own budget.

Catch-up consumers must never slow the tail: at most `catch_up_concurrency` ranged GETs run, holding at most
`catch_up_bytes_max` bytes, and everything here awaits the network, never the loop's CPU for long.
"""

import asyncio
import contextlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.readahead import ReadAhead
from automq_broker.engine.control import Control
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.errors import AutomqError, Corrupt
from automq_broker.kernel.ids import ObjectId, Offset, StreamId
from automq_broker.lake import keys, objects
from automq_broker.meta.rows import ObjectRow
from automq_broker.ports import Buffer, NotFound

_GET_BYTES_MAX = 4 << 20
"""Adjacent blocks are fetched together up to this size: large enough for throughput, small enough to evict."""

StreamEntries = list[objects.IndexEntry]
Place = tuple[ObjectRow, objects.IndexEntry]


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
        control: Control,
        cache: BlockCache,
        readahead: ReadAhead,
        knobs: EngineKnobs,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._store = store
        self._control = control
        self._cache = cache
        self._readahead = readahead
        self._knobs = knobs
        self._start_task = start_task
        self._lane = asyncio.Semaphore(knobs.catch_up_concurrency)
        self._indexes: OrderedDict[ObjectId, dict[StreamId, StreamEntries]] = OrderedDict()
        self._index_entries = 0
        self._loading: dict[tuple[ObjectId, int], asyncio.Future[Buffer]] = {}
        self._index_loading: dict[ObjectId, asyncio.Task[dict[StreamId, StreamEntries]]] = {}
        self.bytes_total = 0

    async def read(self, stream_id: StreamId, offset: Offset, max_bytes: int, reader: str) -> list[Piece]:
        """Committed blocks in offset order, from the one that holds `offset` on, until `max_bytes` are reached.

        At least one block; it may come from several objects. Raises NotFound when nothing committed holds the offset or
        an object is gone (refresh and resolve again), Corrupt when a block's checksum does not match.
        """
        places = await self._places(stream_id, offset, max_bytes)
        if not places:
            raise NotFound(f"no committed range of stream {stream_id} holds offset {offset}")
        if any(not self._is_at_hand(row, entry) for row, entry in places):
            size = sum(entry.length for _, entry in places)
            wanted = self._readahead.missed(stream_id, reader, offset, self._cache.fair_share_bytes)
            end = places[-1][1].last_offset + 1
            self._readahead.loaded(stream_id, reader, end, size)
            self._prefetch(stream_id, Offset(end), wanted - size, reader)
        waits = self._request(places, reader)
        return [Piece(entry, await wait) for (_, entry), wait in zip(places, waits, strict=True)]

    def served(self, stream_id: StreamId, reader: str, offset: Offset, next_offset: Offset, size_bytes: int) -> None:
        """An answer from `offset` up to `next_offset` left: fetch early what this reader will want."""
        early = self._readahead.served(
            stream_id,
            reader,
            offset,
            next_offset,
            size_bytes=size_bytes,
            spare_bytes=self._cache.fair_share_bytes,
        )
        if early is not None:
            self._prefetch(stream_id, early.start_offset, early.size_bytes, reader)

    def _prefetch(self, stream_id: StreamId, offset: Offset, size_bytes: int, reader: str) -> None:
        if size_bytes > 0:
            self._start_task(
                f"read ahead {stream_id}@{offset}", self._load_ahead(stream_id, offset, size_bytes, reader)
            )

    async def _load_ahead(self, stream_id: StreamId, offset: Offset, size_bytes: int, reader: str) -> None:
        """Best effort: what cannot be read now is met again, with its error, by the reader itself."""
        with contextlib.suppress(NotFound, Corrupt):
            places = await self._places(stream_id, offset, size_bytes)
            if places:
                self._request(places, reader)
                size = sum(entry.length for _, entry in places)
                self._readahead.loaded(stream_id, reader, places[-1][1].last_offset + 1, size)

    async def _places(self, stream_id: StreamId, offset: Offset, max_bytes: int) -> list[Place]:
        """Where the blocks lie that hold the offsets from `offset` on; ends at the last committed range."""
        places: list[Place] = []
        size = 0
        while size < max_bytes or not places:
            spans = self._control.state.ranges_from(stream_id, offset, 1)
            if not spans or (places and spans[0].start != offset):
                break
            row = self._control.state.objects[spans[0].object_id]
            entries = await self.entries(row, stream_id)
            first = max(0, bisect_right(entries, offset, key=lambda entry: entry.first_offset) - 1)
            for entry in entries[first:]:
                if places and size >= max_bytes:
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

    def _request(self, places: list[Place], reader: str) -> list[asyncio.Future[Buffer]]:
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
        for row, run in _adjacent(missing):
            self._start_task(f"get {row.object_id}@{run[0].position}", self._get(row, run, reader))
        return waits

    async def _get(self, row: ObjectRow, run: StreamEntries, reader: str) -> None:
        """One ranged GET; its error belongs to those who wait for its blocks, not to the process."""
        start, end = run[0].position, run[-1].position + run[-1].length
        futures = [self._loading[row.object_id, entry.position] for entry in run]
        try:
            async with self._lane:
                data = memoryview(await self._store.get(keys.data_key(row.object_id), start, end))
            self.bytes_total += len(data)
            for entry, future in zip(run, futures, strict=True):
                block = data[entry.position - start : entry.position - start + entry.length]
                objects.check_block(entry, block)
                self._cache.put(row.object_id, entry.position, block, reader)
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


def _adjacent(places: list[Place]) -> list[tuple[ObjectRow, StreamEntries]]:
    """Runs of blocks that touch each other in one object, cut to the size of one GET."""
    runs: list[tuple[ObjectRow, StreamEntries]] = []
    size = 0
    for row, entry in places:
        if runs and runs[-1][0].object_id == row.object_id and size + entry.length <= _GET_BYTES_MAX:
            last = runs[-1][1][-1]
            if last.position + last.length == entry.position:
                runs[-1][1].append(entry)
                size += entry.length
                continue
        runs.append((row, [entry]))
        size = entry.length
    return runs


__all__ = ["ColdReader", "Piece"]
