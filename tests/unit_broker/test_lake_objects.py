"""lake/objects.py, lake/index.py: what is encoded comes back, damage is found, newer formats are refused."""

from dataclasses import replace

import pytest
from automq_broker.kernel.errors import Bug, Corrupt, Refused
from automq_broker.lake.layout import FORMAT_VERSION, TRAILER_END, TRAILER_VERSION
from automq_broker.lake.objects import (
    TRAILER_BYTES,
    ObjectKind,
    blocks_from,
    check_block,
    check_checkpoint,
    decode_index,
    encode_object,
    ranges_of,
    read_trailer,
)
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from twins.lake_objects import TOPIC, batch, header, joined, slice_of


def bytes_of(piece):
    return b"".join(bytes(segment) for one in piece.batches for segment in one.segments)


shapes = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 400), st.integers(1, 3)), min_size=1, max_size=8)
slices = st.lists(
    st.tuples(st.integers(0, 2**40), st.integers(0, 2**50), shapes, st.binary(max_size=30)),
    min_size=1,
    max_size=5,
    unique_by=lambda row: row[0],
).map(lambda rows: [slice_of(s, start, sh, checkpoint=cp) for s, start, sh, cp in sorted(rows, key=lambda row: row[0])])


@settings(max_examples=60, deadline=None)
@given(slices, st.integers(1, 1500))
def test_what_is_encoded_comes_back_bit_for_bit(pieces, block_bytes):
    encoded = encode_object(header(), pieces, block_bytes=block_bytes)
    data = joined(encoded)
    assert len(data) == encoded.size
    index = decode_index(data[encoded.index_position :])
    assert index.header == header()
    assert (index.size, index.crc, index.index_position) == (encoded.size, encoded.crc, encoded.index_position)
    assert ranges_of(index) == encoded.ranges
    for piece, found, rng in zip(pieces, index.slices, encoded.ranges, strict=True):
        assert (found.stream_id, found.topic, found.topic_id) == (piece.stream_id, piece.topic, TOPIC)
        assert data[rng.position : rng.position + rng.length] == bytes_of(piece)
        assert (rng.start, rng.end) == (piece.batches[0].base_offset, piece.batches[-1].last_offset + 1)
        assert rng.records == sum(one.records_count for one in piece.batches)
        checkpoint = data[found.checkpoint_position : found.checkpoint_position + found.checkpoint_length]
        assert checkpoint == piece.checkpoint
        check_checkpoint(found, checkpoint)
        for entry in found.entries:
            check_block(entry, data[entry.position : entry.position + entry.length])


@settings(max_examples=40, deadline=None)
@given(slices, st.integers(1, 1500))
def test_blocks_hold_whole_batches_and_stay_below_their_aim_unless_one_batch_is_larger(pieces, block_bytes):
    encoded = encode_object(header(), pieces, block_bytes=block_bytes)
    index = decode_index(joined(encoded)[encoded.index_position :])
    for piece, found in zip(pieces, index.slices, strict=True):
        starts = {one.base_offset: sum(map(len, one.segments)) for one in piece.batches}
        for entry in found.entries:
            assert entry.first_offset in starts
            assert entry.length <= block_bytes or entry.length == starts[entry.first_offset]


def test_encoding_hands_on_the_very_views_that_it_was_given():
    pieces = [slice_of(1, 0, [(3, 100, 2), (4, 50, 1)]), slice_of(2, 5, [(1, 10, 1)])]
    given_views = [segment for piece in pieces for one in piece.batches for segment in one.segments]
    encoded = encode_object(header(), pieces)
    assert all(a is b for a, b in zip(encoded.segments, given_views, strict=False))
    assert len(encoded.segments) == len(given_views) + 1


def test_every_flipped_bit_of_an_object_is_noticed():
    pieces = [slice_of(1, 0, [(3, 20, 1), (4, 9, 1)], checkpoint=b"state"), slice_of(2, 5, [(1, 10, 1)])]
    encoded = encode_object(header(), pieces, block_bytes=16)
    data = joined(encoded)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            with pytest.raises(Corrupt):
                read_all(bytes(damaged), encoded.index_position)


def read_all(data, index_position):
    index = decode_index(data[index_position:])
    for piece in index.slices:
        check_checkpoint(piece, data[piece.checkpoint_position :][: piece.checkpoint_length])
        for entry in piece.entries:
            check_block(entry, data[entry.position :][: entry.length])


