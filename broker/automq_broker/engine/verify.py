"""Whether bucket and metadata agree, read from the outside, also beside running brokers.

The world moves while it is read: objects are committed, replaced and deleted. So nothing is reported at first sight:
what looks wrong is looked at again, against metadata that was read after it, and counts only if it is still wrong there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from automq_broker.engine.control_offline import read_cluster
from automq_broker.engine.object_reading import ReadRange, read_blocks
from automq_broker.engine.rescue_survey import list_all
from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.keys import DATA_PREFIX, data_key, parse_data_key
from automq_broker.lake.objects import ObjectIndex, decode_index
from automq_broker.lake.sweep import ListedKey
from automq_broker.lake.verify import (
    Finding,
    Problem,
    Severity,
    check_data,
    check_listing,
    check_meta_listing,
    check_object,
    check_producers,
    check_stream,
    damaged_metadata,
    missing_object,
    unreadable_index,
    wrong_size,
)
from automq_broker.meta.head import Head
from automq_broker.meta.invariants import findings as broken_invariants
from automq_broker.meta.rows import ObjectRow, RangeRow
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, Buffer, NotFound, ObjectStat

OBJECTS_AT_ONCE = 8
_META_PREFIX = "meta/"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """`commit` is where the metadata stood at the end. `on_the_way` objects may still be committed by a broker."""

    cluster_id: str
    commit: int
    topics: int
    streams: int
    objects: int
    size_bytes: int
    on_the_way: int
    on_the_way_bytes: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Whether bucket and metadata agree; what only costs space is no disagreement."""
        return all(found.severity is Severity.NOTE for found in self.findings)


@dataclass(slots=True, kw_only=True)
class Watching:
    """Who hears of the progress, in bytes."""

    total: Callable[[float], None]
    advance: Callable[[float], None]


async def verify(bucket: Bucket, rng: Random, *, now_ms: int, is_deep: bool, watching: Watching) -> VerifyReport:
    """Compare everything; with `is_deep` every block is read. Raises Refused when it cannot be done at all."""
    try:
        head, state = await read_cluster(bucket, rng)
    except Corrupt as error:
        return _without_metadata(error)
    return await _Verifier(bucket, rng, now_ms, is_deep, watching).run(head, state)


def _without_metadata(error: Corrupt) -> VerifyReport:
    return VerifyReport(
        cluster_id="",
        commit=-1,
        topics=0,
        streams=0,
        objects=0,
        size_bytes=0,
        on_the_way=0,
        on_the_way_bytes=0,
        findings=(damaged_metadata(_META_PREFIX, f"{error}; `automq rescue` rebuilds what is lost"),),
    )


