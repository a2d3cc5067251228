"""Reading a data object from outside the engine: its index, then its blocks in few large reads."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.objects import TRAILER_BYTES, IndexEntry, ObjectIndex, decode_index, read_trailer
from automq_broker.ports import Buffer

READ_BYTES = 8 * 1024 * 1024
"""Adjacent blocks are read together up to this size; one larger block is read alone."""

ReadRange = Callable[[int, int], Awaitable[Buffer]]
"""Bytes [start, end) of one object."""


async def read_index(read: ReadRange, size: int) -> ObjectIndex:
    """The index of an object of `size` bytes, by two reads. Raises Corrupt, or Refused for a newer format."""
    if size < TRAILER_BYTES:
        raise Corrupt(f"an object of {size} bytes has no trailer")
    trailer = read_trailer(await read(size - TRAILER_BYTES, size))
    if not 0 <= trailer.index_position < size:
        raise Corrupt(f"object {trailer.object_id}: the index would begin at byte {trailer.index_position} of {size}")
    return decode_index(await read(trailer.index_position, size))


async def read_blocks(read: ReadRange, entries: Iterable[IndexEntry]) -> AsyncIterator[tuple[IndexEntry, memoryview]]:
    """Every block with its bytes, unchecked, in the order of `entries`, which is that of their positions."""
    for run in _runs(entries):
        start = run[0].position
        data = memoryview(await read(start, run[-1].position + run[-1].length))
        for entry in run:
            yield entry, data[entry.position - start : entry.position - start + entry.length]


def _runs(entries: Iterable[IndexEntry]) -> Iterator[list[IndexEntry]]:
    run: list[IndexEntry] = []
    for entry in entries:
        end = run[-1].position + run[-1].length if run else -1
        if run and (entry.position != end or end + entry.length - run[0].position > READ_BYTES):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


__all__ = ["READ_BYTES", "ReadRange", "read_blocks", "read_index"]
