"""Do bucket and metadata agree? Every disagreement is a finding with a severity; nothing is mended here.

The checks are cut so that a caller can stream them: one pass over the listing, then one call per object with its index,
one per block when the data itself is read too, one per stream. The order of findings is the order of the input.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from itertools import pairwise

from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import ObjectId
from automq_broker.lake.index import blocks_within, check_block, check_checkpoint
from automq_broker.lake.keys import HEAD_KEY, data_key, parse_data_key, parse_meta_key
from automq_broker.lake.sweep import ListedKey
from automq_broker.lake.values import Buffer, IndexEntry, ObjectIndex, SliceIndex
from automq_broker.lake.views import ObjectView, RangeView, StreamView


class Severity(IntEnum):
    """How bad; the exit code of `automq verify` follows the highest."""

    NOTE = 1
    """Costs space only."""
    WARNING = 2
    """Nothing is lost, but something is not as it should be."""
    LOSS = 3
    """Committed records cannot be read."""


class Problem(Enum):
    """What is wrong; the name is stable, for scripts."""

    MISSING = "missing"
    SIZE = "size"
    CRC = "crc"
    FOREIGN = "foreign"
    INDEX = "index"
    BLOCK = "block"
    CHECKPOINT = "checkpoint"
    GAP = "gap"
    OVERLAP = "overlap"
    BOUNDS = "bounds"
    ORPHAN = "orphan"
    EXTRA = "extra"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One disagreement. `subject` is a key, or `stream N`; `detail` is for people; `age_ms` is known of orphans."""

    severity: Severity
    problem: Problem
    subject: str
    detail: str
    age_ms: int | None = None


def check_listing(
    objects: Mapping[ObjectId, ObjectView],
    listing: Iterable[ListedKey],
    *,
    is_deleting: Callable[[ObjectId], bool],
    is_leased: Callable[[ObjectId], bool],
) -> Iterator[Finding]:
    """Compare a whole listing of data/ with the live objects of a state loaded before it began.

    Ids that a lease still holds may be uploads on their way and are no orphans.
    """
    seen: set[ObjectId] = set()
    for listed in listing:
        object_id = parse_data_key(listed.key)
        if object_id is None:
            yield _note(Problem.FOREIGN, listed.key, "no data object of this program")
            continue
        seen.add(object_id)
        row = objects.get(object_id)
        if row is not None and row.size != listed.size:
            yield wrong_size(row, listed.size)
        elif row is None and not is_deleting(object_id) and not is_leased(object_id):
            yield _note(Problem.ORPHAN, listed.key, f"{listed.size} bytes that nothing refers to")
    for object_id in sorted(objects.keys() - seen):
        yield missing_object(object_id)


def check_meta_listing(
    listing: Iterable[ListedKey], *, references: Callable[[str], bool], committed_seq: int
) -> Iterator[Finding]:
    """Judge the keys below meta/ by the head that is there now; keys above its commit may be on their way."""
    for listed in listing:
        found = parse_meta_key(listed.key)
        if found is None:
            if listed.key != HEAD_KEY:
                yield _note(Problem.FOREIGN, listed.key, "no metadata of this program")
        elif not references(listed.key):
            why = "replaced, the controller sweeps it" if found.seq <= committed_seq else "no head names it (yet)"
            yield _note(Problem.EXTRA, listed.key, f"{listed.size} bytes: {why}")


def check_object(
    row: ObjectView, index: ObjectIndex, ranges: Iterable[RangeView], *, cluster_id: str
) -> Iterator[Finding]:
    """Compare an object's own index with its row and with those of its ranges that are live in the metadata."""
    key = data_key(row.object_id)
    if (index.header.cluster_id, index.header.object_id) != (cluster_id, row.object_id):
        yield _loss(
            Problem.INDEX, key, f"says that it is object {index.header.object_id} of cluster {index.header.cluster_id}"
        )
    if index.crc != row.crc or index.index_position != row.index_position:
        yield _loss(Problem.CRC, key, f"index and trailer have CRC {index.crc:08x}, the metadata {row.crc:08x}")
    for piece in ranges:
        if not _holds(index, piece):
            yield _loss(
                Problem.INDEX, key, f"does not hold stream {piece.stream_id} offsets {piece.start}..{piece.end - 1}"
            )