@pytest.mark.parametrize("cut", [0, 1, 15, 16, TRAILER_BYTES - 1, TRAILER_BYTES, TRAILER_BYTES + 1])
def test_a_cut_off_end_is_damage(cut):
    encoded = encode_object(header(), [slice_of(1, 0, [(3, 20, 1)])])
    tail = joined(encoded)[encoded.index_position :]
    with pytest.raises(Corrupt):
        decode_index(tail[:cut])
    with pytest.raises(Corrupt):
        decode_index(tail[1:])


def test_a_newer_format_is_refused_by_its_number_and_not_called_damage():
    encoded = encode_object(header(), [slice_of(1, 0, [(3, 20, 1)])])
    data = joined(encoded)
    guarded_end = len(data) - TRAILER_END.size
    newer = bytearray(data)
    TRAILER_VERSION.pack_into(newer, guarded_end - TRAILER_VERSION.size, TRAILER_BYTES, FORMAT_VERSION + 1)
    crc = crc32c(bytes(newer[len(data) - TRAILER_BYTES : guarded_end]))
    TRAILER_END.pack_into(newer, guarded_end, crc, b"AMQOBJ\r\n")
    with pytest.raises(Refused, match=f"format {FORMAT_VERSION + 1}"):
        read_trailer(bytes(newer[-TRAILER_BYTES:]))


def test_a_trailer_is_found_at_the_end_of_any_suffix():
    encoded = encode_object(header(), [slice_of(1, 0, [(3, 20, 1)])])
    data = joined(encoded)
    for suffix in (data, data[-TRAILER_BYTES:], data[-TRAILER_BYTES - 5 :]):
        trailer = read_trailer(suffix)
        assert (trailer.index_position, trailer.object_id) == (encoded.index_position, 12)
        assert trailer.cluster_id == header().cluster_id


def test_random_bytes_are_never_an_object():
    for data in (b"", b"x" * 500, bytes(TRAILER_BYTES), b"AMQOBJ\r\n" * 40):
        with pytest.raises(Corrupt):
            decode_index(data)


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [slice_of(1, 0, [])],
        [slice_of(2, 0, [(1, 5, 1)]), slice_of(1, 0, [(1, 5, 1)])],
        [slice_of(1, 0, [(3, 5, 1)]), slice_of(1, 2, [(1, 5, 1)])],
        [replace(slice_of(1, 0, []), batches=[batch(0, 2, 5), batch(3, 1, 5)])],
        [slice_of(1, 0, [(1, 0, 1)])],
    ],
    ids=["nothing", "empty slice", "streams out of order", "overlap", "gap", "no bytes"],
)
def test_an_object_that_must_not_exist_is_a_bug(pieces):
    with pytest.raises(Bug):
        encode_object(header(), pieces)


def test_one_stream_may_come_twice_when_its_slices_do_not_touch():
    encoded = encode_object(header(), [slice_of(1, 0, [(3, 5, 1)]), slice_of(1, 10, [(2, 5, 1)])])
    index = decode_index(joined(encoded)[encoded.index_position :])
    assert [(rng.start, rng.end) for rng in encoded.ranges] == [(0, 3), (10, 12)]
    assert [entry.first_offset for entry in blocks_from(index, 1, 3)] == [10]


def test_a_stream_object_of_two_streams_is_a_bug():
    with pytest.raises(Bug):
        encode_object(header(kind=ObjectKind.STREAM), [slice_of(1, 0, [(1, 5, 1)]), slice_of(2, 0, [(1, 5, 1)])])


@pytest.mark.parametrize(("offset", "first"), [(0, 0), (9, 0), (10, 10), (25, 20), (29, 20), (30, None)])
def test_the_blocks_of_a_read_start_with_the_one_that_holds_its_offset(offset, first):
    encoded = encode_object(header(), [slice_of(4, 0, [(10, 50, 1)] * 3), slice_of(5, 0, [(1, 5, 1)])], block_bytes=50)
    index = decode_index(joined(encoded)[encoded.index_position :])
    found = blocks_from(index, 4, offset)
    assert (found[0].first_offset if found else None) == first
    assert all(entry.stream_id == 4 for entry in found)
