"""wal/recovery.py: everything acked comes back, torn tails are cut, damage is reported exactly, stale blocks never count."""

from dataclasses import replace

import pytest
from automq_broker.kernel.errors import Corrupt
from automq_broker.kernel.ids import Lsn, Offset, StreamId
from automq_broker.wal.damage import DamagedRange, WalDamaged
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RING_POSITION, RecordKind
from automq_broker.wal.recovery import read_superblocks
from automq_broker.wal.superblock import claimed
from automq_broker.wal.writer import WalWriter
from twins.memory_wal import MemoryWal
from twins.wal_driver import (
    allocate,
    batch,
    bodies,
    drive,
    flush,
    formatted,
    fresh_writer,
    header,
    scan,
    store,
    submit,
)  # fmt: skip

MIB = 1 << 20


def device(capacity: int = 4 * MIB) -> MemoryWal:
    return MemoryWal(capacity, is_manual=True)


def group(disk: MemoryWal, writer: WalWriter, *records: tuple) -> int:
    """Append (stream, base, size) records as one durable block; returns its LSN."""
    lsn = writer.appended_lsn
    for stream, base, size in records:
        writer.append(header(stream=stream, base=base), batch(size, base=base))
    flush(disk, writer)
    return lsn


def again(disk: MemoryWal) -> tuple[MemoryWal, WalWriter, list]:
    """A restart: claim the next epoch, recover, and go on writing."""
    superblock = drive(read_superblocks(), disk.read_blocking)
    store(disk, claimed(superblock, superblock.wal_epoch + 1))
    disk = MemoryWal(is_manual=True, platter=disk.platter)
    recovered, records = scan(disk)
    return disk, WalWriter(recovered.ring, superblock.wal_epoch + 1, allocate), records


def offsets(records) -> list[tuple[int, int]]:
    return [(record.header.stream_id, record.header.base_offset) for record in records]


def test_a_fresh_wal_is_empty():
    disk = device()
    formatted(disk)
    recovered, records = scan(disk)
    assert (records, recovered.end_lsn, recovered.torn) == ([], 0, None)


def test_a_never_formatted_device_has_no_superblock():
    assert drive(read_superblocks(), device().read_blocking) is None


@pytest.mark.parametrize("sectors", range(24))
def test_a_write_torn_at_any_sector_loses_only_what_was_not_acked(sectors):
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 3000))
    writer.append(header(base=1), batch(11_000, base=1))
    (write,) = writer.cut(writer.durable_lsn)
    assert len(write.data) == 24 * 512
    disk.platter[write.position : write.position + sectors * 512] = write.data[: sectors * 512]
    recovered, records = scan(disk)
    # The last sector holds only padding, which is zero on a fresh ring.
    assert offsets(records) in ([(1, 0)], [(1, 0), (1, 1)])
    assert len(records) == (2 if sectors * 512 >= BLOCK_HEADER_BYTES + 48 + 11_000 else 1)
    assert recovered.end_lsn == (len(write.data) + 4096 if len(records) == 2 else 4096)
    assert (recovered.torn is not None) == (sectors > 0 and len(records) == 1)


@pytest.mark.parametrize("sector", range(24))
def test_one_missing_sector_in_the_last_write_is_a_torn_tail(sector):
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 3000))
    position = RING_POSITION + group(disk, writer, (1, 1, 12_000))
    disk.platter[position + sector * 512 : position + sector * 512 + 512] = b"\x77" * 512
    recovered, records = scan(disk)
    assert offsets(records) == [(1, 0)]
    assert recovered.end_lsn == 4096


def test_every_flipped_bit_of_a_block_header_voids_the_block():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    position = RING_POSITION + group(disk, writer, (1, 1, 500))
    for at in range(BLOCK_HEADER_BYTES):
        for bit in range(8):
            disk.flip_bit(position + at, bit)
            _, records = scan(disk)
            assert offsets(records) == [(1, 0)]
            disk.flip_bit(position + at, bit)
    assert len(scan(disk)[1]) == 2


