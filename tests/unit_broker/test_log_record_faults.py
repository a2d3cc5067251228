"""Refusals that name single records."""

from collections.abc import Sequence

import pytest
from automq_broker.log.admission import LogSettings
from automq_broker.log.record_faults import RecordFaults, check_records
from automq_broker.wire.codes import ErrorCode
from twins.batch_headers import plain

NOW = 10_000


def looked_at(rows: Sequence[tuple[bool, int]], settings: LogSettings, *, attributes: int = 0) -> int:
    """`rows` are (has a key, timestamp)."""
    glances = ((timestamp, has_key) for has_key, timestamp in rows)
    return check_records(glances, plain(len(rows), attributes=attributes), settings, NOW)


KEYED, KEYLESS = (True, NOW), (False, NOW)


def test_every_record_of_a_compacted_topic_needs_a_key() -> None:
    compacted = LogSettings(is_compacted=True)
    looked_at([KEYED, KEYED], compacted)
    with pytest.raises(RecordFaults) as caught:
        looked_at([KEYED, KEYLESS, KEYED, KEYLESS], compacted)
    assert caught.value.code == ErrorCode.INVALID_RECORD
    assert [index for index, _ in caught.value.faults] == [1, 3]
    assert "record 1" in caught.value.message


def test_a_topic_that_is_not_compacted_takes_records_without_keys() -> None:
    looked_at([KEYLESS], LogSettings())


def test_every_record_must_lie_within_the_time_limits() -> None:
    limits = LogSettings(timestamp_before_max_ms=100, timestamp_after_max_ms=50)
    looked_at([(False, NOW - 100), (False, NOW + 50), (False, -1)], limits)
    with pytest.raises(RecordFaults) as caught:
        looked_at([(False, NOW), (False, NOW - 101), (False, NOW + 51)], limits)
    assert caught.value.code == ErrorCode.INVALID_TIMESTAMP
    assert [index for index, _ in caught.value.faults] == [1, 2]


def test_one_bad_timestamp_decides_the_code_of_the_batch() -> None:
    both = LogSettings(is_compacted=True, timestamp_after_max_ms=50)
    with pytest.raises(RecordFaults) as caught:
        looked_at([KEYLESS, (True, NOW + 51)], both)
    assert caught.value.code == ErrorCode.INVALID_TIMESTAMP
    assert len(caught.value.faults) == 2


def test_append_time_topics_ignore_the_producers_time() -> None:
    looked_at([(True, 2**60)], LogSettings(timestamp_type="LogAppendTime"))


def test_the_largest_timestamp_is_told_whatever_the_header_says() -> None:
    assert looked_at([(True, 5), (True, 900), (True, 7)], LogSettings()) == 900


def test_claiming_the_brokers_time_is_refused_where_the_broker_sets_it() -> None:
    with pytest.raises(RecordFaults) as caught:
        looked_at([KEYED, KEYED], LogSettings(timestamp_type="LogAppendTime"), attributes=0x08)
    assert caught.value.code == ErrorCode.INVALID_TIMESTAMP
    assert [index for index, _ in caught.value.faults] == [0, 1]
    assert looked_at([KEYED], LogSettings(), attributes=0x08) == NOW, "Kafka lets it pass and corrects the batch"


def test_an_answer_names_at_most_a_thousand_records() -> None:
    with pytest.raises(RecordFaults) as caught:
        looked_at([KEYLESS] * 5000, LogSettings(is_compacted=True))
    assert len(caught.value.faults) == 1000
