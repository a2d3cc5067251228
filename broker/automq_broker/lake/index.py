"""Read an object's trailer and index, and check its blocks. Damage is told apart from a format that is too new."""

from bisect import bisect_left
from struct import error as StructError
from uuid import UUID

from crc32c import crc32c

from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.kernel.ids import BrokerEpoch, NodeId, ObjectId, Offset, StreamEpoch, StreamId
from automq_broker.lake.layout import (
    BLOCK_ROW,
    FORMAT_VERSION,
    INDEX_HEADER,
    MAGIC,
    SLICE_ROW,
    TRAILER,
    TRAILER_BYTES,
    TRAILER_END,
    TRAILER_VERSION,
)
from automq_broker.lake.values import (
    Buffer,
    IndexEntry,
    ObjectHeader,
    ObjectIndex,
    ObjectKind,
    ObjectRange,
    SliceIndex,
    Trailer,
)


def read_trailer(last_bytes: Buffer) -> Trailer:
    """Read the trailer at the end of `last_bytes`, which are the last TRAILER_BYTES or more of an object.

    Raises Corrupt when the bytes are no intact trailer, and Refused when they are one of a newer format.
    """
    view = memoryview(last_bytes)
    end = len(view) - TRAILER_END.size
    if end < TRAILER_VERSION.size:
        raise Corrupt(f"an object of {len(view)} bytes has no trailer")
    crc, magic = TRAILER_END.unpack_from(view, end)
    size, version = TRAILER_VERSION.unpack_from(view, end - TRAILER_VERSION.size)
    if magic != MAGIC:
        raise Corrupt("no data object: its last 8 bytes are not the magic")
    # The CRC comes before the version: a flipped bit in the version must read as damage, not as a newer format.
    if size > len(view) or crc32c(view[len(view) - size : end]) != crc:
        raise Corrupt("the trailer of the object is damaged")
    if version > FORMAT_VERSION:
        raise Refused(f"data object of format {version}; this program reads up to {FORMAT_VERSION}: upgrade it first")
    if size != TRAILER_BYTES:
        raise Corrupt(f"data object of format {version} with a trailer of {size} bytes")
    cluster_id, object_id, position, length, index_crc = TRAILER.unpack_from(view, len(view) - size)
    return Trailer(
        format_version=version,
        cluster_id=cluster_id.rstrip(b"\0").decode(),
        object_id=ObjectId(object_id),
        index_position=position,
        index_length=length,
        index_crc=index_crc,
    )


def decode_index(tail: Buffer) -> ObjectIndex:
    """Read the index out of `tail`, the bytes of the object from its index position (see Trailer) to its end.

    Copies what it keeps. Raises Corrupt or Refused as `read_trailer`, and Corrupt for a damaged index.
    """
    view = memoryview(tail)
    trailer = read_trailer(view)
    if trailer.index_length + TRAILER_BYTES != len(view) or crc32c(view[: trailer.index_length]) != trailer.index_crc:
        raise Corrupt(f"object {trailer.object_id}: the index is damaged or cut off")
    try:
        header, slices = _read_slices(view[: trailer.index_length], trailer)
    except (StructError, ValueError) as error:
        raise Corrupt(f"object {trailer.object_id}: the index cannot be read: {error}") from None
    return ObjectIndex(
        header=header,
        slices=slices,
        index_position=trailer.index_position,
        size=trailer.index_position + len(view),
        crc=crc32c(view),
    )


def _read_slices(view: memoryview, trailer: Trailer) -> tuple[ObjectHeader, tuple[SliceIndex, ...]]:
    node_id, broker_epoch, created_ms, kind, count = INDEX_HEADER.unpack_from(view)
    header = ObjectHeader(
        cluster_id=trailer.cluster_id,
        node_id=NodeId(node_id),
        broker_epoch=BrokerEpoch(broker_epoch),
        object_id=trailer.object_id,
        created_ms=created_ms,
        kind=ObjectKind(kind),
    )
    position = INDEX_HEADER.size
    slices = []
    for _ in range(count):
        piece, position = _read_slice(view, position)
        slices.append(piece)
    if position != len(view):
        raise ValueError(f"{len(view) - position} bytes too many")
    return header, tuple(slices)