class _Verifier:
    def __init__(self, bucket: Bucket, rng: Random, now_ms: int, is_deep: bool, watching: Watching) -> None:
        self._bucket = bucket
        self._rng = rng
        self._now_ms = now_ms
        self._is_deep = is_deep
        self._watching = watching
        self._gate = asyncio.Semaphore(OBJECTS_AT_ONCE)

    async def run(self, head: Head, state: State) -> VerifyReport:
        listing = {stat.key: stat async for stat in list_all(self._bucket, DATA_PREFIX)}
        self._watching.total(sum(row.size if self._is_deep else row.size - row.index_position for row in _rows(state)))
        suspects = self._compare_listing(state, listing.values())
        suspects += await self._check_objects(
            state, [row for row in _rows(state) if data_key(row.object_id) in listing]
        )
        later_head, later = await read_cluster(self._bucket, self._rng) if suspects else (head, state)
        found = [
            *await self._confirm(suspects, later, listing),
            *self._streams(state),
            *await self._metadata_keys(),
        ]
        waiting = [
            stat for stat in listing.values() if _is_on_the_way(stat.key, later) or _is_on_the_way(stat.key, state)
        ]
        return VerifyReport(
            cluster_id=head.cluster_id,
            commit=later_head.seq,
            topics=len(state.topics_by_id),
            streams=len(state.streams),
            objects=len(state.objects),
            size_bytes=sum(row.size for row in _rows(state)),
            on_the_way=len(waiting),
            on_the_way_bytes=sum(stat.size for stat in waiting),
            findings=tuple(sorted(found, key=lambda one: (-one.severity, one.subject))),
        )

    def _compare_listing(self, state: State, listing: Iterable[ObjectStat]) -> list[Finding]:
        return list(
            check_listing(
                state.objects,
                [ListedKey(key=stat.key, size=stat.size) for stat in listing],
                is_deleting=lambda number: state.object_or_deleting(number) is not None,
                is_leased=lambda number: _is_leased(state, number),
            )
        )

    async def _check_objects(self, state: State, rows: Sequence[ObjectRow]) -> list[Finding]:
        ranges = _ranges_by_object(state, {row.object_id for row in rows})

        async def check(row: ObjectRow) -> list[Finding]:
            async with self._gate:
                return await self._check_object(row, ranges[row.object_id], state.cluster_id)

        found: list[Finding] = []
        for first in range(0, len(rows), 1000):
            for each in await asyncio.gather(*map(check, rows[first : first + 1000])):
                found.extend(each)
        return found

    async def _check_object(self, row: ObjectRow, ranges: Sequence[RangeRow], cluster_id: str) -> list[Finding]:
        """Everything that one object's own bytes tell. Its checkpoints lie between its data and its index."""
        key = data_key(row.object_id)

        async def read(start: int, end: int) -> Buffer:
            return await self._bucket.get(key, start, end)

        try:
            index = decode_index(await read(row.index_position, row.size))
        except Corrupt as error:
            return [unreadable_index(row.object_id, error)]
        except NotFound:
            return [missing_object(row.object_id)]
        self._watching.advance(row.size - row.index_position)
        found = list(check_object(row, index, ranges, cluster_id=cluster_id))
        try:
            found += await self._check_checkpoints(row, index, read)
            if self._is_deep:
                async for entry, data in read_blocks(read, index.entries):
                    found.extend(check_data(row, entry, data))
                    self._watching.advance(len(data))
        except NotFound:
            return [missing_object(row.object_id)]
        except Corrupt as error:
            found.append(unreadable_index(row.object_id, error))
        return found

    async def _check_checkpoints(self, row: ObjectRow, index: ObjectIndex, read: ReadRange) -> list[Finding]:
        pieces = [piece for piece in index.slices if piece.checkpoint_length]
        if not pieces:
            return []
        start = min(piece.checkpoint_position for piece in pieces)
        data = memoryview(await read(start, row.index_position))
        found: list[Finding] = []
        for piece in pieces:
            at = piece.checkpoint_position - start
            found.extend(check_producers(row, piece, data[at : at + piece.checkpoint_length]))
        return found

    async def _confirm(self, suspects: list[Finding], state: State, listing: dict[str, ObjectStat]) -> list[Finding]:
        """What is still wrong by metadata that was read after it was seen."""
        confirmed: list[Finding] = []
        again: dict[ObjectId, ObjectRow] = {}
        for found in suspects:
            number = parse_data_key(found.subject)
            if number is None:
                confirmed.append(found)
            elif found.problem is Problem.ORPHAN:
                if state.object_or_deleting(number) is None and not _is_leased(state, number):
                    age_ms = self._now_ms - listing[found.subject].modified_ms
                    confirmed.append(replace(found, age_ms=max(0, age_ms)))
            elif number in state.objects:
                again[number] = state.objects[number]
        for row in again.values():
            confirmed += await self._size(row) or await self._check_objects(state, [row])
        return confirmed

    async def _size(self, row: ObjectRow) -> list[Finding]:
        try:
            stat = await self._bucket.head(data_key(row.object_id))
        except NotFound:
            return [missing_object(row.object_id)]
        return [] if stat.size == row.size else [wrong_size(row, stat.size)]

    def _streams(self, state: State) -> list[Finding]:
        found = [damaged_metadata(_META_PREFIX, f"{name}: {detail}") for name, detail in broken_invariants(state)]
        for stream_id in state.streams:
            stream = state.streams[stream_id].row()
            found.extend(check_stream(stream))
        return found

    async def _metadata_keys(self) -> list[Finding]:
        """ORDER: the listing first, the head after it, so that a key of a commit meanwhile is named by that head."""
        listed = [ListedKey(key=stat.key, size=stat.size) async for stat in list_all(self._bucket, _META_PREFIX)]
        head, _ = await read_cluster(self._bucket, self._rng)
        return list(check_meta_listing(listed, references=head.references, committed_seq=head.seq))


def _rows(state: State) -> list[ObjectRow]:
    return [state.objects[number] for number in sorted(state.objects)]


def _ranges_by_object(state: State, wanted: set[ObjectId]) -> dict[ObjectId, list[RangeRow]]:
    ranges: dict[ObjectId, list[RangeRow]] = defaultdict(list)
    for stream_id in state.streams:
        for piece in state.streams[stream_id].row().ranges:
            if piece.object_id in wanted:
                ranges[piece.object_id].append(piece)
    return ranges


def _is_on_the_way(key: str, state: State) -> bool:
    """An object that no commit names, under an id that one may still name."""
    number = parse_data_key(key)
    return number is not None and state.object_or_deleting(number) is None and _is_leased(state, number)


def _is_leased(state: State, number: ObjectId) -> bool:
    return 0 < number < state.next_object_id and not state.is_retired(number)


__all__ = ["VerifyReport", "Watching", "verify"]