@pytest.mark.parametrize("kind", list(RecordKind))
def test_every_flipped_bit_of_an_acked_block_is_reported_when_a_later_block_proves_it(kind):
    disk = device(2 * MIB)
    writer = fresh_writer(disk)
    writer.append(header(base=0, kind=kind), batch(150))
    writer.append(header(base=1, kind=kind), batch(61))
    flush(disk, writer)
    group(disk, writer, (1, 2, 100))
    end = BLOCK_HEADER_BYTES + 48 + 150 + 48 + 61
    for at in [*range(end), end, 2000, 4095]:
        for bit in range(8) if at < end else (0, 7):
            disk.flip_bit(RING_POSITION + at, bit)
            with pytest.raises(WalDamaged) as caught:
                scan(disk)
            assert caught.value.lsn == 0
            disk.flip_bit(RING_POSITION + at, bit)
    assert len(scan(disk)[1]) == 3


def test_a_damaged_batch_is_reported_with_exactly_its_offsets():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500), (2, 70, 500))
    lsn = group(disk, writer, (1, 1, 500), (2, 71, 500), (3, 9, 500))
    later = group(disk, writer, (2, 72, 500))
    body_of_the_second = lsn + BLOCK_HEADER_BYTES + 48 + 500 + 48
    disk.flip_bit(RING_POSITION + body_of_the_second + 300)
    with pytest.raises(WalDamaged) as caught:
        scan(disk)
    damage = caught.value
    assert (damage.lsn, damage.end_lsn, damage.position) == (lsn, later, RING_POSITION + lsn)
    assert damage.proven_lsn == later
    assert damage.ranges == (lost(2, 71, 72),)
    assert "stream 2 offsets [71, 72)" in str(damage)
    assert isinstance(damage, Corrupt)


def lost(stream: int, start: int | None, end: int) -> DamagedRange:
    return DamagedRange(
        stream_id=StreamId(stream), start_offset=None if start is None else Offset(start), end_offset=Offset(end)
    )


def test_a_block_without_a_readable_header_is_reported_by_the_gaps_that_it_leaves():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 10, 500), (2, 70, 500))
    lsn = group(disk, writer, (1, 11, 500), (1, 12, 500), (2, 71, 9000), (4, 0, 500))
    later = group(disk, writer, (1, 13, 500), (5, 33, 500))
    group(disk, writer, (2, 72, 500), (1, 14, 500))
    disk.platter[RING_POSITION + lsn : RING_POSITION + later] = bytes(later - lsn)
    with pytest.raises(WalDamaged) as caught:
        scan(disk)
    assert caught.value.end_lsn == later
    assert caught.value.ranges == (lost(1, 11, 13), lost(5, None, 33), lost(2, 71, 72))


def test_damage_inside_a_record_that_spans_blocks_names_that_record():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    lsn = group(disk, writer, (1, 1, 1 * MIB + 200_000))
    group(disk, writer, (1, 2, 500))
    disk.flip_bit(RING_POSITION + lsn + 30_000)
    with pytest.raises(WalDamaged) as caught:
        scan(disk)
    assert caught.value.ranges == (lost(1, 1, 2),)


def test_damage_is_found_behind_any_number_of_broken_blocks_inside_the_window():
    disk = device(20 * MIB)
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    lsn = writer.durable_lsn
    for base in range(1, 14):
        group(disk, writer, (1, base, 1_000_000))
    end = writer.durable_lsn
    group(disk, writer, (1, 14, 500))
    disk.platter[RING_POSITION + lsn : RING_POSITION + end] = bytes(end - lsn)
    with pytest.raises(WalDamaged) as caught:
        scan(disk)
    assert (caught.value.lsn, caught.value.end_lsn) == (lsn, end)
    assert caught.value.ranges == (lost(1, 1, 14),)


def test_the_idle_block_is_what_turns_the_last_acked_block_from_torn_into_damaged():
    disk = device()
    writer = fresh_writer(disk)
    lsn = group(disk, writer, (1, 0, 500))
    disk.flip_bit(RING_POSITION + lsn + 400)
    recovered, _ = scan(disk)
    assert recovered.torn is not None
    submit(disk, writer, writer.idle_block(writer.durable_lsn))
    disk.complete()
    with pytest.raises(WalDamaged, match=r"stream 1 offsets \[0, 1\)"):
        scan(disk)


