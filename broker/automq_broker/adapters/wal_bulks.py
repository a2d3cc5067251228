"""A WalDevice without a disk: the ring lies in a bucket, as bulks of what is written in one go (see wal/bulks.py).

To the engine it is a ring as any other: positions, blocks, superblocks. Underneath,

- blocks that are handed over in one turn of the loop are one bulk, stored under the next name of the owner's own log;
  many may be on their way, and `done` is called in the order of the writes whatever order the bucket stores them in;
- a superblock is the claim, swapped by ETag: the first one of a new epoch takes the WAL from whoever had it;
- `sync` ends the logs of all epochs before with seals, and learns what they hold: from then on nobody else can add to it;
- whole bulks below a trim point are deleted once the superblock that says so is durable.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from crc32c import crc32c

from automq_broker.adapters.bulk_store import BulkStore, ClaimMoved
from automq_broker.kernel.errors import AutomqError, Bug, Corrupt, Retry
from automq_broker.kernel.ids import BrokerEpoch, Lsn, NodeId
from automq_broker.ports import Bucket, Buffer, NotFound
from automq_broker.wal.bulk_index import BulkIndex, Piece
from automq_broker.wal.bulks import Bulk, Claim, Log
from automq_broker.wal.format import BLOCK_ALIGNMENT, RING_POSITION, decode_block_header
from automq_broker.wal.superblock import (
    SUPERBLOCK_POSITIONS,
    Superblock,
    decode_superblock,
    ring_capacity,
)

Done = Callable[[BaseException | None], None]

BULK_BYTES_MAX = 8 << 20
BULKS_IN_FLIGHT_MAX = 50
_READS_AT_ONCE = 16


class _Handed:
    """Writes that become durable together, as one bulk or one superblock."""

    __slots__ = ("blocks", "dones", "is_durable", "lsn", "retry", "size_bytes", "superblock")

    def __init__(self, *, lsn: Lsn | None = None, superblock: Superblock | None = None) -> None:
        self.blocks: list[memoryview] = []
        self.dones: list[Done] = []
        self.lsn = lsn
        self.size_bytes = 0
        self.superblock = superblock
        self.is_durable = False
        self.retry: Retry | None = None

    def add(self, data: memoryview, done: Done) -> None:
        self.blocks.append(data)
        self.dones.append(done)
        self.size_bytes += len(data)


class BulkWal:
    """Satisfies ports.WalDevice; made by `open_bulk_wal`. `nonce` is random, one for each process."""

    def __init__(
        self, store: BulkStore, claim: Claim | None, *, handle: str, nonce: bytes, capacity_bytes: int | None
    ) -> None:
        found = None if claim is None else decode_superblock(claim.page)
        if claim is not None and found is None:
            raise Corrupt(f"the claim of the write-ahead log of node {store.node_id} holds no whole superblock")
        own_bytes = 0 if found is None else RING_POSITION + found.capacity_bytes
        self.wanted_bytes = own_bytes if capacity_bytes is None else _whole_blocks(capacity_bytes)
        self.capacity_bytes = own_bytes or self.wanted_bytes
        self.alignment_bytes = BLOCK_ALIGNMENT
        self.handle = handle
        self.is_patient = True
        self._store = store
        self._nonce = nonce
        self._superblock = found
        """The last durable one, and as it was written."""
        self._page = b"" if claim is None else claim.page
        self._unended: tuple[Log, ...] = () if claim is None else claim.logs
        """The logs before one's own, as long as somebody may still write to them."""
        self._index = BulkIndex()
        self._latest: tuple[Bulk, Buffer] | None = None
        """The last bulk of the log that a recovery has read: the next chunk of the ring often begins in it."""
        self._is_owned = self._is_alone = False
        """Whether the claim is this process's, and whether the logs before its own are ended."""
        self._next_number = 0
        self._confirmed = 0
        self._forming: _Handed | None = None
        self._queue: deque[_Handed] = deque()
        self._finished: deque[tuple[Done, AutomqError | None]] = deque()
        self._slots = asyncio.Semaphore(BULKS_IN_FLIGHT_MAX)
        self._readers = asyncio.Semaphore(_READS_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: AutomqError | None = None
        self._is_closed = False

    # writing

    def write(self, position: int, data: memoryview, done: Done) -> None:
        """See WalDevice.write. `done` hears Fenced when another process has taken the WAL."""
        if self._is_closed:
            raise Bug("write to a closed WAL device")
        if position in SUPERBLOCK_POSITIONS:
            self._write_superblock(data, done)
        else:
            self._write_block(position, data, done)

    def _write_block(self, position: int, data: memoryview, done: Done) -> None:
        header = decode_block_header(data)
        if header is None:
            raise Bug(f"{len(data)} bytes at position {position} are neither a block nor a superblock")
        if not self._is_alone:
            raise Bug("a block before the WAL was claimed and the logs before it were ended")
        if self._forming is None or self._forming.size_bytes + len(data) > BULK_BYTES_MAX:
            self._send_forming()
            self._forming = _Handed(lsn=header.lsn)
            asyncio.get_running_loop().call_soon(self._send_forming)
        self._forming.add(data, done)

    def _send_forming(self) -> None:
        handed, self._forming = self._forming, None
        if handed is None or handed.lsn is None or self._superblock is None:
            return
        bulk = Bulk(
            node_id=self._store.node_id,
            epoch=BrokerEpoch(self._superblock.wal_epoch),
            number=self._next_number,
            generation=self._superblock.generation,
            lsn=handed.lsn,
            length=handed.size_bytes,
            confirmed=self._confirmed,
            crc=_crc_of(handed.blocks),
        )
        self._next_number += 1
        self._latest = None
        self._index.add(bulk)
        self._hand_over(handed, self._store_bulk(bulk, handed.blocks))

    def _write_superblock(self, data: memoryview, done: Done) -> None:
        self._send_forming()
        superblock = decode_superblock(data)
        if superblock is None:
            raise Bug("a superblock that does not fit its CRC")
        handed = _Handed(superblock=superblock)
        handed.add(data, done)
        self._hand_over(handed, self._put_claim(superblock, bytes(data)))

    async def _store_bulk(self, bulk: Bulk, blocks: list[memoryview]) -> None:
        async with self._slots:
            await self._store.put_bulk(bulk, blocks)

    async def _put_claim(self, superblock: Superblock, page: bytes) -> None:
        claim = Claim(node_id=self._store.node_id, nonce=self._nonce, logs=self._logs(superblock), page=page)
        try:
            await self._store.put_claim(claim)
        except ClaimMoved:
            if self._is_owned or self._superblock is None or not await self._look_again(superblock.wal_epoch):
                raise
            raise Retry("the owner before wrote to the WAL while it was being claimed", delay_s=0.0) from None

    async def _look_again(self, epoch: int) -> bool:
        """Take the claim as it is now; False if it is none that `epoch` may replace."""
        found = await self._store.read_claim()
        superblock = None if found is None else decode_superblock(found.page)
        if found is None or superblock is None or superblock.wal_epoch >= epoch:
            return False
        self._superblock, self._page, self._unended = superblock, found.page, found.logs
        return True

    def _logs(self, superblock: Superblock) -> tuple[Log, ...]:
        """What is needed once this superblock is durable: nothing of another generation."""
        return self._index.logs(
            None if self._is_other_generation(superblock) else superblock.trim_lsn,
            epoch=BrokerEpoch(superblock.wal_epoch),
            next_number=self._next_number,
            unended=self._unended,
        )

    def _is_other_generation(self, superblock: Superblock) -> bool:
        return self._superblock is not None and self._superblock.generation != superblock.generation

    def _hand_over(self, handed: _Handed, work: Coroutine[Any, Any, None]) -> None:
        self._queue.append(handed)
        self._start(self._carry_out(handed, work))

    async def _carry_out(self, handed: _Handed, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            handed.is_durable = True
        except Retry as retry:
            handed.retry = retry
        except AutomqError as error:
            self._failure = self._failure or error
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        """Call back for what is durable in a row; after a failure nothing counts any more."""
        while self._queue and (self._queue[0].is_durable or self._queue[0].retry or self._failure is not None):
            handed = self._queue.popleft()
            error = self._failure or handed.retry
            if error is None and handed.superblock is None:
                self._confirmed += 1
            elif error is None and handed.superblock is not None:
                self._took_effect(handed.superblock, bytes(handed.blocks[0]))
            self._finished += [(done, error) for done in handed.dones]
        try:
            while self._finished:
                done, failure = self._finished.popleft()
                done(failure)
        finally:
            if self._finished:  # a callback that raises is the caller's bug, and must not cost the others their acks
                asyncio.get_running_loop().call_soon(self._deliver)

    def _took_effect(self, superblock: Superblock, page: bytes) -> None:
        """A superblock is durable: bulks that it does not need may go."""
        dropped = self._index.trim(None if self._is_other_generation(superblock) else superblock.trim_lsn)
        self._superblock, self._page, self._is_owned = superblock, page, True
        if dropped:
            self._start(self._store.delete(dropped))

    # reading

    async def read(self, position: int, length: int) -> memoryview:
        """See WalDevice.read; what no bulk holds is zeros. Raises Corrupt when a bulk is missing.

        Raises Fenced instead when another process has taken the WAL: then it was that one's to delete.
        """
        superblock = self._superblock
        if superblock is None or position < RING_POSITION:
            is_newest = superblock is not None and position == superblock.position
            return memoryview(self._page if is_newest else bytes(length))
        lap = superblock.trim_lsn - superblock.trim_lsn % superblock.capacity_bytes
        lsn = lap + position - RING_POSITION
        if lsn < superblock.trim_lsn:
            lsn += superblock.capacity_bytes
        parts = await asyncio.gather(*(self._read_piece(piece) for piece in self._index.pieces(lsn, length)))
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))

    async def _read_piece(self, piece: Piece) -> Buffer:
        if piece.bulk is None:
            return bytes(piece.length)
        async with self._readers:
            try:
                if self._is_recovering:
                    return memoryview(await self._whole(piece.bulk))[piece.skip : piece.skip + piece.length]
                return await self._store.read(piece.bulk, piece.skip, piece.length)
            except NotFound:
                if piece.bulk in self._index:
                    if self._is_owned:
                        await self._store.check_owner(self._nonce)
                    raise Corrupt(f"{self._store.key(piece.bulk)} of the write-ahead log is missing") from None
                return bytes(piece.length)  # trimmed meanwhile: it is in the bucket's objects, and the reader is told

    @property
    def _is_recovering(self) -> bool:
        """Nothing was appended yet, so whoever reads takes what does not fit its CRC for the end of the log."""
        return self._next_number == 0

    async def _whole(self, bulk: Bulk) -> Buffer:
        if self._latest is not None and self._latest[0] == bulk:
            return self._latest[1]
        data = await self._store.read_whole(bulk)
        if self._latest is None or self._latest[0].lsn <= bulk.lsn:
            self._latest = (bulk, data)
        return data

    async def sync(self) -> None:
        """See WalDevice.sync: end every log before one's own, so that what they hold now is all that they ever will."""
        if not self._is_owned:
            raise Bug("a WAL must be claimed before the logs in it are ended")
        if self._is_alone:
            return
        await self.survey(is_ending=True)
        before, self._unended, self._is_alone = self._unended, (), True
        assert self._superblock is not None
        epoch = BrokerEpoch(self._superblock.wal_epoch)
        if len(self._logs(self._superblock)) < len({epoch, *(log.epoch for log in before)}):
            await self._put_claim(self._superblock, self._page)  # starts that fail one after the other add up else
        live = frozenset((bulk.epoch, bulk.number) for bulk in self._index)
        self._start(self._store.sweep(epoch, live))

    async def survey(self, *, is_ending: bool = False) -> None:
        """Learn what the logs hold, as far as they go now; with `is_ending` they are ended. Raises Corrupt."""
        assert self._superblock is not None
        for log in self._unended:
            async for bulk in self._store.walk(log, is_ending=is_ending):
                if bulk.generation == self._superblock.generation:
                    self._index.add(bulk)
        self._index.trim(self._superblock.trim_lsn)

    @property
    def bulks(self) -> list[Bulk]:
        """What the ring lies in now, in its order."""
        return [*self._index]

    # the rest of a device

    def resize(self, capacity_bytes: int) -> None:
        """See WalDevice.resize; the superblock alone says how large the ring is."""
        ring_capacity(capacity_bytes)
        self.capacity_bytes = _whole_blocks(capacity_bytes)

    async def close(self) -> None:
        """See WalDevice.close; waits for what is being written or deleted, as long as the bucket takes."""
        self._send_forming()
        self._is_closed = True
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def open_bulk_wal(
    bucket: Bucket,
    node_id: NodeId,
    *,
    handle: str,
    nonce: bytes,
    capacity_bytes: int | None = None,
    rng: random.Random,
) -> BulkWal:
    """The WAL of `node_id` in `bucket` as it stands; nothing is changed, and whoever has it still has it.

    `capacity_bytes` is the size of its ring as the user wants it; None = as it is. Waits until the bucket answers.
    Raises Corrupt for a claim that is broken, Refused for one of a newer format.
    """
    store = BulkStore(bucket, node_id, rng)
    return BulkWal(store, await store.read_claim(), handle=handle, nonce=nonce, capacity_bytes=capacity_bytes)


def _crc_of(blocks: Sequence[memoryview]) -> int:
    crc = 0
    for block in blocks:
        crc = crc32c(block, crc)
    return crc


def _whole_blocks(size: int) -> int:
    return size // BLOCK_ALIGNMENT * BLOCK_ALIGNMENT


__all__ = ["BULKS_IN_FLIGHT_MAX", "BULK_BYTES_MAX", "BulkWal", "open_bulk_wal"]
