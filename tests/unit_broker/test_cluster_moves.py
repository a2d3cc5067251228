"""The balancer's pace and its window of load, in made-up seconds."""

from automq_broker.cluster.moves import Pace, Pacing, Rest
from automq_broker.cluster.rates import WINDOW_S, Rates
from automq_broker.cluster.sessions import Load

PACING = Pacing()
EVERYBODY = {1, 2, 3}


def settled(_):
    return True


def test_looks_are_an_interval_apart():
    pace = Pace(0.0)
    pace.looked(0.0, EVERYBODY, [], is_full=False)
    due = [now for now in range(1, 100) if pace.is_due(PACING, float(now), EVERYBODY, settled)]
    assert due[0] == 60


def test_a_broker_that_joined_is_looked_at_soon_and_one_that_left_is_no_reason():
    pace = Pace(0.0)
    pace.looked(0.0, EVERYBODY, [], is_full=False)
    assert not pace.is_due(PACING, 6.0, {1, 2}, settled)
    assert not pace.is_due(PACING, 4.0, {1, 2, 3, 4}, settled)
    assert pace.is_due(PACING, 6.0, {1, 2, 3, 4}, settled)


def test_the_next_batch_of_a_full_plan_waits_for_the_one_before_but_not_for_ever():
    pace = Pace(0.0)
    pace.looked(0.0, EVERYBODY, [7, 8], is_full=True)
    assert not pace.is_due(PACING, 6.0, EVERYBODY, lambda stream_id: stream_id == 7)
    assert pace.under_way == 1
    assert pace.is_due(PACING, 7.0, EVERYBODY, settled)
    pace.looked(7.0, EVERYBODY, [9], is_full=True)
    assert not pace.is_due(PACING, 66.0, EVERYBODY, lambda _: False)
    assert pace.is_due(PACING, 67.0, EVERYBODY, lambda _: False)


def test_a_partition_that_moved_rests():
    rest = Rest()
    rest.moved([7, 8], 10.0, 300.0)
    rest.moved([7], 100.0, 300.0)
    assert rest.is_over(9, 101.0, 300.0)
    assert [rest.is_over(each, 310.0, 300.0) for each in (7, 8)] == [False, True]
    assert rest.is_over(7, 400.0, 300.0)


def report(seconds, **streams):
    rates = {int(name[1:]): moved for name, moved in streams.items()}
    return Load(
        interval_ms=round(seconds * 1000),
        bytes_in=sum(moved[0] for moved in rates.values()) + 10,
        bytes_out=sum(moved[1] for moved in rates.values()),
        streams=rates,
    )


def test_rates_are_bytes_per_second_of_the_window_and_a_burst_is_spread_over_it():
    rates = Rates()
    for beat in range(1, 20):
        rates.heard(1, 5, report(2, s7=(2000, 400)), beat * 2.0)
    rates.heard(1, 5, report(2, s7=(100_000, 400)), 40.0)
    (seen,) = rates.streams().values()
    assert 7000 < seen[0] < 8000
    assert seen[1] == 200
    node = rates.node(1)
    assert node is not None
    assert node.unnamed_in == 5
    assert WINDOW_S - 2 <= node.window_s <= WINDOW_S + 2


def test_a_partition_that_changed_its_broker_is_seen_once():
    rates = Rates()
    for beat in range(1, 9):
        now = beat * 2.0
        rates.heard(1, 5, report(2, s7=(2000, 0)) if beat <= 4 else report(2), now)
        rates.heard(2, 5, report(2) if beat <= 4 else report(2, s7=(2000, 0)), now)
    assert 900 < rates.streams()[7][0] < 1100


def test_a_new_broker_epoch_starts_its_window_anew_and_strangers_are_forgotten():
    rates = Rates()
    rates.heard(1, 5, report(14, s7=(1400, 0)), 14.0)
    rates.heard(1, 6, report(2, s7=(0, 0)), 16.0)
    node = rates.node(1)
    assert node is not None
    assert node.window_s == 2
    assert rates.streams()[7] == (0, 0)
    rates.forget({2})
    assert rates.node(1) is None
