"""Refusals that name single records."""

from dataclasses import dataclass

import pytest
from automq_broker.log.admission import LogSettings
from automq_broker.log.record_faults import RecordFaults, check_records
from automq_broker.wire.codes import ErrorCode

NOW = 10_000


@dataclass
class Keyed:
    key: bytes | None
    timestamp: int = NOW


def test_every_record_of_a_compacted_topic_needs_a_key() -> None:
    compacted = LogSettings(is_compacted=True)
    check_records([Keyed(b"a"), Keyed(b"")], compacted, NOW)
    with pytest.raises(RecordFaults) as caught:
        check_records([Keyed(b"a"), Keyed(None), Keyed(b"b"), Keyed(None)], compacted, NOW)
    assert caught.value.code == ErrorCode.INVALID_RECORD
    assert [index for index, _ in caught.value.faults] == [1, 3]
    assert "record 1" in caught.value.message


def test_a_topic_that_is_not_compacted_takes_records_without_keys() -> None:
    check_records([Keyed(None)], LogSettings(), NOW)


def test_every_record_must_lie_within_the_time_limits() -> None:
    limits = LogSettings(timestamp_before_max_ms=100, timestamp_after_max_ms=50)
    check_records([Keyed(None, NOW - 100), Keyed(None, NOW + 50), Keyed(None, -1)], limits, NOW)
    with pytest.raises(RecordFaults) as caught:
        check_records([Keyed(None, NOW), Keyed(None, NOW - 101), Keyed(None, NOW + 51)], limits, NOW)
    assert caught.value.code == ErrorCode.INVALID_TIMESTAMP
    assert [index for index, _ in caught.value.faults] == [1, 2]


def test_one_bad_timestamp_decides_the_code_of_the_batch() -> None:
    both = LogSettings(is_compacted=True, timestamp_after_max_ms=50)
    with pytest.raises(RecordFaults) as caught:
        check_records([Keyed(None), Keyed(b"k", NOW + 51)], both, NOW)
    assert caught.value.code == ErrorCode.INVALID_TIMESTAMP
    assert len(caught.value.faults) == 2


def test_append_time_topics_ignore_the_producers_time() -> None:
    check_records([Keyed(b"k", 2**60)], LogSettings(timestamp_type="LogAppendTime"), NOW)
