"""Small data objects for tests of the lake: headers, batches and slices with bytes that tell where they belong."""

from collections.abc import Sequence
from itertools import pairwise
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.lake.objects import Batch, EncodedObject, ObjectHeader, ObjectKind, StreamSlice

TOPIC = UUID(int=7)


def header(object_id: int = 12, kind: ObjectKind = ObjectKind.STREAM_SET) -> ObjectHeader:
    """Header of a small object of cluster Zm9v…"""
    return ObjectHeader(
        cluster_id="Zm9vYmFyYmF6cXV4MTIz",
        node_id=NodeId(3),
        broker_epoch=BrokerEpoch(9),
        object_id=ObjectId(object_id),
        created_ms=1_700_000,
        kind=kind,
    )


def batch(base: int, count: int, size: int, *, cuts: int = 1, fill: int = 1, timestamp: int = 0) -> Batch:
    """`count` records in `size` equal bytes, in `cuts` segments."""
    data = memoryview(bytes([fill % 256]) * size)
    edges = [size * i // cuts for i in range(cuts + 1)]
    return Batch(Offset(base), Offset(base + count - 1), count, timestamp, [data[a:b] for a, b in pairwise(edges)])


def slice_of(
    stream: int, start: int, shapes: Sequence[tuple[int, int, int]], *, epoch: int = 1, checkpoint: bytes = b""
) -> StreamSlice:
    """A slice of batches that follow each other from `start`; shapes are (records, bytes, segments)."""
    batches, base = [], start
    for index, (count, size, cuts) in enumerate(shapes):
        batches.append(batch(base, count, size, cuts=cuts, fill=stream + index, timestamp=1000 + base))
        base += count
    return StreamSlice(
        stream_id=StreamId(stream),
        topic_id=TOPIC,
        topic=f"töpic-{stream}",
        partition=stream % 5,
        stream_epoch=StreamEpoch(epoch),
        batches=batches,
        checkpoint=checkpoint,
    )


def joined(encoded: EncodedObject) -> bytes:
    """The object's bytes."""
    return b"".join(encoded.segments)


__all__ = ["TOPIC", "batch", "header", "joined", "slice_of"]
