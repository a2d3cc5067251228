"""Only one operator works: the Lease's holder."""

import asyncio

from automq_operator.act.lease import DURATION_S, Lease
from twins.kube_api import KubeTwin


def lease(api: KubeTwin, who: str) -> Lease:
    return Lease(api, "automq", who, lambda: api.now, lambda: api.now)


def take(one: Lease) -> bool:
    return asyncio.run(one.try_once())


def test_one_holds_it_and_the_other_waits_while_it_is_renewed() -> None:
    api = KubeTwin()
    first, second = lease(api, "a"), lease(api, "b")
    assert take(first)
    for _ in range(10):
        assert not take(second)
        api.now += DURATION_S - 1
        assert asyncio.run(first.renew())


def test_a_silent_holder_is_succeeded_and_notices() -> None:
    api = KubeTwin()
    first, second = lease(api, "a"), lease(api, "b")
    assert take(first)
    assert not take(second)
    api.now += DURATION_S + 1
    assert take(second)
    assert not asyncio.run(first.renew())


def test_a_fresh_candidate_waits_the_whole_time_whatever_the_record_says() -> None:
    """Clocks of two machines mean nothing to each other."""
    api = KubeTwin()
    assert take(lease(api, "a"))
    api.now += 1000
    assert not take(lease(api, "b"))


def test_a_holder_that_ends_in_order_is_succeeded_at_once() -> None:
    api = KubeTwin()
    first = lease(api, "a")
    assert take(first)
    asyncio.run(first.release())
    assert take(lease(api, "b"))


def test_of_two_that_take_it_at_once_one_wins() -> None:
    api = KubeTwin()
    assert take(lease(api, "old"))
    candidates = [lease(api, each) for each in "abc"]
    assert not any(map(take, candidates))
    api.now += DURATION_S + 1

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(each.try_once() for each in candidates))

    assert sum(asyncio.run(all_at_once())) == 1
