"""lake/retention.py: Kafka's rules on whole committed ranges, and never a record too many."""

from dataclasses import dataclass

import pytest
from automq_broker.lake.retention import OFF, start_after_retention
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Range:
    start: int
    end: int
    length: int
    max_timestamp: int


@dataclass(frozen=True)
class Stream:
    start_offset: int
    committed_end: int
    ranges: list
    stream_id: int = 1


def stream(*rows, start=0):
    ranges, offset = [], 0
    for length, timestamp in rows:
        ranges.append(Range(offset, offset + 10, length, timestamp))
        offset += 10
    return Stream(start, offset, ranges)


def new_start(view, *, retention_ms=OFF, retention_bytes=OFF, now_ms=1000, created_ms=0, uncommitted=0):
    return start_after_retention(
        view,
        retention_ms=retention_ms,
        retention_bytes=retention_bytes,
        now_ms=now_ms,
        created_ms=lambda piece: created_ms,
        uncommitted_bytes=uncommitted,
    )


ROWS = [(100, 100), (100, 200), (100, 900)]


@pytest.mark.parametrize(
    ("retention_ms", "expected"), [(OFF, 0), (900, 0), (899, 10), (800, 10), (799, 20), (99, 30), (0, 30)]
)
def test_a_range_goes_when_its_newest_record_is_older_than_the_limit(retention_ms, expected):
    assert new_start(stream(*ROWS), retention_ms=retention_ms) == expected


@pytest.mark.parametrize(
    ("retention_bytes", "expected"), [(OFF, 0), (1000, 0), (300, 0), (201, 0), (200, 10), (100, 20), (99, 20), (0, 30)]
)
def test_ranges_go_while_at_least_the_limit_remains(retention_bytes, expected):
    assert new_start(stream(*ROWS), retention_bytes=retention_bytes) == expected


def test_a_future_timestamp_keeps_its_range_and_all_behind_it():
    assert new_start(stream((1, 100), (1, 10**15), (1, 100)), retention_ms=10) == 10


def test_records_without_a_timestamp_are_dated_by_their_object():
    assert new_start(stream((1, -1)), retention_ms=10, created_ms=995) == 0
    assert new_start(stream((1, -1)), retention_ms=10, created_ms=900) == 10


def test_bytes_that_are_not_committed_yet_push_older_ranges_out_and_are_never_cut():
    assert new_start(stream(*ROWS), retention_bytes=300, uncommitted=100) == 10
    assert new_start(stream(*ROWS), retention_bytes=0, uncommitted=10**9) == 30


def test_a_start_inside_a_range_never_goes_back():
    assert new_start(stream(*ROWS, start=5), retention_ms=OFF) == 5
    assert new_start(stream(*ROWS, start=15), retention_ms=899) == 15


def test_a_stream_without_ranges_keeps_its_start():
    assert new_start(Stream(7, 7, []), retention_ms=0, retention_bytes=0) == 7


rows = st.lists(st.tuples(st.integers(0, 500), st.integers(-1, 1500)), max_size=12)


@settings(max_examples=150, deadline=None)
@given(rows, st.integers(-1, 1200), st.integers(-1, 3000), st.integers(0, 300))
def test_what_goes_is_due_and_what_is_newer_or_uncommitted_stays(rows, retention_ms, retention_bytes, uncommitted):
    view = stream(*rows)
    start = new_start(
        view, retention_ms=retention_ms, retention_bytes=retention_bytes, created_ms=500, uncommitted=uncommitted
    )
    assert view.start_offset <= start <= view.committed_end
    assert start in {view.start_offset, *(one.end for one in view.ranges)}
    gone = [one for one in view.ranges if one.end <= start]
    left = sum(one.length for one in view.ranges if one.end > start) + uncommitted
    by_time = retention_ms != OFF and all(1000 - (t if t >= 0 else 500) > retention_ms for _, t in rows[: len(gone)])
    by_size = retention_bytes != OFF and left >= retention_bytes
    assert not gone or by_time or by_size
