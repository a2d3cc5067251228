"""The checker finds what is broken, each anomaly by its name, and nothing in histories that one log explains."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from chaos.checker import Kind, check
from chaos.history import (
    NUMBERS_PER_PRODUCER,
    Acked,
    Assigned,
    Committed,
    Event,
    Failed,
    History,
    Polled,
    Recorder,
    Role,
    Sent,
    load,
)


def produced(*acked: tuple[int, int], unacked: tuple[int, ...] = (), start: float = 1.0) -> History:
    """Producer 0: (value, offset) on partition 0, sent one after another, each acknowledged half a second later."""
    events: list[Event] = []
    for step, (value, offset) in enumerate(acked):
        events += [Sent(start + step, 0, value), Acked(start + step + 0.5, 0, value, offset)]
    events += [Sent(start + len(acked), 0, value) for value in unacked]
    return History(name="producer", role=Role.PRODUCER, events=tuple(events))


def read(name: str, *records: tuple[int, int], role: Role = Role.READER, group: str = "", at: float = 50.0) -> History:
    """(offset, value) of partition 0, one poll each."""
    events = tuple(Polled(at, 0, (offset,), (value,)) for offset, value in records)
    return History(name=name, role=role, events=events, group=group)


def kinds(*histories: History) -> set[Kind]:
    return {anomaly.kind for anomaly in check(histories)}


GOOD = produced((0, 0), (1, 1), (2, 2))
LOG = ((0, 0), (1, 1), (2, 2))


def test_histories_that_one_log_explains_are_clean() -> None:
    assert kinds(GOOD, read("r", *LOG), read("end", *LOG, role=Role.LAST)) == set()


def test_a_record_without_an_answer_may_be_there_or_not() -> None:
    unsure = produced((0, 0), (1, 1), unacked=(2,))
    assert kinds(unsure, read("end", *LOG, role=Role.LAST)) == set()
    assert kinds(unsure, read("end", *LOG[:2], role=Role.LAST)) == set()


def test_two_values_at_one_offset_are_inconsistent() -> None:
    others = ((0, 0), (1, 2), (2, 1))
    assert Kind.INCONSISTENT_OFFSET in kinds(produced(unacked=(0, 1, 2)), read("a", *LOG), read("b", *others))


def test_an_acknowledged_offset_that_holds_something_else_is_inconsistent() -> None:
    assert Kind.INCONSISTENT_OFFSET in kinds(produced((0, 0), unacked=(1,)), read("a", (0, 1)))


def test_a_value_at_two_offsets_is_a_duplicate() -> None:
    assert kinds(produced((0, 0), (1, 1)), read("end", (0, 0), (1, 1), (2, 1), role=Role.LAST)) >= {Kind.DUPLICATE}


def test_an_acknowledged_record_that_the_last_reader_does_not_find_is_lost() -> None:
    assert Kind.LOST in kinds(GOOD, read("end", (0, 0), (1, 1), role=Role.LAST))
    assert Kind.LOST in kinds(GOOD, read("end", (0, 0), (2, 2), role=Role.LAST))


def test_a_record_that_was_read_once_and_then_never_again_is_lost() -> None:
    unsure = produced((0, 0), (1, 1), unacked=(2,))
    assert kinds(unsure, read("r", *LOG), read("end", *LOG[:2], role=Role.LAST)) == {Kind.LOST}


def test_without_a_last_reader_what_is_missing_below_the_highest_read_offset_is_lost() -> None:
    assert Kind.LOST in kinds(GOOD, read("r", (0, 0), (2, 2)))
    assert Kind.LOST not in kinds(GOOD, read("r", (0, 0), (1, 1)))


def test_an_acknowledged_record_that_a_reader_is_never_given_is_unseen() -> None:
    end = read("end", *LOG, role=Role.LAST)
    assert kinds(GOOD, read("r", (0, 0), (1, 1)), end) == {Kind.UNSEEN}
    assert kinds(GOOD, read("r"), end) == {Kind.UNSEEN}


def test_a_group_has_seen_what_any_of_its_members_has() -> None:
    one = read("one", (0, 0), (1, 1), role=Role.MEMBER, group="g")
    other = read("other", (2, 2), role=Role.MEMBER, group="g")
    assert kinds(GOOD, one, other) == set()
    assert kinds(GOOD, one) == {Kind.UNSEEN}


@pytest.mark.parametrize("again", [0, 1])
def test_an_offset_that_comes_again_is_a_non_monotonic_poll(again: int) -> None:
    end = read("end", *LOG, role=Role.LAST)
    assert kinds(GOOD, read("r", (0, 0), (1, 1), (again, again), (2, 2)), end) == {Kind.NON_MONOTONIC_POLL}


def test_after_a_rebalance_offsets_may_come_again() -> None:
    member = read("m", *LOG, role=Role.MEMBER, group="g")
    again = replace(member, events=(*member.events, Assigned(60.0, (0,)), Polled(61.0, 0, (1, 2), (1, 2))))
    assert kinds(GOOD, again) == set()


def test_a_record_that_is_left_out_between_two_polls_is_skipped() -> None:
    end = read("end", *LOG, role=Role.LAST)
    assert Kind.SKIPPED_POLL in kinds(GOOD, read("r", (0, 0), (2, 2)), end)
    member = read("m", (0, 0), (2, 2), role=Role.MEMBER, group="g")
    assert Kind.SKIPPED_POLL in kinds(GOOD, member, end)


def test_a_reader_that_does_not_begin_at_the_beginning_has_skipped() -> None:
    assert Kind.SKIPPED_POLL in kinds(GOOD, read("r", (1, 1), (2, 2)), read("end", *LOG, role=Role.LAST))


def test_a_record_is_skipped_inside_a_poll_as_well() -> None:
    poll = History(name="r", role=Role.READER, events=(Polled(9.0, 0, (0, 2), (0, 2)),))
    assert Kind.SKIPPED_POLL in kinds(GOOD, poll, read("end", *LOG, role=Role.LAST))


def test_a_value_that_nobody_sent_is_a_phantom() -> None:
    assert kinds(GOOD, read("end", *LOG, (3, 99), role=Role.LAST)) == {Kind.PHANTOM}


def test_a_value_in_another_partition_than_it_was_sent_to_is_a_phantom() -> None:
    stray = History(name="r", role=Role.READER, events=(Polled(9.0, 7, (0,), (2,)),))
    assert Kind.PHANTOM in kinds(produced(unacked=(2,)), stray)


def test_records_of_one_producer_that_changed_places_are_out_of_order() -> None:
    assert Kind.DISORDER in kinds(produced(unacked=(0, 1)), read("end", (0, 1), (1, 0), role=Role.LAST))


def test_producers_may_come_in_any_order_among_each_other() -> None:
    other = NUMBERS_PER_PRODUCER
    both = replace(GOOD, events=(Sent(1.0, 0, other), Sent(1.0, 0, 0)))
    assert kinds(both, read("end", (0, other), (1, 0), role=Role.LAST)) == set()


def test_a_record_before_one_that_was_acknowledged_before_it_was_sent_is_time_travel() -> None:
    other = NUMBERS_PER_PRODUCER
    late = History(name="late", role=Role.PRODUCER, events=(Sent(30.0, 0, other), Acked(31.0, 0, other, 0)))
    early = produced((0, 1))
    assert kinds(early, late, read("end", (0, other), (1, 0), role=Role.LAST)) == {Kind.TIME_TRAVEL}


def test_a_member_that_begins_before_a_confirmed_commit_shows_that_it_went_back() -> None:
    def member(first: int) -> History:
        records = [offset for offset in (0, 1, 2) if offset >= first]
        events = (
            Polled(5.0, 0, (0, 1, 2), (0, 1, 2)),
            Committed(6.0, 0, 2),
            Assigned(7.0, (0,)),
            Polled(8.0, 0, tuple(records), tuple(records)),
        )
        return History(name="m", role=Role.MEMBER, group="g", events=events)

    assert kinds(GOOD, member(1)) == {Kind.OFFSET_WENT_BACK}
    assert kinds(GOOD, member(2)) == set()


def test_a_commit_that_was_confirmed_after_the_assignment_binds_nobody() -> None:
    late = Committed(7.5, 0, 2)
    events = (Polled(5.0, 0, (0, 1, 2), (0, 1, 2)), Assigned(7.0, (0,)), late, Polled(8.0, 0, (1, 2), (1, 2)))
    assert kinds(GOOD, History(name="m", role=Role.MEMBER, group="g", events=events)) == set()


def test_an_error_beyond_the_retriable_ones_is_told() -> None:
    failed = replace(GOOD, events=(*GOOD.events, Failed(9.0, 0, 3, "fatal: out of order sequence")))
    assert kinds(failed, read("end", *LOG, role=Role.LAST)) == {Kind.FAILED}


def run_of(rng: Random, *, partitions: int = 3, count: int = 300) -> list[History]:
    """Two producers, a reader, a group of two and the last reader over one proper log per partition."""
    logs: list[list[int]] = [[] for _ in range(partitions)]
    events: list[list[Event]] = [[], []]
    sent = [0, 0]
    for step in range(count):
        producer, number = rng.randrange(2), rng.randrange(partitions)
        value = producer * NUMBERS_PER_PRODUCER + sent[producer]
        sent[producer] += 1
        events[producer].append(Sent(step, number, value))
        events[producer].append(Acked(step + 0.9, number, value, len(logs[number])))
        logs[number].append(value)
    polls = tuple(Polled(count + 1.0, number, tuple(range(len(log))), tuple(log)) for number, log in enumerate(logs))
    return [
        *(History(name=f"p{each}", role=Role.PRODUCER, events=tuple(events[each])) for each in range(2)),
        History(name="r", role=Role.READER, events=polls),
        History(name="m1", role=Role.MEMBER, group="g", events=(Assigned(0.0, (0,)), polls[0])),
        History(name="m2", role=Role.MEMBER, group="g", events=(Assigned(0.0, (1, 2)), *polls[1:])),
        History(name="end", role=Role.LAST, events=polls),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_any_single_record_taken_out_of_what_a_consumer_saw_is_noticed(seed: int) -> None:
    rng = Random(seed)
    histories = run_of(rng)
    assert check(histories) == []
    at = rng.randrange(2, len(histories))
    victim = histories[at]
    poll = rng.choice([event for event in victim.events if isinstance(event, Polled)])
    gone = rng.randrange(len(poll.offsets))
    shorter = replace(
        poll,
        offsets=poll.offsets[:gone] + poll.offsets[gone + 1 :],
        values=poll.values[:gone] + poll.values[gone + 1 :],
    )
    events = tuple(shorter if event is poll else event for event in victim.events)
    assert check([*histories[:at], replace(victim, events=events), *histories[at + 1 :]])


@pytest.mark.parametrize("seed", range(20))
def test_any_two_records_that_change_places_in_the_log_are_noticed(seed: int) -> None:
    rng = Random(seed)
    histories = run_of(rng)
    *others, end = histories
    poll = end.events[0]
    assert isinstance(poll, Polled)
    one = rng.randrange(len(poll.values) - 1)
    values = list(poll.values)
    values[one], values[one + 1] = values[one + 1], values[one]
    wrong = replace(end, events=(replace(poll, values=tuple(values)), *end.events[1:]))
    assert Kind.INCONSISTENT_OFFSET in kinds(*others, wrong)
    producers_alone = [history for history in others if history.role is Role.PRODUCER]
    unacked = [
        replace(each, events=tuple(event for event in each.events if isinstance(event, Sent)))
        for each in producers_alone
    ]
    if values[one] // NUMBERS_PER_PRODUCER == values[one + 1] // NUMBERS_PER_PRODUCER:
        assert Kind.DISORDER in kinds(*unacked, wrong)


def test_histories_survive_the_way_through_their_files(tmp_path: Path) -> None:
    events = (
        Sent(1.5, 0, 7),
        Acked(1.6, 0, 7, 3),
        Failed(2.0, -1, -1, "gone"),
        Assigned(3.0, (0, 1)),
        Polled(4.0, 1, (5, 6), (8, 9)),
        Committed(5.0, 1, 7),
    )
    path = tmp_path / "m1.jsonl"
    recorder = Recorder(path, Role.MEMBER, "g")
    for event in events:
        recorder.tell(event)
    recorder.close()
    assert load(path) == History(name="m1", role=Role.MEMBER, group="g", events=events)
    path.write_text(path.read_text()[:-4])
    assert load(path).events == events[:-1]
