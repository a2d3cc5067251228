"""wal/inspect.py: a WAL described without being touched."""

import pytest
from automq_broker.kernel.errors import Refused
from automq_broker.wal.format import RING_POSITION, RecordKind
from automq_broker.wal.inspect import inspect
from twins.memory_wal import MemoryWal
from twins.wal_driver import batch, drive, flush, fresh_writer, header, submit

MIB = 1 << 20


def filled() -> MemoryWal:
    disk = MemoryWal(4 * MIB, is_manual=True)
    writer = fresh_writer(disk)
    for stream, base in ((2, 10), (1, 0), (2, 11), (2, 15)):
        writer.append(header(stream=stream, base=base), batch(200))
        flush(disk, writer)
    writer.append(header(kind=RecordKind.RAW), b"note")
    flush(disk, writer)
    submit(disk, writer, writer.idle_block(writer.durable_lsn))
    disk.complete()
    return disk


def test_it_counts_what_each_stream_has_and_where_offsets_do_not_follow():
    disk = filled()
    before = bytes(disk.platter)
    report = drive(inspect(), disk.read_blocking)
    assert [(each.stream_id, each.first_offset, each.end_offset, each.gaps) for each in report.streams] == [
        (1, 0, 1, 0),
        (2, 10, 16, 1),
    ]
    assert (report.records, report.raw_records, report.blocks) == (5, 1, 6)
    assert report.used_bytes == 6 * 4096
    assert report.damage is None
    assert report.torn is None
    assert report.newest in report.copies
    assert bytes(disk.platter) == before


def test_damage_is_part_of_the_report():
    disk = filled()
    disk.flip_bit(RING_POSITION + 4096 + 200)
    report = drive(inspect(), disk.read_blocking)
    assert report.damage is not None
    assert report.end_lsn == 4096
    assert [each.stream_id for each in report.streams] == [2]
    assert report.blocks is None


def test_a_device_without_a_wal_is_named_so():
    with pytest.raises(Refused, match="never formatted"):
        drive(inspect(), MemoryWal(4 * MIB).read_blocking)
