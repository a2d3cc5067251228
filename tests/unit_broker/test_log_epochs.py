"""Questions about leader epochs, against Kafka's rules written out naively."""

import pytest
from automq_broker.kernel.errors import ClientFault
from automq_broker.log.epochs import (
    UNDEFINED,
    check_current_epoch,
    diverging_epoch,
    effective_history,
    end_offset_for_epoch,
)
from automq_broker.wire.codes import ErrorCode
from hypothesis import given, settings
from hypothesis import strategies as st

HISTORY = [(2, 0), (5, 100), (9, 250)]


@pytest.mark.parametrize(
    ("requested", "answer"),
    [
        (-1, UNDEFINED),
        (0, (0, 0)),
        (2, (2, 100)),
        (3, (2, 100)),
        (5, (5, 250)),
        (8, (5, 250)),
        (9, (9, 400)),
        (10, UNDEFINED),
    ],
)
def test_an_epoch_ends_where_the_next_one_starts(requested: int, answer: tuple[int, int]) -> None:
    assert end_offset_for_epoch(HISTORY, requested, 400) == answer


def test_no_history_knows_nothing() -> None:
    assert end_offset_for_epoch([], 0, 0) == UNDEFINED


def test_an_open_that_wrote_nothing_is_left_out() -> None:
    history = [(1, 0), (2, 50), (3, 50), (4, 50)]
    assert effective_history(history) == [(1, 0), (4, 50)]
    assert end_offset_for_epoch(history, 2, 80) == (1, 50)
    assert end_offset_for_epoch(history, 3, 80) == (1, 50)
    assert end_offset_for_epoch(history, 4, 80) == (4, 80)


def test_epochs_whose_records_are_gone_are_answered_with_the_first_start_that_is_left() -> None:
    assert effective_history(HISTORY, 120) == [(5, 120), (9, 250)]
    assert end_offset_for_epoch(HISTORY, 2, 400, 120) == (2, 120)
    assert end_offset_for_epoch(HISTORY, 5, 400, 120) == (5, 250)
    assert end_offset_for_epoch(HISTORY, 5, 400, 300) == (5, 300)


def test_a_reader_that_shares_our_log_does_not_diverge() -> None:
    assert diverging_epoch(HISTORY, 5, 200, log_end=400) is None
    assert diverging_epoch(HISTORY, 5, 250, log_end=400) is None
    assert diverging_epoch(HISTORY, 9, 400, log_end=400) is None
    assert diverging_epoch(HISTORY, 5, 120, log_end=400, log_start=120) is None


def test_a_reader_beyond_the_end_of_its_epoch_is_sent_back() -> None:
    assert diverging_epoch(HISTORY, 5, 251, log_end=400) == (5, 250)
    assert diverging_epoch(HISTORY, 7, 200, log_end=400) == (5, 250)


def test_a_reader_of_an_unknown_epoch_or_below_the_start_is_out_of_range() -> None:
    for epoch, offset, start in ((10, 100, 0), (-1, 100, 0), (5, 100, 120)):
        with pytest.raises(ClientFault) as caught:
            diverging_epoch(HISTORY, epoch, offset, log_end=400, log_start=start)
        assert caught.value.code == ErrorCode.OFFSET_OUT_OF_RANGE


def test_a_request_for_another_leader_epoch_is_refused_with_the_side_that_is_behind() -> None:
    check_current_epoch(-1, 7)
    check_current_epoch(7, 7)
    with pytest.raises(ClientFault) as caught:
        check_current_epoch(6, 7)
    assert caught.value.code == ErrorCode.FENCED_LEADER_EPOCH
    with pytest.raises(ClientFault) as caught:
        check_current_epoch(8, 7)
    assert caught.value.code == ErrorCode.UNKNOWN_LEADER_EPOCH


@settings(max_examples=200, deadline=None)
@given(
    opens=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4)), min_size=1, max_size=8),
    requested=st.integers(0, 30),
    log_start=st.integers(0, 20),
    tail=st.integers(0, 5),
)
def test_the_answer_agrees_with_the_epoch_of_every_record(
    opens: list[tuple[int, int]], requested: int, log_start: int, tail: int
) -> None:
    history, epoch_of, epoch = [], [], 0
    for step, written in opens:
        epoch += step
        history.append((epoch, len(epoch_of)))
        epoch_of.extend([epoch] * written)
    epoch_of.extend([epoch] * tail)
    log_start = min(log_start, len(epoch_of))
    answer = end_offset_for_epoch(history, requested, len(epoch_of), log_start)
    if requested > epoch:
        assert answer == UNDEFINED
        return
    left = list(enumerate(epoch_of))[log_start:]
    younger = [offset for offset, e in left if e > requested]
    end = younger[0] if younger else len(epoch_of)
    assert answer.end_offset == end
    at_or_below = [e for _, e in left if e <= requested]
    if requested == epoch or not at_or_below:
        assert answer.epoch == requested
    else:
        assert answer.epoch == at_or_below[-1]