def test_a_superblock_that_knew_the_bytes_durable_proves_damage_too():
    disk = device()
    writer = fresh_writer(disk)
    lsn = group(disk, writer, (1, 0, 500))
    submit(disk, writer, writer.superblock(zeroed_bytes=0, is_clean=True))
    disk.complete()
    disk.platter[RING_POSITION + lsn : RING_POSITION + lsn + 64] = bytes(64)
    with pytest.raises(WalDamaged) as caught:
        scan(disk)
    assert caught.value.ranges == ()
    assert "no later record tells which streams" in str(caught.value)


def test_writes_that_overtook_a_torn_one_are_not_taken_for_proof():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    writes = []
    for base in (1, 2, 3):
        writer.append(header(base=base), batch(500, base=base))
        writes += writer.cut(writer.durable_lsn)
    for write in writes[1:]:
        disk.platter[write.position : write.position + 4096] = write.data
    recovered, records = scan(disk)
    assert offsets(records) == [(1, 0)]
    assert recovered.torn is not None
    assert recovered.torn.later_blocks == 2


def test_what_a_recovery_truncated_never_comes_back():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    writes = []
    for base in (1, 2, 3):
        writer.append(header(base=base), batch(500, base=base))
        writes += writer.cut(writer.durable_lsn)
    for write in writes[1:]:
        disk.platter[write.position : write.position + 4096] = write.data
    disk, writer, records = again(disk)
    assert offsets(records) == [(1, 0)]
    # Block for block in the places of the truncated ones: the next old block lies right behind, with a fitting LSN.
    for base in (1, 2):
        group(disk, writer, (7, base, 500))
        recovered, records = scan(disk)
        assert offsets(records) == [(1, 0), *((7, new) for new in range(1, base + 1))]
        assert recovered.torn is None
    disk, writer, records = again(disk)
    assert offsets(records) == [(1, 0), (7, 1), (7, 2)]


def test_a_truncated_block_that_becomes_readable_again_does_not_count():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    writer.append(header(base=1), batch(500, base=1))
    (write,) = writer.cut(writer.durable_lsn)
    disk, writer, _ = again(disk)
    submit(disk, writer, writer.superblock(zeroed_bytes=0))
    disk.complete()
    disk.platter[write.position : write.position + 4096] = write.data
    recovered, records = scan(disk)
    assert offsets(records) == [(1, 0)]
    assert recovered.torn is None


