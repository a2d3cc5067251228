"""Read-ahead windows: small for a look, large for a catch-up, over again after a jump."""

import pytest
from automq_broker.cache.readahead import ReadAhead
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import StreamId
from hypothesis import given, settings
from hypothesis import strategies as st

STREAM = StreamId(1)
PLENTY = 1 << 40
KIB = 1024
MIB = 1024 * KIB


def read_on(ahead: ReadAhead, reads: int, offset: int = 0) -> list[int]:
    """Read `reads` times without any prefetch, each time as far as the load went."""
    windows = []
    for _ in range(reads):
        size = ahead.missed(STREAM, "a", offset, PLENTY)
        windows.append(size)
        ahead.loaded(STREAM, "a", offset + 10, size)
        ahead.served(STREAM, "a", offset, offset + 10, size_bytes=size, spare_bytes=PLENTY)
        offset += 10
    return windows


def test_a_window_doubles_at_each_miss_of_a_reader_that_reads_on() -> None:
    assert read_on(ReadAhead(), 4) == [512 * KIB, 1 * MIB, 2 * MIB, 4 * MIB]


def test_a_reader_of_answers_larger_than_its_window_gets_two_answers_ahead_from_the_first_on() -> None:
    ahead = ReadAhead()
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 8 * MIB)
    assert ahead.served(STREAM, "a", 0, 10, size_bytes=8 * MIB, spare_bytes=PLENTY) == (10, 16 * MIB)
    ahead.loaded(STREAM, "a", 30, 16 * MIB)
    assert ahead.served(STREAM, "a", 10, 20, size_bytes=8 * MIB, spare_bytes=16 * MIB) == (30, 8 * MIB), "topped up"
    ahead.loaded(STREAM, "a", 40, 8 * MIB)
    assert ahead.served(STREAM, "a", 20, 30, size_bytes=8 * MIB, spare_bytes=10 * MIB) is None, (
        "more than three quarters are ahead"
    )
    assert ahead.served(STREAM, "a", 30, 40, size_bytes=8 * MIB, spare_bytes=6 * MIB) == (40, 6 * MIB)


def test_each_piece_fetched_early_makes_the_next_one_larger() -> None:
    ahead = ReadAhead()
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 512 * KIB)
    sizes = []
    for offset in range(0, 100, 10):
        early = ahead.served(STREAM, "a", offset, offset + 10, size_bytes=MIB, spare_bytes=16 * MIB)
        if early is not None:
            sizes.append(early.size_bytes // MIB)
            ahead.loaded(STREAM, "a", int(early.start_offset) + 10 * sizes[-1], early.size_bytes)
    assert sizes == [2, 3, 5, 9, 4], "the last tops up a window that is as large as it may be"


def test_nothing_more_is_asked_for_while_a_prefetch_is_being_planned() -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=1000)
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 100)
    assert ahead.served(STREAM, "a", 0, 6, size_bytes=60, spare_bytes=PLENTY) == (10, 100)
    assert ahead.served(STREAM, "a", 6, 7, size_bytes=10, spare_bytes=PLENTY) is None
    ahead.planned(STREAM, "a")  # nothing came of it
    assert ahead.served(STREAM, "a", 7, 8, size_bytes=10, spare_bytes=PLENTY) == (10, 100)


def test_a_window_stops_growing_at_its_maximum() -> None:
    assert read_on(ReadAhead(), 80)[-1] == 32 * MIB


def test_a_jump_starts_over() -> None:
    ahead = ReadAhead()
    read_on(ahead, 10)
    assert ahead.missed(STREAM, "a", 5, PLENTY) == 512 * KIB
    assert ahead.statistics().seeks == 1


def test_no_window_is_larger_than_what_the_cache_can_take_but_a_unit_is_always_read() -> None:
    ahead = ReadAhead()
    read_on(ahead, 10)
    assert ahead.missed(STREAM, "a", 100, MIB) == MIB
    assert ahead.missed(STREAM, "b", 100, 0) == 512 * KIB


def test_the_next_piece_is_fetched_early_when_a_quarter_of_the_window_is_used() -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=1000)
    assert ahead.missed(STREAM, "a", 0, PLENTY) == 100
    ahead.loaded(STREAM, "a", 10, 100)
    assert ahead.served(STREAM, "a", 0, 2, size_bytes=20, spare_bytes=PLENTY) is None
    assert ahead.served(STREAM, "a", 2, 3, size_bytes=10, spare_bytes=PLENTY) == (10, 100)
    ahead.loaded(STREAM, "a", 20, 100)
    assert ahead.served(STREAM, "a", 3, 4, size_bytes=10, spare_bytes=PLENTY) is None, "that piece is on its way"


def test_what_was_loaded_twice_counts_once() -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=1000)
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 100)
    ahead.loaded(STREAM, "a", 10, 100)
    assert ahead.served(STREAM, "a", 0, 6, size_bytes=51, spare_bytes=PLENTY) == (10, 100)
    assert (ahead.statistics().misses, ahead.statistics().prefetches) == (1, 1)


def test_more_than_three_quarters_of_a_window_are_enough_and_a_small_look_that_read_all_is_no_prefetch() -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=1000)
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 100)
    assert ahead.served(STREAM, "a", 0, 2, size_bytes=24, spare_bytes=PLENTY) is None
    assert ahead.served(STREAM, "a", 2, 10, size_bytes=76, spare_bytes=PLENTY) is None


def test_nothing_is_fetched_early_when_the_cache_has_no_room() -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=1000)
    ahead.missed(STREAM, "a", 0, PLENTY)
    ahead.loaded(STREAM, "a", 10, 100)
    assert ahead.served(STREAM, "a", 0, 9, size_bytes=90, spare_bytes=99) is None


def test_a_reader_of_the_tail_alone_never_causes_a_prefetch() -> None:
    ahead = ReadAhead()
    for offset in range(0, 100, 10):
        assert ahead.served(STREAM, "a", offset, offset + 10, size_bytes=MIB, spare_bytes=PLENTY) is None


def test_readers_are_bounded_and_the_longest_unused_is_forgotten() -> None:
    ahead = ReadAhead(readers_max=3)
    for reader in range(10):
        ahead.missed(STREAM, reader, 0, PLENTY)
        ahead.check()
    assert ahead.statistics().readers == 3
    ahead.forget(STREAM, 9)
    ahead.forget(STREAM, 0)
    assert ahead.statistics().readers == 2


def test_impossible_sizes_are_a_bug() -> None:
    with pytest.raises(Bug):
        ReadAhead(unit_bytes=10, window_bytes_max=5)


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["miss", "load", "serve"]), st.integers(0, 3), st.integers(0, 50), st.integers(0, 400)
        ),
        max_size=80,
    )
)
def test_windows_and_prefetches_stay_within_their_limits(steps: list[tuple[str, int, int, int]]) -> None:
    ahead = ReadAhead(unit_bytes=100, window_bytes_max=350, readers_max=2)
    for what, reader, offset, size in steps:
        if what == "miss":
            assert 100 <= ahead.missed(STREAM, reader, offset, size) <= 350
        elif what == "load":
            ahead.loaded(STREAM, reader, offset, size)
        else:
            early = ahead.served(STREAM, reader, offset, offset + 5, size_bytes=size, spare_bytes=size)
            assert early is None or (100 <= early.size_bytes <= 350 and early.start_offset >= offset + 5)
        ahead.check()
