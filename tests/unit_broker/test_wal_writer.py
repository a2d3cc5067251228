"""wal/writer.py: where records go, what a cut hands out, what counts as durable, proven, free."""

import pytest
from automq_broker.kernel.errors import Bug, Corrupt, Retry
from automq_broker.kernel.ids import Lsn
from automq_broker.wal.format import BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, RecordKind, decode_block_header
from automq_broker.wal.ring import Ring
from automq_broker.wal.superblock import claimed
from automq_broker.wal.writer import WalWriter
from twins.memory_wal import MemoryWal
from twins.wal_driver import allocate, batch, bodies, flush, formatted, fresh_writer, header, scan, submit

MIB = 1 << 20


def device(capacity: int = 8 * MIB) -> MemoryWal:
    return MemoryWal(capacity, is_manual=True)


def blocks_of(writes):
    return [write for write in writes if write.superblock is None]


def test_a_record_comes_back_as_it_was_appended():
    disk = device()
    writer = fresh_writer(disk)
    placed = writer.append(header(stream=9, base=40, count=3), batch(1000, base=40))
    flush(disk, writer)
    recovered, records = scan(disk)
    assert [record.header for record in records] == [header(stream=9, base=40, count=3)]
    assert records[0].lsn == placed.lsn
    assert records[0].end_lsn == placed.end_lsn
    assert bodies(records) == [bytes(batch(1000, base=40))]
    assert recovered.torn is None
    assert recovered.end_lsn == writer.durable_lsn


def test_offsets_stamped_into_the_views_before_the_cut_are_what_is_stored():
    disk = device()
    writer = fresh_writer(disk)
    placed = writer.append(header(base=77), batch(200))
    placed.segments[0][0:8] = (77).to_bytes(8, "big")
    placed.segments[0][12:16] = (3).to_bytes(4, "big")
    flush(disk, writer)
    _, records = scan(disk)
    assert bytes(records[0].first_bytes[0:8]) == (77).to_bytes(8, "big")
    assert bytes(records[0].first_bytes[12:16]) == (3).to_bytes(4, "big")


def test_a_group_is_one_block_of_whole_4_kib_units():
    disk = device()
    writer = fresh_writer(disk)
    for base in range(10):
        writer.append(header(base=base), batch(300))
    (write,) = blocks_of(writer.cut(Lsn(0)))
    block = decode_block_header(write.data)
    assert block is not None
    assert block.records == 10
    assert len(write.data) == block.size_bytes == 4096
    assert not any(write.data[BLOCK_HEADER_BYTES + block.payload_bytes :])


def test_the_first_cut_begins_with_the_superblock_that_opens_the_epoch():
    writer = fresh_writer(device())
    writer.append(header(), batch())
    opening, block = writer.cut(Lsn(0))
    assert opening.superblock is not None
    assert opening.end_lsn == block.end_lsn
    writer.append(header(), batch())
    assert [write.superblock for write in writer.cut(Lsn(0))] == [None]


def test_a_record_that_fits_an_empty_block_starts_a_new_one_instead_of_being_split():
    writer = WalWriter(Ring.fresh(formatted(device())), 1, lambda size: memoryview(bytearray(4 * MIB)))
    writer.append(header(), batch(600_000))
    second = writer.append(header(), batch(600_000))
    assert len(second.segments) == 1
    assert len(blocks_of(writer.cut(Lsn(0)))) == 2


def test_a_record_larger_than_a_block_spans_blocks_and_comes_back():
    disk = device(12 * MIB)
    writer = fresh_writer(disk)
    large = batch(3 * MIB + 12345)
    writer.append(header(base=0), batch(500))
    placed = writer.append(header(base=1), large)
    writer.append(header(base=2), batch(700))
    assert len(placed.segments) > 2
    flush(disk, writer)
    _, records = scan(disk)
    assert bodies(records) == [bytes(batch(500)), bytes(large), bytes(batch(700))]


