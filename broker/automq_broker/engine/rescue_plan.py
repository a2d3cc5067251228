"""From what is left of a cluster to the metadata that it gets: a pure plan, and every loss by name.

Ranges come from the objects alone, since those are what can be read. Older metadata, where it survives, gives what
objects do not know: empty topics and partitions, trims, deletions, configs. The WAL of this node tells of streams whose
records reached no object yet; one that nothing names becomes a topic of its own rather than being lost.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from automq_broker.engine.rescue_survey import Survey
from automq_broker.kernel.errors import Refused
from automq_broker.kernel.ids import NodeId, Offset, StreamEpoch, StreamId
from automq_broker.lake.objects import ObjectIndex
from automq_broker.lake.rescue import LeftOut, RescuedRange, RescuedStream, rebuild
from automq_broker.meta.rows import NEVER_OPENED, StreamRow
from automq_broker.meta.state import State

EPOCH_MARGIN = 1000
"""How far a rescued stream's next epoch lies above what is known: clients ignore metadata whose epochs fall."""

ID_MARGIN = 1_000_000
"""The same for ids of objects, streams and producers that left no trace but may still be used by somebody."""

INTERNAL_TOPICS = ("__consumer_offsets", "__transaction_state")
UNNAMED_TOPIC = "rescued-stream-{}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WalTail:
    """What this node's WAL holds of a stream."""

    stream_id: StreamId
    stream_epoch: StreamEpoch
    first_offset: Offset
    end_offset: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """Offsets [start, end) of a stream that are lost; an object without records will stand for them."""

    stream_id: StreamId
    epoch: StreamEpoch
    start: Offset
    end: Offset
    max_timestamp: int


