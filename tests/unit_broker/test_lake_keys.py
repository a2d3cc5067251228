"""lake/keys.py: keys read back as what they were, sort as their numbers do, and spread."""

import pytest
from automq_broker.lake.keys import (
    HEAD_KEY,
    data_key,
    delta_key,
    parse_data_key,
    parse_meta_key,
    snapshot_key,
    wal_bulk_key,
    wal_prefix,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(0, 2**63 - 1))
def test_an_object_id_survives_its_key(object_id):
    assert parse_data_key(data_key(object_id)) == object_id


def test_data_keys_are_the_documented_ones():
    assert data_key(0) == "data/00/00000000000000000000"
    assert data_key(1) == "data/10/00000000000000000001"
    assert data_key(0x1A2) == "data/2a/00000000000000000418"


def test_neighbouring_ids_use_all_256_prefixes_and_the_first_digit_first():
    keys = [data_key(object_id) for object_id in range(256)]
    assert len({key[:7] for key in keys}) == 256
    assert len({key[:6] for key in keys[:16]}) == 16


@pytest.mark.parametrize("key", ["data/00/00000000000000000001", "data/10/1", "data/xx/" + "0" * 20, HEAD_KEY, ""])
def test_a_key_that_is_not_ours_is_no_object(key):
    assert parse_data_key(key) is None


@given(st.integers(0, 10**19), st.integers(0, 10**19))
def test_meta_keys_read_back_and_sort_by_sequence(a, b):
    found = parse_meta_key(delta_key(a, "n0nce"))
    assert found is not None
    assert (found.kind, found.seq, found.nonce) == ("delta", a, "n0nce")
    assert parse_meta_key(snapshot_key(b, "x")).kind == "snapshot"
    assert (a < b) == (delta_key(a, "a") < delta_key(b, "a"))


def test_the_head_is_no_delta():
    assert parse_meta_key(HEAD_KEY) is None


def test_wal_bulks_of_one_incarnation_share_a_prefix_and_sort():
    assert wal_bulk_key(3, 7, 9).startswith(wal_prefix(3, 7))
    assert wal_bulk_key(3, 7, 9) < wal_bulk_key(3, 7, 10)
