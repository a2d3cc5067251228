"""The tail cache against a list that forgets nothing, and its budget against what the interpreter really holds."""

import gc
import tracemalloc
from dataclasses import dataclass, field

import pytest
from automq_broker.cache.tail import HOT_ENTRY_BYTES, Entry, TailCache
from automq_broker.cache.tail_index import COLD_ENTRY_BYTES
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn, Offset, StreamId
from hypothesis import given, settings
from hypothesis import strategies as st

SLAB = memoryview(bytes(range(256)) * 64)
NO_LIMIT = 2**62


def entry(base: int, lsn: int, *, size: int = 100, records: int = 1, has_bytes: bool = True) -> Entry:
    start = lsn % 997
    segments = (SLAB[start : start + size],) if has_bytes else None
    return Entry(Offset(base), Offset(base + records - 1), Lsn(lsn), size, 1000 + lsn, records, segments)


def filled(budget: int, batches: int, *, size: int = 100, streams: int = 1) -> TailCache:
    cache = TailCache(budget)
    for i in range(batches):
        cache.append(StreamId(i % streams), entry(i // streams, i * size, size=size))
    return cache


def offsets(entries: list[Entry]) -> list[int]:
    return [entry.base_offset for entry in entries]


def test_a_read_starts_with_the_batch_that_contains_the_offset() -> None:
    cache = TailCache(1 << 20)
    for i in range(10):
        cache.append(StreamId(1), entry(i * 5, i * 100, records=5))
    assert offsets(cache.read(StreamId(1), 12, NO_LIMIT, 250)) == [10, 15]
    assert offsets(cache.read(StreamId(1), 14, NO_LIMIT, 250)) == [10, 15]
    assert offsets(cache.read(StreamId(1), 15, NO_LIMIT, 250)) == [15, 20]


def test_the_first_batch_comes_even_above_max_bytes() -> None:
    cache = filled(1 << 20, 5)
    assert offsets(cache.read(StreamId(0), 2, NO_LIMIT, 1)) == [2]
    assert offsets(cache.read(StreamId(0), 2, NO_LIMIT, 0)) == [2]


def test_max_bytes_is_a_limit_that_may_be_reached() -> None:
    cache = filled(1 << 20, 5)
    assert offsets(cache.read(StreamId(0), 1, NO_LIMIT, 299)) == [1, 2]
    assert offsets(cache.read(StreamId(0), 1, NO_LIMIT, 300)) == [1, 2, 3]


def test_a_read_stops_below_the_limit_offset() -> None:
    cache = TailCache(1 << 20)
    for i in range(4):
        cache.append(StreamId(1), entry(i * 5, i * 100, records=5))
    assert offsets(cache.read(StreamId(1), 0, 10, 10_000)) == [0, 5]
    assert offsets(cache.read(StreamId(1), 0, 9, 10_000)) == [0]
    assert cache.read(StreamId(1), 7, 5, 10_000) == []


def test_offsets_outside_the_tail_and_unknown_streams_give_nothing() -> None:
    cache = TailCache(1 << 20)
    cache.append(StreamId(1), entry(100, 0, records=10))
    assert cache.read(StreamId(1), 99, NO_LIMIT, 1000) == []
    assert cache.read(StreamId(1), 110, NO_LIMIT, 1000) == []
    assert cache.read(StreamId(2), 100, NO_LIMIT, 1000) == []
    assert cache.tail_start(StreamId(1)) == 100
    assert cache.tail_start(StreamId(2)) is None


def test_an_uncommitted_batch_loses_its_bytes_but_stays_findable() -> None:
    cache = filled(10 * (100 + HOT_ENTRY_BYTES), 30)
    cache.check()
    found = cache.read(StreamId(0), 0, NO_LIMIT, 1 << 20)
    assert offsets(found) == list(range(30))
    assert found[0].segments is None
    assert found[0].lsn == 0
    assert (found[0].size_bytes, found[0].max_timestamp, found[0].records_count) == (100, 1000, 1)
    assert found[29].segments is not None
    assert cache.tail_start(StreamId(0)) == 0


def test_a_committed_batch_goes_as_a_whole_when_the_budget_wants_it() -> None:
    cache = TailCache(10 * (100 + HOT_ENTRY_BYTES))
    for i in range(5):
        cache.append(StreamId(0), entry(i, i * 100))
    cache.mark_committed(StreamId(0), 5)
    assert cache.tail_start(StreamId(0)) == 0, "committing alone drops nothing that has bytes"
    for i in range(5, 12):
        cache.append(StreamId(0), entry(i, i * 100))
    assert cache.tail_start(StreamId(0)) == 2
    assert cache.statistics().cold_entries == 0
    cache.check()


def test_an_index_entry_without_bytes_goes_as_soon_as_it_is_committed() -> None:
    cache = filled(5 * (100 + HOT_ENTRY_BYTES), 20)
    cold = cache.statistics().cold_entries
    assert cold > 10
    cache.mark_committed(StreamId(0), 10)
    assert cache.tail_start(StreamId(0)) == 10
    assert cache.statistics().cold_entries == cold - 10
    cache.check()


def test_the_oldest_batch_goes_first_over_all_streams() -> None:
    cache = filled(10 * (100 + HOT_ENTRY_BYTES), 40, streams=4)
    for stream in range(4):
        found = cache.read(StreamId(stream), 0, NO_LIMIT, 1 << 20)
        assert [e.segments is not None for e in found] == sorted(e.segments is not None for e in found)
    hot = [e.lsn for s in range(4) for e in cache.read(StreamId(s), 0, NO_LIMIT, 1 << 20) if e.segments is not None]
    assert min(hot) == 4000 - 100 * len(hot)


def test_an_entry_that_was_handed_out_never_changes() -> None:
    cache = TailCache(3 * (100 + HOT_ENTRY_BYTES))
    cache.append(StreamId(0), entry(0, 0))
    held = cache.read(StreamId(0), 0, NO_LIMIT, 1000)[0]
    for i in range(1, 10):
        cache.append(StreamId(0), entry(i, i * 100))
    assert held.segments is not None
    assert bytes(held.segments[0]) == bytes(SLAB[:100])


def test_eviction_lets_go_of_the_views() -> None:
    slab = bytearray(4096)
    cache = TailCache(2 * (100 + HOT_ENTRY_BYTES))
    view = memoryview(slab)
    for i in range(8):
        cache.append(
            StreamId(0), Entry(Offset(i), Offset(i), Lsn(i * 100), 100, 0, 1, (view[i * 100 : i * 100 + 100],))
        )
    cache.forget(StreamId(0))
    view.release()
    slab.append(0)  # raises BufferError while any view is alive


def test_padding_between_small_batches_counts_because_views_pin_whole_blocks() -> None:
    cache = TailCache(1 << 20)
    for i in range(1000):
        cache.append(StreamId(0), entry(i, i * 4096))
    used = cache.statistics()
    assert used.hot_entries * 4096 <= 1 << 20
    assert used.segment_bytes == used.hot_entries * 100
    cache.check()


def test_a_batch_larger_than_the_budget_is_only_indexed() -> None:
    cache = TailCache(1000)
    cache.append(StreamId(0), entry(0, 0, size=5000))
    assert cache.read(StreamId(0), 0, NO_LIMIT, 1)[0].segments is None
    assert cache.used_bytes == COLD_ENTRY_BYTES


def test_recovered_batches_enter_without_bytes_and_may_not_follow_ones_with_bytes() -> None:
    cache = TailCache(1 << 20)
    cache.append(StreamId(0), entry(0, 0, has_bytes=False))
    cache.append(StreamId(0), entry(1, 100))
    assert offsets(cache.read(StreamId(0), 0, NO_LIMIT, 1 << 20)) == [0, 1]
    cache.check()
    with pytest.raises(Bug, match="without bytes follows"):
        cache.append(StreamId(0), entry(2, 200, has_bytes=False))


def test_a_gap_in_a_stream_is_a_bug() -> None:
    cache = filled(1 << 20, 3)
    with pytest.raises(Bug, match="offset 4 follows 3"):
        cache.append(StreamId(0), entry(4, 400))


def test_the_backlog_names_streams_by_their_oldest_batch() -> None:
    cache = TailCache(1 << 20)
    for i, stream in enumerate([7, 7, 3, 5, 3]):
        base = [e for e in (cache.tail_start(StreamId(stream)),) if e is not None]
        cache.append(StreamId(stream), entry(0 if not base else 1, i * 100))
    backlog = cache.uncommitted_streams()
    assert [b.stream_id for b in backlog] == [7, 3, 5]
    assert backlog[0] == (7, 0, 2, 0, 200)
    cache.mark_committed(StreamId(7), 1)
    assert [(b.stream_id, b.start_offset) for b in cache.uncommitted_streams()] == [(7, 1), (3, 0), (5, 0)]
    cache.mark_committed(StreamId(7), 2)
    cache.mark_committed(StreamId(3), 1)
    assert [(b.stream_id, b.first_lsn) for b in cache.uncommitted_streams()] == [(5, 300), (3, 400)]
    cache.append(StreamId(7), entry(2, 500))
    assert [b.stream_id for b in cache.uncommitted_streams()] == [5, 3, 7]
    assert cache.uncommitted_bytes == 300
    assert offsets(list(cache.uncommitted(StreamId(3)))) == [1]
    assert offsets(list(cache.uncommitted(StreamId(5), 1))) == [0]
    assert offsets(list(cache.uncommitted(StreamId(5), 0))) == []
    assert list(cache.uncommitted(StreamId(99))) == []


def test_what_is_not_committed_is_not_dropped_when_the_start_moves_above_it() -> None:
    cache = filled(1 << 20, 5)
    cache.mark_committed(StreamId(0), 2)
    cache.drop_below(StreamId(0), 4)
    assert cache.tail_start(StreamId(0)) == 2
    assert offsets(list(cache.uncommitted(StreamId(0)))) == [2, 3, 4]
    cache.mark_committed(StreamId(0), 5)
    cache.drop_below(StreamId(0), 4)
    assert cache.tail_start(StreamId(0)) == 4
    cache.drop_below(StreamId(9), 4)
    cache.mark_committed(StreamId(9), 4)
    cache.forget(StreamId(9))


def test_a_commit_beyond_the_tail_is_a_bug() -> None:
    with pytest.raises(Bug, match="committed up to 6"):
        filled(1 << 20, 5).mark_committed(StreamId(0), 6)


def test_dropping_the_oldest_batches_gives_their_buffers_back_at_once() -> None:
    cache = TailCache(1 << 30)
    for i in range(10):
        cache.append(StreamId(i % 2), entry(i // 2, 10**12 + i * 4096))
    assert cache.used_bytes == 9 * 4096 + 100 + 10 * HOT_ENTRY_BYTES
    cache.forget(StreamId(0))
    assert cache.used_bytes == 8 * 4096 + 100 + 5 * HOT_ENTRY_BYTES
    cache.mark_committed(StreamId(1), 3)
    cache.drop_below(StreamId(1), 3)
    assert cache.used_bytes == 2 * 4096 + 100 + 2 * HOT_ENTRY_BYTES
    cache.forget(StreamId(1))
    assert cache.used_bytes == 0


def test_a_long_life_of_appends_commits_and_drops_keeps_its_order_small_and_right() -> None:
    cache = TailCache(2_000 * (100 + HOT_ENTRY_BYTES))
    ends = [0, 0, 0]
    for i in range(12_000):
        stream = (i * i) % 3 if i % 7 else 2
        cache.append(StreamId(stream), entry(ends[stream], i * 100))
        ends[stream] += 1
        if i % 5 == 0 and stream != 2:
            cache.mark_committed(StreamId(stream), ends[stream])
            cache.drop_below(StreamId(stream), ends[stream] - 3)
        if i % 3000 == 2999:
            cache.forget(StreamId(0))
            cache.check()
    assert len(cache._order) < 5_000
    hot = [e.lsn for s in range(3) for e in cache.read(StreamId(s), ends[s] - 1, NO_LIMIT, 1)]
    assert all(lsn >= 1_190_000 for lsn in hot)
    cache.check()


def test_dropping_and_forgetting_do_not_leave_a_growing_order_behind() -> None:
    cache = TailCache(1 << 30)
    for i in range(40_000):
        cache.append(StreamId(0), entry(i, i * 100))
        cache.mark_committed(StreamId(0), i + 1)
        cache.drop_below(StreamId(0), i)
    assert len(cache._order) < 2_500
    cache.check()
    cache.forget(StreamId(0))
    cache.append(StreamId(0), entry(7, 10_000_000))
    assert offsets(cache.read(StreamId(0), 7, NO_LIMIT, 1)) == [7]
    cache.check()


def test_the_cost_counted_per_entry_is_what_the_interpreter_takes() -> None:
    view = memoryview(bytearray(1 << 20))

    def taken(budget: int) -> float:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        cache = TailCache(budget)
        for i in range(20_000):
            base = 10**9 + i * 10
            cache.append(
                StreamId(1),
                Entry(
                    Offset(base), Offset(base + 9), Lsn(10**12 + i * 900), 900, 10**12 + i, 1000, (view[i : i + 900],)
                ),
            )
        assert cache.statistics().hot_entries == (20_000 if budget else 0)
        return (tracemalloc.get_traced_memory()[0] - before) / 20_000

    tracemalloc.start()
    try:
        assert 0.8 * HOT_ENTRY_BYTES <= taken(1 << 40) <= HOT_ENTRY_BYTES
        assert 0.8 * COLD_ENTRY_BYTES <= taken(0) <= COLD_ENTRY_BYTES
    finally:
        tracemalloc.stop()


@dataclass
class NaiveTail:
    """Everything that was ever appended and not dropped, per stream, with nothing evicted."""

    streams: dict[int, list[Entry]] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)

    def uncommitted(self, stream: int) -> list[int]:
        end = self.committed.get(stream, 0)
        return [e.base_offset for e in self.streams.get(stream, []) if e.last_offset >= end]


WHAT = ["append"] * 8 + ["commit", "drop", "forget", "read", "read"]
STEP = st.tuples(st.sampled_from(WHAT), st.integers(0, 2), st.integers(1, 900), st.integers(0, 100))
"""What, on which stream, how many bytes, and where: percent of the stream's batches or offsets."""


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, min_size=10, max_size=100), budget=st.sampled_from([0, 3_000, 8_000, 1 << 20]))
def test_the_tail_cache_does_what_a_list_would_do_within_its_budget(
    steps: list[tuple[str, int, int, int]], budget: int
) -> None:
    cache, naive = TailCache(budget), NaiveTail()
    ends = [0, 0, 0]
    lsn = 10**12
    for what, stream, size, percent in steps:
        held = naive.streams.setdefault(stream, [])
        if what == "append":
            new = entry(ends[stream], lsn, size=size, records=1 + percent % 4)
            cache.append(StreamId(stream), new)
            held.append(new)
            ends[stream] = new.last_offset + 1
            lsn += size + 37
        elif what == "commit" and held:
            end = held[percent * (len(held) - 1) // 100].last_offset + 1
            cache.mark_committed(StreamId(stream), end)
            naive.committed[stream] = max(end, naive.committed.get(stream, 0))
        elif what == "drop" and held:
            offset = ends[stream] * percent // 100
            cache.drop_below(StreamId(stream), offset)
            offset = min(offset, naive.committed.get(stream, 0))
            naive.streams[stream] = [e for e in held if e.last_offset >= offset]
        elif what == "forget":
            cache.forget(StreamId(stream))
            naive.streams[stream] = []
            naive.committed[stream] = ends[stream]
        elif what == "read":
            compare_read(cache, naive, stream, ends[stream] * percent // 100, size * 3)
        cache.check()
        used = cache.statistics()
        assert used.used_bytes - used.cold_entries * COLD_ENTRY_BYTES <= budget
        for name in range(3):
            assert offsets(list(cache.uncommitted(StreamId(name)))) == naive.uncommitted(name)
    for stream in naive.streams:
        for offset in range(ends[stream] + 1):
            compare_read(cache, naive, stream, offset, 1500)


def compare_read(cache: TailCache, naive: NaiveTail, stream: int, offset: int, max_bytes: int) -> None:
    found = cache.read(StreamId(stream), offset, NO_LIMIT, max_bytes)
    start = cache.tail_start(StreamId(stream))
    wanted = [e for e in naive.streams[stream] if e.last_offset >= offset]
    if not wanted or start is None or offset < start:
        assert found == []
        return
    total, count = 0, 0
    for e in wanted:
        total += e.size_bytes
        if total > max_bytes and count:
            break
        count += 1
    assert offsets(found) == offsets(wanted[:count])
    for got, original in zip(found, wanted, strict=False):
        assert (got.lsn, got.size_bytes, got.last_offset) == (original.lsn, original.size_bytes, original.last_offset)
        assert got.segments is None or got.segments == original.segments
    all_from = [(e.base_offset, e.last_offset, e.max_timestamp) for e in wanted]
    assert list(cache.summaries(StreamId(stream), offset)) == all_from