def _read_slice(view: memoryview, position: int) -> tuple[SliceIndex, int]:
    stream_id, epoch, topic_id, partition, name_length, cp_position, cp_length, cp_crc, blocks = SLICE_ROW.unpack_from(
        view, position
    )
    name_start = position + SLICE_ROW.size
    rows_start = name_start + name_length
    rows_end = rows_start + blocks * BLOCK_ROW.size
    if rows_end > len(view) or blocks == 0:
        raise ValueError("a slice is empty or reaches behind the index")
    identity = StreamId(stream_id), StreamEpoch(epoch)
    piece = SliceIndex(
        stream_id=identity[0],
        topic_id=UUID(bytes=topic_id),
        topic=bytes(view[name_start:rows_start]).decode(),
        partition=partition,
        stream_epoch=identity[1],
        checkpoint_position=cp_position,
        checkpoint_length=cp_length,
        checkpoint_crc=cp_crc,
        entries=tuple(IndexEntry(*identity, *row) for row in BLOCK_ROW.iter_unpack(view[rows_start:rows_end])),
    )
    return piece, rows_end


def check_block(entry: IndexEntry, data: Buffer) -> None:
    """Check a data block against its CRC; raises Corrupt naming stream, offsets and position."""
    if len(data) != entry.length or crc32c(data) != entry.crc:
        raise Corrupt(
            f"stream {entry.stream_id}: the data block of offsets {entry.first_offset}..{entry.last_offset} at byte "
            f"{entry.position}, {entry.length} bytes, is damaged ({len(data)} bytes read)"
        )


def check_checkpoint(piece: SliceIndex, data: Buffer) -> None:
    """Check a checkpoint against its CRC; raises Corrupt naming stream and position."""
    if len(data) != piece.checkpoint_length or crc32c(data) != piece.checkpoint_crc:
        raise Corrupt(
            f"stream {piece.stream_id}: the checkpoint at byte {piece.checkpoint_position}, "
            f"{piece.checkpoint_length} bytes, is damaged ({len(data)} bytes read)"
        )


def blocks_from(index: ObjectIndex, stream_id: StreamId, offset: Offset) -> list[IndexEntry]:
    """The blocks of a stream from the one that holds `offset` on, in offset order; empty when all lie below it.

    When `offset` lies in a gap between two slices, the list starts behind the gap.
    """
    entries = [entry for piece in index.slices if piece.stream_id == stream_id for entry in piece.entries]
    return entries[bisect_left(entries, offset, key=lambda entry: entry.last_offset) :]


def blocks_within(index: ObjectIndex, position: int, length: int) -> list[IndexEntry]:
    """The blocks that lie in bytes [position, position + length), which are the bounds of one or more ranges."""
    first = bisect_left(index.entries, position, key=lambda entry: entry.position)
    end = bisect_left(index.entries, position + length, key=lambda entry: entry.position)
    return index.entries[first:end]


def ranges_of(index: ObjectIndex) -> list[ObjectRange]:
    """The ranges that the metadata recorded, or should have, when this object was committed; in slice order."""
    return [
        ObjectRange(
            stream_id=piece.stream_id,
            stream_epoch=piece.stream_epoch,
            start=piece.entries[0].first_offset,
            end=Offset(piece.entries[-1].last_offset + 1),
            position=piece.entries[0].position,
            length=sum(entry.length for entry in piece.entries),
            records=sum(entry.records for entry in piece.entries),
            max_timestamp=max(entry.max_timestamp for entry in piece.entries),
            checkpoint_position=piece.checkpoint_position,
            checkpoint_length=piece.checkpoint_length,
        )
        for piece in index.slices
    ]


__all__ = [
    "blocks_from",
    "blocks_within",
    "check_block",
    "check_checkpoint",
    "decode_index",
    "ranges_of",
    "read_trailer",
]