def test_a_record_cut_short_by_a_truncation_is_given_up_and_the_log_goes_on():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    writer.append(header(base=1), batch(800_000, base=1))
    writer.append(header(base=2), batch(3 * MIB // 2, base=2))
    first, *rest = writer.cut(writer.durable_lsn)
    second = rest[0]
    for write in (first, second):
        disk.platter[write.position : write.position + len(write.data)] = write.data
    disk, writer, records = again(disk)
    assert offsets(records) == [(1, 0), (1, 1)]
    group(disk, writer, (1, 2, 700))
    disk, writer, records = again(disk)
    assert offsets(records) == [(1, 0), (1, 1), (1, 2)]
    assert len(records[-1].first_bytes) == 700


def test_blocks_of_another_generation_are_foreign():
    disk = device()
    writer = fresh_writer(disk, generation=1)
    group(disk, writer, (1, 0, 500))
    group(disk, writer, (1, 1, 500))
    formatted(disk, generation=2, replaces=drive(read_superblocks(), disk.read_blocking))
    recovered, records = scan(disk)
    assert records == []
    assert recovered.torn is None


def test_blocks_of_an_earlier_lap_are_not_read_again():
    disk = device(MIB + 256 * 1024)
    writer = fresh_writer(disk)
    for base in range(200):
        group(disk, writer, (1, base, 3000 if base % 3 else 9000))
        writer.trim(writer.durable_lsn)
        submit(disk, writer, writer.superblock(zeroed_bytes=0))
        disk.complete()
    recovered, records = scan(disk)
    assert records == []
    assert recovered.end_lsn == writer.durable_lsn
    assert recovered.torn is None


def test_a_ring_that_is_full_to_the_last_block_recovers():
    disk = device(MIB + 256 * 1024)
    writer = fresh_writer(disk)
    base = 0
    while writer.free_bytes > 8192:
        group(disk, writer, (1, base, 3000))
        base += 1
    assert len(scan(disk)[1]) == base


def test_recovered_records_stay_readable_in_the_ring_and_appends_go_on_behind_them():
    disk = device(16 * MIB)
    writer = fresh_writer(disk)
    large = batch(2 * MIB + 5, base=0)
    lsn = writer.append(header(base=0), large).lsn
    flush(disk, writer)
    disk, writer, _ = again(disk)
    group(disk, writer, (1, 1, 500))
    plan = writer.read_plan(lsn, len(large))
    assert writer.extract(lsn, [disk.read_blocking(*part) for part in plan])[1] == large
    _, records = scan(disk)
    assert bodies(records) == [bytes(large), bytes(batch(500, base=1))]


def test_a_scan_in_small_chunks_finds_the_same():
    disk = device(12 * MIB)
    writer = fresh_writer(disk)
    for base in range(60):
        group(disk, writer, (base % 5, base, 1 + (base * 7919 * 13) % 300_000))
    _, large = scan(disk)
    _, small = scan(disk, chunk_bytes=1)
    assert bodies(large) == bodies(small)
    assert len(large) == 60


def test_a_recovery_after_a_lost_newest_superblock_uses_the_older_one():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    group(disk, writer, (1, 1, 500))
    writer.trim(Lsn(4096))
    write = writer.superblock(zeroed_bytes=0)
    submit(disk, writer, write)
    disk.complete()
    assert offsets(scan(disk)[1]) == [(1, 1)]
    disk.flip_bit(write.position + 30)
    assert offsets(scan(disk)[1]) == [(1, 0), (1, 1)]


def test_a_block_of_an_epoch_that_never_claimed_the_wal_is_not_ours():
    disk = device()
    superblock = formatted(disk, epoch=5)
    writer = WalWriter(scan(disk)[0].ring, 6, allocate)
    writer.append(header(), batch(500))
    (_, block) = writer.cut(Lsn(0))
    disk.platter[block.position : block.position + 4096] = block.data
    assert scan(disk)[1] == []
    store(disk, replace(superblock, counter=9, wal_epoch=6))
    assert len(scan(disk)[1]) == 1


def test_only_the_chain_tells_a_truncated_block_of_the_same_epoch_and_place():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    writes = []
    for base in (1, 2):
        writer.append(header(base=base), batch(500, base=base))
        writes += writer.cut(writer.durable_lsn)
    disk.platter[writes[1].position : writes[1].position + 4096] = writes[1].data
    recovered, _ = scan(disk)
    writer = WalWriter(recovered.ring, 1, allocate)
    group(disk, writer, (7, 1, 500))
    recovered, records = scan(disk)
    assert offsets(records) == [(1, 0), (7, 1)]
    assert recovered.end_lsn == 2 * 4096


def test_a_whole_record_of_a_truncated_block_does_not_pass_below_a_new_header():
    disk = device()
    writer = fresh_writer(disk)
    group(disk, writer, (1, 0, 500))
    in_first_sector = 512 - BLOCK_HEADER_BYTES - 48
    blocks = []
    for stream in (1, 7):
        recovered, _ = scan(disk)
        writer = WalWriter(recovered.ring, 1, allocate)
        writer.append(header(stream=stream, base=1), batch(in_first_sector, base=1))
        writer.append(header(stream=stream, base=2), batch(600, base=2))
        blocks.append(bytes(writer.cut(writer.durable_lsn)[-1].data))
    position = RING_POSITION + 4096
    disk.platter[position : position + 4096] = blocks[1]
    assert offsets(scan(disk)[1]) == [(1, 0), (7, 1), (7, 2)]
    disk.platter[position : position + 4096] = blocks[1][:512] + blocks[0][512:]
    recovered, records = scan(disk)
    assert offsets(records) == [(1, 0)]
    assert recovered.torn is not None
