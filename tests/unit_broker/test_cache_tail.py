"""The tail cache against a list that forgets nothing, and its budget against what the interpreter really holds.

A block here is a header of BLOCK bytes and one batch behind a header of RECORD bytes, unless a test lays it out itself.
"""

import gc
import tracemalloc
from dataclasses import dataclass, field

import pytest
from automq_broker.cache.tail import Entry, TailCache
from automq_broker.cache.tail_blocks import BLOCK_BYTES
from automq_broker.cache.tail_stream import ENTRY_BYTES
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn, Offset, StreamId
from hypothesis import given, settings
from hypothesis import strategies as st

NO_LIMIT = 2**62
BLOCK, RECORD = 8, 4
COST = BLOCK + RECORD + 100 + BLOCK_BYTES + ENTRY_BYTES
"""One batch of 100 bytes in a block of its own."""


def new_cache(budget: int) -> TailCache:
    return TailCache(budget, record_header_bytes=RECORD, block_header_bytes=BLOCK)


def content(lsn: int, size: int) -> bytes:
    return bytes((lsn + i) % 251 for i in range(size))


def add(
    cache: TailCache, stream: int, base: int, lsn: int, *, size: int = 100, records: int = 1, has_bytes: bool = True
) -> Entry:
    """A durable batch whose record begins at `lsn`, with the block that holds it; what is expected to come back."""
    body = memoryview(content(lsn, size))
    if has_bytes:
        cache.hold(Lsn(lsn - BLOCK), memoryview(bytes(BLOCK + RECORD) + body))
    last = base + records - 1
    cache.append(StreamId(stream), Offset(base), Offset(last), Lsn(lsn), size, 1000 + lsn, records)
    return Entry(Offset(base), Offset(last), Lsn(lsn), size, 1000 + lsn, records, (body,))


