"""wal/superblock.py: two copies, the newest counts; whose WAL it is; what is refused and how that reads."""

from dataclasses import replace
from uuid import UUID

import pytest
from automq_broker.kernel.errors import Bug, Corrupt, Refused
from automq_broker.kernel.ids import Lsn, NodeId
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import RING_POSITION
from automq_broker.wal.superblock import (
    SUPERBLOCK_BYTES,
    Superblock,
    check_epoch,
    check_owner,
    claimed,
    decode_superblock,
    encode_superblock,
    new_superblock,
    newest_superblock,
    reformatted,
    zeroing_start,
)

MIB = 1 << 20
EMPTY = bytes(SUPERBLOCK_BYTES)


def superblock(**changes: object) -> Superblock:
    fresh = new_superblock(
        cluster_id="MkU3OEVBNTcwNTJENDM2Qg",
        node_id=NodeId(3),
        volume_uuid=UUID(int=77),
        generation=(1 << 64) - 2,
        wal_epoch=12,
        device_bytes=9 * MIB,
    )
    return replace(fresh, **changes)


def test_every_field_survives_the_way_to_the_disk_and_back():
    full = superblock(
        counter=99, append_epoch=11, append_lsn=Lsn(4096), trim_lsn=Lsn(8192), durable_lsn=Lsn(12288),
        zeroed_bytes=5 * MIB, is_clean=True,
    )  # fmt: skip
    assert decode_superblock(encode_superblock(full)) == full


def test_every_flipped_bit_makes_a_superblock_void():
    page = encode_superblock(superblock())
    for at in [*range(300), 2000, 4095]:
        for bit in range(8):
            broken = bytearray(page)
            broken[at] ^= 1 << bit
            assert decode_superblock(broken) is None


def test_the_copies_take_turns_and_the_newest_counts():
    first = superblock()
    second = claimed(first, 13)
    assert {first.position, second.position} == set(superblocks.SUPERBLOCK_POSITIONS)
    pages = encode_superblock(first), encode_superblock(second)
    assert newest_superblock(*pages) == second
    assert newest_superblock(*reversed(pages)) == second


@pytest.mark.parametrize("sectors", range(1, 8))
def test_a_superblock_torn_at_any_sector_leaves_the_other_copy(sectors):
    old, new = superblock(counter=4, trim_lsn=Lsn(0)), superblock(counter=6, cluster_id="x" * 500, trim_lsn=Lsn(4096))
    torn = encode_superblock(new)[: sectors * 512] + encode_superblock(old)[sectors * 512 :]
    other = superblock(counter=5)
    found = newest_superblock(torn, encode_superblock(other))
    assert found in (other, new)


def test_an_empty_device_has_no_superblock_and_a_foreign_one_is_no_wal():
    assert newest_superblock(EMPTY, EMPTY) is None
    with pytest.raises(Corrupt, match="no whole superblock"):
        newest_superblock(b"\x7fELF" + EMPTY[4:], EMPTY)


def test_a_newer_format_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(superblocks, "FORMAT_VERSION", 2)
    page = encode_superblock(superblock())
    monkeypatch.undo()
    with pytest.raises(Refused, match="format version 2; this program knows versions up to 1"):
        newest_superblock(page, EMPTY)


def test_a_new_format_wins_over_what_it_replaces():
    old = superblock(counter=500)
    new = new_superblock(
        cluster_id="c", node_id=NodeId(1), volume_uuid=UUID(int=1), generation=5, wal_epoch=1, device_bytes=9 * MIB,
        replaces=old,
    )  # fmt: skip
    assert newest_superblock(encode_superblock(old), encode_superblock(new)) == new


@pytest.mark.parametrize(
    ("who", "message"),
    [
        (
            {"cluster_id": "other", "node_id": NodeId(3)},
            "belongs to cluster MkU3OEVBNTcwNTJENDM2Qg, this is cluster other",
        ),
        ({"cluster_id": "MkU3OEVBNTcwNTJENDM2Qg", "node_id": NodeId(4)}, "belongs to node 3, this is node 4"),
        (
            {"cluster_id": "MkU3OEVBNTcwNTJENDM2Qg", "node_id": NodeId(3), "volume_uuid": UUID(int=78)},
            "lost, re-created or exchanged",
        ),
    ],
)
def test_a_foreign_wal_is_refused_in_one_clear_line(who, message):
    with pytest.raises(Refused, match=message):
        check_owner(superblock(), **who)


def test_the_owner_is_let_in():
    check_owner(superblock(), cluster_id="MkU3OEVBNTcwNTJENDM2Qg", node_id=NodeId(3), volume_uuid=UUID(int=77))


def test_epochs_that_are_neither_confirmed_nor_granted_are_refused():
    check_epoch(superblock(), confirmed=12)
    check_epoch(superblock(), confirmed=10, granted=(11, 12))
    with pytest.raises(Refused, match="rolled back"):
        check_epoch(superblock(), confirmed=13)
    with pytest.raises(Refused, match="superseded"):
        check_epoch(superblock(), confirmed=10)
    with pytest.raises(Refused, match="superseded"):
        claimed(superblock(), 11)


def test_the_capacity_changes_only_when_drained():
    used = superblock(trim_lsn=Lsn(4096))
    with pytest.raises(Refused, match="still holds 4096 bytes"):
        reformatted(used, generation=1, device_bytes=20 * MIB, end_lsn=Lsn(8192))
    new = reformatted(used, generation=1, device_bytes=20 * MIB, end_lsn=Lsn(4096))
    assert (new.capacity_bytes, new.generation, new.trim_lsn) == (19 * MIB, 1, 0)
    assert new.counter == used.counter + 1
    with pytest.raises(Bug):
        reformatted(used, generation=used.generation, device_bytes=20 * MIB, end_lsn=Lsn(4096))


def test_a_device_that_is_too_small_is_refused():
    with pytest.raises(Refused, match="at least"):
        superblocks.ring_capacity(MIB)


def test_zero_filling_never_goes_on_below_what_was_recovered():
    lagging = superblock(zeroed_bytes=2 * MIB)
    assert zeroing_start(lagging, Lsn(0)) == 2 * MIB
    assert zeroing_start(lagging, Lsn(3 * MIB)) == RING_POSITION + 3 * MIB
    assert zeroing_start(lagging, Lsn(100 * MIB)) == RING_POSITION + lagging.capacity_bytes


def test_a_window_smaller_than_a_block_is_a_bug():
    with pytest.raises(Bug, match="window"):
        new_superblock(
            cluster_id="c", node_id=NodeId(1), volume_uuid=UUID(int=1), generation=5, wal_epoch=1,
            device_bytes=9 * MIB, window_bytes=4096,
        )  # fmt: skip
