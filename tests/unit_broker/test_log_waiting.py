"""Waiting fetches: woken once, by bytes or by time, and never lost."""

from dataclasses import dataclass

import pytest
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import StreamId
from automq_broker.log.waiting import Waiters
from hypothesis import given, settings
from hypothesis import strategies as st

ONE, TWO = StreamId(1), StreamId(2)


def test_a_fetch_is_woken_when_its_streams_together_bring_enough_bytes() -> None:
    waiters: Waiters[str] = Waiters()
    waiters.register({ONE: 10, TWO: 0}, 100, 5.0, "a")
    assert waiters.appended(ONE, 12, 60) == []
    assert waiters.appended(TWO, 3, 39) == []
    assert waiters.appended(TWO, 4, 1) == ["a"]
    assert waiters.appended(TWO, 5, 1000) == []
    assert len(waiters) == 0
    waiters.check()


def test_bytes_below_the_fetch_offset_do_not_count() -> None:
    waiters: Waiters[str] = Waiters()
    waiters.register({ONE: 10}, 1, 5.0, "a")
    assert waiters.appended(ONE, 9, 500) == []
    assert waiters.appended(ONE, 10, 1) == ["a"]


def test_streams_that_nobody_waits_for_cost_nothing() -> None:
    waiters: Waiters[str] = Waiters()
    waiters.register({ONE: 0}, 1, 5.0, "a")
    assert waiters.appended(TWO, 9, 500) == []


def test_several_fetches_wake_in_order_of_arrival() -> None:
    waiters: Waiters[str] = Waiters()
    for name, wanted in (("a", 10), ("b", 100), ("c", 10)):
        waiters.register({ONE: 0}, wanted, 5.0, name)
    assert waiters.appended(ONE, 0, 10) == ["a", "c"]
    assert waiters.appended(ONE, 1, 90) == ["b"]


def test_a_deadline_wakes_the_earliest_first_and_only_once() -> None:
    waiters: Waiters[str] = Waiters()
    waiters.register({ONE: 0}, 10, 7.0, "late")
    waiters.register({ONE: 0}, 10, 5.0, "early")
    waiters.register({ONE: 0}, 10, 9.0, "last")
    assert waiters.next_deadline() == 5.0
    assert waiters.expire(4.9) == []
    assert waiters.expire(7.0) == ["early", "late"]
    assert waiters.next_deadline() == 9.0
    assert waiters.appended(ONE, 0, 10) == ["last"]
    assert waiters.next_deadline() is None
    assert waiters.expire(100.0) == []
    assert (waiters.statistics().woken_by_bytes, waiters.statistics().woken_by_deadline) == (1, 2)


def test_a_disturbed_stream_wakes_everyone_who_waits_for_it() -> None:
    waiters: Waiters[str] = Waiters()
    waiters.register({ONE: 0, TWO: 0}, 10, 7.0, "a")
    waiters.register({TWO: 0}, 10, 5.0, "b")
    assert waiters.disturbed(ONE) == ["a"]
    assert waiters.disturbed(ONE) == []
    assert waiters.disturbed(TWO) == ["b"]


def test_a_cancelled_fetch_is_never_woken() -> None:
    waiters: Waiters[str] = Waiters()
    number = waiters.register({ONE: 0}, 10, 7.0, "a")
    waiters.cancel(number)
    waiters.cancel(number)
    assert waiters.appended(ONE, 0, 10) == []
    assert waiters.expire(100.0) == []


def test_a_fetch_that_has_enough_must_not_wait() -> None:
    with pytest.raises(Bug):
        Waiters[str]().register({ONE: 0}, 0, 1.0, "a")


def test_deadlines_of_fetches_that_were_woken_do_not_pile_up() -> None:
    waiters: Waiters[int] = Waiters()
    for number in range(5000):
        waiters.register({ONE: number}, 1, 1e9, number)
        assert waiters.appended(ONE, number, 1) == [number]
        assert len(waiters._deadlines) < 200
    waiters.check()


@dataclass
class NaiveWaiter:
    interest: dict[int, int]
    missing: int
    deadline: float


STEP = st.one_of(
    st.tuples(
        st.just("register"),
        st.dictionaries(st.integers(0, 2), st.integers(0, 10), min_size=1),
        st.integers(1, 30),
        st.integers(0, 30),
    ),
    st.tuples(st.just("append"), st.integers(0, 2), st.integers(0, 10), st.integers(1, 15)),
    st.tuples(st.just("expire"), st.integers(0, 5), st.just(0), st.just(0)),
    st.tuples(st.just("disturb"), st.integers(0, 2), st.just(0), st.just(0)),
    st.tuples(st.just("cancel"), st.integers(0, 20), st.just(0), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=80))
def test_everyone_is_woken_exactly_when_a_list_would_wake_them(steps: list[tuple[str, object, int, int]]) -> None:
    waiters: Waiters[int] = Waiters()
    naive: dict[int, NaiveWaiter] = {}
    now = 0
    for what, a, b, c in steps:
        if what == "register":
            assert isinstance(a, dict)
            number = waiters.register({StreamId(s): o for s, o in a.items()}, b, now + c, len(naive))
            naive[number] = NaiveWaiter(dict(a), b, now + c)
            continue
        assert isinstance(a, int)
        if what == "append":
            for waiter in naive.values():
                if a in waiter.interest and b >= waiter.interest[a]:
                    waiter.missing -= c
            woken = [n for n, waiter in naive.items() if waiter.missing <= 0]
            assert len(waiters.appended(StreamId(a), b, c)) == len(woken)
        elif what == "expire":
            now += a
            woken = [n for n, waiter in naive.items() if waiter.deadline <= now]
            assert len(waiters.expire(now)) == len(woken)
        elif what == "disturb":
            woken = [n for n, waiter in naive.items() if a in waiter.interest]
            assert len(waiters.disturbed(StreamId(a))) == len(woken)
        else:
            waiters.cancel(a)
            woken = [a] if a in naive else []
        for n in woken:
            del naive[n]
        waiters.check()
        assert len(waiters) == len(naive)
        assert waiters.next_deadline() == min((waiter.deadline for waiter in naive.values()), default=None)
