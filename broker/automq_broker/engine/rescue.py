"""Carrying a rescue out: objects for what is lost, a snapshot of the new state, then the head, by compare-and-swap.

Until the head is there nothing has changed: a crash leaves an unused snapshot and fillers that the next rescue ignores.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from automq_broker.engine.control_head import Confirmed, Overtaken, PatientBucket
from automq_broker.engine.control_values import ControlKnobs
from automq_broker.engine.rescue_plan import Filler, PlannedStream, PlannedTopic, RescuePlan
from automq_broker.engine.rescue_survey import SeenHead, highest_producer_id
from automq_broker.kernel.errors import Bug, Refused
from automq_broker.kernel.ids import BrokerEpoch, ObjectId, Offset, StreamId
from automq_broker.lake.keys import HEAD_KEY, data_key, snapshot_key
from automq_broker.lake.objects import (
    Batch,
    EncodedObject,
    ObjectHeader,
    ObjectIndex,
    ObjectKind,
    StreamSlice,
    encode_object,
)
from automq_broker.lake.rescue import RescuedRange
from automq_broker.meta import head as heads
from automq_broker.meta.head import Head, Holder
from automq_broker.meta.invariants import findings
from automq_broker.meta.rebuilding import build_state
from automq_broker.meta.rows import (
    NO_NODE,
    NO_UUID,
    ObjectRow,
    PartitionRow,
    RangeRow,
    StreamRow,
    StreamStatus,
    TopicRow,
)
from automq_broker.meta.snapshots import encode_snapshot
from automq_broker.meta.state import State
from automq_broker.ports import Bucket, NotFound
from automq_broker.wire.batches import empty_batch

WATCH_S = 10.0
"""A head that must be replaced is watched this long: a controller at work renews it every 3 s."""

_BATCH_OFFSETS_MAX = 1 << 31


@dataclass(frozen=True, slots=True)
class _Filled:
    filler: Filler
    row: ObjectRow
    encoded: EncodedObject


async def watch_head(bucket: Bucket, seen: SeenHead, waited: Callable[[float], None]) -> None:
    """Make sure that nobody renews the head. Raises Refused if somebody does."""
    if seen.head is not None and seen.head.is_released:
        return
    for _ in range(int(WATCH_S)):
        await asyncio.sleep(1.0)
        waited(1.0)
        _, etag = await _head_now(bucket)
        if etag != seen.etag:
            raise Refused(
                f"a controller is at work, the head changes while it is watched: stop every broker first ({seen})"
            )


async def carry_out(
    bucket: Bucket, plan: RescuePlan, seen: SeenHead | None, *, rng: Random, now_ms: int
) -> tuple[Head, State]:
    """Store the plan's fillers, its state as a snapshot, and the head in the place of `seen` (None: of nothing).

    Returns once that is certain; repeating it after a crash is safe. Raises Refused when somebody else put a head
    meanwhile, Bug when the state breaks an invariant: then nothing but garbage was stored.
    """
    filled = _fill(plan, now_ms)
    state = await build(bucket, plan, filled)
    patient = PatientBucket(bucket, rng, ControlKnobs())
    for each in filled:
        await patient.put(data_key(each.row.object_id), each.encoded.segments)
    nonce = f"{rng.getrandbits(128):032x}"
    seq, epoch = 1, state.last_epoch
    if seen is not None and seen.head is not None:
        seq, epoch = seen.head.seq + 1, max(epoch, seen.head.epoch + 1)
    key = snapshot_key(seq, nonce)
    await patient.put(key, list(encode_snapshot(state)))
    head = Head(
        cluster_id=state.cluster_id,
        epoch=epoch,
        holder=Holder(node_id=NO_NODE, endpoint="", volume_uuid=NO_UUID, incarnation=NO_UUID),
        seq=seq,
        nonce=nonce,
        renew_s=0.0,
        is_released=True,
        snapshot=key,
        snapshot_seq=seq,
    )
    await _put_head(bucket, patient, head, seen)
    return head, state


async def build(bucket: Bucket, plan: RescuePlan, filled: list[_Filled]) -> State:
    """The state that the plan stands for, proven against every invariant."""
    places = plan.places()
    fillers: dict[StreamId, list[_Filled]] = defaultdict(list)
    for each in filled:
        fillers[each.filler.stream_id].append(each)
    rows = {
        stream_id: _stream_row(places[stream_id], stream, fillers[stream_id])
        for stream_id, stream in plan.streams.items()
    }
    older = plan.older.next_producer_id if plan.older else 0
    highest = await highest_producer_id(bucket, rows.values())
    state = build_state(
        plan.cluster_id,
        topics=[_topic_row(topic, plan.streams) for topic in plan.topics],
        streams=rows.values(),
        objects=[*map(_object_row, plan.objects), *(each.row for each in filled)],
        last_epoch=plan.last_epoch,
        next_stream_id=plan.next_stream_id,
        next_object_id=plan.next_object_id + len(filled),
        next_producer_id=max(older, highest + 1) + 1_000_000,
        keeps=plan.older,
    )
    if broken := findings(state):
        raise Bug(f"the rescued metadata breaks an invariant: {broken[0].invariant}: {broken[0].detail}")
    return state


async def _put_head(bucket: Bucket, patient: PatientBucket, head: Head, seen: SeenHead | None) -> None:
    try:
        if seen is None or seen.head is not None:
            base = None if seen is None or seen.head is None else Confirmed(seen.head, seen.etag)
            await patient.swap_head(head, base)
        else:
            await _replace_damaged(bucket, head, seen)
    except Overtaken as other:
        raise Refused(f"nothing was changed, somebody put a head meanwhile: {other}") from other


async def _replace_damaged(bucket: Bucket, head: Head, seen: SeenHead) -> None:
    """A head that cannot be read cannot be recognised either: one attempt, by its ETag, and a look at the outcome."""
    data = heads.build(head)
    try:
        await bucket.put_if_match(HEAD_KEY, data, seen.etag)
    finally:
        now, _ = await _head_now(bucket)
    if now != data:
        raise Refused("the damaged head changed meanwhile: stop every broker, then try again")


async def _head_now(bucket: Bucket) -> tuple[bytes, str]:
    try:
        return await bucket.get_with_etag(HEAD_KEY)
    except NotFound:
        return b"", ""


def _fill(plan: RescuePlan, now_ms: int) -> list[_Filled]:
    places = plan.places()
    fillers = [filler for stream in plan.streams.values() for filler in stream.fillers]
    return [
        _filler_object(plan, places[filler.stream_id], filler, ObjectId(plan.next_object_id + place), now_ms)
        for place, filler in enumerate(fillers)
    ]


def _filler_object(
    plan: RescuePlan, place: tuple[PlannedTopic, int], filler: Filler, object_id: ObjectId, now_ms: int
) -> _Filled:
    topic, partition = place
    stream = plan.streams[filler.stream_id]
    header = ObjectHeader(
        cluster_id=plan.cluster_id,
        node_id=stream.owner,
        broker_epoch=BrokerEpoch(plan.last_epoch),
        object_id=object_id,
        created_ms=now_ms,
        kind=ObjectKind.STREAM,
    )
    piece = StreamSlice(
        stream_id=filler.stream_id,
        topic_id=topic.topic_id,
        topic=topic.name,
        partition=partition,
        stream_epoch=filler.epoch,
        batches=_empty_batches(filler),
    )
    encoded = encode_object(header, [piece])
    row = ObjectRow(
        object_id=object_id,
        size=encoded.size,
        crc=encoded.crc,
        node_id=stream.owner,
        kind=int(ObjectKind.STREAM),
        created_ms=now_ms,
        index_position=encoded.index_position,
    )
    return _Filled(filler, row, encoded)


def _empty_batches(filler: Filler) -> list[Batch]:
    batches = []
    for start in range(filler.start, filler.end, _BATCH_OFFSETS_MAX):
        end = min(filler.end, start + _BATCH_OFFSETS_MAX)
        data = empty_batch(start, end - start, filler.epoch, filler.max_timestamp)
        batches.append(Batch(Offset(start), Offset(end - 1), 0, filler.max_timestamp, [data]))
    return batches


def _topic_row(topic: PlannedTopic, streams: Mapping[StreamId, PlannedStream]) -> TopicRow:
    return TopicRow(
        topic_id=topic.topic_id,
        name=topic.name,
        is_internal=topic.is_internal,
        created_ms=topic.created_ms,
        partitions=tuple(
            PartitionRow(index=index, stream_id=stream_id, owner=streams[stream_id].owner)
            for index, stream_id in topic.streams.items()
        ),
        configs=dict(topic.configs),
    )


def _stream_row(place: tuple[PlannedTopic, int], stream: PlannedStream, filled: list[_Filled]) -> StreamRow:
    topic, partition = place
    rows = [_range_row(piece) for piece in stream.ranges] + [_filler_row(each) for each in filled]
    return StreamRow(
        stream_id=stream.stream_id,
        topic_id=topic.topic_id,
        partition=partition,
        epoch=stream.epoch,
        status=StreamStatus.CLOSED,
        owner=NO_NODE,
        start_offset=stream.start_offset,
        committed_end=stream.committed_end,
        opens=stream.opens,
        ranges=sorted(rows, key=lambda row: row.start),
    )


def _filler_row(filled: _Filled) -> RangeRow:
    (one,) = filled.encoded.ranges
    return RangeRow(
        stream_id=one.stream_id,
        stream_epoch=one.stream_epoch,
        start=one.start,
        end=one.end,
        position=one.position,
        length=one.length,
        records=0,
        max_timestamp=one.max_timestamp,
        object_id=filled.row.object_id,
    )


def _range_row(piece: RescuedRange) -> RangeRow:
    return RangeRow(**{name: getattr(piece, name) for name in RescuedRange.__slots__})


def _object_row(index: ObjectIndex) -> ObjectRow:
    header = index.header
    return ObjectRow(
        object_id=header.object_id,
        size=index.size,
        crc=index.crc,
        node_id=header.node_id,
        kind=int(header.kind),
        created_ms=header.created_ms,
        index_position=index.index_position,
    )


__all__ = ["WATCH_S", "build", "carry_out", "watch_head"]
