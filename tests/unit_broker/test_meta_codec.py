"""Records as bytes and back, and everything that bytes may be instead."""

import dataclasses
import struct
import typing
import zlib
from array import array
from uuid import UUID

import pytest
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.meta import records
from automq_broker.meta.codec import decode_records, encode_batch, encode_records, inflate, split_batches
from hypothesis import given, settings
from hypothesis import strategies as st

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(max_size=20)
BY_TYPE = {
    int: INT64,
    bool: st.booleans(),
    str: TEXT,
    UUID: st.uuids(),
    tuple[str, ...]: st.lists(TEXT, max_size=4).map(tuple),
    "array[int]": st.lists(INT64, max_size=30).map(lambda values: array("q", values)),
}


def any_record(kind):
    fields = {field.name: BY_TYPE[field.type] for field in dataclasses.fields(kind)}
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


ANY_RECORD = st.one_of([any_record(kind) for kind in typing.get_args(records.Record)])


@settings(max_examples=200)
@given(st.lists(ANY_RECORD, max_size=6), st.integers(0, 1 << 60))
def test_records_survive_the_way_through_bytes(happened, seq):
    assert list(decode_records(encode_records(happened))) == happened
    (batch,) = split_batches(encode_batch(seq, happened))
    assert batch.seq == seq
    assert list(batch.records()) == happened


def test_batches_lie_one_after_another_and_large_ones_are_packed():
    small = [records.StreamClosed(stream_id=1)]
    large = [records.StreamClosed(stream_id=each) for each in range(1000)]
    data = encode_batch(1, small) + encode_batch(2, large)
    assert [batch.seq for batch in split_batches(data)] == [1, 2]
    assert [list(batch.records()) for batch in split_batches(data)] == [small, large]
    assert b"".join(batch.whole for batch in split_batches(data)) == data
    assert len(data) < 4000


def test_the_bytes_of_a_record_never_change():
    """Golden: what this release wrote must be readable by all later ones."""
    opened = records.StreamOpened(stream_id=1, epoch=2, node_id=3, broker_epoch=4, first_offset=5)
    assert encode_records([opened]) == b"\x0a" + struct.pack("<5q", 1, 2, 3, 4, 5)
    removed = records.TopicRemoved(since_ms=7, topic_id=UUID(int=8))
    assert encode_records([removed]) == b"\x07" + struct.pack("<q", 7) + bytes(15) + b"\x08"
    configs = records.ConfigsChanged(resource_type=2, resource_name="t", upserts=("a", "b"), deletes=())
    assert encode_records([configs]).hex() == ("0802000000000000000100000074020000000100000061010000006200000000")
    assert encode_batch(9, [records.StreamClosed(stream_id=1)]).hex() == (
        "0900000000000000" "00" "09000000" "872f9132" "0b01" + "00" * 7
    )  # fmt: skip


def test_a_kind_of_a_newer_release_is_refused_by_name():
    with pytest.raises(Refused, match=r"record kind 200 .* newer release"):
        list(decode_records(b"\xc8"))
    newer = struct.pack("<QBII", 1, 9, 0, zlib.crc32(struct.pack("<QBII", 1, 9, 0, 0)))
    with pytest.raises(Refused, match="newer way"):
        next(split_batches(newer)).records()


@settings(max_examples=150)
@given(st.lists(ANY_RECORD, min_size=1, max_size=3), st.data())
def test_damage_and_cut_off_batches_are_noticed(happened, data):
    whole = encode_batch(3, happened)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(Corrupt):
        list(split_batches(whole[:cut]))
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(17, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Corrupt):
        list(split_batches(bytes(damaged)))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_end_in_a_stated_error(data):
    for read in (lambda: list(decode_records(data)), lambda: [list(each.records()) for each in split_batches(data)]):
        try:
            read()
        except (Corrupt, Refused):
            continue


def test_a_bomb_is_not_unpacked():
    bomb = zlib.compress(bytes(10_000_000))
    with pytest.raises(Corrupt, match="more than"):
        inflate(bomb, 1_000_000)
    with pytest.raises(Corrupt, match="unpacked"):
        inflate(b"no zlib", 100)
