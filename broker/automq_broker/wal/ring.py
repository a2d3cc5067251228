"""Where an LSN lies on the device, which blocks are alive, and how much room is left.

LSNs count the bytes of the ring without end, headers and padding included: position = LSN mod capacity. No block lies
across the end of the ring. Space is free only once a *durable* superblock has let it go: a recovery starts at the trim
point that it finds there, so what lies above that point must still be whole.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from automq_broker.kernel.errors import Bug, Retry
from automq_broker.kernel.ids import Lsn
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES, RING_POSITION, aligned
from automq_broker.wal.superblock import Superblock

_DEAD_MAX = 4096


class ReadAt(NamedTuple):
    """Bytes to be read from the device."""

    position: int
    length: int


class Ring:
    """Positions and room. `end_lsn` is where the next block starts, `chain` the CRC that it has to repeat.

    Made empty by `Ring.fresh`, or by a recovery with the blocks that it found.
    """

    def __init__(self, superblock: Superblock, *, end_lsn: Lsn, chain: int, starts: Iterable[int] = ()) -> None:
        self.superblock = superblock
        self.capacity_bytes = superblock.capacity_bytes
        self.trim_lsn = superblock.trim_lsn
        self.end_lsn = end_lsn
        self.chain = chain
        self._starts = array("Q", starts)
        self._dead = 0

    @classmethod
    def fresh(cls, superblock: Superblock) -> "Ring":
        """The ring of a WAL that was just formatted."""
        if superblock.durable_lsn:
            raise Bug("a WAL with contents must be recovered")
        return cls(superblock, end_lsn=Lsn(0), chain=0)

    def position(self, lsn: int) -> int:
        """Where the byte with this LSN lies on the device."""
        return RING_POSITION + lsn % self.capacity_bytes

    def bytes_to_end(self, lsn: int) -> int:
        """How far it is from there to the end of the ring; at least 1."""
        return self.capacity_bytes - lsn % self.capacity_bytes

    @property
    def limit_lsn(self) -> int:
        """No byte at or above this LSN may be written before a newer superblock is durable."""
        return self.superblock.trim_lsn + self.capacity_bytes

    @property
    def blocks(self) -> int:
        """How many blocks are alive."""
        return len(self._starts) - self._dead

    def extend(self, size_bytes: int) -> Lsn:
        """Take the room of one more block at the end; returns the LSN at which it starts."""
        lsn = self.end_lsn
        if lsn + size_bytes > self.limit_lsn:
            raise Bug(f"a block at LSN {lsn} would overwrite the WAL's untrimmed start {self.superblock.trim_lsn}")
        self._starts.append(lsn)
        self.end_lsn = Lsn(lsn + size_bytes)
        return lsn

    def block_start(self, lsn: int) -> Lsn:
        """The start of the block that holds this LSN, or the end of the ring; below the trim point it is a Bug."""
        if lsn >= self.end_lsn:
            return self.end_lsn
        index = bisect_right(self._starts, lsn, lo=self._dead) - 1
        if index < self._dead:
            raise Bug(f"LSN {lsn} is below the trim point {self.trim_lsn}")
        return Lsn(self._starts[index])

    def block_starts_between(self, above: int, below: int) -> list[int]:
        """Starts of the live blocks with above < start < below, in order."""
        first = bisect_right(self._starts, above, lo=self._dead)
        last = bisect_right(self._starts, below - 1, lo=first)
        return list(self._starts[first:last])

    def block_starts_after(self, lsn: int) -> Iterator[int]:
        """Starts of the live blocks behind this LSN, in order, as far as they are asked for."""
        starts = self._starts
        for i in range(bisect_right(starts, lsn, lo=self._dead), len(starts)):
            yield starts[i]

    def record_end(self, lsn: Lsn, length: int) -> int:
        """Where the record at `lsn` ends whose body has `length` bytes, the headers of the blocks in it included."""
        end = lsn + RECORD_HEADER_BYTES + length
        above = lsn
        while starts := self.block_starts_between(above, end):
            end += BLOCK_HEADER_BYTES * len(starts)
            above = Lsn(starts[-1])
        return end

    def check_alive(self, lsn: Lsn) -> None:
        """Raises Retry below the trim point: what lay there is in the bucket."""
        if lsn < self.trim_lsn:
            raise Retry(f"LSN {lsn} is below the WAL's trim point {self.trim_lsn}", delay_s=0.0)

    def trim(self, lsn: Lsn) -> None:
        """Nothing below `lsn` is needed any more; takes effect for the space with the next durable superblock."""
        if lsn <= self.trim_lsn:
            return
        self.trim_lsn = self.block_start(lsn)
        self._dead = bisect_right(self._starts, self.trim_lsn - 1, lo=self._dead)
        if self._dead > _DEAD_MAX and self._dead * 2 > len(self._starts):
            del self._starts[: self._dead]
            self._dead = 0

    def reads(self, lsn: int, end_lsn: int) -> list[ReadAt]:
        """Aligned reads that cover [lsn, end_lsn): one, or two around the end of the ring."""
        start, end = lsn - lsn % 4096, aligned(end_lsn)
        first = min(end - start, self.bytes_to_end(start))
        plan = [ReadAt(self.position(start), first)]
        if start + first < end:
            plan.append(ReadAt(self.position(start + first), end - start - first))
        return plan


__all__ = ["ReadAt", "Ring"]
