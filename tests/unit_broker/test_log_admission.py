"""Every refusal of a batch by its header, with Kafka's code for the first fault."""

from typing import Any

import pytest
from automq_broker.kernel.errors import ClientFault
from automq_broker.log.admission import FieldFault, LogSettings, check_batch, check_field, refuse_checksum
from automq_broker.log.partition import PartitionLog
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.records import BatchHeader, Record, encode_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.batch_headers import idempotent, plain

NOW = 1_000_000
CREATE_TIME = LogSettings()
APPEND_TIME = LogSettings(timestamp_type="LogAppendTime")
STRICT = LogSettings(timestamp_before_max_ms=1000, timestamp_after_max_ms=500)


def code_of(header: Any, log_settings: LogSettings = CREATE_TIME) -> ErrorCode:
    with pytest.raises(ClientFault) as caught:
        check_batch(header, log_settings, NOW)
    assert caught.value.message
    return ErrorCode(caught.value.code)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (plain(batch_length=48), ErrorCode.CORRUPT_MESSAGE),
        (plain(batch_length=-5), ErrorCode.CORRUPT_MESSAGE),
        (plain(magic=3), ErrorCode.CORRUPT_MESSAGE),
        (plain(magic=-1), ErrorCode.CORRUPT_MESSAGE),
        (plain(base_offset=1), ErrorCode.INVALID_RECORD),
        (plain(batch_length=1_048_588 - 11), ErrorCode.MESSAGE_TOO_LARGE),
        (plain(attributes=5), ErrorCode.UNKNOWN_SERVER_ERROR),
        (plain(attributes=7), ErrorCode.UNKNOWN_SERVER_ERROR),
        (plain(records_count=0, last_offset_delta=-1), ErrorCode.INVALID_RECORD),
        (plain(records_count=-1), ErrorCode.INVALID_RECORD),
        (plain(records_count=3, last_offset_delta=1), ErrorCode.INVALID_RECORD),
        (plain(attributes=0x20), ErrorCode.INVALID_RECORD),
        (plain(attributes=0x30), ErrorCode.INVALID_RECORD),
        (plain(batch_length=49), ErrorCode.INVALID_RECORD),
        (plain(2, batch_length=62), ErrorCode.INVALID_RECORD),
        (plain(2**31 - 1, batch_length=88), ErrorCode.INVALID_RECORD),
        (plain(2**31 - 1, batch_length=500, attributes=1), ErrorCode.INVALID_RECORD),
        (idempotent(1, -1), ErrorCode.INVALID_RECORD),
        (idempotent(0, -1), ErrorCode.INVALID_RECORD),
        (plain(attributes=0x08), ErrorCode.INVALID_TIMESTAMP),
        (plain(max_timestamp=NOW + 3_600_001), ErrorCode.INVALID_TIMESTAMP),
        (idempotent(1, 0, attributes=0x10), ErrorCode.INVALID_TXN_STATE),
    ],
)
def test_a_faulty_header_is_refused_with_kafkas_code(header: BatchHeader, code: ErrorCode) -> None:
    assert code_of(header) is code


@pytest.mark.parametrize(
    ("header", "log_settings"),
    [
        (plain(), CREATE_TIME),
        (plain(batch_length=56), CREATE_TIME),
        (plain(1000, batch_length=50, attributes=4), CREATE_TIME),
        (plain(batch_length=1_048_588 - 12), CREATE_TIME),
        (plain(attributes=4), CREATE_TIME),
        (plain(attributes=0x40), CREATE_TIME),
        (plain(max_timestamp=-1, base_timestamp=-1), STRICT),
        (plain(max_timestamp=NOW + 3_600_000), CREATE_TIME),
        (plain(base_timestamp=NOW - 1000, max_timestamp=NOW + 500), STRICT),
        (plain(base_timestamp=0, max_timestamp=2**60), APPEND_TIME),
        (idempotent(5, 0), CREATE_TIME),
        (idempotent(0, 2_147_483_647, records=3), CREATE_TIME),
    ],
)
def test_a_good_header_is_accepted(header: BatchHeader, log_settings: LogSettings) -> None:
    check_batch(header, log_settings, NOW)


def test_timestamps_are_held_within_the_topics_limits_on_both_sides() -> None:
    assert code_of(plain(base_timestamp=NOW - 1001), STRICT) is ErrorCode.INVALID_TIMESTAMP
    assert code_of(plain(max_timestamp=NOW + 501), STRICT) is ErrorCode.INVALID_TIMESTAMP


def test_a_client_may_not_claim_append_time_on_either_kind_of_topic() -> None:
    assert code_of(plain(attributes=0x08), APPEND_TIME) is ErrorCode.INVALID_TIMESTAMP
    assert code_of(plain(attributes=0x0A), CREATE_TIME) is ErrorCode.INVALID_TIMESTAMP


def test_of_two_faults_the_first_in_kafkas_order_is_named() -> None:
    assert code_of(plain(base_offset=1, attributes=0x20)) is ErrorCode.INVALID_RECORD
    assert code_of(plain(base_offset=1, batch_length=2_000_000)) is ErrorCode.INVALID_RECORD
    assert code_of(plain(batch_length=2_000_000, records_count=0)) is ErrorCode.MESSAGE_TOO_LARGE
    assert code_of(plain(records_count=0, max_timestamp=2**60)) is ErrorCode.INVALID_RECORD


GOOD = encode_batch([Record(timestamp=NOW, key=b"k", value=b"v" * 50)])


def with_bytes(position: int, value: bytes) -> bytes:
    return GOOD[:position] + value + GOOD[position + len(value) :]