def filled(budget: int, batches: int, *, size: int = 100, streams: int = 1) -> TailCache:
    cache = new_cache(budget)
    for i in range(batches):
        add(cache, i % streams, i // streams, BLOCK + i * (size + 20), size=size)
    return cache


def read(cache: TailCache, stream: int, offset: int, limit: int = NO_LIMIT, max_bytes: int = 1 << 20) -> list[Entry]:
    return cache.read(StreamId(stream), offset, limit, max_bytes, 1 << 30)


def offsets(entries: list[Entry]) -> list[int]:
    return [entry.base_offset for entry in entries]


def held(cache: TailCache, stream: int) -> list[int]:
    """Base offsets of the batches that have their bytes."""
    return [
        entry.base_offset for entry in read(cache, stream, cache.tail_start(StreamId(stream)) or 0) if entry.segments
    ]


def test_a_read_starts_with_the_batch_that_contains_the_offset() -> None:
    cache = new_cache(1 << 20)
    for i in range(10):
        add(cache, 1, i * 5, 8 + i * 200, records=5)
    assert offsets(read(cache, 1, 12, NO_LIMIT, 250)) == [10, 15]
    assert offsets(read(cache, 1, 14, NO_LIMIT, 250)) == [10, 15]
    assert offsets(read(cache, 1, 15, NO_LIMIT, 250)) == [15, 20]


def test_the_first_batch_comes_even_above_max_bytes() -> None:
    cache = filled(1 << 20, 5)
    assert offsets(read(cache, 0, 2, NO_LIMIT, 1)) == [2]
    assert offsets(read(cache, 0, 2, NO_LIMIT, 0)) == [2]


def test_max_bytes_and_max_batches_are_limits_that_may_be_reached() -> None:
    cache = filled(1 << 20, 5)
    assert offsets(read(cache, 0, 1, NO_LIMIT, 299)) == [1, 2]
    assert offsets(read(cache, 0, 1, NO_LIMIT, 300)) == [1, 2, 3]
    assert offsets(cache.read(StreamId(0), 1, NO_LIMIT, 1000, 2)) == [1, 2]


def test_a_read_stops_below_the_limit_offset() -> None:
    cache = new_cache(1 << 20)
    for i in range(4):
        add(cache, 1, i * 5, 8 + i * 200, records=5)
    assert offsets(read(cache, 1, 0, 10)) == [0, 5]
    assert offsets(read(cache, 1, 0, 9)) == [0]
    assert read(cache, 1, 7, 5) == []


def test_offsets_outside_the_tail_and_unknown_streams_give_nothing() -> None:
    cache = new_cache(1 << 20)
    add(cache, 1, 100, 8, records=10)
    assert read(cache, 1, 99) == []
    assert read(cache, 1, 110) == []
    assert read(cache, 2, 100) == []
    assert cache.tail_start(StreamId(1)) == 100
    assert cache.tail_start(StreamId(2)) is None


def test_a_batch_comes_back_byte_for_byte_also_where_it_goes_on_in_the_next_blocks() -> None:
    cache = new_cache(1 << 20)
    body = content(1, 70)
    first = bytes(BLOCK) + b"r" * RECORD + content(9, 10) + b"R" * RECORD + body[:14]
    second, third = bytes(BLOCK) + body[14:46], bytes(BLOCK) + body[46:] + bytes(5)
    for lsn, block in ((0, first), (40, second), (80, third)):
        cache.hold(Lsn(lsn), memoryview(block))
    cache.append(StreamId(1), Offset(0), Offset(0), Lsn(BLOCK), 10, 0, 1)
    cache.append(StreamId(2), Offset(0), Offset(0), Lsn(BLOCK + RECORD + 10), 70, 0, 1)
    assert b"".join(read(cache, 1, 0)[0].segments or ()) == content(9, 10)
    assert [len(piece) for piece in read(cache, 2, 0)[0].segments or ()] == [14, 32, 24]
    assert b"".join(read(cache, 2, 0)[0].segments or ()) == body


def test_an_uncommitted_batch_loses_its_bytes_but_stays_findable() -> None:
    cache = filled(10 * COST, 30)
    cache.check()
    found = read(cache, 0, 0)
    assert offsets(found) == list(range(30))
    assert found[0].segments is None
    assert found[0].lsn == BLOCK
    assert (found[0].size_bytes, found[0].max_timestamp, found[0].records_count) == (100, 1000 + BLOCK, 1)
    assert found[29].segments is not None
    assert cache.tail_start(StreamId(0)) == 0


def test_a_committed_batch_goes_as_a_whole_when_the_budget_wants_it() -> None:
    cache = new_cache(10 * COST)
    for i in range(5):
        add(cache, 0, i, BLOCK + i * 200)
    cache.mark_committed(StreamId(0), 5)
    assert cache.tail_start(StreamId(0)) == 0, "committing alone drops nothing that has bytes"
    for i in range(5, 12):
        add(cache, 0, i, BLOCK + i * 200)
    assert cache.tail_start(StreamId(0)) == 2
    assert held(cache, 0) == list(range(2, 12))
    cache.check()


def test_a_batch_without_bytes_goes_as_soon_as_it_is_committed() -> None:
    cache = filled(5 * COST, 20)
    before = cache.statistics().batches
    assert before == 20
    cache.mark_committed(StreamId(0), 10)
    assert cache.tail_start(StreamId(0)) == 10
    assert cache.statistics().batches == 10
    cache.check()


def test_committed_batches_of_a_group_of_blocks_go_each_with_its_own_block() -> None:
    cache = new_cache(3 * COST)
    for i in range(3):
        cache.hold(Lsn(i * 200), memoryview(bytes(BLOCK + RECORD + 100)))
    for i in range(3):  # acknowledged together, after all three blocks were written
        cache.append(StreamId(i), Offset(0), Offset(0), Lsn(i * 200 + BLOCK), 100, 0, 1)
        cache.mark_committed(StreamId(i), 1)
    add(cache, 9, 0, 1000)
    assert cache.tail_start(StreamId(0)) is None
    assert held(cache, 1) == held(cache, 2) == held(cache, 9) == [0]
    cache.check()


def test_the_oldest_block_goes_first_over_all_streams() -> None:
    cache = filled(10 * COST, 40, streams=4)
    for stream in range(4):
        has_bytes = [entry.segments is not None for entry in read(cache, stream, 0)]
        assert has_bytes == sorted(has_bytes)
    assert sorted(held(cache, 0) + held(cache, 1) + held(cache, 2) + held(cache, 3)) == [8, 8, 8, 8, 9, 9, 9, 9]


def test_an_entry_that_was_handed_out_never_changes() -> None:
    cache = new_cache(3 * COST)
    add(cache, 0, 0, BLOCK)
    kept = read(cache, 0, 0)[0]
    for i in range(1, 10):
        add(cache, 0, i, BLOCK + i * 200)
    assert kept.segments is not None
    assert bytes(kept.segments[0]) == content(BLOCK, 100)


def test_eviction_lets_go_of_the_views() -> None:
    slab = bytearray(4096)
    cache = new_cache(2 * COST)
    view = memoryview(slab)
    for i in range(8):
        cache.hold(Lsn(i * 200), view[i * 200 : i * 200 + 112])
        cache.append(StreamId(0), Offset(i), Offset(i), Lsn(i * 200 + BLOCK), 100, 0, 1)
    for i in range(4):  # other blocks push them out
        cache.hold(Lsn(4096 + i * 200), memoryview(bytes(112)))
    view.release()
    slab.append(0)  # raises BufferError while any view is alive


def test_padding_between_small_batches_counts_because_whole_blocks_are_held() -> None:
    cache = new_cache(1 << 20)
    for i in range(1000):
        cache.hold(Lsn(i * 4096), memoryview(bytes(4096)))
        cache.append(StreamId(0), Offset(i), Offset(i), Lsn(i * 4096 + BLOCK), 100, 0, 1)
    used = cache.statistics()
    assert used.block_bytes == used.blocks * 4096 <= 1 << 20
    assert used.blocks > 150
    cache.check()


def test_a_block_larger_than_the_budget_is_only_indexed() -> None:
    cache = new_cache(1000)
    add(cache, 0, 0, BLOCK, size=5000)
    assert read(cache, 0, 0)[0].segments is None
    assert cache.used_bytes == ENTRY_BYTES


def test_recovered_batches_are_indexed_without_bytes_and_those_that_follow_have_theirs() -> None:
    cache = new_cache(1 << 20)
    add(cache, 0, 0, BLOCK, has_bytes=False)
    add(cache, 0, 1, BLOCK + 200)
    assert offsets(read(cache, 0, 0)) == [0, 1]
    assert held(cache, 0) == [1]
    cache.check()


def test_blocks_out_of_order_are_a_bug() -> None:
    cache = filled(1 << 20, 3)
    with pytest.raises(Bug, match="follows"):
        cache.hold(Lsn(100), memoryview(bytes(64)))


def test_a_gap_in_a_stream_is_a_bug() -> None:
    cache = filled(1 << 20, 3)
    with pytest.raises(Bug, match="offset 4 follows 3"):
        add(cache, 0, 4, 4000)


def test_the_backlog_names_streams_by_their_oldest_batch() -> None:
    cache = new_cache(1 << 20)
    for i, stream in enumerate([7, 7, 3, 5, 3]):
        add(cache, stream, 0 if cache.tail_start(StreamId(stream)) is None else 1, BLOCK + i * 200)
    backlog = cache.uncommitted_streams()
    assert [b.stream_id for b in backlog] == [7, 3, 5]
    assert backlog[0] == (7, 0, 2, BLOCK, 200)
    cache.mark_committed(StreamId(7), 1)
    assert [(b.stream_id, b.start_offset) for b in cache.uncommitted_streams()] == [(7, 1), (3, 0), (5, 0)]
    cache.mark_committed(StreamId(7), 2)
    cache.mark_committed(StreamId(3), 1)
    assert [(b.stream_id, b.first_lsn) for b in cache.uncommitted_streams()] == [(5, BLOCK + 600), (3, BLOCK + 800)]
    add(cache, 7, 2, BLOCK + 1000)
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


def test_a_long_life_of_appends_commits_and_drops_stays_small_and_right() -> None:
    cache = new_cache(2_000 * COST)
    ends = [0, 0, 0]
    for i in range(12_000):
        stream = (i * i) % 3 if i % 7 else 2
        add(cache, stream, ends[stream], BLOCK + i * 200)
        ends[stream] += 1
        if i % 5 == 0 and stream != 2:
            cache.mark_committed(StreamId(stream), ends[stream])
            cache.drop_below(StreamId(stream), ends[stream] - 3)
        if i % 3000 == 2999:
            cache.forget(StreamId(0))
            cache.check()
    assert 0.9 * 2_000 * COST < cache.used_bytes <= 2_000 * COST
    newest = [e.lsn for s in range(3) for e in read(cache, s, ends[s] - 1, NO_LIMIT, 1)]
    assert all(lsn >= 200 * 11_900 for lsn in newest)
    cache.check()


def test_a_stream_that_was_forgotten_may_come_back_at_another_offset() -> None:
    cache = filled(1 << 20, 5)
    cache.forget(StreamId(0))
    assert cache.uncommitted_bytes == 0
    add(cache, 0, 70, 4000)
    assert offsets(read(cache, 0, 70)) == [70]
    cache.check()


def test_the_costs_counted_are_what_the_interpreter_takes() -> None:
    memory = memoryview(bytearray(1 << 20))

    def taken(blocks: int, batches: int) -> int:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        cache = new_cache(1 << 40)
        for i in range(blocks):
            cache.hold(Lsn(10**12 + i * 900), memory[i : i + 900])
            cache.append(StreamId(2), Offset(i), Offset(i), Lsn(10**12 + i * 900), 900, 10**12 + i, 1)
        for i in range(batches):
            base = 10**9 + i * 10
            cache.append(StreamId(1), Offset(base), Offset(base + 9), Lsn(10**12 + i * 900), 900, 10**12 + i, 1000)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        assert 0.8 * ENTRY_BYTES <= taken(0, 20_000) / 20_000 <= ENTRY_BYTES
        assert 0.8 * (BLOCK_BYTES + ENTRY_BYTES) <= taken(20_000, 0) / 20_000 <= BLOCK_BYTES + ENTRY_BYTES
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
    cache, naive = new_cache(budget), NaiveTail()
    ends = [0, 0, 0]
    lsn = 10**12
    for what, stream, size, percent in steps:
        known = naive.streams.setdefault(stream, [])
        if what == "append":
            new = add(cache, stream, ends[stream], lsn, size=size, records=1 + percent % 4)
            known.append(new)
            ends[stream] = new.last_offset + 1
            lsn += size + 37
        elif what == "commit" and known:
            end = known[percent * (len(known) - 1) // 100].last_offset + 1
            cache.mark_committed(StreamId(stream), end)
            naive.committed[stream] = max(end, naive.committed.get(stream, 0))
        elif what == "drop" and known:
            offset = ends[stream] * percent // 100
            cache.drop_below(StreamId(stream), offset)
            offset = min(offset, naive.committed.get(stream, 0))
            naive.streams[stream] = [e for e in known if e.last_offset >= offset]
        elif what == "forget":
            cache.forget(StreamId(stream))
            naive.streams[stream] = []
            naive.committed[stream] = ends[stream]
        elif what == "read":
            compare_read(cache, naive, stream, ends[stream] * percent // 100, size * 3)
        cache.check()
        used = cache.statistics()
        assert used.block_bytes <= budget
        for name in range(3):
            assert offsets(list(cache.uncommitted(StreamId(name)))) == naive.uncommitted(name)
    for stream in naive.streams:
        for offset in range(ends[stream] + 1):
            compare_read(cache, naive, stream, offset, 1500)


def compare_read(cache: TailCache, naive: NaiveTail, stream: int, offset: int, max_bytes: int) -> None:
    found = read(cache, stream, offset, NO_LIMIT, max_bytes)
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
