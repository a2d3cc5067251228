"""Batches whose bytes the tail cache let go, read back from the WAL's device in runs instead of one by one.

A read per batch would cost a thread hand-over and a memory mapping each: an upload of a ring full of small batches took
minutes, and died of the system's limit of mappings.
"""

from collections.abc import Iterator, Sequence

from automq_broker.cache.tail import Entry
from automq_broker.engine.damage import Damage
from automq_broker.kernel.errors import Corrupt
from automq_broker.ports import WalDevice
from automq_broker.wal.format import BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES
from automq_broker.wal.writer import WalWriter

_RUN_BYTES_MAX = 256 * 1024
"""One read; also what is taken apart in one turn of the loop (some 10 ms when the batches are tiny)."""

_GAP_BYTES_MAX = 64 * 1024
"""Other streams' batches up to here between two wanted ones are read along: cheaper than another read."""


class RingReads:
    """Reads of one broker's WAL by LSN."""

    def __init__(self, writer: WalWriter, device: WalDevice) -> None:
        self._writer = writer
        self._device = device
        self.bytes_total = 0

    async def batches(self, entries: Sequence[Entry]) -> list[memoryview]:
        """The batches of these entries, which ascend in LSN, in their order.

        Raises Retry if one was trimmed meanwhile (it is in the bucket), Corrupt if its bytes are stored wrong.
        """
        found: list[memoryview] = []
        for run in _runs(entries):
            found += await self._read_run(run)
        return found

    async def _read_run(self, run: Sequence[Entry]) -> list[memoryview]:
        first, last = run[0], run[-1]
        plan = self._writer.read_plan(last.lsn, last.size_bytes, first_lsn=first.lsn)
        damage = Damage()
        while True:
            parts = [await self._device.read(position, length) for position, length in plan]
            whole = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
            try:
                found = [self._writer.extract(entry.lsn, [whole], first_lsn=first.lsn)[1] for entry in run]
                break
            except Corrupt:  # a log in the bucket comes over a line
                if damage.is_stored(whole):
                    raise
        wanted = sum(entry.size_bytes for entry in run)
        self.bytes_total += wanted
        # Views keep the whole run alive: where it is mostly other streams' bytes, copies are smaller.
        return found if wanted * 2 >= len(whole) else [memoryview(bytes(batch)) for batch in found]


def _runs(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut where the gap or the run grows too large; a larger batch is a run of its own."""
    start = 0
    for i in range(1, len(entries)):
        before, entry = entries[i - 1], entries[i]
        gap = entry.lsn - before.lsn - before.size_bytes
        end = entry.lsn + RECORD_HEADER_BYTES + entry.size_bytes + BLOCK_HEADER_BYTES
        if gap > _GAP_BYTES_MAX or end - entries[start].lsn > _RUN_BYTES_MAX:
            yield entries[start:i]
            start = i
    if entries:
        yield entries[start:]


__all__ = ["RingReads"]
