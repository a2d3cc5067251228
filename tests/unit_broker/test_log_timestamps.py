"""Lookups by time, against every record of a log in a row."""

from dataclasses import dataclass

from automq_broker.log.timestamps import (
    first_at_or_after,
    first_record_at_or_after,
    largest_timestamp,
    record_with_timestamp,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@dataclass
class Timed:
    offset: int
    timestamp: int


SUMMARIES = [(0, 9, 50), (10, 19, 80), (20, 29, 60), (30, 39, 80)]


def test_the_first_candidate_by_offset_wins_even_when_a_later_one_is_older() -> None:
    assert first_at_or_after(SUMMARIES, 0) == (0, 9, 50)
    assert first_at_or_after(SUMMARIES, 55) == (10, 19, 80)
    assert first_at_or_after(SUMMARIES, 80) == (10, 19, 80)
    assert first_at_or_after(SUMMARIES, 81) is None


def test_what_lies_below_the_logs_start_is_no_candidate() -> None:
    assert first_at_or_after(SUMMARIES, 0, log_start=10) == (10, 19, 80)
    assert first_at_or_after(SUMMARIES, 0, log_start=19) == (10, 19, 80)
    assert first_at_or_after(SUMMARIES, 0, log_start=40) is None


def test_the_largest_timestamp_is_the_first_of_equals() -> None:
    assert largest_timestamp(SUMMARIES) == (10, 19, 80)
    assert largest_timestamp(SUMMARIES, log_start=20) == (30, 39, 80)
    assert largest_timestamp(SUMMARIES, log_start=19) == (10, 19, 80)
    assert largest_timestamp([(0, 5, 0)]) == (0, 5, 0)
    assert largest_timestamp([]) is None
    assert largest_timestamp([(0, 5, -1)]) is None


def test_the_record_of_a_batch_is_found_by_its_time() -> None:
    records = [Timed(10, 5), Timed(11, 9), Timed(12, 7), Timed(13, 9)]
    assert first_record_at_or_after(records, 6) == (9, 11)
    assert first_record_at_or_after(records, 6, log_start=12) == (7, 12)
    assert first_record_at_or_after(records, 10) is None
    assert record_with_timestamp(records, 9) == (9, 11)
    assert record_with_timestamp(records, 9, log_start=11) == (9, 11)
    assert record_with_timestamp(records, 9, log_start=12) == (9, 13)


def test_a_header_that_lies_about_its_max_timestamp_gives_the_largest_there_is() -> None:
    records = [Timed(10, 5), Timed(11, 9), Timed(12, 7)]
    assert record_with_timestamp(records, 1000) == (9, 11)
    assert record_with_timestamp([*records, Timed(13, 9)], 1000) == (9, 11)
    assert record_with_timestamp([], 1000) is None


@settings(max_examples=200, deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=4), max_size=8),
    timestamp=st.integers(0, 21),
    log_start=st.integers(0, 20),
)
def test_stepping_from_summary_to_record_finds_what_a_full_scan_finds(
    batches: list[list[int]], timestamp: int, log_start: int
) -> None:
    rows: list[list[Timed]] = []
    offset = 0
    for times in batches:
        rows.append([Timed(offset + i, time) for i, time in enumerate(times)])
        offset += len(times)
    summaries = [(row[0].offset, row[-1].offset, max(r.timestamp for r in row)) for row in rows]
    found, position = None, log_start
    while found is None:
        candidate = first_at_or_after([s for s in summaries if s[1] >= position], timestamp, log_start)
        if candidate is None:
            break
        row = next(row for row in rows if row[0].offset == candidate[0])
        found = first_record_at_or_after(row, timestamp, log_start)
        position = candidate[1] + 1
    wanted = [r for row in rows for r in row if r.timestamp >= timestamp and r.offset >= log_start]
    assert found == ((wanted[0].timestamp, wanted[0].offset) if wanted else None)
