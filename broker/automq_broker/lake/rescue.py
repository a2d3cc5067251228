"""Rebuild the metadata's streams from nothing but the objects' own indexes.

Blocks compete for offsets. A block loses against a higher stream epoch that begins at or below its end, because an
owner that was fenced may have left an upload whose offsets its successor gave to other records. Within an epoch all
copies of an offset are equal (uploads, compacted objects and their replaced inputs), and the blocks are chosen that
leave the fewest offsets out. A block is taken whole or not at all: cutting one would cut record batches.

Objects cannot tell what only the metadata knew: configs, ACLs and credentials, group and transaction settings, trims
(trimmed records that still lie in an object come back), and topics deleted within the grace period (so do they).
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from uuid import UUID

from automq_broker.kernel.ids import NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.lake.keys import parse_data_key
from automq_broker.lake.values import IndexEntry, ObjectHeader, ObjectIndex, SliceIndex

_NO_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedRange:
    """Offsets [start, end) at bytes [position, position + length) of an object; a checkpoint of length 0 = none."""

    object_id: ObjectId
    stream_id: StreamId
    stream_epoch: StreamEpoch
    start: Offset
    end: Offset
    position: int
    length: int
    records: int
    max_timestamp: int
    checkpoint_position: int
    checkpoint_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuedStream:
    """A stream as far as objects hold it; `ranges` in offset order, `gaps` as [start, end) between them.

    `node_id` wrote the newest of its objects. Metadata knows no gaps: each has to be filled with an object whose batches
    hold no record, which the next rescue passes over.
    """

    stream_id: StreamId
    topic_id: UUID
    topic: str
    partition: int
    node_id: NodeId
    created_ms: int
    stream_epoch: StreamEpoch
    ranges: tuple[RescuedRange, ...]
    gaps: tuple[tuple[Offset, Offset], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that found no place in the result, and why, in one line."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """The result. `objects` are those that a range refers to; the `next_*` are free for the new metadata."""

    cluster_id: str
    streams: tuple[RescuedStream, ...]
    objects: tuple[ObjectIndex, ...]
    left_out: tuple[LeftOut, ...]
    next_object_id: ObjectId
    next_stream_id: StreamId
    next_epoch: int


def rebuild(found: Iterable[tuple[str, ObjectIndex, int]], *, cluster_id: str | None = None) -> Rescued:
    """Rebuild streams from (key, index, size in the bucket) of every object whose index can be read, in any order.

    Objects of another cluster are left out; without `cluster_id` the cluster with most objects is taken. Same input,
    same result. Checks no data block: run the verifier on the result.
    """
    everything = sorted(found, key=lambda one: one[1].header.object_id)
    cluster = cluster_id if cluster_id is not None else _commonest([index for _, index, _ in everything])
    left_out: list[LeftOut] = []
    objects = _plausible(everything, cluster, left_out)
    streams = _name_winners([_rebuild_stream(one) for one in _slices_by_stream(objects)], objects, left_out)
    used = {piece.object_id for stream in streams for piece in stream.ranges}
    left_out.extend(
        LeftOut(subject=f"object {index.header.object_id}", reason="its records are all in newer objects")
        for index in objects
        if index.header.object_id not in used
    )
    every_slice = [piece for index in objects for piece in index.slices]
    epochs = [index.header.broker_epoch for index in objects] + [piece.stream_epoch for piece in every_slice]
    return Rescued(
        cluster_id=cluster,
        streams=tuple(streams),
        objects=tuple(index for index in objects if index.header.object_id in used),
        left_out=tuple(left_out),
        next_object_id=ObjectId(max((index.header.object_id for index in objects), default=-1) + 1),
        next_stream_id=StreamId(max((piece.stream_id for piece in every_slice), default=-1) + 1),
        next_epoch=max(epochs, default=-1) + 1,
    )


def _commonest(indexes: Sequence[ObjectIndex]) -> str:
    counted = Counter(index.header.cluster_id for index in indexes)
    return min(counted, key=lambda name: (-counted[name], name), default="")


def _plausible(
    everything: Iterable[tuple[str, ObjectIndex, int]], cluster: str, left_out: list[LeftOut]
) -> list[ObjectIndex]:
    objects = []
    for key, index, size in everything:
        if index.header.cluster_id != cluster:
            left_out.append(LeftOut(subject=key, reason=f"belongs to cluster {index.header.cluster_id}"))
        elif parse_data_key(key) != index.header.object_id:
            left_out.append(LeftOut(subject=key, reason=f"says that it is object {index.header.object_id}"))
        elif size != index.size:
            left_out.append(LeftOut(subject=key, reason=f"has {size} bytes, its index tells of {index.size}"))
        else:
            objects.append(index)
    return objects


@dataclass(frozen=True, slots=True)
class _Slice:
    header: ObjectHeader
    piece: SliceIndex

    @property
    def object_id(self) -> ObjectId:
        return self.header.object_id


@dataclass(frozen=True, slots=True)
class _Block:
    """A block and where it comes from: `place` is its place among its slice's entries."""

    owner: _Slice
    entry: IndexEntry
    place: int

    @property
    def end(self) -> int:
        return self.entry.last_offset + 1


