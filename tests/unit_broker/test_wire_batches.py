"""Batch headers: read, checked, stamped in place."""

import struct

import pytest
from automq_broker.wire.batches import (
    BATCH_HEADER_BYTES,
    BatchHeader,
    crc_is_valid,
    iter_headers,
    read_batch_header,
    stamp,
    stamp_log_append_time,
)
from automq_broker.wire.primitives import WireError
from automq_broker.wire.records import Record, decode_records, encode_batch
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.kafka_python import DefaultRecordBatch, DefaultRecordBatchBuilder

FIELDS = {
    "base_offset": 7,
    "batch_length": 49,
    "partition_leader_epoch": 3,
    "magic": 2,
    "crc": 0xFFFFFFFF,
    "attributes": 0,
    "last_offset_delta": 4,
    "base_timestamp": 1,
    "max_timestamp": 2,
    "producer_id": 9,
    "producer_epoch": 1,
    "base_sequence": 5,
    "records_count": 5,
}


def header(**changes):
    return BatchHeader(**(FIELDS | changes))


def a_batch(count=3):
    builder = DefaultRecordBatchBuilder(2, 0, True, 4711, 3, 17, 1 << 20)
    for i in range(count):
        builder.append(i, 1000 + i, b"key", b"value", [])
    return bytearray(builder.build())


def test_a_header_of_kafka_python_is_read_field_by_field():
    batch = a_batch()
    ours, theirs = read_batch_header(batch), DefaultRecordBatch(bytes(batch))
    assert ours.base_offset == theirs.base_offset == 0
    assert ours.magic == 2
    assert ours.crc == theirs.crc
    assert ours.last_offset_delta == theirs.last_offset_delta == 2
    assert (ours.base_timestamp, ours.max_timestamp) == (theirs.first_timestamp, theirs.max_timestamp) == (1000, 1002)
    assert (ours.producer_id, ours.producer_epoch, ours.base_sequence) == (4711, 3, 17)
    assert (ours.records_count, ours.last_sequence) == (3, 19)
    assert ours.is_transactional
    assert not ours.is_control
    assert ours.size_bytes == len(batch)


def test_a_header_cut_short_is_a_wire_error():
    batch = bytes(a_batch())
    for end in range(BATCH_HEADER_BYTES):
        with pytest.raises(WireError):
            read_batch_header(batch[:end])
    with pytest.raises(WireError):
        read_batch_header(batch, len(batch) - 10)


def test_the_checksum_is_right_until_a_covered_byte_changes():
    batch = a_batch()
    assert crc_is_valid(batch)
    assert crc_is_valid(memoryview(batch).toreadonly())
    for position in range(len(batch)):
        batch[position] ^= 1
        is_covered = position >= 17
        assert crc_is_valid(batch) is not is_covered
        batch[position] ^= 1
    assert not crc_is_valid(batch[:60])
    assert not crc_is_valid(b"")


def test_stamping_offset_and_epoch_leaves_the_checksum_valid():
    batch = a_batch()
    stamp(batch, 1 << 40, 77)
    seen = read_batch_header(batch)
    assert (seen.base_offset, seen.partition_leader_epoch, seen.last_offset) == (1 << 40, 77, (1 << 40) + 2)
    assert crc_is_valid(batch)
    assert DefaultRecordBatch(bytes(batch)).leader_epoch == 77


def test_a_batch_is_stamped_inside_a_larger_buffer():
    buffer = bytearray(10) + a_batch() + bytearray(10)
    stamp(memoryview(buffer)[10:-10], 5, 6)
    assert read_batch_header(buffer, 10).base_offset == 5
    assert buffer[:10] == bytes(10) == buffer[-10:]


def test_log_append_time_replaces_every_timestamp_and_renews_the_checksum():
    batch = a_batch()
    stamp_log_append_time(memoryview(batch), 5_000_000)
    seen = read_batch_header(batch)
    assert seen.is_log_append_time
    assert seen.is_transactional
    assert (seen.max_timestamp, seen.base_timestamp) == (5_000_000, 1000)
    assert crc_is_valid(batch)
    theirs = DefaultRecordBatch(bytes(batch))
    assert theirs.validate_crc()
    assert [record.timestamp for record in theirs] == [5_000_000] * 3
    ours = decode_records(batch, limit_bytes=1 << 20, limit_ratio=10)
    assert [record.timestamp for record in ours] == [5_000_000] * 3


def test_the_last_sequence_wraps_to_zero():
    assert header(base_sequence=0x7FFFFFFF, last_offset_delta=0).last_sequence == 0x7FFFFFFF
    assert header(base_sequence=0x7FFFFFFF, last_offset_delta=1).last_sequence == 0
    assert header(base_sequence=0x7FFFFFFE, last_offset_delta=4).last_sequence == 2
    assert header(base_sequence=-1, last_offset_delta=4).last_sequence == -1


def test_attribute_bits_say_what_kafka_says():
    for kind in range(8):
        assert header(attributes=kind).compression == kind
    bits = {0x08: "is_log_append_time", 0x10: "is_transactional", 0x20: "is_control"}
    for bit, name in bits.items():
        assert [getattr(header(attributes=bit), other) for other in bits.values()] == [
            other == name for other in bits.values()
        ]


def test_several_batches_are_walked_in_order():
    batches = [encode_batch([Record(value=bytes(i))] * (i + 1), base_offset=i * 10) for i in range(4)]
    joined = memoryview(b"".join(batches))
    walked = list(iter_headers(joined))
    assert [found.base_offset for _, found in walked] == [0, 10, 20, 30]
    assert [joined[at : at + found.size_bytes] for at, found in walked] == batches
    assert list(iter_headers(b"")) == []


def test_a_walk_stops_with_a_wire_error_where_a_batch_is_cut_short():
    batch = bytes(a_batch())
    for end in range(len(batch) + 1, 2 * len(batch)):
        with pytest.raises(WireError):
            list(iter_headers((batch * 2)[:end]))


@pytest.mark.parametrize("length", [48, 0, -1, -12, -(1 << 31), (1 << 31) - 1])
def test_an_impossible_batch_length_never_loops_or_runs_past_the_end(length):
    batch = a_batch()
    struct.pack_into(">i", batch, 8, length)
    with pytest.raises(WireError):
        list(iter_headers(batch))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_walked_or_refused(data):
    try:
        for _, found in iter_headers(data):
            assert found.size_bytes >= BATCH_HEADER_BYTES
    except WireError:
        pass
