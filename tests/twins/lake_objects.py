"""Small data objects for tests of the lake: headers, batches and slices with bytes that tell where they belong."""

from itertools import pairwise
from uuid import UUID

from automq_broker.lake.objects import Batch, ObjectHeader, ObjectKind, StreamSlice

TOPIC = UUID(int=7)


def header(object_id=12, kind=ObjectKind.STREAM_SET):
    return ObjectHeader(
        cluster_id="Zm9vYmFyYmF6cXV4MTIz",
        node_id=3,
        broker_epoch=9,
        object_id=object_id,
        created_ms=1_700_000,
        kind=kind,
    )


def batch(base, count, size, *, cuts=1, fill=1, timestamp=0):
    data = memoryview(bytes([fill % 256]) * size)
    edges = [size * i // cuts for i in range(cuts + 1)]
    return Batch(base, base + count - 1, count, timestamp, [data[a:b] for a, b in pairwise(edges)])


def slice_of(stream, start, shapes, *, epoch=1, checkpoint=b""):
    batches, base = [], start
    for index, (count, size, cuts) in enumerate(shapes):
        batches.append(batch(base, count, size, cuts=cuts, fill=stream + index, timestamp=1000 + base))
        base += count
    return StreamSlice(
        stream_id=stream,
        topic_id=TOPIC,
        topic=f"töpic-{stream}",
        partition=stream % 5,
        stream_epoch=epoch,
        batches=batches,
        checkpoint=checkpoint,
    )


def joined(encoded):
    return b"".join(encoded.segments)
