"""What is left of a cluster: its head if there is one, the newest older metadata that still loads, and every object.

Reads only. Nothing here decides anything; `rescue_plan` does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from random import Random

from automq_broker.engine.control_head import PatientBucket
from automq_broker.engine.control_load import load_state
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.object_reading import read_index
from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.keys import (
    DATA_PREFIX,
    DELTA_PREFIX,
    HEAD_KEY,
    SNAPSHOT_PREFIX,
    data_key,
    parse_data_key,
    parse_meta_key,
)
from automq_broker.lake.objects import ObjectIndex
from automq_broker.lake.rescue import LeftOut
from automq_broker.log import checkpoint
from automq_broker.meta import head as heads
from automq_broker.meta.codec import Batch, split_batches
from automq_broker.meta.head import Head
from automq_broker.meta.rows import StreamRow
from automq_broker.meta.snapshots import decode_snapshot
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, NotFound, ObjectStat

READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenHead:
    """The object meta/head as it was found: `head` is None when it cannot be read, `trouble` says why it is no use."""

    etag: str
    head: Head | None
    trouble: str

    def __str__(self) -> str:
        if self.head is None:
            return f"meta/head exists and cannot be read ({self.trouble})"
        holder = self.head.holder
        seat = "released in good order" if self.head.is_released else f"held by node {holder.node_id}"
        state = f"but {self.trouble}" if self.trouble else "and the metadata that it names is whole"
        return (
            f"meta/head is that of cluster {self.head.cluster_id}: epoch {self.head.epoch}, commit {self.head.seq}, "
            f"{seat} at {holder.endpoint or 'no address'}, {state}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """Metadata that still loads, up to commit `seq`, and where it comes from, in words."""

    state: State
    seq: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Everything that a plan is made of. `next_object_id` lies above every key, readable or not."""

    head: SeenHead | None
    older: Older | None
    objects: tuple[tuple[str, ObjectIndex, int], ...]
    unreadable: tuple[LeftOut, ...]
    next_object_id: ObjectId


async def survey(
    bucket: Bucket, rng: Random, *, use_metadata: bool, cluster_id: str | None, advance: Callable[[int], None]
) -> Survey:
    """Look at everything; `advance(total)` hears of every object that was read. Raises Refused for a newer format."""
    head, state = await _see_head(bucket, rng)
    listed = [stat async for stat in list_all(bucket, DATA_PREFIX)]
    objects, unreadable = await _read_indexes(bucket, listed, advance)
    older = None
    if use_metadata:
        name = cluster_id or (head.head.cluster_id if head and head.head else "") or _cluster_of(objects)
        if state is not None and head is not None and head.head is not None:
            older = Older(state=state, seq=head.head.seq, source="the head and all that it names")
        else:
            older = await _newest_metadata(bucket, name)
    ids = [number for stat in listed if (number := parse_data_key(stat.key)) is not None]
    return Survey(
        head=head,
        older=older,
        objects=tuple(objects),
        unreadable=tuple(unreadable),
        next_object_id=ObjectId(max(ids, default=0) + 1),
    )


async def list_all(bucket: Bucket, prefix: str) -> AsyncIterator[ObjectStat]:
    """Every key below `prefix`, page by page."""
    last = ""
    while page := await bucket.list(prefix, last):
        for stat in page:
            yield stat
        last = page[-1].key


async def highest_producer_id(bucket: Bucket, streams: Iterable[StreamRow]) -> int:
    """The highest producer id that any last checkpoint of these streams knows; -1 without any."""
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def highest(stream: StreamRow) -> int:
        if not stream.ranges or not stream.ranges[-1].checkpoint_length:
            return -1
        last = stream.ranges[-1]
        async with gate:
            end = last.checkpoint_position + last.checkpoint_length
            data = await bucket.get(data_key(last.object_id), last.checkpoint_position, end)
        try:
            _, producers = checkpoint.decode(data)
        except Corrupt:
            return -1
        return max(producers, default=-1)

    return max(await asyncio.gather(*map(highest, streams)), default=-1)


