"""Build a data object out of record batches, and the room's public names for the format.

Encoding joins and copies nothing: the result is a list of the caller's own views, in order, with a few new bytes
(checkpoints as given, index, trailer) at the end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from crc32c import crc32c

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Offset
from automq_broker.lake.index import (
    blocks_from,
    blocks_within,
    check_block,
    check_checkpoint,
    decode_index,
    ranges_of,
    read_trailer,
)
from automq_broker.lake.layout import (
    BLOCK_ROW,
    CLUSTER_ID_BYTES_MAX,
    DATA_BLOCK_BYTES,
    FORMAT_VERSION,
    INDEX_HEADER,
    MAGIC,
    SLICE_ROW,
    TRAILER,
    TRAILER_BYTES,
    TRAILER_END,
    TRAILER_VERSION,
    U32_MAX,
)
from automq_broker.lake.values import (
    Batch,
    Buffer,
    EncodedObject,
    IndexEntry,
    ObjectHeader,
    ObjectIndex,
    ObjectKind,
    ObjectRange,
    SliceIndex,
    StreamSlice,
    Trailer,
)


def encode_object(
    header: ObjectHeader, slices: Sequence[StreamSlice], *, block_bytes: int = DATA_BLOCK_BYTES
) -> EncodedObject:
    """Lay `slices` out as one object.

    Slices are in order of (stream, first offset), each without a gap inside; one stream may come more than once when
    its slices do not touch. A batch larger than `block_bytes` becomes a block of its own. Work is proportional to the
    number of batches plus one CRC pass over the bytes: large objects belong on a worker.
    Raises Bug when a slice is empty, has a gap, or is out of order: such an object must not exist.
    """
    writer = _Writer(block_bytes=block_bytes)
    _check_order(header, slices)
    blocks_of = [writer.add_blocks(piece) for piece in slices]
    checkpoints = [writer.add_checkpoint(piece.checkpoint) for piece in slices]
    index_position = writer.position
    tail = _encode_tail(header, slices, blocks_of, checkpoints, index_position)
    return EncodedObject(
        segments=[*writer.segments, tail],
        size=index_position + len(tail),
        crc=crc32c(tail),
        ranges=[
            _range_of(piece, blocks, checkpoint)
            for piece, blocks, checkpoint in zip(slices, blocks_of, checkpoints, strict=True)
        ],
        index_position=index_position,
    )


@dataclass(slots=True, kw_only=True)
class _Checkpoint:
    position: int
    length: int
    crc: int


@dataclass(slots=True, kw_only=True)
class _Writer:
    """Collects segments and knows the position behind the last one."""

    block_bytes: int
    position: int = 0
    segments: list[Buffer] = field(default_factory=list)

    def add_blocks(self, piece: StreamSlice) -> list[IndexEntry]:
        """Append a slice's batches and return its blocks."""
        blocks: list[IndexEntry] = []
        group: list[Batch] = []
        group_bytes = 0
        for batch in piece.batches:
            size = sum(map(len, batch.segments))
            if group and group_bytes + size > self.block_bytes:
                blocks.append(self._close(piece, group, group_bytes))
                group, group_bytes = [], 0
            group.append(batch)
            group_bytes += size
        blocks.append(self._close(piece, group, group_bytes))
        return blocks

    def _close(self, piece: StreamSlice, group: list[Batch], size: int) -> IndexEntry:
        if not 0 < size <= U32_MAX:
            raise Bug(f"stream {piece.stream_id}: a data block of {size} bytes")
        crc = 0
        for batch in group:
            for segment in batch.segments:
                crc = crc32c(segment, crc)
                self.segments.append(segment)
        entry = IndexEntry(
            stream_id=piece.stream_id,
            stream_epoch=piece.stream_epoch,
            first_offset=group[0].base_offset,
            last_offset=group[-1].last_offset,
            position=self.position,
            length=size,
            records=sum(batch.records_count for batch in group),
            max_timestamp=max(batch.max_timestamp for batch in group),
            crc=crc,
        )
        self.position += size
        return entry

    def add_checkpoint(self, checkpoint: Buffer) -> _Checkpoint:
        """Append a stream's checkpoint, which may be empty."""
        placed = _Checkpoint(position=self.position, length=len(checkpoint), crc=crc32c(checkpoint))
        if checkpoint:
            self.segments.append(checkpoint)
            self.position += len(checkpoint)
        return placed