@pytest.mark.parametrize("size", [0, 1, 20, 21, 60, 61, 4096, BLOCK_BYTES_MAX - 112, BLOCK_BYTES_MAX, 2 * MIB])
def test_raw_records_of_any_length_come_back(size):
    disk = device()
    writer = fresh_writer(disk)
    body = bytes(range(256)) * (size // 256 + 1)
    placed = writer.append(header(kind=RecordKind.RAW), body[:size])
    flush(disk, writer)
    _, records = scan(disk)
    assert bodies(records) == [body[:size]]
    assert records[0].header.kind is RecordKind.RAW
    plan = writer.read_plan(placed.lsn, size)
    about, back = writer.extract(placed.lsn, [disk.read_blocking(*part) for part in plan])
    assert about == header(kind=RecordKind.RAW)
    assert back == body[:size]


def test_something_shorter_than_a_batch_header_is_not_taken_for_a_batch():
    with pytest.raises(Bug, match="no Kafka batch"):
        fresh_writer(device()).append(header(), b"x" * 60)


def test_durable_is_contiguous_however_writes_complete():
    disk = device()
    writer = fresh_writer(disk)
    writes = []
    for _ in range(3):
        writer.append(header(), batch())
        writes += blocks_of(writer.cut(Lsn(0)))
    assert writer.completed(writes[2]) == 0
    assert writer.completed(writes[0]) == 4096
    assert writer.completed(writes[1]) == 3 * 4096
    assert writer.in_flight_bytes == 0


def test_no_block_is_sealed_further_ahead_of_durable_than_the_window():
    disk = device(16 * MIB)
    writer = fresh_writer(disk, window_bytes=2 * MIB)
    for base in range(10):
        writer.append(header(base=base), batch(500_000))
    appended = writer.appended_lsn
    first = writer.cut(Lsn(0))
    handed_out = sum(len(write.data) for write in blocks_of(first))
    assert handed_out <= 2 * MIB < handed_out + BLOCK_BYTES_MAX
    assert writer.has_pending
    assert {write.end_lsn for write in first} == {appended}
    assert writer.cut(Lsn(0)) == []
    for write in first:
        submit(disk, writer, write)
    disk.complete(100)
    assert writer.durable_lsn < appended
    flush(disk, writer)
    assert writer.durable_lsn == appended
    assert len(scan(disk)[1]) == 10


def test_a_record_larger_than_the_window_goes_out_in_several_cuts():
    disk = device(16 * MIB)
    writer = fresh_writer(disk, window_bytes=MIB)
    large = batch(5 * MIB)
    writer.append(header(), large)
    flush(disk, writer)
    assert bodies(scan(disk)[1]) == [bytes(large)]


def test_claiming_more_durable_than_known_is_a_bug():
    writer = fresh_writer(device())
    writer.append(header(), batch())
    with pytest.raises(Bug, match="durable up to"):
        writer.cut(Lsn(4096))


def test_a_full_ring_refuses_and_appends_nothing_until_a_superblock_frees_room():
    disk = device(MIB + 256 * 1024)
    writer = fresh_writer(disk)
    last = None
    base = 0
    with pytest.raises(Retry):
        while True:
            last = writer.append(header(base=base), batch(8000))
            base += 1
            flush(disk, writer)
    assert last is not None
    assert writer.free_bytes == 0
    writer.trim(writer.durable_lsn)
    assert writer.untrimmed_bytes == writer.durable_lsn
    with pytest.raises(Retry):
        writer.append(header(base=base), batch(8000))
    write = writer.superblock(zeroed_bytes=0)
    assert write is not None
    assert writer.superblock(zeroed_bytes=0) is None
    submit(disk, writer, write)
    disk.complete()
    assert writer.free_bytes > 100_000
    for more in range(8):
        writer.append(header(base=base + more), batch(8000))
    flush(disk, writer)
    _, records = scan(disk)
    assert [record.header.base_offset for record in records] == [base + more for more in range(8)]


def test_free_bytes_that_are_promised_can_be_appended():
    disk = device(3 * MIB)
    writer = fresh_writer(disk)
    size = writer.free_bytes - 4096 - 128
    writer.append(header(), batch(size))
    flush(disk, writer)
    assert len(scan(disk)[1]) == 1


def test_the_log_goes_on_over_many_laps_of_the_ring():
    disk = device(MIB + 300 * 1024)
    writer = fresh_writer(disk)
    kept = []
    for base in range(400):
        body = batch(1 + (base * 7919) % 30_000, base=base)
        placed = writer.append(header(base=base), body)
        kept.append((placed.lsn, base, bytes(body)))
        flush(disk, writer)
        kept = kept[-4:]
        writer.trim(kept[0][0])
        write = writer.superblock(zeroed_bytes=0)
        submit(disk, writer, write)
        disk.complete()
        if base % 20 == 0:
            recovered, records = scan(disk)
            assert recovered.end_lsn == writer.durable_lsn
            found = [(record.header.base_offset, body) for record, body in zip(records, bodies(records), strict=True)]
            assert found[-len(kept) :] == [(offset, body) for _, offset, body in kept]
        for lsn, _, body in kept:
            plan = writer.read_plan(lsn, len(body))
            assert writer.extract(lsn, [disk.read_blocking(*part) for part in plan])[1] == body
    assert writer.durable_lsn > 3 * 300 * 1024


def test_a_record_below_the_trim_point_is_not_read_from_the_ring():
    disk = device()
    writer = fresh_writer(disk)
    first = writer.append(header(base=0), batch())
    flush(disk, writer)
    writer.append(header(base=1), batch())
    flush(disk, writer)
    writer.trim(writer.durable_lsn)
    with pytest.raises(Retry):
        writer.read_plan(first.lsn, 100)
    with pytest.raises(Retry):
        writer.extract(first.lsn, [memoryview(bytes(4096))])


def test_a_flipped_bit_in_the_ring_is_noticed_when_a_record_is_read_back():
    disk = device()
    writer = fresh_writer(disk)
    placed = writer.append(header(), batch(5000))
    flush(disk, writer)
    ((position, length),) = writer.read_plan(placed.lsn, 5000)
    for at in (placed.lsn, placed.lsn + 20, placed.lsn + 50, placed.lsn + 4000):
        raw = bytearray(disk.read_blocking(position, length))
        raw[at - placed.lsn // 4096 * 4096] ^= 16
        with pytest.raises(Corrupt, match=f"LSN {placed.lsn}"):
            writer.extract(placed.lsn, [raw])


def test_an_idle_block_proves_the_last_acks_once():
    disk = device()
    writer = fresh_writer(disk)
    assert writer.idle_block(writer.durable_lsn) is None
    writer.append(header(), batch())
    flush(disk, writer)
    assert writer.proven_lsn < writer.durable_lsn
    write = writer.idle_block(writer.durable_lsn)
    assert write is not None
    assert decode_block_header(write.data).durable_upto == 4096
    submit(disk, writer, write)
    disk.complete()
    assert writer.proven_lsn == writer.durable_lsn == write.end_lsn
    assert writer.idle_block(writer.durable_lsn) is None


def test_no_idle_block_while_something_is_on_its_way():
    disk = device()
    writer = fresh_writer(disk)
    writer.append(header(), batch())
    flush(disk, writer)
    writer.append(header(), batch())
    assert writer.idle_block(writer.durable_lsn) is None


def test_a_durable_superblock_proves_as_well_as_a_block():
    disk = device()
    writer = fresh_writer(disk)
    writer.append(header(), batch())
    flush(disk, writer)
    submit(disk, writer, writer.superblock(zeroed_bytes=0))
    disk.complete()
    assert writer.proven_lsn == writer.durable_lsn


def test_a_wal_with_writes_in_flight_cannot_be_marked_clean():
    writer = fresh_writer(device())
    writer.append(header(), batch())
    with pytest.raises(Bug, match="clean"):
        writer.superblock(zeroed_bytes=0, is_clean=True)


def test_an_older_epoch_cannot_write():
    superblock = claimed(formatted(device()), 8)
    with pytest.raises(Bug, match="epoch 7"):
        WalWriter(Ring.fresh(superblock), 7, allocate)


def test_trim_keeps_the_block_in_which_the_oldest_needed_record_starts():
    disk = device()
    writer = fresh_writer(disk)
    placed = [writer.append(header(base=base), batch(500)) for base in range(5)]
    flush(disk, writer)
    more = writer.append(header(base=5), batch(500))
    flush(disk, writer)
    writer.trim(placed[3].lsn)
    assert writer.untrimmed_bytes == 0
    writer.trim(more.lsn)
    assert writer.untrimmed_bytes == 4096
    submit(disk, writer, writer.superblock(zeroed_bytes=0))
    disk.complete()
    assert [record.header.base_offset for record in scan(disk)[1]] == [5]


def test_trim_stops_before_a_group_that_is_only_partly_durable():
    disk = device()
    writer = fresh_writer(disk)
    writer.append(header(base=0), batch(600_000))
    writer.append(header(base=1), batch(600_000))
    writes = writer.cut(Lsn(0))
    for write in writes:
        submit(disk, writer, write)
    disk.complete(2)
    assert 0 < writer.durable_lsn < writes[-1].end_lsn
    writer.trim(writer.durable_lsn)
    assert writer.untrimmed_bytes == 0
    disk.complete(1)
    writer.trim(writer.durable_lsn)
    assert writer.untrimmed_bytes == writer.durable_lsn
