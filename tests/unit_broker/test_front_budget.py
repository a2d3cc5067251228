"""Memory of requests: never above the limit, first come first served, nothing lost."""

import asyncio

import pytest
from automq_broker.front.budget import SMALL_MAX, Budget, Pool
from hypothesis import given, settings
from hypothesis import strategies as st


class Waiting:
    """Notes when its turn came."""

    def __init__(self, order: list["Waiting"]) -> None:
        self._order = order

    def granted(self) -> None:
        self._order.append(self)


def test_a_pool_gives_until_its_limit_and_queues_the_rest() -> None:
    async def scenario() -> None:
        order: list[Waiting] = []
        pool, first, second = Pool(100), Waiting(order), Waiting(order)
        assert pool.reserve(60, first)
        assert not pool.reserve(60, first)
        assert not pool.reserve(10, second)
        assert (pool.used, pool.waiting, pool.available) == (60, 2, 0)
        pool.release(60)
        assert order == []
        await asyncio.sleep(0)
        assert order == [first, second]
        assert pool.used == 70

    asyncio.run(scenario())


def test_nobody_overtakes_a_large_request_that_waits() -> None:
    async def scenario() -> None:
        order: list[Waiting] = []
        pool, large, small = Pool(100), Waiting(order), Waiting(order)
        assert pool.reserve(50, small)
        assert not pool.reserve(70, large)
        assert not pool.reserve(1, small)
        assert pool.forget(large)
        await asyncio.sleep(0)
        assert order == [small]
        assert not pool.forget(large)

    asyncio.run(scenario())


def test_a_request_larger_than_the_pool_passes_beside_small_ones_and_alone_of_its_kind() -> None:
    async def scenario() -> None:
        order: list[Waiting] = []
        pool, one, two = Pool(100), Waiting(order), Waiting(order)
        assert pool.reserve(20, one)
        assert pool.reserve(5000, one)
        assert not pool.reserve(5000, two)
        pool.release(5000)
        await asyncio.sleep(0)
        assert order == [two]
        pool.release(5000)
        pool.release(20)
        assert pool.used == 0

    asyncio.run(scenario())


def test_small_and_large_requests_do_not_hold_each_other_up() -> None:
    budget, order = Budget(16 * SMALL_MAX), []
    assert budget.pool(10 * SMALL_MAX).reserve(10 * SMALL_MAX, Waiting(order))
    assert not budget.pool(10 * SMALL_MAX).reserve(10 * SMALL_MAX, Waiting(order))
    assert budget.pool(100).reserve(100, Waiting(order))
    assert budget.waiting == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(10, 200), st.randoms(use_true_random=False))
def test_whatever_comes_and_goes_the_pool_ends_empty_and_everybody_had_a_turn(sizes, limit, random) -> None:
    async def scenario() -> None:
        pool, order = Pool(limit), []
        waiting = {}
        held = []
        for size in sizes:
            one = Waiting(order)
            if pool.reserve(size, one):
                held.append(size)
            else:
                waiting[one] = size
            if held and random.random() < 0.5:
                pool.release(held.pop(random.randrange(len(held))))
                await asyncio.sleep(0)
            held += [waiting.pop(one) for one in order if one in waiting]
            assert pool.used <= limit
        while held:
            pool.release(held.pop())
            await asyncio.sleep(0)
            held += [waiting.pop(one) for one in order if one in waiting]
        assert not waiting
        assert pool.used == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("size", [1, SMALL_MAX])
def test_up_to_the_slab_is_small(size: int) -> None:
    budget = Budget(1 << 20)
    assert budget.pool(size) is budget.small
    assert budget.pool(SMALL_MAX + 1) is budget.large
