"""Processes that share one WAL in a bucket: their owners and adopters, and a bucket whose requests take turns.

`Process` is a BulkWal with a real writer on top. `TurnBucket` holds every request until `Turns` lets it go, so that a test
decides, or tries out, in which order the store sees what several processes send.
"""

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from automq_broker.adapters.wal_bulks import BulkWal, open_bulk_wal
from automq_broker.engine.recover import claim_wal, read_superblock, write_superblock
from automq_broker.kernel.ids import BrokerEpoch, NodeId, Offset, StreamEpoch, StreamId
from automq_broker.ports import Bucket, Buffer, ObjectStat
from automq_broker.wal import recovery
from automq_broker.wal import superblock as superblocks
from automq_broker.wal.format import RecordHeader, RecordKind
from automq_broker.wal.ring import Ring
from automq_broker.wal.writer import WalWriter, Write
from twins.memory_bucket import MemoryBucket, MemoryStore

NODE = NodeId(7)
RING_BYTES = 4 << 20
WINDOW_BYTES = 2 << 20


class Turns:
    """Requests that wait for their turn, by lane: each write has one of its own, the reads of a process share one.

    Off until `begin`: requests then pass at once.
    """

    def __init__(self) -> None:
        self.is_on = False
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}

    def begin(self) -> None:
        """From now on requests wait."""
        self.is_on = True

    async def wait(self, lane: str) -> None:
        """Come back when it is this request's turn."""
        if not self.is_on:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lane, []).append(turn)
        await turn

    @property
    def lanes(self) -> list[str]:
        """Those in which a request waits, in a stable order."""
        return sorted(self._waiting)

    async def let(self, lane: str) -> None:
        """Let all requests of a lane go, and wait until everything that follows has been asked for."""
        for turn in self._waiting.pop(lane):
            if not turn.done():
                turn.set_result(None)
        await settled()


async def settled() -> None:
    """Until nothing more happens without a turn or the clock."""
    for _ in range(40):
        await asyncio.sleep(0)


class TurnBucket:
    """Port Bucket of process `name`: a request takes effect at its turn; `answers_wait` for a turn of their own."""

    def __init__(self, name: str, store: MemoryStore, turns: Turns, *, answers_wait: bool = True) -> None:
        self._answers_wait = answers_wait
        self._name = name
        self._inner = MemoryBucket(store)
        self._turns = turns

    async def get(self, key: str, start: int = 0, end: int | None = None) -> Buffer:
        """See Bucket.get."""
        await self._turns.wait(f"{self._name} reads")
        return await self._inner.get(key, start, end)

    async def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """See Bucket.get_with_etag."""
        await self._turns.wait(f"{self._name} reads")
        return await self._inner.get_with_etag(key)

    async def head(self, key: str) -> ObjectStat:
        """See Bucket.head."""
        await self._turns.wait(f"{self._name} reads")
        return await self._inner.head(key)

    async def list(self, prefix: str, start_after: str = "") -> list[ObjectStat]:
        """See Bucket.list."""
        await self._turns.wait(f"{self._name} reads")
        return await self._inner.list(prefix, start_after)

    async def put(self, key: str, segments: Sequence[Buffer], *, if_absent: bool = False) -> str:
        """See Bucket.put."""
        return await self._write(f"{self._name} puts {key[-26:]}", self._inner.put(key, segments, if_absent=if_absent))

    async def put_if_match(self, key: str, data: bytes, etag: str) -> str:
        """See Bucket.put_if_match."""
        return await self._write(f"{self._name} swaps {key[-5:]}", self._inner.put_if_match(key, data, etag))

    async def delete_many(self, keys: Sequence[str]) -> None:
        """See Bucket.delete_many."""
        await self._write(f"{self._name} deletes", self._inner.delete_many(keys))

    async def close(self) -> None:
        """See Bucket.close."""

    async def _write(self, lane: str, call: Any) -> Any:
        await self._turns.wait(lane)
        try:
            return await call
        finally:
            if self._answers_wait:
                await self._turns.wait(f"{lane}, hears of it")