def _check_order(header: ObjectHeader, slices: Sequence[StreamSlice]) -> None:
    if not slices:
        raise Bug(f"object {header.object_id} would hold nothing")
    if header.kind is ObjectKind.STREAM and len({piece.stream_id for piece in slices}) > 1:
        raise Bug(f"object {header.object_id} is a stream object of several streams")
    previous = (-1, -1)
    for piece in slices:
        if not piece.batches:
            raise Bug(f"object {header.object_id}: the slice of stream {piece.stream_id} is empty")
        if (piece.stream_id, piece.batches[0].base_offset) <= previous:
            raise Bug(f"object {header.object_id}: stream {piece.stream_id} is out of order")
        _check_contiguous(piece)
        previous = (piece.stream_id, piece.batches[-1].last_offset)


def _check_contiguous(piece: StreamSlice) -> None:
    expected = piece.batches[0].base_offset
    for batch in piece.batches:
        if batch.base_offset != expected or batch.last_offset < batch.base_offset:
            raise Bug(
                f"stream {piece.stream_id}: batch {batch.base_offset}..{batch.last_offset} where {expected} is due"
            )
        expected = Offset(batch.last_offset + 1)


def _range_of(piece: StreamSlice, blocks: Sequence[IndexEntry], checkpoint: _Checkpoint) -> ObjectRange:
    return ObjectRange(
        stream_id=piece.stream_id,
        stream_epoch=piece.stream_epoch,
        start=blocks[0].first_offset,
        end=Offset(blocks[-1].last_offset + 1),
        position=blocks[0].position,
        length=sum(block.length for block in blocks),
        records=sum(block.records for block in blocks),
        max_timestamp=max(block.max_timestamp for block in blocks),
        checkpoint_position=checkpoint.position,
        checkpoint_length=checkpoint.length,
    )


def _encode_tail(
    header: ObjectHeader,
    slices: Sequence[StreamSlice],
    blocks_of: Sequence[Sequence[IndexEntry]],
    checkpoints: Sequence[_Checkpoint],
    index_position: int,
) -> bytes:
    parts = [INDEX_HEADER.pack(header.node_id, header.broker_epoch, header.created_ms, header.kind, len(slices))]
    for piece, blocks, checkpoint in zip(slices, blocks_of, checkpoints, strict=True):
        parts.extend(_encode_slice(piece, blocks, checkpoint))
    index = b"".join(parts)
    return index + _encode_trailer(header, index_position, index)


def _encode_slice(piece: StreamSlice, blocks: Sequence[IndexEntry], checkpoint: _Checkpoint) -> Iterable[bytes]:
    topic = piece.topic.encode()
    yield SLICE_ROW.pack(
        piece.stream_id,
        piece.stream_epoch,
        piece.topic_id.bytes,
        piece.partition,
        len(topic),
        checkpoint.position,
        checkpoint.length,
        checkpoint.crc,
        len(blocks),
    )
    yield topic
    for block in blocks:
        yield BLOCK_ROW.pack(*block[2:])


def _encode_trailer(header: ObjectHeader, index_position: int, index: bytes) -> bytes:
    cluster_id = header.cluster_id.encode()
    if len(cluster_id) > CLUSTER_ID_BYTES_MAX:
        raise Bug(f"cluster id of {len(cluster_id)} bytes; an object has room for {CLUSTER_ID_BYTES_MAX}")
    body = TRAILER.pack(cluster_id, header.object_id, index_position, len(index), crc32c(index))
    guarded = body + TRAILER_VERSION.pack(TRAILER_BYTES, FORMAT_VERSION)
    return guarded + TRAILER_END.pack(crc32c(guarded), MAGIC)


__all__ = [
    "TRAILER_BYTES",
    "Batch",
    "Buffer",
    "EncodedObject",
    "IndexEntry",
    "ObjectHeader",
    "ObjectIndex",
    "ObjectKind",
    "ObjectRange",
    "SliceIndex",
    "StreamSlice",
    "Trailer",
    "blocks_from",
    "blocks_within",
    "check_block",
    "check_checkpoint",
    "decode_index",
    "encode_object",
    "ranges_of",
    "read_trailer",
]
