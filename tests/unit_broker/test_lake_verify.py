"""lake/verify.py: each way in which bucket and metadata can disagree is found, and nothing else is."""

from dataclasses import dataclass, replace

from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.keys import data_key
from automq_broker.lake.objects import decode_index, encode_object
from automq_broker.lake.sweep import ListedKey
from automq_broker.lake.verify import (
    Problem,
    Severity,
    check_data,
    check_listing,
    check_object,
    check_stream,
    unreadable_index,
)
from twins.lake_objects import header, joined, slice_of


@dataclass(frozen=True)
class Row:
    object_id: int
    size: int
    crc: int = 0
    kind: int = 1
    created_ms: int = 0
    index_position: int = 0


@dataclass(frozen=True)
class Range:
    start: int
    end: int
    object_id: int = 1


@dataclass(frozen=True)
class Stream:
    start_offset: int
    committed_end: int
    ranges: list
    stream_id: int = 4


def made():
    encoded = encode_object(header(), [slice_of(1, 0, [(3, 20, 1)]), slice_of(2, 5, [(1, 10, 1)])])
    data = joined(encoded)
    row = Row(12, encoded.size, crc=encoded.crc, index_position=encoded.index_position)
    return data, row, decode_index(data[encoded.index_position :]), encoded.ranges


def problems(findings):
    return [(found.severity, found.problem) for found in findings]


def test_a_bucket_that_agrees_has_no_findings():
    data, row, index, ranges = made()
    listing = [ListedKey(key=data_key(12), size=row.size)]
    assert not list(check_listing({12: row}, listing, is_deleting=lambda _: False, is_leased=lambda _: False))
    assert not list(check_object(row, index, ranges, cluster_id=header().cluster_id))
    for entry in index.entries:
        assert not list(check_data(row, entry, data[entry.position : entry.position + entry.length]))
    assert not list(check_stream(Stream(2, 10, [Range(0, 4), Range(4, 10)])))
    assert not list(check_stream(Stream(7, 7, [])))


def test_the_listing_shows_missing_wrong_sized_foreign_and_orphaned_objects():
    rows = {1: Row(1, 10), 2: Row(2, 10), 3: Row(3, 10)}
    listing = [ListedKey(key=data_key(number), size=size) for number, size in ((1, 10), (2, 9), (4, 7), (5, 7), (6, 7))]
    listing.append(ListedKey(key="data/README", size=1))
    found = list(check_listing(rows, listing, is_deleting=lambda one: one == 5, is_leased=lambda one: one == 6))
    assert [(one.severity, one.problem, one.subject) for one in found] == [
        (Severity.LOSS, Problem.SIZE, data_key(2)),
        (Severity.NOTE, Problem.ORPHAN, data_key(4)),
        (Severity.NOTE, Problem.FOREIGN, "data/README"),
        (Severity.LOSS, Problem.MISSING, data_key(3)),
    ]


def test_an_object_that_is_not_what_the_metadata_recorded_is_found():
    _, row, index, ranges = made()
    cluster = header().cluster_id
    assert problems(check_object(row, index, ranges, cluster_id="other")) == [(Severity.LOSS, Problem.INDEX)]
    assert problems(check_object(replace(row, crc=1), index, ranges, cluster_id=cluster)) == [
        (Severity.LOSS, Problem.CRC)
    ]
    moved = [replace(ranges[0], end=99), ranges[1]]
    assert problems(check_object(row, index, moved, cluster_id=cluster)) == [(Severity.LOSS, Problem.INDEX)]
    assert not list(check_object(row, index, ranges[1:], cluster_id=cluster)), "a range may have expired"


def test_a_damaged_block_and_an_unreadable_index_are_losses_with_their_place():
    data, row, index, _ = made()
    entry = index.entries[0]
    (found,) = check_data(row, entry, b"\0" + data[1 : entry.length])
    assert (found.severity, found.problem) == (Severity.LOSS, Problem.BLOCK)
    assert "offsets 0..2" in found.detail
    assert unreadable_index(12, Corrupt("cut off")).subject == data_key(12)


def test_gaps_overlaps_and_wrong_ends_of_a_stream_are_found_with_their_offsets():
    (gap,) = check_stream(Stream(0, 20, [Range(0, 5), Range(7, 20)]))
    assert (gap.severity, gap.problem, "5..6" in gap.detail) == (Severity.LOSS, Problem.GAP, True)
    (overlap,) = check_stream(Stream(0, 20, [Range(0, 8), Range(7, 20, 2)]))
    assert (overlap.severity, overlap.problem, "7..7" in overlap.detail) == (Severity.WARNING, Problem.OVERLAP, True)
    assert problems(check_stream(Stream(0, 20, [Range(3, 20)]))) == [(Severity.LOSS, Problem.GAP)]
    assert problems(check_stream(Stream(0, 20, [Range(0, 19)]))) == [(Severity.LOSS, Problem.BOUNDS)]
    assert problems(check_stream(Stream(0, 20, [Range(0, 21)]))) == [(Severity.WARNING, Problem.BOUNDS)]
    assert problems(check_stream(Stream(0, 20, []))) == [(Severity.LOSS, Problem.GAP)]
