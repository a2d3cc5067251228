"""Groups of records become blocks: copied once into aligned memory, sealed when cut, durable in the order of the log.

The engine appends, stamps offsets into the views that it gets back, and cuts; what `cut` returns goes to the device in
that order, and each confirmed write comes back through `completed`. Nothing here waits.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from automq_broker.kernel.errors import Bug, Corrupt, Retry
from automq_broker.kernel.ids import Lsn
from automq_broker.wal.extract import extract_record
from automq_broker.wal.format import (
    BATCH_BYTES_MIN,
    BLOCK_ALIGNMENT,
    BLOCK_BYTES_MAX,
    BLOCK_HEADER_BYTES,
    FLAG_RESTART,
    RECORD_HEADER_BYTES,
    BlockHeader,
    Bytes,
    RecordHeader,
    RecordKind,
    aligned,
    combined_crc,
    encode_block_header,
    encode_record_header,
    seal_record,
)
from automq_broker.wal.ring import ReadAt, Ring
from automq_broker.wal.superblock import SUPERBLOCK_BYTES, Superblock, encode_superblock

Slab = memoryview
"""Writable memory, aligned to 4 KiB, a multiple of 4 KiB long. Views of it live on in caches."""

_RESERVE_BYTES = 64 * 1024
"""Kept out of `free_bytes`: room for rounding, and for the blocks that prove the last acks durable."""

_IDLE_RESERVE_BYTES = 2 * BLOCK_ALIGNMENT
_ZEROS = bytes(BLOCK_ALIGNMENT)


class Placed(NamedTuple):
    """Where a record went: its LSN, the LSN behind it, the writable views of its batch (several if it spans blocks)."""

    lsn: Lsn
    end_lsn: Lsn
    segments: tuple[memoryview, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Write:
    """One write for the device; `data` is frozen until it is done.

    `end_lsn` is the same in all writes of one cut: when the durable LSN reaches it, everything appended before that cut
    is durable. It is not the end of this write.
    """

    position: int
    data: memoryview
    end_lsn: Lsn
    superblock: Superblock | None = None
    lsn: Lsn | None = None
    """Where the block begins; None for a superblock, and for a block without records."""


@dataclass(slots=True, eq=False)
class _Block:
    """A block that is being filled (`used` counts its header too) or waits to be cut."""

    lsn: Lsn
    view: memoryview
    first_record: int
    used: int
    records: list[tuple[int, tuple[memoryview, ...] | None]]
    """(position in the block, whole body or None for a Kafka batch) of each record that starts here."""


class WalWriter:
    """Appends behind what the ring holds; one per incarnation. `allocate(min_bytes)` gives a `Slab`."""

    def __init__(self, ring: Ring, epoch: int, allocate: Callable[[int], Slab]) -> None:
        if epoch < ring.superblock.wal_epoch:
            raise Bug(f"epoch {epoch} does not own a WAL that is at epoch {ring.superblock.wal_epoch}")
        self._ring = ring
        self._epoch = epoch
        self._allocate = allocate
        self._generation = ring.superblock.generation
        self._window_bytes = ring.superblock.window_bytes
        self._start_lsn = ring.end_lsn
        self._slab: Slab = memoryview(b"")
        self._open: _Block | None = None
        self._closed: deque[_Block] = deque()
        self._in_flight: deque[tuple[Write, Lsn]] = deque()
        self._done: set[int] = set()
        self._cut_ends: deque[Lsn] = deque()
        self._whole_lsn = ring.end_lsn
        self._superblock_pages = allocate(2 * SUPERBLOCK_BYTES)
        self._superblock = ring.superblock
        self._superblock_in_flight = False
        self._is_opened = False
        self._proven_lsn = ring.end_lsn
        self._records_end_lsn = ring.end_lsn
        self._closed_bytes = 0
        self.durable_lsn = ring.end_lsn
        self.in_flight_bytes = 0

    # appending

    def append(self, record: RecordHeader, batch: Bytes) -> Placed:
        """Copy one record behind the last one and return the views of its body inside the ring's memory.

        A `BATCH` must be a whole v2 batch whose CRC was checked; its first 21 bytes may be changed until `cut`. Raises
        Retry, with nothing appended, when the ring is full.
        """
        body = memoryview(batch)
        if body.format != "B":
            body = body.cast("B")
        length = len(body)
        if record.kind is RecordKind.BATCH and length < BATCH_BYTES_MIN:
            raise Bug(f"{length} bytes are no Kafka batch; use RecordKind.RAW")
        self._check_room(RECORD_HEADER_BYTES + length)
        block = self._block_for(RECORD_HEADER_BYTES + length)
        at = block.used
        lsn = Lsn(block.lsn + at)
        encode_record_header(block.view, at, record, length)
        block.used = start = at + RECORD_HEADER_BYTES
        end = start + length
        if end <= len(block.view):
            target = block.view[start:end]
            target[:] = body
            block.used = end
            segments: tuple[memoryview, ...] = (target,)
        else:
            segments = self._append_spanning(block, body)
        block.records.append((at, None if record.kind is RecordKind.BATCH else segments))
        last = self._open
        assert last is not None
        return Placed(lsn, Lsn(last.lsn + last.used), segments)

    def _append_spanning(self, block: _Block, body: memoryview) -> tuple[memoryview, ...]:
        segments = []
        while True:
            take = min(len(block.view) - block.used, len(body))
            target = block.view[block.used : block.used + take]
            target[:] = body[:take]
            segments.append(target)
            block.used += take
            body = body[take:]
            if not len(body):
                return tuple(segments)
            self._close()
            block = self._start_block(len(body))
            block.first_record = min(len(body), len(block.view) - BLOCK_HEADER_BYTES)

    def _block_for(self, need: int) -> _Block:
        """The open block if the record fits, or if it would fit no empty one either; else a new one."""
        block = self._open
        if block is not None:
            room = len(block.view) - block.used
            if need <= room or (need > BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES and room >= BLOCK_ALIGNMENT):
                return block
            self._close()
        return self._start_block(need)

    def _start_block(self, need: int) -> _Block:
        wanted = min(BLOCK_BYTES_MAX, aligned(BLOCK_HEADER_BYTES + need))
        if len(self._slab) < wanted:
            self._slab = self._allocate(wanted)
        lsn = self._ring.end_lsn
        size = min(BLOCK_BYTES_MAX, len(self._slab), self._ring.bytes_to_end(lsn))
        self._open = _Block(lsn, self._slab[:size], 0, BLOCK_HEADER_BYTES, [])
        return self._open

    def _close(self) -> None:
        """No more records for the open block: it takes its room in the ring and in the slab."""
        block = self._open
        if block is None:
            return
        size = aligned(block.used)
        block.view = block.view[:size]
        self._ring.extend(size)
        self._slab = self._slab[size:]
        self._closed.append(block)
        self._closed_bytes += size
        self._open = None

    @property
    def _next_lsn(self) -> int:
        """Where the next block would start if the open one were closed now."""
        return self._ring.end_lsn + (0 if self._open is None else aligned(self._open.used))

    @property
    def free_bytes(self) -> int:
        """Bytes that may enter the ring now; grows when a superblock with a later trim point is durable."""
        return max(0, self._ring.limit_lsn - self._next_lsn - _RESERVE_BYTES)

    def _check_room(self, need: int) -> None:
        headers = BLOCK_HEADER_BYTES * (2 + need // (BLOCK_BYTES_MAX - BLOCK_HEADER_BYTES))
        if self._next_lsn + aligned(need + headers) + BLOCK_ALIGNMENT > self._ring.limit_lsn - _IDLE_RESERVE_BYTES:
            raise Retry("the write-ahead log is full")

    # cutting and completing

    def cut(self, durable_upto: Lsn) -> list[Write]:
        """Seal what was appended and return the writes to queue, in this order. Batches may not be changed any more.

        At most the window (16 MiB) may lie between the durable LSN and the end of a block, so a long backlog comes in
        several cuts: cut again after `completed` while `has_pending` holds. Empty when nothing waits or nothing fits.
        """
        if durable_upto > self.durable_lsn:
            raise Bug(f"durable up to {durable_upto} claimed, {self.durable_lsn} is known")
        self._close()
        end_lsn = self._ring.end_lsn
        writes: list[Write] = []
        while self._closed:
            block = self._closed[0]
            block_end = block.lsn + len(block.view)
            if block_end - durable_upto > self._window_bytes:
                break
            if not self._is_opened:
                writes.append(self._opening_superblock(end_lsn))
            self._closed.popleft()
            writes.append(self._seal(block, durable_upto, end_lsn))
        if writes:
            self._cut_ends.append(end_lsn)
        return writes

    def idle_block(self, durable_upto: Lsn) -> Write | None:
        """An empty block that proves the last acks durable to a later recovery; None if there is no need or no room.

        To be written once after 100 ms without an append.
        """
        if self.has_pending or self.in_flight_bytes or self.proven_lsn >= durable_upto or not self._is_opened:
            return None
        if self._ring.end_lsn + BLOCK_ALIGNMENT > self._ring.limit_lsn:
            return None
        self._start_block(0)
        return self.cut(durable_upto)[0]

    def completed(self, write: Write) -> Lsn:
        """The device confirmed this write; returns the LSN up to which everything is durable."""
        if write.superblock is not None:
            self._superblock_in_flight = False
            self._ring.superblock = write.superblock
            self._proven_lsn = max(self._proven_lsn, write.superblock.durable_lsn)
            return self.durable_lsn
        self.in_flight_bytes -= len(write.data)
        self._done.add(id(write))
        while self._in_flight and id(self._in_flight[0][0]) in self._done:
            first, proves = self._in_flight.popleft()
            self._done.remove(id(first))
            self.durable_lsn = Lsn(self.durable_lsn + len(first.data))
            self._proven_lsn = max(self._proven_lsn, proves)
        while self._cut_ends and self._cut_ends[0] <= self.durable_lsn:
            self._whole_lsn = self._cut_ends.popleft()
        return self.durable_lsn

    @property
    def pending_bytes(self) -> int:
        """Bytes of the ring that were appended and not handed out by `cut` yet, headers and padding included."""
        return self._closed_bytes + (0 if self._open is None else aligned(self._open.used))

    @property
    def has_pending(self) -> bool:
        """Whether anything appended was not handed out by `cut` yet."""
        return self._open is not None or bool(self._closed)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is pending or on its way to the device, superblocks included."""
        return not (self.has_pending or self.in_flight_bytes or self._superblock_in_flight)

    @property
    def appended_lsn(self) -> Lsn:
        """Once the durable LSN reaches this, everything appended so far is durable."""
        return Lsn(self._next_lsn)

    @property
    def proven_lsn(self) -> Lsn:
        """Up to here a recovery can tell damage from a torn tail; the durable LSN when only empty blocks follow."""
        return self.durable_lsn if self._proven_lsn >= self._records_end_lsn else self._proven_lsn

    def _seal(self, block: _Block, durable_upto: Lsn, end_lsn: Lsn) -> Write:
        view = block.view
        crcs = [seal_record(view, at, block.lsn + at, self._generation, body) for at, body in block.records]
        view[block.used :] = _ZEROS[: len(view) - block.used]
        self._ring.chain = encode_block_header(
            view,
            BlockHeader(
                crc=0,
                generation=self._generation,
                epoch=self._epoch,
                lsn=block.lsn,
                durable_upto=durable_upto,
                payload_bytes=block.used - BLOCK_HEADER_BYTES,
                first_record=block.first_record,
                records=len(crcs),
                records_crc=combined_crc(crcs),
                previous_crc=self._ring.chain,
                flags=FLAG_RESTART if block.lsn == self._start_lsn else 0,
            ),
        )
        has_records = block.used > BLOCK_HEADER_BYTES
        if has_records:
            self._records_end_lsn = Lsn(block.lsn + len(view))
        write = Write(self._ring.position(block.lsn), view, end_lsn, lsn=block.lsn if has_records else None)
        self._in_flight.append((write, durable_upto))
        self._closed_bytes -= len(view)
        self.in_flight_bytes += len(view)
        return write

    # superblocks and trim

    def trim(self, lsn: Lsn) -> None:
        """Nothing below `lsn` is needed any more: it is committed. The room is free once a superblock says so.

        SAFETY: never into a group of which only the first blocks are durable. Nobody was told of its records yet, so
        nobody counts them as needed.
        """
        self._ring.trim(min(lsn, self._whole_lsn))

    @property
    def untrimmed_bytes(self) -> int:
        """What a durable superblock would free now."""
        return self._ring.trim_lsn - self._ring.superblock.trim_lsn

    def superblock(self, *, zeroed_bytes: int, is_clean: bool = False) -> Write | None:
        """The next superblock, with the trim point of now; None while one is on its way (two could tear both).

        `is_clean` is for the very last write of an orderly stop, when nothing is pending or in flight.
        """
        if self._superblock_in_flight:
            return None
        if is_clean and (self.has_pending or self.in_flight_bytes):
            raise Bug("a WAL with writes in flight is not clean")
        self._superblock = replace(
            self._superblock,
            counter=self._superblock.counter + 1,
            wal_epoch=self._epoch,
            append_epoch=self._epoch,
            append_lsn=self._start_lsn,
            trim_lsn=self._ring.trim_lsn,
            durable_lsn=self.durable_lsn,
            zeroed_bytes=max(zeroed_bytes, self._superblock.zeroed_bytes),
            is_clean=is_clean,
        )
        return self._superblock_write(self.durable_lsn)

    def _opening_superblock(self, end_lsn: Lsn) -> Write:
        """ORDER: before the first block, so that what the truncation left behind it can never come back."""
        write = self.superblock(zeroed_bytes=0)
        if write is None:
            raise Bug("a superblock is in flight before the first block")
        return replace(write, end_lsn=end_lsn)

    def _superblock_write(self, end_lsn: Lsn) -> Write:
        at = SUPERBLOCK_BYTES * (self._superblock.counter % 2)
        page = self._superblock_pages[at : at + SUPERBLOCK_BYTES]
        page[:] = encode_superblock(self._superblock)
        self._superblock_in_flight = True
        self._is_opened = True
        return Write(self._superblock.position, page, end_lsn, self._superblock)

    # reading back

    def read_plan(self, lsn: Lsn, length: int, *, first_lsn: Lsn | None = None) -> list[ReadAt]:
        """The reads (position, length) that bring back the record at `lsn` whose body has `length` bytes.

        With `first_lsn` also everything from that record on. Raises Retry when one was trimmed meanwhile: it is in the
        bucket.
        """
        first = lsn if first_lsn is None else first_lsn
        self._ring.check_alive(first)
        return self._ring.reads(first, self._ring.record_end(lsn, length))

    def extract(
        self, lsn: Lsn, parts: Sequence[Bytes], *, first_lsn: Lsn | None = None
    ) -> tuple[RecordHeader, memoryview]:
        """The record at `lsn` out of what `read_plan` asked for: a view where it lies in one block, else joined.

        Raises Corrupt when a CRC does not fit, Retry when it was trimmed meanwhile.
        """
        self._ring.check_alive(lsn)
        whole = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        first = lsn if first_lsn is None else first_lsn
        base = first - first % BLOCK_ALIGNMENT
        starts = (start - base for start in self._ring.block_starts_after(lsn))
        record = extract_record(whole, lsn - base, starts, lsn, self._generation)
        if record is None:
            raise Corrupt(
                f"the WAL's record at LSN {lsn} (device position {self._ring.position(lsn)}) does not fit its CRC"
            )
        return record


__all__ = ["Placed", "Slab", "WalWriter", "Write"]
