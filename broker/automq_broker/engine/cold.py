"""Reads from the bucket: indexes, data blocks, read-ahead. A lane of its own with its own budget.

Catch-up consumers must never slow the tail: at most `catch_up_concurrency` ranged GETs run, holding at most
`catch_up_bytes_max` bytes, and everything here awaits the network, never the loop's CPU for long.
"""

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

from automq_broker.cache.blocks import BlockCache
from automq_broker.cache.readahead import ReadAhead
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.store import Store
from automq_broker.kernel.ids import ObjectId, Offset, StreamId
from automq_broker.lake import keys, objects
from automq_broker.meta.rows import ObjectRow, RangeRow
from automq_broker.ports import Buffer

_GET_BYTES_MAX = 4 << 20
"""Adjacent blocks are fetched together up to this size: large enough for throughput, small enough to evict."""

StreamEntries = list[objects.IndexEntry]


class ColdReader:
    """Blocks of committed ranges, through the index cache and the block cache; each GET is shared by all who wait for it."""

    def __init__(
        self,
        *,
        store: Store,
        cache: BlockCache,
        readahead: ReadAhead,
        knobs: EngineKnobs,
        start_task: Callable[[str, Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._store = store
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

    async def read(
        self, stream_id: StreamId, row: ObjectRow, span: RangeRow, offset: Offset, max_bytes: int, reader: str
    ) -> list[tuple[objects.IndexEntry, Buffer]]:
        """Blocks of one committed range, from the one that holds `offset` on, until `max_bytes` are reached.

        Always at least one block. Raises NotFound when the object is gone (refresh and resolve again), Corrupt when a
        block's checksum does not match.
        """
        entries = await self.entries(row, stream_id)
        first = max(0, bisect_right(entries, offset, key=lambda entry: entry.first_offset) - 1)
        last, size = first, 0
        while last < len(entries) and (size < max_bytes or last == first):
            size += entries[last].length
            last += 1
        ahead_bytes = self._readahead.window(stream_id, reader, offset, size)
        ahead = last
        while ahead < len(entries) and ahead_bytes > 0:
            ahead_bytes -= entries[ahead].length
            ahead += 1
        waits = self._request(row, entries[first:ahead])
        answer = [(entry, await waits[entry.position]) for entry in entries[first:last]]
        self._readahead.advanced(stream_id, reader, Offset(entries[last - 1].last_offset + 1))
        return answer

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
            task.add_done_callback(lambda done: self._index_loading.pop(row.object_id, None))
        return await asyncio.shield(task)

    async def _load_index(self, row: ObjectRow) -> dict[StreamId, StreamEntries]:
        async with self._lane:
            data = await self._store.get(keys.data_key(row.object_id), row.index_position, row.size)
        trailer = objects.read_trailer(data)
        decoded = objects.decode_index(memoryview(data)[: trailer.index_length])
        index: dict[StreamId, StreamEntries] = {}
        for entry in decoded.entries:
            index.setdefault(entry.stream_id, []).append(entry)
        self._indexes[row.object_id] = index
        self._index_entries += len(decoded.entries)
        while self._index_entries > self._knobs.index_cache_entries and len(self._indexes) > 1:
            _, old = self._indexes.popitem(last=False)
            self._index_entries -= sum(map(len, old.values()))
        return index

    def _request(self, row: ObjectRow, entries: StreamEntries) -> dict[int, asyncio.Future[Buffer]]:
        """A future per block: cached, already on its way, or asked for now (adjacent blocks in one GET)."""
        loop = asyncio.get_running_loop()
        waits: dict[int, asyncio.Future[Buffer]] = {}
        missing: StreamEntries = []
        for entry in entries:
            key = (row.object_id, entry.position)
            future = self._loading.get(key)
            if future is None:
                future = loop.create_future()
                cached = self._cache.get(row.object_id, entry.position)
                if cached is not None:
                    future.set_result(cached)
                else:
                    self._loading[key] = future
                    missing.append(entry)
            waits[entry.position] = future
        for run in _adjacent(missing):
            self._start_task(f"get {row.object_id}@{run[0].position}", self._get(row, run))
        return waits

    async def _get(self, row: ObjectRow, run: StreamEntries) -> None:
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
                self._cache.put(row.object_id, entry.position, block)
                if not future.done():
                    future.set_result(block)
        except (asyncio.CancelledError, objects.AutomqError) as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # read-ahead blocks may have nobody who waits
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            for entry in run:
                self._loading.pop((row.object_id, entry.position), None)


def _adjacent(entries: StreamEntries) -> list[StreamEntries]:
    runs: list[StreamEntries] = []
    size = 0
    for entry in entries:
        joins = bool(runs) and runs[-1][-1].position + runs[-1][-1].length == entry.position
        if joins and size + entry.length <= _GET_BYTES_MAX:
            runs[-1].append(entry)
            size += entry.length
        else:
            runs.append([entry])
            size = entry.length
    return runs


__all__ = ["ColdReader"]
