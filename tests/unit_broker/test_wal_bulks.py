"""wal/bulks.py and bulk_index.py: what a WAL without a disk is made of, as bytes and as places."""

import pytest
from automq_broker.kernel.errors import Corrupt, Refused
from automq_broker.wal.bulk_index import BulkIndex, Piece
from automq_broker.wal.bulks import (
    FORMAT_VERSION,
    HEADER_BYTES,
    Bulk,
    Claim,
    Log,
    decode_claim,
    decode_header,
    encode_claim,
    encode_header,
)
from automq_broker.wal.superblock import SUPERBLOCK_BYTES
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

CLAIM = Claim(
    node_id=3, nonce=b"n" * 16, logs=(Log(epoch=4, first=7), Log(epoch=9, first=0)), page=b"p" * SUPERBLOCK_BYTES
)


def bulk(lsn: int, length: int, *, epoch: int = 1, number: int = 0, **more) -> Bulk:
    return Bulk(node_id=3, epoch=epoch, number=number, generation=5, lsn=lsn, length=length, confirmed=0, **more)


@pytest.mark.parametrize("is_seal", [True, False])
def test_a_header_reads_back_as_what_it_was(is_seal):
    made = bulk(8192, 4096, number=12, is_seal=is_seal)
    data = encode_header(made)
    assert len(data) == HEADER_BYTES
    assert decode_header(data + b"blocks", "k") == made


def test_a_claim_reads_back_as_what_it_was():
    assert decode_claim(encode_claim(CLAIM), "k") == CLAIM


@pytest.mark.parametrize("decode", [decode_header, decode_claim])
@given(at=st.integers(0, HEADER_BYTES - 1), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(decode, at, bit):
    data = bytearray(encode_claim(CLAIM) if decode is decode_claim else encode_header(bulk(0, 4096)))
    data[at] ^= 1 << bit
    with pytest.raises(Corrupt, match="wal/x"):
        decode(bytes(data), "wal/x")


@pytest.mark.parametrize("data", [b"", b"AMQ-BULK", b"x" * 5000])
def test_what_is_no_bulk_is_named_as_such(data):
    with pytest.raises(Corrupt, match="wal/x is no bulk"):
        decode_header(data, "wal/x")


def test_a_newer_format_is_refused_by_name():
    data = bytearray(encode_header(bulk(0, 4096)))
    data[12:16] = (FORMAT_VERSION + 1).to_bytes(4, "little")
    data[8:12] = crc32c(data[12:]).to_bytes(4, "little")
    with pytest.raises(Refused, match=r"wal/x has format version 2; this program knows versions up to 1"):
        decode_header(bytes(data), "wal/x")


def index_of(*bulks: Bulk) -> BulkIndex:
    index = BulkIndex()
    for each in bulks:
        index.add(each)
    return index


def test_a_read_is_cut_at_bulks_and_zeros_fill_what_none_holds():
    first, second = bulk(4096, 8192), bulk(12288, 4096, number=1)
    index = index_of(first, second)
    assert index.pieces(0, 20480) == [
        Piece(None, 0, 4096),
        Piece(first, 0, 8192),
        Piece(second, 0, 4096),
        Piece(None, 0, 4096),
    ]
    assert index.pieces(8192, 100) == [Piece(first, 4096, 100)]
    assert index.pieces(12000, 1000) == [Piece(first, 7904, 288), Piece(second, 0, 712)]
    assert BulkIndex().pieces(4096, 10) == [Piece(None, 0, 10)]


def test_what_a_recovery_truncated_is_hidden_by_the_log_that_goes_on_there():
    old, gone, new = bulk(0, 8192), bulk(8192, 4096, number=1), bulk(4096, 4096, epoch=2)
    index = index_of(old, gone, new)
    assert [*index] == [old, new]
    assert index.pieces(0, 12288) == [Piece(old, 0, 4096), Piece(new, 0, 4096), Piece(None, 0, 4096)]


def test_only_whole_bulks_below_the_trim_point_go():
    bulks = [bulk(4096 * i, 4096, number=i) for i in range(4)]
    index = index_of(*bulks)
    assert index.trim(4095) == []
    assert index.trim(8192 + 100) == bulks[:2]
    assert [*index] == bulks[2:]
    assert index.trim(None) == bulks[2:]
    assert [*index] == []


def test_a_claim_names_the_first_bulk_of_each_log_that_is_needed():
    index = index_of(bulk(0, 4096, number=5), bulk(4096, 4096, number=6), bulk(8192, 4096, epoch=3, number=0))
    own = {"epoch": 3, "next_number": 1, "unended": ()}
    assert index.logs(0, **own) == (Log(epoch=1, first=5), Log(epoch=3, first=0))
    assert index.logs(4096, **own) == (Log(epoch=1, first=6), Log(epoch=3, first=0))
    assert index.logs(8192, **own) == (Log(epoch=3, first=0),)
    assert index.logs(12288, **own) == (Log(epoch=3, first=1),)
    assert index.logs(None, **own) == (Log(epoch=3, first=1),)


def test_a_log_that_is_not_ended_is_named_as_it_was_found_though_it_looks_empty():
    unended = (Log(epoch=1, first=5), Log(epoch=2, first=0))
    found = BulkIndex().logs(0, epoch=4, next_number=0, unended=unended)
    assert found == (*unended, Log(epoch=4, first=0))
