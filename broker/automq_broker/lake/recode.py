"""Data blocks of old objects as batches of a new one: checked, not parsed, not copied."""

from collections.abc import Iterable

from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.index import check_block
from automq_broker.lake.values import Batch, Buffer, IndexEntry


def batches_of_blocks(entries: Iterable[IndexEntry], data: Buffer, position: int) -> list[Batch]:
    """Take blocks out of `data`, which are the bytes of their object from `position` on.

    A block becomes one Batch, as a view: the encoder packs small blocks together and never cuts one, and CRC, counts
    and timestamps of what was written once are carried on. Raises Corrupt for a damaged or missing block: rewriting
    must never give damage a fresh CRC.
    """
    view = memoryview(data)
    batches = []
    for entry in entries:
        start = entry.position - position
        if start < 0 or start + entry.length > len(view):
            raise Corrupt(f"stream {entry.stream_id}: block at byte {entry.position} lies outside of what was read")
        block = view[start : start + entry.length]
        check_block(entry, block)
        batches.append(Batch(entry.first_offset, entry.last_offset, entry.records, entry.max_timestamp, (block,)))
    return batches


__all__ = ["batches_of_blocks"]
