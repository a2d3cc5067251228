"""A WAL device in memory that can fail in every way that a disk can: a twin of ports.WalDevice with seeded faults.

The platter holds what is durable. A write lies in flight until it completes, in order; a power cut keeps the platter
and an arbitrary subset of the 512-byte sectors of what was in flight, so tears and reordering both happen.
"""

import asyncio
import errno
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from automq_broker.kernel.errors import Bug, Corrupt
from automq_broker.ports import WalWriteFailed

SECTOR_BYTES = 512


@dataclass(slots=True, kw_only=True)
class WalFaults:
    """Chances per operation (0..1); a calm disk by default. Latencies in seconds of the loop's time. May change meanwhile."""

    write_fails: float = 0.0
    """EIO: the write is torn, and every later one fails too."""
    write_lost: float = 0.0
    """Reported done, never on the platter. Outside the contract: a checker must expect the reported damage."""
    write_slow: float = 0.0
    read_fails: float = 0.0
    is_full: bool = False
    """ENOSPC for every write."""
    latency_s: float = 0.0
    slow_s: float = 1.0


@dataclass(slots=True)
class _InFlight:
    position: int
    data: memoryview
    as_submitted: bytes
    done: Callable[[BaseException | None], None]


class MemoryWal:
    """With `is_manual` writes complete only by `complete`, and no loop is needed; else by themselves, on the loop.

    `platter` may be handed to a new device after a power cut: `MemoryWal(platter=old.power_cut())`.
    """

    def __init__(
        self,
        capacity_bytes: int = 8 << 20,
        *,
        seed: int = 0,
        faults: WalFaults | None = None,
        is_manual: bool = False,
        platter: bytearray | None = None,
        handle: str = "memory:0",
    ) -> None:
        self.platter = bytearray(capacity_bytes) if platter is None else platter
        self.capacity_bytes = len(self.platter)
        self.wanted_bytes = self.capacity_bytes
        self.alignment_bytes = 4096
        self.handle = handle
        self.is_patient = False
        self.faults = faults or WalFaults()
        self.zeroed_bytes = self.capacity_bytes
        self.warning: str | None = None
        self.is_failed = False
        self.is_closed = False
        self.lost_writes: list[tuple[int, int]] = []
        self.writes_total = 0
        self.reads_total = 0
        self._random = random.Random(seed)
        self._is_manual = is_manual
        self._in_flight: deque[_InFlight] = deque()
        self._is_pumping = False
        self._is_cut = False

    def write(self, position: int, data: memoryview, done: Callable[[BaseException | None], None]) -> None:
        if self.is_closed:
            raise Bug("write to a closed WAL device")
        if position % self.alignment_bytes or len(data) % self.alignment_bytes:
            raise Bug(f"WAL write of {len(data)} bytes at {position} is not aligned")
        if position + len(data) > self.capacity_bytes:
            raise Bug(f"WAL write at {position} is beyond the end")
        self._in_flight.append(_InFlight(position, data, bytes(data), done))
        if not self._is_manual:
            self._pump()

    async def read(self, position: int, length: int) -> memoryview:
        self.reads_total += 1
        return self.read_blocking(position, length)

    def read_blocking(self, position: int, length: int) -> memoryview:
        if self._random.random() < self.faults.read_fails:
            raise Corrupt(f"WAL memory: position {position} cannot be read: EIO")
        if position + length > self.capacity_bytes:
            raise Corrupt(f"WAL memory: it ends before {position + length}")
        return memoryview(bytes(memoryview(self.platter)[position : position + length]))

    def resize(self, capacity_bytes: int) -> None:
        """As FileWal: the new end is zeros."""
        del self.platter[capacity_bytes:]
        self.platter += bytes(capacity_bytes - len(self.platter))
        self.capacity_bytes = capacity_bytes

    async def sync(self) -> None:
        return None

    def start_zeroing(self, position: int) -> None:
        """As FileWal: only what nobody wrote lies there."""

    async def close(self) -> None:
        while self._in_flight:
            if self._is_manual:
                self.complete()
            else:
                await asyncio.sleep(0.001)
        self.is_closed = True

    @property
    def in_flight(self) -> int:
        """Writes that are not complete."""
        return len(self._in_flight)

    def complete(self, count: int = 1) -> int:
        """Finish the oldest writes in order; returns how many there were."""
        finished = 0
        while self._in_flight and finished < count:
            self._finish(self._in_flight.popleft())
            finished += 1
        return finished

    def power_cut(self, seed: int | None = None) -> bytearray:
        """The platter after a power cut now. This device is dead from here on, its callbacks are never called."""
        chance = self._random if seed is None else random.Random(seed)
        for write in self._in_flight:
            self._tear(write, chance, chance.choice((0.0, 0.1, 0.5, 0.9, 1.0)))
        self._in_flight.clear()
        self._is_cut = True
        return self.platter

    def flip_bit(self, position: int, bit: int = 0) -> None:
        """Damage what is durable."""
        self.platter[position] ^= 1 << bit

    def _pump(self) -> None:
        if self._is_pumping or not self._in_flight or self._is_cut:
            return
        self._is_pumping = True
        delay = self.faults.latency_s
        if self._random.random() < self.faults.write_slow:
            delay += self.faults.slow_s * self._random.random()
        loop = asyncio.get_running_loop()
        if delay:
            loop.call_later(delay, self._pumped)
        else:
            loop.call_soon(self._pumped)

    def _pumped(self) -> None:
        self._is_pumping = False
        if self._is_cut:
            return
        self.complete()
        self._pump()

    def _finish(self, write: _InFlight) -> None:
        if bytes(write.data) != write.as_submitted:
            raise Bug(f"the buffer of the write at {write.position} was changed while it was in flight")
        self.writes_total += 1
        if self.faults.is_full:
            self.is_failed = True
        if self.is_failed or self._random.random() < self.faults.write_fails:
            if not self.is_failed:
                self._tear(write, self._random, 0.5)
            self.is_failed = True
            code = errno.ENOSPC if self.faults.is_full else errno.EIO
            write.done(WalWriteFailed(f"WAL memory: write at {write.position} failed: {errno.errorcode[code]}"))
            return
        if self._random.random() < self.faults.write_lost:
            self.lost_writes.append((write.position, len(write.data)))
        else:
            self.platter[write.position : write.position + len(write.data)] = write.as_submitted
        write.done(None)

    def _tear(self, write: _InFlight, chance: random.Random, share: float) -> None:
        for at in range(0, len(write.as_submitted), SECTOR_BYTES):
            if chance.random() < share:
                start = write.position + at
                self.platter[start : start + SECTOR_BYTES] = write.as_submitted[at : at + SECTOR_BYTES]


__all__ = ["SECTOR_BYTES", "MemoryWal", "WalFaults"]