@dataclass(slots=True, kw_only=True)
class PlannedTopic:
    """A topic as it will be; `streams` by partition."""

    topic_id: UUID
    name: str
    is_internal: bool
    created_ms: int
    configs: Mapping[str, str] = field(default_factory=dict)
    streams: dict[int, StreamId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStream:
    """A stream as it will be: CLOSED at `committed_end`; gaps between `ranges` are those of `fillers`."""

    stream_id: StreamId
    owner: NodeId
    epoch: StreamEpoch
    start_offset: Offset
    committed_end: Offset
    opens: tuple[tuple[StreamEpoch, Offset], ...]
    ranges: tuple[RescuedRange, ...]
    fillers: tuple[Filler, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RescuePlan:
    """The whole result. `losses` are records that are gone, `notes` what a person should know or set again."""

    cluster_id: str
    source: str
    older: State | None
    topics: tuple[PlannedTopic, ...]
    streams: Mapping[StreamId, PlannedStream]
    objects: tuple[ObjectIndex, ...]
    left_out: tuple[LeftOut, ...]
    losses: tuple[str, ...]
    notes: tuple[str, ...]
    last_epoch: int
    next_stream_id: int
    next_object_id: int

    def places(self) -> dict[StreamId, tuple[PlannedTopic, int]]:
        """Topic and partition of every stream."""
        return {each: (topic, index) for topic in self.topics for index, each in topic.streams.items()}


def plan_rescue(
    survey: Survey,
    *,
    cluster_id: str | None,
    wal_tails: Sequence[WalTail],
    node_id: NodeId,
    partitions_of: Mapping[str, int],
    new_ids: Iterable[UUID],
    now_ms: int,
) -> RescuePlan:
    """Decide everything; same input, same plan. `partitions_of` fixes how many partitions internal topics have.

    Raises Refused when nothing is left, or nothing says which cluster this was.
    """
    return _Planner(survey, cluster_id, wal_tails, node_id, partitions_of, new_ids, now_ms).plan()


class _Planner:
    def __init__(
        self,
        survey: Survey,
        cluster_id: str | None,
        wal_tails: Sequence[WalTail],
        node_id: NodeId,
        partitions_of: Mapping[str, int],
        new_ids: Iterable[UUID],
        now_ms: int,
    ) -> None:
        self._survey = survey
        self._older = None if survey.older is None else survey.older.state
        self._tails = {tail.stream_id: tail for tail in wal_tails}
        self._node_id = node_id
        self._partitions_of = partitions_of
        self._new_ids = iter(new_ids)
        self._now_ms = now_ms
        named = cluster_id or (survey.head.head.cluster_id if survey.head and survey.head.head else None)
        self._rescued = rebuild(survey.objects, cluster_id=named)
        self._cluster_id = named or self._rescued.cluster_id
        self._found = {stream.stream_id: stream for stream in self._rescued.streams}
        self._seen = {piece.stream_id for _, index, _ in survey.objects for piece in index.slices}
        self._topics: dict[UUID, PlannedTopic] = {}
        self._left_out = [*survey.unreadable, *self._rescued.left_out]
        self._losses: list[str] = []
        self._notes: list[str] = []
        older_next = self._older.next_stream_id if self._older else 0
        self._known_end = max([older_next, self._rescued.next_stream_id, 1, *(each + 1 for each in self._tails)])
        self._fresh_stream_id = self._known_end + ID_MARGIN

    def plan(self) -> RescuePlan:
        if not self._cluster_id:
            raise Refused("nothing here tells which cluster it was: no head, no object; give --cluster-id")
        if not self._found and self._older is None and not self._tails:
            raise Refused("nothing is left to rebuild from: no object and no snapshot can be read")
        self._take_older_topics()
        self._take_found_topics()
        for topic in self._topics.values():
            self._fill_partitions(topic)
        self._take_unnamed_tails()
        streams = {
            stream_id: self._stream(topic, partition, stream_id)
            for topic in self._topics.values()
            for partition, stream_id in topic.streams.items()
        }
        used = {piece.object_id for stream in streams.values() for piece in stream.ranges}
        self._tell_what_is_unknown()
        return RescuePlan(
            cluster_id=self._cluster_id,
            source=self._survey.older.source if self._survey.older else "objects alone",
            older=self._older,
            topics=tuple(sorted(self._topics.values(), key=lambda topic: topic.name)),
            streams=streams,
            objects=tuple(index for index in self._rescued.objects if index.header.object_id in used),
            left_out=tuple(self._left_out),
            losses=tuple(self._losses),
            notes=tuple(self._notes),
            last_epoch=max(self._rescued.next_epoch, self._older.last_epoch if self._older else 0) + EPOCH_MARGIN,
            next_stream_id=self._fresh_stream_id,
            next_object_id=self._next_object_id() + ID_MARGIN,
        )

    def _next_object_id(self) -> int:
        older = self._older.next_object_id if self._older else 0
        return max(self._survey.next_object_id, self._rescued.next_object_id, older, 1)

    # topics

    def _take_older_topics(self) -> None:
        for row in self._older.topics() if self._older else ():
            self._topics[row.topic_id] = PlannedTopic(
                topic_id=row.topic_id,
                name=row.name,
                is_internal=row.is_internal,
                created_ms=row.created_ms,
                configs=row.configs,
                streams={partition.index: partition.stream_id for partition in row.partitions},
            )

    def _take_found_topics(self) -> None:
        """Topics and partitions that only objects know: made after the older metadata, unless deleted before it."""
        for stream in sorted(self._found.values(), key=lambda one: one.stream_id):
            if self._is_known(stream.stream_id):
                continue
            if self._older is not None and stream.stream_id < self._older.next_stream_id:
                del self._found[stream.stream_id]
                reason = f"topic {stream.topic} was deleted before {self._survey.older and self._survey.older.source}"
                self._left_out.append(LeftOut(subject=f"stream {stream.stream_id}", reason=reason))
                continue
            self._make_room(stream)
            topic = self._topics.get(stream.topic_id)
            if topic is None:
                topic = self._topics[stream.topic_id] = PlannedTopic(
                    topic_id=stream.topic_id,
                    name=stream.topic,
                    is_internal=stream.topic in INTERNAL_TOPICS,
                    created_ms=stream.created_ms,
                )
            topic.streams[stream.partition] = stream.stream_id

    def _is_known(self, stream_id: int) -> bool:
        return self._older is not None and stream_id in self._older.streams

    def _make_room(self, stream: RescuedStream) -> None:
        """The same name under another id: the older topic was deleted, and made anew."""
        for topic in [each for each in self._topics.values() if each.name == stream.topic]:
            if topic.topic_id != stream.topic_id:
                del self._topics[topic.topic_id]
                self._notes.append(f"topic {topic.name} of id {topic.topic_id} had been deleted and made anew")

    def _fill_partitions(self, topic: PlannedTopic) -> None:
        """Partitions of which no record reached an object, as far as others tell that they exist."""
        count = max([*(index + 1 for index in topic.streams), self._partitions_of.get(topic.name, 0)])
        used = {stream_id for each in self._topics.values() for stream_id in each.streams.values()}
        for partition in range(count):
            if partition not in topic.streams:
                stream_id = self._likely_stream(topic, partition, used)
                topic.streams[partition] = stream_id
                used.add(stream_id)
        topic.streams = dict(sorted(topic.streams.items()))

    def _likely_stream(self, topic: PlannedTopic, partition: int, used: set[StreamId]) -> StreamId:
        """Partitions that are made together get neighbouring stream ids, which matters for what only a WAL holds."""
        nearest = min(topic.streams, key=lambda known: abs(known - partition))
        likely = StreamId(topic.streams[nearest] - nearest + partition)
        if likely > 0 and likely not in used and likely < self._known_end and likely not in self._seen:
            return likely
        self._fresh_stream_id += 1
        return StreamId(self._fresh_stream_id - 1)

    def _take_unnamed_tails(self) -> None:
        used = {stream_id for topic in self._topics.values() for stream_id in topic.streams.values()}
        for tail in self._tails.values():
            is_deleted = self._older is not None and tail.stream_id < self._older.next_stream_id
            if tail.stream_id in used or is_deleted or tail.stream_id in self._seen:
                continue
            name = UNNAMED_TOPIC.format(tail.stream_id)
            topic_id = next(self._new_ids)
            self._topics[topic_id] = PlannedTopic(
                topic_id=topic_id,
                name=name,
                is_internal=False,
                created_ms=self._now_ms,
                streams={0: tail.stream_id},
            )
            self._notes.append(
                f"stream {tail.stream_id} has records {tail.first_offset}..{tail.end_offset - 1} in the WAL, and nothing "
                f"tells which partition it was: they come back as topic {name}"
            )

    # streams

    def _stream(self, topic: PlannedTopic, partition: int, stream_id: StreamId) -> PlannedStream:
        found = self._found.get(stream_id)
        older = self._older.stream(stream_id) if self._older else None
        tail = self._tails.get(stream_id)
        name = f"{topic.name}-{partition}"
        trim = older.start_offset if older else Offset(0)
        ranges = tuple(piece for piece in found.ranges if piece.end > trim) if found else ()
        if ranges and ranges[0].start > trim and older is not None:
            self._lose(name, trim, ranges[0].start)
        end = ranges[-1].end if ranges else trim
        fillers = [
            self._fill(name, ranges, before.end, after.start)
            for before, after in pairwise(ranges)
            if before.end < after.start
        ]
        target = self._end(name, end, older, tail)
        if target > end and ranges:
            fillers.append(self._fill(name, ranges, end, target))
        elif target > end and older is not None:
            self._lose(name, end, target)
        epochs = [piece.stream_epoch for piece in ranges]
        known = [*epochs, *([older.epoch] if older else []), *([tail.stream_epoch] if tail else []), NEVER_OPENED]
        epoch = StreamEpoch(max(known) + EPOCH_MARGIN)
        start = max(trim, ranges[0].start) if ranges else target
        return PlannedStream(
            stream_id=stream_id,
            owner=found.node_id if found else self._owner(older),
            epoch=epoch,
            start_offset=start,
            committed_end=target,
            opens=_opens(ranges, older, epoch, target),
            ranges=ranges,
            fillers=tuple(fillers),
        )

    def _owner(self, older: StreamRow | None) -> NodeId:
        """The node of most objects stands for one that nothing names; without any, this one."""
        if older is not None and self._older is not None:
            return NodeId(self._older.streams[older.stream_id].assigned)
        writers = Counter(stream.node_id for stream in self._found.values())
        return writers.most_common(1)[0][0] if writers else self._node_id

    def _end(self, name: str, end: Offset, older: StreamRow | None, tail: WalTail | None) -> Offset:
        """Where the stream is to end, so that the WAL goes on from there and no lost offset is given away again."""
        committed = max(end, older.committed_end if older else end)
        if tail is None or tail.end_offset <= end:
            return committed
        if tail.end_offset < committed:
            self._lose(name, tail.end_offset, committed)
            self._notes.append(f"{name}: offsets from {tail.end_offset} on will be given to new records")
        return max(end, tail.first_offset)

    def _fill(self, name: str, ranges: Sequence[RescuedRange], start: Offset, end: Offset) -> Filler:
        self._lose(name, start, end)
        before = next(piece for piece in reversed(ranges) if piece.end <= start)
        return Filler(
            stream_id=before.stream_id,
            epoch=before.stream_epoch,
            start=start,
            end=end,
            max_timestamp=before.max_timestamp,
        )

    def _lose(self, name: str, start: int, end: int) -> None:
        self._losses.append(f"{name} offsets {start}..{end - 1}")

    def _tell_what_is_unknown(self) -> None:
        if self._older is not None:
            source = self._survey.older.source if self._survey.older else ""
            self._notes.append(
                f"configs, ACLs, credentials, quotas, trims and deletions are those of commit "
                f"{self._survey.older.seq if self._survey.older else 0} ({source}): later ones are lost"
            )
        else:
            self._notes += [
                "objects do not know configs of topics and brokers, ACLs, credentials and quotas: set them again",
                "objects do not know trims: records that retention or DeleteRecords had removed may be back",
                "objects do not know deletions: topics that were deleted in the last minutes may be back",
                "objects do not know empty partitions: compare the number of partitions of each topic",
            ]
        self._notes.append(
            "nodes, their volumes and leases are forgotten: each broker registers anew at its next start"
        )


def _opens(
    ranges: Sequence[RescuedRange], older: StreamRow | None, epoch: StreamEpoch, end: Offset
) -> tuple[tuple[StreamEpoch, Offset], ...]:
    """The epoch history as far as it is known, ascending in both, and the rescue's own epoch at the end."""
    history = [pair for pair in older.opens if pair[1] < end] if older else []
    for piece in ranges:
        if not history or (piece.stream_epoch > history[-1][0] and piece.start > history[-1][1]):
            history.append((piece.stream_epoch, piece.start))
    while history and history[-1][1] >= end:
        history.pop()
    return (*history, (epoch, end))


__all__ = [
    "EPOCH_MARGIN",
    "ID_MARGIN",
    "Filler",
    "PlannedStream",
    "PlannedTopic",
    "RescuePlan",
    "WalTail",
    "plan_rescue",
]
