"""Which streams of an upload get an object of their own, and which share one.

A stream with `split_bytes` or more waiting gets stream objects, which the compactor never has to take apart. The others
share stream-set objects sorted by stream, so that one stream's bytes lie together.

COST: an object up to 128 MiB is one PUT, a larger one is a request per 64 MiB part and two more. `object_bytes_max` of
128 MiB therefore makes 500 MiB four requests; the former single object of 500 MiB makes ten.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from automq_broker.kernel.ids import StreamId
from automq_broker.lake.values import ObjectKind

SPLIT_BYTES = 8 * 1024 * 1024
OBJECT_BYTES_MAX = 128 * 1024 * 1024
STREAMS_MAX = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStream:
    """What waits of one stream. `sizes` are its batches' bytes, in offset order."""

    stream_id: StreamId
    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPart:
    """Batches [first, end) of a stream's waiting ones, by their place in `sizes`."""

    stream_id: StreamId
    first: int
    end: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedUpload:
    """One object: its parts in stream order."""

    kind: ObjectKind
    parts: tuple[PlannedPart, ...]
    size_bytes: int


def plan_upload(
    waiting: Iterable[WaitingStream],
    *,
    split_bytes: int = SPLIT_BYTES,
    object_bytes_max: int = OBJECT_BYTES_MAX,
    streams_max: int = STREAMS_MAX,
) -> list[PlannedUpload]:
    """Cut what waits into objects of at most `object_bytes_max` (a single larger batch excepted).

    Every batch is in exactly one object. A stream's parts come in offset order over the whole list, so commits in list
    order leave no gap. Streams without batches are left out.
    """
    alone: list[PlannedUpload] = []
    shared: list[PlannedPart] = []
    for stream in sorted(waiting, key=lambda one: one.stream_id):
        parts = _cut(stream, object_bytes_max)
        if sum(part.size_bytes for part in parts) >= split_bytes:
            alone.extend(_object([part]) for part in parts)
        else:
            shared.extend(parts)
    return alone + _pack(shared, object_bytes_max, streams_max)


def _cut(stream: WaitingStream, object_bytes_max: int) -> list[PlannedPart]:
    parts: list[PlannedPart] = []
    first = size = 0
    for place, batch in enumerate(stream.sizes):
        if place > first and size + batch > object_bytes_max:
            parts.append(PlannedPart(stream_id=stream.stream_id, first=first, end=place, size_bytes=size))
            first, size = place, 0
        size += batch
    if stream.sizes:
        parts.append(PlannedPart(stream_id=stream.stream_id, first=first, end=len(stream.sizes), size_bytes=size))
    return parts


def _pack(parts: Iterable[PlannedPart], object_bytes_max: int, streams_max: int) -> list[PlannedUpload]:
    groups: list[list[PlannedPart]] = []
    size = 0
    for part in parts:
        if groups and size + part.size_bytes <= object_bytes_max and len(groups[-1]) < streams_max:
            groups[-1].append(part)
            size += part.size_bytes
        else:
            groups.append([part])
            size = part.size_bytes
    return [_object(group) for group in groups]


def _object(parts: list[PlannedPart]) -> PlannedUpload:
    return PlannedUpload(
        kind=ObjectKind.STREAM if len(parts) == 1 else ObjectKind.STREAM_SET,
        parts=tuple(parts),
        size_bytes=sum(part.size_bytes for part in parts),
    )


__all__ = [
    "OBJECT_BYTES_MAX",
    "SPLIT_BYTES",
    "STREAMS_MAX",
    "PlannedPart",
    "PlannedUpload",
    "WaitingStream",
    "plan_upload",
]