@pytest.mark.parametrize("rest", [b"x", bytes(11), GOOD[:16], GOOD[:-1]])
def test_what_follows_the_batch_and_is_no_whole_batch_is_left_out(rest: bytes) -> None:
    assert check_field(GOOD + rest).size_bytes == len(GOOD)


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (b"", ErrorCode.INVALID_RECORD),
        (GOOD[:11], ErrorCode.INVALID_RECORD),
        (GOOD[:16], ErrorCode.INVALID_RECORD),
        (GOOD[:40], ErrorCode.INVALID_RECORD),
        (GOOD[:-1], ErrorCode.INVALID_RECORD),
        (GOOD + GOOD, ErrorCode.INVALID_RECORD),
        (GOOD + bytes(12), ErrorCode.CORRUPT_MESSAGE),
        (GOOD + with_bytes(16, b"\3")[:20], ErrorCode.CORRUPT_MESSAGE),
        (bytes(200), ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(8, b"\xff\xff\xff\xff"), ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(8, b"\0\0\0\x0d"), ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(8, b"\0\0\0\x20")[:44], ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(8, b"\x7f\xff\xff\xff"), ErrorCode.INVALID_RECORD),
        (with_bytes(16, b"\3"), ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(16, b"\xff"), ErrorCode.CORRUPT_MESSAGE),
        (with_bytes(16, b"\1"), ErrorCode.INVALID_RECORD),
        (with_bytes(16, b"\0"), ErrorCode.INVALID_RECORD),
    ],
)
def test_a_records_field_must_hold_one_batch_in_a_known_format(field: bytes, code: ErrorCode) -> None:
    for form in (field, bytearray(field), memoryview(field)):
        with pytest.raises(FieldFault) as caught:
            check_field(form)
        assert caught.value.code == code


@pytest.mark.parametrize("codec", range(5))
def test_a_good_field_is_read_whatever_its_codec(codec: int) -> None:
    assert check_field(encode_batch([Record(value=b"v")], compression=codec)).compression == codec


def test_a_wrong_checksum_is_named_after_the_faults_that_kafka_sees_before_it() -> None:
    for header, code in (
        (plain(), ErrorCode.CORRUPT_MESSAGE),
        (plain(base_offset=5), ErrorCode.INVALID_RECORD),
        (plain(batch_length=2_000_000), ErrorCode.MESSAGE_TOO_LARGE),
        (plain(records_count=-1), ErrorCode.CORRUPT_MESSAGE),
    ):
        with pytest.raises(ClientFault) as caught:
            refuse_checksum(header, CREATE_TIME)
        assert caught.value.code == code


def test_records_are_decoded_only_where_the_header_cannot_tell() -> None:
    one, many = plain(), plain(2)
    compacted = LogSettings(is_compacted=True)
    assert not CREATE_TIME.needs_records(many)
    assert compacted.needs_records(one)
    assert not STRICT.needs_records(one)
    assert STRICT.needs_records(many)
    late = LogSettings(timestamp_type="LogAppendTime", timestamp_before_max_ms=5)
    assert not late.needs_records(many)


def test_a_batch_is_recompressed_only_when_the_topic_names_another_codec() -> None:
    zstd = plain(attributes=4)
    for codec, name in enumerate(("uncompressed", "gzip", "snappy", "lz4", "zstd")):
        assert not LogSettings(compression_type=name).must_recompress(plain(attributes=codec))
    assert not CREATE_TIME.must_recompress(zstd)
    assert not LogSettings(compression_type="zstd").must_recompress(zstd)
    assert LogSettings(compression_type="gzip").must_recompress(zstd)
    assert LogSettings(compression_type="uncompressed").must_recompress(zstd)


ANY_HEADER = st.builds(
    BatchHeader,
    base_offset=st.sampled_from([0, 0, 0, 1]),
    batch_length=st.sampled_from([48, 49, 88, 988, 989]),
    magic=st.sampled_from([2, 2, 2, 3]),
    attributes=st.integers(-32768, 32767) | st.integers(0, 15),
    last_offset_delta=st.integers(-2, 3),
    records_count=st.integers(-1, 4),
    base_timestamp=st.sampled_from([-1, NOW - 1001, NOW - 1000, NOW]),
    max_timestamp=st.sampled_from([-1, NOW, NOW + 500, NOW + 501]),
    producer_id=st.sampled_from([-1, 7]),
    producer_epoch=st.just(0),
    base_sequence=st.sampled_from([-1, 0, 5]),
)


@settings(max_examples=400, deadline=None)
@given(
    header=ANY_HEADER,
    timestamp_type=st.sampled_from(["CreateTime", "LogAppendTime"]),
    before=st.sampled_from([1000, 2**63 - 1]),
)
def test_the_short_cut_in_prepare_accepts_exactly_what_the_checks_accept(
    header: Any, timestamp_type: str, before: int
) -> None:
    log_settings = LogSettings(
        max_message_bytes=1000,
        timestamp_type=timestamp_type,
        timestamp_before_max_ms=before,
        timestamp_after_max_ms=500,
    )
    log = PartitionLog(stream_id=1, leader_epoch=0, start_offset=0, end_offset=10, settings=log_settings)
    expected = None
    try:
        check_batch(header, log_settings, NOW)
    except ClientFault as fault:
        expected = fault.code
    try:
        log.prepare(header, NOW)
        found = None
    except ClientFault as fault:
        found = fault.code
        assert log.end_offset == 10
        assert len(log.producers) == 0
    assert found == expected
