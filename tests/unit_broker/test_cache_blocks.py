"""The block cache: a strict budget, and scans that leave shared blocks alone."""

import tracemalloc

from automq_broker.cache.blocks import BLOCK_OVERHEAD_BYTES, BlockCache
from automq_broker.kernel.ids import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 1000
COST = SIZE + BLOCK_OVERHEAD_BYTES
OBJECT = ObjectId(1)


def block(position: int) -> bytes:
    return position.to_bytes(4, "big") * (SIZE // 4)


def test_a_block_comes_back_as_it_was_put() -> None:
    cache = BlockCache(10 * COST)
    assert cache.put(OBJECT, [(0, block(7))], "a")
    assert cache.get(OBJECT, 0, "a") == block(7)
    assert cache.get(OBJECT, 1, "a") is None
    assert cache.get(ObjectId(2), 0, "a") is None
    assert (cache.statistics().hits, cache.statistics().misses) == (1, 2)


def test_a_block_larger_than_the_budget_is_not_kept_and_evicts_nothing() -> None:
    cache = BlockCache(2 * COST)
    cache.put(OBJECT, [(0, block(0))], "a")
    assert not cache.put(OBJECT, [(1, bytes(3 * COST))], "a")
    assert cache.has(OBJECT, 0)
    cache.check()


def test_a_scan_does_not_push_out_what_two_readers_share() -> None:
    cache = BlockCache(10 * COST)
    for position in range(5):
        cache.put(OBJECT, [(position, block(position))], "a")
    for position in range(5):
        assert cache.get(OBJECT, position, "b") is not None
    for position in range(1000):
        cache.put(ObjectId(2), [(position, block(position))], "scan")
        cache.get(ObjectId(2), position, "scan")
        cache.get(ObjectId(2), position, "scan")
        cache.check()
    assert all(cache.has(OBJECT, position) for position in range(5))


def test_a_backfill_leaves_the_young_blocks_of_other_readers_their_share() -> None:
    cache = BlockCache(10 * COST)
    for position in range(4):
        cache.put(OBJECT, [(position, block(position))], "slow")
    for position in range(1000):
        cache.put(ObjectId(2), [(position, block(position))], "fast")
        cache.check()
    assert all(cache.has(OBJECT, position) for position in range(4))


def test_a_reader_alone_uses_the_whole_cache_until_it_is_full() -> None:
    cache = BlockCache(10 * COST)
    for position in range(10):
        cache.put(OBJECT, [(position, block(position))], "a")
    assert all(cache.has(OBJECT, position) for position in range(10))
    cache.put(OBJECT, [(10, block(10))], "a")
    assert [position for position in range(11) if not cache.has(OBJECT, position)] == [0]


def test_the_readers_own_second_look_does_not_promote() -> None:
    cache = BlockCache(3 * COST)
    cache.put(OBJECT, [(0, block(0))], "a")
    assert cache.get(OBJECT, 0, "a") == cache.get(OBJECT, 0, "a")
    assert cache.statistics().old_bytes == 0


def test_what_a_reader_has_read_goes_before_what_was_fetched_early_for_it() -> None:
    cache = BlockCache(4 * COST)
    for position in range(4):
        cache.put(OBJECT, [(position, block(position))], "a")
    cache.get(OBJECT, 2, "a")
    cache.taken(OBJECT, 1, "a")  # it waited while the block was on its way
    for position in range(4, 6):
        cache.put(OBJECT, [(position, block(position))], "a")
    assert [position for position in range(6) if cache.has(OBJECT, position)] == [0, 3, 4, 5]
    cache.put(ObjectId(2), [(0, block(0))], "b")
    assert not cache.has(OBJECT, 0), "nothing is read: the oldest goes, of a reader that holds more than its share"


def test_blocks_of_one_read_share_their_memory_and_go_together_when_the_last_is_read() -> None:
    cache = BlockCache(5 * COST)
    cache.put(OBJECT, [(0, block(0)), (1, block(1))], "a")
    cache.put(OBJECT, [(2, block(2)), (3, block(3))], "a")
    for position in (0, 2, 3):
        cache.get(OBJECT, position, "a")
    cache.put(OBJECT, [(4, block(4)), (5, block(5))], "a")
    assert [position for position in range(6) if cache.has(OBJECT, position)] == [0, 1, 4, 5]
    cache.put(OBJECT, [(1, block(1))], "a")
    assert not cache.has(OBJECT, 0), "a run whose block is replaced goes as a whole"
    cache.check()


def test_bytes_on_their_way_have_their_room_before_they_come() -> None:
    cache = BlockCache(4 * COST)
    for position in range(4):
        cache.put(OBJECT, [(position, block(position))], "a")
    granted = cache.reserve(2 * COST, "a")
    assert (granted, cache.used_bytes) == (2 * COST, 4 * COST)
    assert [position for position in range(4) if cache.has(OBJECT, position)] == [2, 3]
    assert cache.reserve(9 * COST, "b") == 2 * COST, "never above the budget"
    assert not cache.put(OBJECT, [(9, block(9))], "a")
    cache.release(2 * COST)
    cache.release(granted)
    assert cache.put(OBJECT, [(9, block(9))], "a")
    cache.check()


def test_old_blocks_fall_back_when_they_hold_more_than_their_share() -> None:
    cache = BlockCache(8 * COST)
    for position in range(8):
        cache.put(OBJECT, [(position, block(position))])
        cache.get(OBJECT, position)
        cache.check()
    assert cache.statistics().old_bytes <= 4 * COST


def test_a_dropped_object_leaves_nothing_behind() -> None:
    cache = BlockCache(10 * COST)
    for position in range(4):
        cache.put(OBJECT, [(position, block(position))], "a")
        cache.put(ObjectId(2), [(position, block(position))], "a")
    cache.get(OBJECT, 0, "b")
    assert cache.drop_object(OBJECT) == 4
    assert cache.drop_object(OBJECT) == 0
    assert cache.used_bytes == 4 * COST
    assert cache.statistics().evictions == 0
    cache.check()


def test_a_replaced_block_is_counted_once() -> None:
    cache = BlockCache(10 * COST)
    cache.put(OBJECT, [(0, block(0))], "a")
    cache.put(OBJECT, [(0, bytes(10))], "b")
    assert cache.get(OBJECT, 0, "b") == bytes(10)
    assert cache.used_bytes == 10 + BLOCK_OVERHEAD_BYTES
    cache.check()


def test_a_third_reader_shrinks_the_share_of_everyone() -> None:
    cache = BlockCache(12 * COST)
    assert cache.fair_share_bytes == 6 * COST
    for reader in "abc":
        cache.put(OBJECT, [(ord(reader), block(0))], reader)
    assert cache.fair_share_bytes == 4 * COST
    cache.get(OBJECT, ord("a"), "b")
    assert cache.statistics().readers == 2, "a shared block belongs to nobody"
    assert cache.fair_share_bytes == (12 - 1) * COST // 2, "readers share what is not old"


def test_the_cost_counted_per_block_covers_what_the_interpreter_takes() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        cache = BlockCache(1 << 30)
        for i in range(20_000):
            cache.put(ObjectId(10**9 + i // 20), [(10**9 + i % 20, bytes(1000))], "a")
        taken = (tracemalloc.get_traced_memory()[0] - before) / 20_000 - 1000
    finally:
        tracemalloc.stop()
    assert 0.7 * BLOCK_OVERHEAD_BYTES <= taken <= BLOCK_OVERHEAD_BYTES


STEP = st.tuples(
    st.sampled_from(["get", "get", "put", "put", "drop"]),
    st.integers(0, 3),
    st.integers(0, 7),
    st.sampled_from([None, "a", "b", "c"]),
    st.integers(0, 4000),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=100), budget=st.integers(0, 12_000))
def test_whatever_is_found_is_what_was_put_last_and_the_budget_is_never_exceeded(
    steps: list[tuple[str, int, int, str | None, int]], budget: int
) -> None:
    cache = BlockCache(budget)
    put: dict[tuple[int, int], bytes] = {}
    for number, (what, object_id, position, reader, size) in enumerate(steps):
        if what == "get":
            found = cache.get(ObjectId(object_id), position, reader)
            assert found is None or found == put[object_id, position]
        elif what == "put":
            data = number.to_bytes(2, "big") + bytes(size)
            kept = cache.put(ObjectId(object_id), [(position, data)], reader)
            assert kept == (len(data) + BLOCK_OVERHEAD_BYTES <= budget)
            put[object_id, position] = data
        else:
            cache.drop_object(ObjectId(object_id))
            put = {key: data for key, data in put.items() if key[0] != object_id}
            assert not any(cache.has(ObjectId(object_id), p) for p in range(8))
        cache.check()
