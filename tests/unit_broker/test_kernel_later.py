"""kernel/later.py: told once, whichever of answer and listener comes first."""

import pytest
from automq_broker.kernel.later import Later


def test_the_answer_is_told_once_whether_it_comes_before_or_after_the_listener() -> None:
    for is_early in (True, False):
        later, heard = Later(), list[str]()
        if is_early:
            later.resolve("answer")
            later.then(heard.append)
        else:
            later.then(heard.append)
            assert not later.is_done
            assert heard == []
            later.resolve("answer")
        assert later.is_done
        assert heard == ["answer"]


def test_no_answer_is_an_answer_too() -> None:
    later, heard = Later(), list[None]()
    later.then(heard.append)
    later.resolve(None)
    assert heard == [None]


def test_an_error_of_the_listener_reaches_who_resolves_and_no_other_answer() -> None:
    first, second, heard = Later(), Later(), list[str]()

    def breaks(answer: str) -> None:
        raise ZeroDivisionError(answer)

    first.then(breaks)
    second.then(heard.append)
    with pytest.raises(ZeroDivisionError):
        first.resolve("one")
    second.resolve("two")
    assert (first.is_done, heard) == (True, ["two"])
