"""What a WAL still holds, read before anything is served, and put back into logs and the tail index.

Recovered records stay where they are in the ring: they are indexed without bytes and read by LSN, so recovery costs a
scan and no copy, and the node serves before it has uploaded anything.
"""

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

from automq_broker.cache.tail import TailCache
from automq_broker.engine.open_close import Recovered
from automq_broker.engine.partition import Partition
from automq_broker.kernel.errors import Retry
from automq_broker.kernel.ids import BrokerEpoch, Lsn, Offset, StreamId
from automq_broker.ports import Clock, WalDevice
from automq_broker.wal import recovery
from automq_broker.wal.ring import ReadAt
from automq_broker.wal.superblock import SUPERBLOCK_BYTES, Superblock, claimed, encode_superblock
from automq_broker.wire import records

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WalRecord:
    """One batch that the ring holds: where it lies, whose it is, and its header."""

    lsn: Lsn
    stream_id: StreamId
    header: records.BatchHeader


@dataclass(frozen=True, slots=True)
class WalContents:
    """The outcome of a scan; `ends` says where each stream's recovered log ends."""

    scan: recovery.Recovered
    records: list[WalRecord]
    ends: dict[StreamId, Recovered]


async def read_superblock(device: WalDevice) -> Superblock | None:
    """The newest superblock; None for a device that was never formatted. Raises Corrupt or Refused."""
    return await _drive(recovery.read_superblocks(), device)


async def write_superblock(device: WalDevice, superblock: Superblock, allocate: Callable[[int], memoryview]) -> None:
    """Write it to its place; durable when this returns. Only while nothing else is written. Raises WalWriteFailed."""
    page = allocate(SUPERBLOCK_BYTES)[:SUPERBLOCK_BYTES]
    page[:] = encode_superblock(superblock)
    await write_durably(device, superblock.position, page)


async def write_durably(device: WalDevice, position: int, data: memoryview) -> None:
    """Durable when this returns. The caller writes nothing else to the same place meanwhile. Raises WalWriteFailed."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def written(error: BaseException | None) -> None:
        if done.done():
            return  # whoever waited was cancelled: the process ends
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    device.write(position, data, written)
    await done


async def claim_wal(
    device: WalDevice, superblock: Superblock, epoch: BrokerEpoch, allocate: Callable[[int], memoryview]
) -> Superblock:
    """Own a WAL that has contents: its superblock at this epoch, durable when this returns.

    Begins again from what is there now where an owner that is being replaced still wrote meanwhile: only a log without a
    disk has two that can. Raises Refused or Fenced for an epoch that is superseded, WalWriteFailed.
    """
    while True:
        owned = claimed(superblock, epoch)
        try:
            await write_superblock(device, owned, allocate)
            return owned
        except Retry:
            again = await read_superblock(device)
            assert again is not None  # a device says "again" of contents only
            superblock = again


async def read_wal(
    device: WalDevice, superblock: Superblock, committed_end: Callable[[StreamId], Offset | None]
) -> WalContents:
    """Scan the ring. Records below a known committed end, or of a stream that is gone, are dropped at once.

    `committed_end` may lag behind the truth: committed ends only grow, so what it drops is droppable for ever. Makes
    the device durable first, so that nothing counts that a power cut could still take back. Raises Corrupt on damage.
    """
    kept: list[WalRecord] = []
    ends: dict[StreamId, Recovered] = {}

    def deliver(found: list[recovery.RecoveredRecord]) -> None:
        for record in found:
            stream_id = record.header.stream_id
            end = Offset(record.header.base_offset + record.header.count)
            known = committed_end(stream_id)
            if known is None or end <= known:
                continue
            kept.append(WalRecord(record.lsn, stream_id, _header(record)))
            ends[stream_id] = Recovered(end)

    await device.sync()
    scan = await _drive(recovery.recover(superblock, deliver), device)
    return WalContents(scan, kept, ends)


def replay(
    contents: WalContents, partition_of: Callable[[StreamId], Partition | None], cache: TailCache, clock: Clock
) -> int:
    """Put what is not committed back into logs and index, in LSN order; returns the number of batches.

    Filtered by the committed end that the open was answered with (DESIGN 5a.6). A record that overlaps it was uploaded
    before the crash and its commit confirmed meanwhile. `contents.records` is empty afterwards.

    COST: records are let go one by one, so that a million of them and their index are not in memory together.
    """
    replayed = 0
    now_ms = clock.now_ms()
    records_left = contents.records
    records_left.reverse()
    while records_left:
        record = records_left.pop()
        partition = partition_of(record.stream_id)
        if partition is None or record.header.last_offset < partition.log.end_offset:
            continue
        header = record.header
        partition.log.replay(header, now_ms)
        cache.append(
            record.stream_id,
            Offset(header.base_offset),
            Offset(header.last_offset),
            record.lsn,
            header.size_bytes,
            header.max_timestamp,
            header.records_count,
        )
        replayed += 1
    return replayed


def _header(record: recovery.RecoveredRecord) -> records.BatchHeader:
    first = record.segments[0]
    if len(first) < records.BATCH_HEADER_BYTES:  # the batch's own header spans two blocks
        first = memoryview(b"".join(record.segments))
    return records.read_batch_header(first)


async def _drive(scan: Generator[ReadAt, memoryview, T], device: WalDevice) -> T:
    """Give a sans-I/O reader what it asks for."""
    try:
        wanted = next(scan)
        while True:
            wanted = scan.send(await device.read(wanted.position, wanted.length))
    except StopIteration as done:
        outcome: T = done.value
        return outcome


__all__ = [
    "WalContents",
    "WalRecord",
    "claim_wal",
    "read_superblock",
    "read_wal",
    "replay",
    "write_durably",
    "write_superblock",
]
