"""lake/recode.py: blocks are taken over as they are, and damage is never given a fresh checksum."""

import pytest
from automq_broker.kernel.errors import Corrupt
from automq_broker.lake.objects import ObjectKind, StreamSlice, blocks_within, decode_index, encode_object
from automq_broker.lake.recode import batches_of_blocks
from twins.lake_objects import header, joined, slice_of


def made():
    encoded = encode_object(header(), [slice_of(1, 0, [(5, 50, 2)] * 4), slice_of(2, 0, [(5, 50, 1)])], block_bytes=60)
    return joined(encoded), decode_index(joined(encoded)[encoded.index_position :]), encoded.ranges


def test_the_blocks_of_a_range_become_batches_that_are_views_of_what_was_read():
    data, index, ranges = made()
    view = memoryview(data)[ranges[1].position : ranges[1].position + ranges[1].length]
    (batch,) = batches_of_blocks(
        blocks_within(index, ranges[1].position, ranges[1].length), view, position=ranges[1].position
    )
    assert (batch.base_offset, batch.last_offset, batch.records_count) == (0, 4, 5)
    assert batch.segments[0].obj is data


def test_a_damaged_block_is_not_written_again():
    data, index, _ = made()
    damaged = bytearray(data)
    damaged[70] ^= 4
    with pytest.raises(Corrupt, match=r"offsets 5\.\.9"):
        batches_of_blocks(index.entries, damaged, 0)


def test_a_block_outside_of_what_was_read_is_not_guessed():
    data, index, _ = made()
    with pytest.raises(Corrupt, match="outside"):
        batches_of_blocks(index.entries, data[:100], 0)
    with pytest.raises(Corrupt, match="outside"):
        batches_of_blocks(index.entries, data, 10)


def test_blocks_taken_over_make_the_same_records_under_new_positions():
    encoded = encode_object(header(), [slice_of(1, 0, [(5, 50, 2)] * 4), slice_of(2, 0, [(5, 50, 1)])], block_bytes=60)
    data = joined(encoded)
    index = decode_index(data[encoded.index_position :])
    piece = index.slices[0]
    batches = batches_of_blocks(piece.entries, data[: encoded.index_position], 0)
    again = encode_object(
        header(13, ObjectKind.STREAM),
        [
            StreamSlice(
                stream_id=1, topic_id=piece.topic_id, topic=piece.topic, partition=1, stream_epoch=1, batches=batches
            )
        ],
    )
    assert joined(again)[:200] == data[:200]
    assert again.ranges[0].records == 20
    assert len(decode_index(joined(again)[again.index_position :]).entries) == 1