def check_data(row: ObjectView, entry: IndexEntry, data: Buffer) -> Iterator[Finding]:
    """Check one data block that was read from the bucket."""
    try:
        check_block(entry, data)
    except Corrupt as error:
        yield _loss(Problem.BLOCK, data_key(row.object_id), str(error))


def check_producers(row: ObjectView, piece: SliceIndex, data: Buffer) -> Iterator[Finding]:
    """Check the bytes of a slice's checkpoint; without it retries of producers could be doubled, no record is lost."""
    try:
        check_checkpoint(piece, data)
    except Corrupt as error:
        yield _finding(False, Problem.CHECKPOINT, data_key(row.object_id), str(error))


def unreadable_index(object_id: ObjectId, error: Corrupt) -> Finding:
    """The finding for an object of which even the index cannot be read."""
    return _loss(Problem.INDEX, data_key(object_id), str(error))


def missing_object(object_id: ObjectId) -> Finding:
    """The finding for a live object that the bucket does not have."""
    return _loss(Problem.MISSING, data_key(object_id), f"object {object_id} is live and not in the bucket")


def wrong_size(row: ObjectView, size: int) -> Finding:
    """The finding for a live object of which the bucket has another number of bytes."""
    return _loss(Problem.SIZE, data_key(row.object_id), f"{size} bytes in the bucket, {row.size} in the metadata")


def check_stream(stream: StreamView) -> Iterator[Finding]:
    """Check that the ranges of a stream cover its live offsets once, without a gap."""
    subject = f"stream {stream.stream_id}"
    if not stream.ranges:
        if stream.start_offset != stream.committed_end:
            yield _loss(Problem.GAP, subject, _span("nothing holds", stream.start_offset, stream.committed_end))
        return
    first, last = stream.ranges[0], stream.ranges[-1]
    if first.start > stream.start_offset:
        yield _loss(Problem.GAP, subject, _span("nothing holds", stream.start_offset, first.start))
    yield from _joints(subject, stream.ranges)
    if last.end != stream.committed_end:
        detail = f"the last range ends at {last.end}, committed is up to {stream.committed_end}"
        yield _finding(last.end < stream.committed_end, Problem.BOUNDS, subject, detail)


def _joints(subject: str, ranges: Sequence[RangeView]) -> Iterator[Finding]:
    for before, after in pairwise(ranges):
        if after.start > before.end:
            yield _loss(Problem.GAP, subject, _span("nothing holds", before.end, after.start))
        elif after.start < before.end:
            detail = _span(f"objects {before.object_id} and {after.object_id} both hold", after.start, before.end)
            yield _finding(False, Problem.OVERLAP, subject, detail)


def _holds(index: ObjectIndex, piece: RangeView) -> bool:
    """Whether the bytes of a range are whole blocks of its stream, with exactly its offsets.

    Mostly they are a whole slice; after a rescue they may be a part of one.
    """
    blocks = blocks_within(index, piece.position, piece.length)
    return (
        bool(blocks)
        and all(block.stream_id == piece.stream_id for block in blocks)
        and all(before.last_offset + 1 == after.first_offset for before, after in pairwise(blocks))
        and (blocks[0].first_offset, blocks[-1].last_offset + 1) == (piece.start, piece.end)
        and (blocks[0].position, sum(block.length for block in blocks)) == (piece.position, piece.length)
    )


def _span(what: str, start: int, end: int) -> str:
    return f"{what} offsets {start}..{end - 1}"


def _loss(problem: Problem, subject: str, detail: str) -> Finding:
    return _finding(True, problem, subject, detail)


def _note(problem: Problem, subject: str, detail: str) -> Finding:
    return Finding(severity=Severity.NOTE, problem=problem, subject=subject, detail=detail)


def _finding(is_loss: bool, problem: Problem, subject: str, detail: str) -> Finding:
    severity = Severity.LOSS if is_loss else Severity.WARNING
    return Finding(severity=severity, problem=problem, subject=subject, detail=detail)


def damaged_metadata(subject: str, detail: str) -> Finding:
    """The finding for metadata that cannot be loaded, or that breaks an invariant of its own."""
    return _loss(Problem.METADATA, subject, detail)


__all__ = [
    "Finding",
    "Problem",
    "Severity",
    "check_data",
    "check_listing",
    "check_meta_listing",
    "check_object",
    "check_producers",
    "check_stream",
    "damaged_metadata",
    "missing_object",
    "unreadable_index",
    "wrong_size",
]
