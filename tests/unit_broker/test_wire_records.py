"""Records and compressions against kafka-python's own encoder and decoder, and against hostile bytes."""

import contextlib
import random
import struct
import tracemalloc

import pytest
from automq_broker.kernel.errors import ClientFault
from automq_broker.wire.batches import BATCH_HEADER_BYTES, crc_is_valid, read_batch_header, stamp_crc
from automq_broker.wire.codes import ErrorCode
from automq_broker.wire.primitives import WireError
from automq_broker.wire.records import Record, decode_records, encode_batch, iter_glances, iter_records, refold, unfold
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.kafka_python import DefaultRecordBatchBuilder, MemoryRecords

LIMITS = {"limit_bytes": 1 << 20, "limit_ratio": 1000}
CODECS = [0, 1, 2, 3, 4]

data = st.one_of(st.none(), st.binary(max_size=40), st.binary(min_size=60, max_size=70).map(lambda b: b * 3))
header_pairs = st.lists(st.tuples(st.text(max_size=8), data), max_size=3)
rows = st.lists(st.tuples(st.integers(0, 1 << 45), data, data, header_pairs), min_size=1, max_size=12)


def records_of(drawn):
    return [Record(timestamp=t, key=k, value=v, headers=tuple(h)) for t, k, v, h in drawn]


@settings(max_examples=150, deadline=None)
@given(drawn=rows, kind=st.sampled_from(CODECS), base_offset=st.integers(0, 1 << 60))
def test_kafka_python_reads_what_we_write(drawn, kind, base_offset):
    records = records_of(drawn)
    batch = encode_batch(records, base_offset=base_offset, compression=kind, producer_id=5, base_sequence=9)
    theirs = MemoryRecords(batch).next_batch()
    assert theirs.validate_crc()
    assert (theirs.producer_id, theirs.base_sequence, theirs.last_offset) == (5, 9, base_offset + len(records) - 1)
    seen = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in theirs]
    assert seen == [(base_offset + i, r.timestamp, r.key, r.value, r.headers) for i, r in enumerate(records)]


@settings(max_examples=150, deadline=None)
@given(drawn=rows, kind=st.sampled_from(CODECS))
def test_we_read_what_kafka_python_writes(drawn, kind):
    builder = DefaultRecordBatchBuilder(2, kind, False, -1, -1, -1, 1 << 20)
    for i, (timestamp, key, value, headers) in enumerate(drawn):
        builder.append(i, timestamp, key, value, headers)
    batch = bytes(builder.build())
    assert crc_is_valid(batch)
    expected = [record._replace(offset=i) for i, record in enumerate(records_of(drawn))]
    assert decode_records(memoryview(batch), **LIMITS) == expected


@pytest.mark.parametrize("kind", CODECS)
def test_a_large_batch_of_every_codec_comes_back(kind):
    chance = random.Random(3)
    records = [Record(timestamp=i, key=chance.randbytes(8), value=chance.randbytes(500) * 2) for i in range(300)]
    batch = encode_batch(records, compression=kind)
    assert read_batch_header(batch).compression == kind
    assert [r._replace(offset=-1) for r in decode_records(batch, **LIMITS)] == records
    assert [r.value for r in MemoryRecords(batch).next_batch()] == [r.value for r in records]


def test_offsets_may_have_gaps_but_must_rise():
    records = [Record(offset=20, value=b"a"), Record(offset=25, value=b"b"), Record(value=b"c")]
    batch = encode_batch(records, base_offset=18)
    assert [record.offset for record in decode_records(batch, **LIMITS)] == [20, 25, 26]
    assert read_batch_header(batch).last_offset == 26
    for wrong in ([17], [20, 20], [20, 19], [18, 18 + (1 << 31)]):
        with pytest.raises(WireError):
            encode_batch([Record(offset=offset) for offset in wrong], base_offset=18)
    with pytest.raises(WireError):
        encode_batch([])


def test_attributes_of_a_batch_are_those_that_were_asked_for():
    header = read_batch_header(
        encode_batch([Record(timestamp=5)], is_transactional=True, is_control=True, timestamp_type=1, leader_epoch=4)
    )
    assert header.is_transactional
    assert header.is_control
    assert header.is_log_append_time
    assert header.partition_leader_epoch == 4


def test_timestamps_may_fall_inside_a_batch():
    records = [Record(timestamp=50), Record(timestamp=10), Record(timestamp=70), Record()]
    batch = encode_batch(records)
    assert read_batch_header(batch).max_timestamp == 70
    assert [record.timestamp for record in decode_records(batch, **LIMITS)] == [50, 10, 70, -1]


def test_records_are_read_one_by_one_on_demand():
    broken_late = bytearray(encode_batch([Record(value=b"first"), Record(value=b"second")]))
    broken_late[-1] = 0x55
    reader = iter_records(broken_late, **LIMITS)
    assert next(reader).value == b"first"
    with pytest.raises(ClientFault):
        next(reader)


# --- hostile batches ----------------------------------------------------------------------------------------------


def refused(batch, **limits):
    with pytest.raises(ClientFault) as caught:
        decode_records(batch, **(LIMITS | limits))
    return caught.value.code