def _slices_by_stream(objects: Iterable[ObjectIndex]) -> list[list[_Slice]]:
    by_stream: dict[StreamId, list[_Slice]] = defaultdict(list)
    for index in objects:
        for piece in index.slices:
            by_stream[piece.stream_id].append(_Slice(index.header, piece))
    return [by_stream[stream_id] for stream_id in sorted(by_stream)]


def _rebuild_stream(slices: Sequence[_Slice]) -> RescuedStream:
    last = max(slices, key=lambda one: (one.piece.stream_epoch, one.object_id))
    newest = last.piece
    ranges = _ranges_of(_fullest_chain(_without_outdated(slices)))
    return RescuedStream(
        stream_id=newest.stream_id,
        topic_id=newest.topic_id,
        topic=newest.topic,
        partition=newest.partition,
        node_id=last.header.node_id,
        created_ms=min(one.header.created_ms for one in slices),
        stream_epoch=newest.stream_epoch,
        ranges=tuple(ranges),
        gaps=tuple((before.end, after.start) for before, after in pairwise(ranges) if before.end < after.start),
    )


def _without_outdated(slices: Iterable[_Slice]) -> list[_Block]:
    """Blocks that end before the first offset of any higher epoch, as epochs of one log do; no fillers of gaps."""
    kept: list[_Block] = []
    limit = _NO_LIMIT
    ordered = sorted(slices, key=lambda one: one.piece.stream_epoch, reverse=True)
    for _, group in groupby(ordered, key=lambda one: one.piece.stream_epoch):
        blocks = [_Block(owner, entry, place) for owner in group for place, entry in enumerate(owner.piece.entries)]
        kept.extend(block for block in blocks if block.end <= limit and block.entry.records)
        limit = min([limit, *(block.entry.first_offset for block in blocks if block.entry.records)])
    return kept


def _fullest_chain(blocks: list[_Block]) -> list[_Block]:
    """Disjoint blocks, in offset order, that cover most offsets (weighted interval scheduling).

    Among equals the later object is preferred, which keeps the blocks of one object together.
    """
    blocks.sort(key=lambda block: (block.end, block.owner.object_id))
    ends = [block.end for block in blocks]
    covered = [0]  # covered[n]: the most offsets that the first n blocks can cover
    for block in blocks:
        before = bisect_right(ends, block.entry.first_offset)
        covered.append(max(covered[-1], covered[before] + block.end - block.entry.first_offset))
    chain: list[_Block] = []
    left = len(blocks)
    while left:
        block = blocks[left - 1]
        before = bisect_right(ends, block.entry.first_offset)
        if covered[before] + block.end - block.entry.first_offset == covered[left]:
            chain.append(block)
            left = before
        else:
            left -= 1
    chain.reverse()
    return chain


def _ranges_of(chain: Iterable[_Block]) -> list[RescuedRange]:
    """Neighbouring blocks of one slice as one range."""
    runs: list[list[_Block]] = []
    for block in chain:
        last = runs[-1][-1] if runs else None
        if last is not None and last.owner is block.owner and last.place + 1 == block.place:
            runs[-1].append(block)
        else:
            runs.append([block])
    return [_range_of(run[0].owner, [block.entry for block in run]) for run in runs]


def _range_of(one: _Slice, run: Sequence[IndexEntry]) -> RescuedRange:
    piece = one.piece
    has_checkpoint = run[-1].last_offset == piece.entries[-1].last_offset
    return RescuedRange(
        object_id=one.object_id,
        stream_id=piece.stream_id,
        stream_epoch=piece.stream_epoch,
        start=run[0].first_offset,
        end=Offset(run[-1].last_offset + 1),
        position=run[0].position,
        length=sum(entry.length for entry in run),
        records=sum(entry.records for entry in run),
        max_timestamp=max(entry.max_timestamp for entry in run),
        checkpoint_position=piece.checkpoint_position if has_checkpoint else 0,
        checkpoint_length=piece.checkpoint_length if has_checkpoint else 0,
    )


def _name_winners(
    streams: Iterable[RescuedStream], objects: Sequence[ObjectIndex], left_out: list[LeftOut]
) -> list[RescuedStream]:
    """One topic id per name, one stream per partition: of two, the one that was written last.

    Two topic ids of one name are a topic that was deleted and made anew within the grace period.
    """
    written_ms: dict[UUID, int] = {}
    for index in objects:
        for piece in index.slices:
            written_ms[piece.topic_id] = max(written_ms.get(piece.topic_id, -1), index.header.created_ms)
    topics: dict[str, UUID] = {}
    partitions: dict[tuple[UUID, int], StreamId] = {}
    ordered = sorted(streams, key=lambda one: (written_ms[one.topic_id], one.topic_id.bytes, one.stream_id))
    for stream in ordered:
        topics[stream.topic] = stream.topic_id
        partitions[stream.topic_id, stream.partition] = stream.stream_id
    winners = []
    for stream in sorted(ordered, key=lambda one: one.stream_id):
        is_named = topics[stream.topic] == stream.topic_id
        if is_named and partitions[stream.topic_id, stream.partition] == stream.stream_id:
            winners.append(stream)
        else:
            reason = f"a newer stream has the place of partition {stream.partition} of topic {stream.topic}"
            left_out.append(LeftOut(subject=f"stream {stream.stream_id}", reason=reason))
    return winners


__all__ = ["LeftOut", "Rescued", "RescuedRange", "RescuedStream", "rebuild"]