async def _see_head(bucket: Bucket, rng: Random) -> tuple[SeenHead | None, State | None]:
    try:
        data, etag = await bucket.get_with_etag(HEAD_KEY)
    except NotFound:
        return None, None
    try:
        head = heads.parse(data)
    except Corrupt as error:
        return SeenHead(etag=etag, head=None, trouble=str(error)), None
    knobs = ControlKnobs()
    try:
        loaded = await load_state(PatientBucket(bucket, rng, knobs), head, knobs)
    except (NotFound, Corrupt) as error:
        reason = f"{error} is missing" if isinstance(error, NotFound) else str(error)
        return SeenHead(etag=etag, head=head, trouble=reason), None
    return SeenHead(etag=etag, head=head, trouble=""), loaded.state


async def _read_indexes(
    bucket: Bucket, listed: list[ObjectStat], advance: Callable[[int], None]
) -> tuple[list[tuple[str, ObjectIndex, int]], list[LeftOut]]:
    found: list[tuple[str, ObjectIndex, int]] = []
    unreadable: list[LeftOut] = []
    gate = asyncio.Semaphore(READS_AT_ONCE)

    async def read(stat: ObjectStat) -> None:
        if parse_data_key(stat.key) is None:
            unreadable.append(LeftOut(subject=stat.key, reason="no data object of this program"))
            return
        async with gate:
            try:
                index = await read_index(lambda start, end: bucket.get(stat.key, start, end), stat.size)
            except (Corrupt, NotFound) as error:
                unreadable.append(LeftOut(subject=stat.key, reason=str(error)))
            else:
                found.append((stat.key, index, stat.size))
        advance(len(listed))

    async with asyncio.TaskGroup() as group:
        for stat in listed:
            group.create_task(read(stat))
    return found, sorted(unreadable, key=lambda one: one.subject)


def _cluster_of(objects: Iterable[tuple[str, ObjectIndex, int]]) -> str:
    names = sorted(index.header.cluster_id for _, index, _ in objects)
    return max(names, key=names.count, default="")


async def _newest_metadata(bucket: Bucket, cluster_id: str) -> Older | None:
    """The newest snapshot that loads, with the deltas behind it as far as they follow without a contradiction."""
    snapshots = [stat.key async for stat in list_all(bucket, SNAPSHOT_PREFIX)]
    for key in reversed(snapshots):
        parsed = parse_meta_key(key)
        if parsed is None:
            continue
        try:
            data = bytes(await bucket.get(key))
            decode_snapshot(data, cluster_id)
        except (Corrupt, NotFound):
            continue
        return _replayed(cluster_id, key, parsed.seq, data, await _deltas_behind(bucket, parsed.seq))
    return None


async def _deltas_behind(bucket: Bucket, seq: int) -> list[tuple[str, int, list[Batch]]]:
    """(key, commit, batches) of every delta above `seq`, up to the first that cannot be read."""
    found: list[tuple[str, int, list[Batch]]] = []
    async for stat in list_all(bucket, DELTA_PREFIX):
        parsed = parse_meta_key(stat.key)
        if parsed is None or parsed.seq <= seq:
            continue
        try:
            found.append((stat.key, parsed.seq, list(split_batches(bytes(await bucket.get(stat.key))))))
        except (Corrupt, NotFound):
            break
    return found


def _replayed(
    cluster_id: str, key: str, seq: int, snapshot: bytes, deltas: list[tuple[str, int, list[Batch]]]
) -> Older:
    """The snapshot with as many deltas as fit. One that does not, since commits before it are lost, ends it."""
    state = decode_snapshot(snapshot, cluster_id)
    last, source = seq, f"snapshot {key}"
    for place, (name, upto, batches) in enumerate(deltas):
        try:
            for batch in batches:
                for record in batch.records() if batch.seq > last else ():
                    state.replay(record)
        except (LookupError, AssertionError, ValueError, Corrupt):
            # SAFETY: a part of it may have been applied; start over with those that fitted.
            return _replayed(cluster_id, key, seq, snapshot, deltas[:place])
        last, source = upto, f"snapshot {key} and deltas up to {name}"
    return Older(state=state, seq=last, source=source)


__all__ = ["Older", "SeenHead", "Survey", "highest_producer_id", "list_all", "survey"]
