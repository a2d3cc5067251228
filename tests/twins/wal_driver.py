"""What the engine does around the WAL, as plain calls: valid batches, driving scans, appending and completing."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar
from uuid import UUID

from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamEpoch, StreamId
from automq_broker.wal.blocks import RecoveredRecord
from automq_broker.wal.format import RecordHeader, RecordKind
from automq_broker.wal.recovery import Recovered, read_superblocks, recover
from automq_broker.wal.ring import ReadAt, Ring
from automq_broker.wal.superblock import Superblock, encode_superblock, new_superblock
from automq_broker.wal.writer import WalWriter, Write
from crc32c import crc32c
from twins.memory_wal import MemoryWal

T = TypeVar("T")
VOLUME = UUID(int=7)


def batch(size: int = 100, base: int = 0, fill: int = 0x5A) -> bytearray:
    """A well-formed shell of a v2 batch: right length, magic and CRC around filler."""
    data = bytearray([fill & 0xFF]) * max(size, 61)
    data[0:8] = base.to_bytes(8, "big")
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[12:16] = bytes(4)
    data[16] = 2
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return data


def header(stream: int = 1, base: int = 0, count: int = 1, kind: RecordKind = RecordKind.BATCH) -> RecordHeader:
    return RecordHeader(kind, StreamId(stream), StreamEpoch(3), BrokerEpoch(5), Offset(base), count)


def allocate(min_bytes: int) -> memoryview:
    """Slabs small enough that tests cross their ends, dirty so that nothing may rely on zeros."""
    return memoryview(bytearray(b"\xee" * max(min_bytes, 64 * 1024)))


def formatted(device: MemoryWal, *, epoch: int = 1, generation: int = 0xABCDEF, **more: Any) -> Superblock:
    superblock = new_superblock(
        cluster_id="cluster",
        node_id=NodeId(1),
        volume_uuid=VOLUME,
        generation=generation,
        wal_epoch=epoch,
        device_bytes=device.capacity_bytes,
        **more,
    )
    store(device, superblock)
    return superblock


def store(device: MemoryWal, superblock: Superblock) -> None:
    """Write a superblock at once, as a start does."""
    page = encode_superblock(superblock)
    device.platter[superblock.position : superblock.position + len(page)] = page


def fresh_writer(device: MemoryWal, *, epoch: int = 1, **more: Any) -> WalWriter:
    return WalWriter(Ring.fresh(formatted(device, epoch=epoch, **more)), epoch, allocate)


def submit(device: MemoryWal, writer: WalWriter, write: Write) -> None:
    def done(error: BaseException | None) -> None:
        assert error is None
        writer.completed(write)

    device.write(write.position, write.data, done)


def flush(device: MemoryWal, writer: WalWriter) -> None:
    """Cut and complete until nothing is pending."""
    while writer.has_pending:
        for write in writer.cut(writer.durable_lsn):
            submit(device, writer, write)
        device.complete(1 << 30)


def drive(scan: Generator[ReadAt, memoryview, T], read: Callable[[int, int], memoryview]) -> T:
    try:
        wanted = next(scan)
        while True:
            wanted = scan.send(read(wanted.position, wanted.length))
    except StopIteration as stop:
        outcome: T = stop.value
        return outcome


def scan(device: MemoryWal, **more: int) -> tuple[Recovered, list[RecoveredRecord]]:
    """Read the superblocks and recover; the records in order."""
    superblock = drive(read_superblocks(), device.read_blocking)
    assert superblock is not None
    records: list[RecoveredRecord] = []
    return drive(recover(superblock, records.extend, **more), device.read_blocking), records


def bodies(records: list[RecoveredRecord]) -> list[bytes]:
    return [b"".join(record.segments) for record in records]