@pytest.mark.parametrize("kind", CODECS)
def test_a_batch_cut_short_anywhere_is_refused(kind):
    batch = encode_batch([Record(key=b"k", value=b"v" * 50, headers=(("h", b"x"),))] * 3, compression=kind)
    for end in range(BATCH_HEADER_BYTES, len(batch)):
        assert refused(batch[:end]) == ErrorCode.INVALID_RECORD
        shorter = bytearray(batch[:end])
        struct.pack_into(">i", shorter, 8, end - 12)
        assert refused(shorter) == ErrorCode.INVALID_RECORD


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(CODECS), seed=st.integers(0, 1 << 32))
def test_random_damage_gives_records_or_a_client_fault_and_nothing_else(kind, seed):
    chance = random.Random(seed)
    records = [Record(key=b"k" * i, value=b"v" * 9 * i, headers=(("h", b"x"),) * (i % 3)) for i in range(6)]
    batch = bytearray(encode_batch(records, compression=kind))
    for _ in range(chance.randint(1, 5)):
        batch[chance.randrange(12, len(batch))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    with contextlib.suppress(ClientFault):
        decode_records(batch, **LIMITS)


@pytest.mark.parametrize("count", [-1, 0, 2, 1_000_000, 0x7FFFFFFF, -0x80000000])
def test_a_wrong_count_of_records_is_refused_before_anything_is_read(count):
    batch = bytearray(encode_batch([Record(value=b"only one")]))
    struct.pack_into(">i", batch, 57, count)
    assert refused(batch) == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize(
    "body",
    [
        b"\x00",  # a record of no bytes
        b"\x01" + bytes(9),  # a negative size
        b"\xff" * 10 + b"\x01" + bytes(9),  # a varint that never ends
        b"\x0e" + b"\0\0\0\x01\x7f\0\0",  # a value longer than the record
        b"\x0e" + b"\0\0\0\x01\x01\x7e\0",  # more headers than bytes
        b"\x12" + b"\0\0\0\x01\x01\x02\x01\x01\0",  # a header without a name
        b"\x10" + b"\0\0\0\x01\x01\0\0\0",  # a byte after the last header
        b"\x0c" + b"\0\0\0\x01\x01\0\0",  # a byte after the last record
    ],
)
def test_a_malformed_record_is_refused(body):
    batch = bytearray(encode_batch([Record()])[:BATCH_HEADER_BYTES]) + body + b"\0" * 8
    struct.pack_into(">i", batch, 8, len(batch) - 12)
    stamp_crc(batch)
    assert refused(batch) == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("magic", [0, 1, 3, -1])
def test_other_formats_than_v2_are_refused(magic):
    batch = bytearray(encode_batch([Record()]))
    struct.pack_into(">b", batch, 16, magic)
    assert refused(batch) == ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("kind", [5, 6, 7])
def test_an_unknown_compression_is_named(kind):
    batch = bytearray(encode_batch([Record()]))
    struct.pack_into(">h", batch, 21, kind)
    assert refused(batch) == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_a_zip_bomb_is_refused_within_the_ceiling_in_bytes_and_in_ratio(kind):
    bomb = encode_batch([Record(value=bytes(40 << 20))], compression=kind)
    tracemalloc.start()
    assert refused(bomb, limit_bytes=1 << 20, limit_ratio=1 << 20) == ErrorCode.INVALID_RECORD
    assert refused(bomb, limit_bytes=1 << 30, limit_ratio=2) == ErrorCode.INVALID_RECORD
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * max(1 << 20, 2 * len(bomb)) + (1 << 20)
    assert len(decode_records(bomb, limit_bytes=41 << 20, limit_ratio=1 << 20)) == 1


@settings(max_examples=150, deadline=None)
@given(drawn=rows, kind=st.sampled_from(CODECS))
def test_a_glance_sees_the_timestamps_and_keys_that_whole_records_have(drawn, kind):
    batch = encode_batch(records_of(drawn), compression=kind)
    seen = [(record.timestamp, record.key is not None) for record in decode_records(batch, **LIMITS)]
    assert list(iter_glances(*unfold(batch, **LIMITS))) == seen


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(CODECS))
def test_a_glance_at_broken_records_ends_or_is_refused(seed, kind):
    chance = random.Random(seed)
    batch = bytearray(
        encode_batch([Record(timestamp=i, key=b"k", value=b"v" * 20) for i in range(4)], compression=kind)
    )
    for _ in range(3):
        batch[chance.randrange(21, len(batch))] = chance.getrandbits(8)
    with contextlib.suppress(ClientFault):
        for timestamp, _ in iter_glances(*unfold(batch, **LIMITS)):
            assert timestamp < 1 << 63


@settings(max_examples=100, deadline=None)
@given(drawn=rows, before=st.sampled_from(CODECS), after=st.sampled_from(CODECS))
def test_recompressing_changes_the_codec_and_nothing_else(drawn, before, after):
    batch = encode_batch(records_of(drawn), compression=before, producer_id=5, producer_epoch=2, base_sequence=9)
    header, body = unfold(batch, **LIMITS)
    again = refold(batch, body, after)
    assert crc_is_valid(again)
    changed = read_batch_header(again)
    assert (changed.compression, changed.size_bytes) == (after, len(again))
    same = {"crc": 0, "attributes": 0, "batch_length": 0}
    assert changed._replace(**same) == header._replace(**same)
    assert decode_records(again, **LIMITS) == decode_records(batch, **LIMITS)


def test_levels_reach_the_codec():
    body = memoryview(b"".join(random.Random(1).randbytes(30) * 3 + bytes([n % 7]) * 9 for n in range(900)))
    batch = encode_batch([Record(timestamp=0, value=b"v")])
    for codec, low, high in ((1, 1, 9), (4, 1, 19)):
        assert len(refold(batch, body, codec, high)) < len(refold(batch, body, codec, low))