class Process:
    """One process at one epoch: claims the WAL, recovers it, appends. `acked` are the values that were acknowledged."""

    def __init__(self, bucket: Bucket, epoch: int) -> None:
        self.bucket = bucket
        self.epoch = BrokerEpoch(epoch)
        self.device: BulkWal
        self.writer: WalWriter
        self.recovered: list[bytes] = []
        self.acked: list[bytes] = []
        self.failure: BaseException | None = None
        self._waiting: list[tuple[int, bytes]] = []

    async def open(self) -> None:
        """Look at the WAL; nobody is disturbed yet."""
        self.device = await open_bulk_wal(
            self.bucket,
            NODE,
            handle="data:7",
            nonce=random.Random(self.epoch).randbytes(16),
            capacity_bytes=superblocks.SUPERBLOCK_POSITIONS[1] * 2 + RING_BYTES,
            rng=random.Random(self.epoch),
        )

    async def claim(self) -> superblocks.Superblock:
        """Take the WAL; raises Fenced if another process was faster."""
        found = await read_superblock(self.device)
        if found is None:
            owned = superblocks.new_superblock(
                cluster_id="c",
                node_id=NODE,
                volume_uuid=uuid.UUID(int=1),
                generation=11,
                wal_epoch=self.epoch,
                device_bytes=self.device.capacity_bytes,
                window_bytes=WINDOW_BYTES,
            )
            await write_superblock(self.device, owned, allocate)
            return owned
        return await claim_wal(self.device, found, self.epoch, allocate)

    async def recover(self, superblock: superblocks.Superblock) -> None:
        """End the logs before, and read what they hold."""
        await self.device.sync()
        ring = await self._scan(superblock)
        self.writer = WalWriter(ring, self.epoch, allocate)

    async def start(self) -> None:
        """Everything, up to where it may append."""
        await self.open()
        await self.recover(await self.claim())

    async def _scan(self, superblock: superblocks.Superblock) -> Ring:
        def found(records: list[Any]) -> None:
            self.recovered += [b"".join(record.segments) for record in records]

        scan = recovery.recover(superblock, found)
        try:
            wanted = next(scan)
            while True:
                wanted = scan.send(await self.device.read(wanted.position, wanted.length))
        except StopIteration as done:
            ring: Ring = done.value.ring
            return ring

    def append(self, value: bytes) -> int:
        """Hand one record over, as a bulk of its own if the loop turns before the next; returns its LSN."""
        header = RecordHeader(RecordKind.RAW, StreamId(1), StreamEpoch(1), self.epoch, Offset(0), 1)
        placed = self.writer.append(header, value)
        self._waiting.append((self.writer.appended_lsn, value))
        self._send(self.writer.cut(self.writer.durable_lsn))
        return placed.lsn

    def trim(self, lsn: int) -> None:
        """Everything below is in the bucket's objects."""
        self.writer.trim(lsn)
        self.write_superblock()

    def write_superblock(self) -> None:
        """Write the next one, as a heartbeat does."""
        write = self.writer.superblock(zeroed_bytes=0)
        assert write is not None
        self._send([write])

    def _send(self, writes: list[Write]) -> None:
        for write in writes:
            self.device.write(write.position, write.data, partial(self._written, write))

    def _written(self, write: Write, error: BaseException | None) -> None:
        if error is not None:
            self.failure = self.failure or error
            return
        durable = self.writer.completed(write)
        while self._waiting and self._waiting[0][0] <= durable:
            self.acked.append(self._waiting.pop(0)[1])


def allocate(size: int) -> memoryview:
    """A slab, as the writer asks for one."""
    return memoryview(bytearray(max(size, 64 << 10)))


async def every_order(scenario: Callable[["Chooser"], Any]) -> int:
    """Run `scenario` once for every sequence of choices that it can make; returns how many there were."""
    path: list[int] = []
    count = 0
    while True:
        chooser = Chooser(path)
        await scenario(chooser)
        count += 1
        path = chooser.next_path()
        if not path:
            return count


class Chooser:
    """Repeats `path`, then takes the first option; remembers how many there were."""

    def __init__(self, path: list[int]) -> None:
        self._path = path
        self._options: list[int] = []
        self._taken: list[int] = []

    def choose(self, options: list[str]) -> str:
        """One of the options."""
        at = len(self._taken)
        index = self._path[at] if at < len(self._path) else 0
        self._taken.append(index)
        self._options.append(len(options))
        return options[index]

    def next_path(self) -> list[int]:
        """The next one in the order of a depth-first search; empty when there is none."""
        for at in range(len(self._taken) - 1, -1, -1):
            if self._taken[at] + 1 < self._options[at]:
                return [*self._taken[:at], self._taken[at] + 1]
        return []


__all__ = ["NODE", "Chooser", "Process", "TurnBucket", "Turns", "every_order", "settled"]
