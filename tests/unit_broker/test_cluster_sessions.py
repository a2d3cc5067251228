"""Sessions: silence ends them, a new epoch or a look that comes late begins them anew."""

from automq_broker.cluster.sessions import Load, Sessions

ALIVE = Load(bytes_in=5)


def test_a_node_is_late_after_a_session_of_silence_and_not_before():
    sessions = Sessions(9.0)
    sessions.heard(1, 10, ALIVE, 0.0)
    for now in (3.0, 6.0, 8.9):
        assert sessions.expired([(1, 10)], now) == []
    assert sessions.expired([(1, 10)], 9.0) == [(1, 10)]


def test_a_node_that_was_never_heard_of_has_a_session_from_the_first_look_on():
    sessions = Sessions(9.0)
    looks = [now for now in range(0, 20, 2) if sessions.expired([(1, 10)], float(now))]
    assert looks[0] == 10


def test_a_new_broker_epoch_begins_a_new_session():
    sessions = Sessions(9.0)
    sessions.heard(1, 10, ALIVE, 0.0)
    for now in (3.0, 6.0):
        sessions.expired([(1, 10)], now)
    assert sessions.expired([(1, 11)], 9.5) == []
    assert sessions.expired([(1, 11)], 13.0) == []


def test_a_controller_that_stood_still_gives_everybody_a_new_session():
    sessions = Sessions(9.0)
    sessions.heard(1, 10, ALIVE, 0.0)
    sessions.expired([(1, 10)], 1.0)
    assert sessions.expired([(1, 10)], 60.0) == []
    assert sessions.expired([(1, 10)], 64.0) == []
    assert sessions.expired([(1, 10)], 68.0) == []
    assert sessions.expired([(1, 10)], 69.0) == [(1, 10)]


def test_the_last_load_is_kept_as_long_as_the_node_is_known():
    sessions = Sessions(9.0)
    assert sessions.load_of(1) is None
    sessions.heard(1, 10, ALIVE, 2.0)
    assert sessions.load_of(1) == ALIVE
    assert sessions.silent_s(1, 5.0) == 3.0
    sessions.expired([], 3.0)
    assert sessions.load_of(1) is None
    assert sessions.silent_s(1, 5.0) is None


def test_nobody_else_for_two_sessions_is_alone_unless_it_was_ourselves_that_stood_still():
    sessions = Sessions(9.0)
    looks = [float(now) for now in range(0, 40, 3)]
    for now in looks:
        sessions.heard(1, 10, ALIVE, now)
        sessions.expired([(1, 10)], now)
        assert sessions.is_alone(now) == (now >= 18)
    sessions.heard_others(39.0)
    sessions.expired([(1, 10)], 39.5)
    assert not sessions.is_alone(39.5)
    sessions.expired([(1, 10)], 90.0)
    assert not sessions.is_alone(90.0)
