"""The WalDevice over real I/O: one writer thread, first in first out, and completions handed back in batches.

A thread costs two wake-ups of a processor over the raw write when one write is in flight (30 us on bare metal, 150 on
a virtual machine); an executor call per write costs three times that. So small writes that find the thread idle are done
on the loop itself while the device answers within a fraction of a millisecond, which no cloud volume does: there the
loop must not stop for them.
"""

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from automq_broker.adapters.wal_io import WalIo
from automq_broker.adapters.wal_pacing import Pacing
from automq_broker.adapters.wal_zeroing import Zeroing
from automq_broker.kernel.errors import Bug, Refused
from automq_broker.ports import WalWriteFailed

Done = Callable[[BaseException | None], None]
_Item = tuple[int, memoryview, Done]

_MERGE_BYTES_MAX = 1 << 20
_MERGE_PARTS_MAX = 256
_READERS = 2

_INLINE_BYTES_MAX = 8192
_INLINE_SECONDS_MAX = 0.0002
"""What a small write may take, on the running average, to be done on the loop; about what the thread would add."""

_AVERAGED_OVER = 16


class DirectWal:
    """Satisfies ports.WalDevice. Belongs to the loop that makes the first call; only `_run` lives in the writer thread.

    Beyond the port: `zeroed_bytes` and `start_zeroing` (files), `warning`, `statistics`, `read_blocking` for tools.
    """

    def __init__(
        self,
        io: WalIo,
        *,
        capacity_bytes: int,
        alignment_bytes: int,
        handle: str,
        lock_fd: int,
        pacing: Pacing,
        zeroing: Zeroing | None = None,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.wanted_bytes = capacity_bytes
        self.alignment_bytes = alignment_bytes
        self.handle = handle
        self.is_patient = False
        self._io = io
        self._lock_fd = lock_fd
        self._pacing = pacing
        self._zeroing = zeroing or Zeroing(io, end=capacity_bytes, fail=self._zeroing_failed)
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._finished: deque[tuple[Done, BaseException | None]] = deque()
        self._is_delivery_scheduled = False
        self._undelivered = 0
        self._small_write_s = 1.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="wal-read")
        self._failure: WalWriteFailed | None = None
        self._is_closed = False
        self.writes_total = 0
        self.written_bytes_total = 0
        self.write_seconds_total = 0.0

    @property
    def warning(self) -> str | None:
        """What the file system lacks, for one line at the start; None when writes bypass the page cache."""
        return self._io.warning

    @property
    def zeroed_bytes(self) -> int:
        """Position up to which the device is zero-filled; to be kept in the superblock."""
        return self._zeroing.mark

    def start_zeroing(self, position: int) -> None:
        """Zero-fill from `position` (of `superblock.zeroing_start`) to the end in the background, ahead of the writer.

        SAFETY: everything from `position` on is overwritten. Only after a recovery, and before the first append.
        """
        self._zeroing.start(position)

    def write(self, position: int, data: memoryview, done: Done) -> None:
        """As the port says. `data` should be aligned to 4 KiB; memory that is not is copied once."""
        if self._is_closed:
            raise Bug("write to a closed WAL device")
        if position % self.alignment_bytes or len(data) % self.alignment_bytes:
            raise Bug(f"WAL write of {len(data)} bytes at position {position} is not aligned")
        if position + len(data) > self.capacity_bytes:
            raise Bug(f"WAL write of {len(data)} bytes at position {position} is beyond the end {self.capacity_bytes}")
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="wal-writer", daemon=True)
            self._thread.start()
        self._undelivered += 1
        if self._undelivered == 1 and self._is_quick(position + len(data), len(data)):
            # ORDER: nothing is queued or being written in the thread, so this write is not earlier than any other.
            self._finished.append((done, self._write([(position, data, done)])))
            self._is_delivery_scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)
        else:
            self._queue.put((position, data, done))

    def _is_quick(self, end: int, size: int) -> bool:
        """Whether a write may be done on the loop: small, on a fast device without limits, and zeroed to its end."""
        return (
            size <= _INLINE_BYTES_MAX
            and self._small_write_s <= _INLINE_SECONDS_MAX
            and self._pacing.is_unlimited
            and self._zeroing.mark >= end
        )

    async def read(self, position: int, length: int) -> memoryview:
        """As the port says; in a thread of its own, beside writes."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._io.read, position, length)

    def read_blocking(self, position: int, length: int) -> memoryview:
        """`read` for programs without a loop."""
        return self._io.read(position, length)

    def resize(self, capacity_bytes: int) -> None:
        """As the port says; a block device is as large as it is."""
        raise Refused(
            f"WAL {self._io.path}: its size is {self.capacity_bytes} bytes and cannot become {capacity_bytes}"
        )

    async def sync(self) -> None:
        """As the port says."""
        await asyncio.get_running_loop().run_in_executor(self._readers, self._io.sync)

    async def close(self) -> None:
        """As the port says; callbacks of writes in flight have been called when this returns."""
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(self._readers, self._join)
        while self._undelivered:  # on their way to the loop; one that raises there must not keep the lock held
            await asyncio.sleep(0)
        self._readers.shutdown(wait=True)
        self.release()

    def release(self) -> None:
        """Close descriptors and let the lock go, without a loop; for tools, which never write."""
        self._is_closed = True
        self._readers.shutdown(wait=True)
        self._io.close()
        os.close(self._lock_fd)

    def statistics(self) -> dict[str, float]:
        """Totals since the start, for metrics; a write counts once however many blocks were merged into it."""
        return {
            "writes": self.writes_total,
            "bytes": self.written_bytes_total,
            "write_seconds": self.write_seconds_total,
            "zeroed_bytes": self.zeroed_bytes,
        }

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._zeroing.stop()  # ORDER: behind the writer, which must never write where a chunk is being zeroed

    # the writer thread

    def _run(self) -> None:
        queue = self._queue
        item = queue.get()
        while item is not None:
            self._pace()
            group = [item]
            item = self._merge(group)
            error = self._write(group)
            for _, _, done in group:
                self._finished.append((done, error))
            self._schedule_delivery()
            if item is _NOTHING:
                item = queue.get()

    def _merge(self, group: list[_Item]) -> _Item | None:
        """Add queued writes that go on where the group ends; returns the first that does not, or _NOTHING."""
        queue = self._queue
        position, data, _ = group[0]
        end, size = position + len(data), len(data)
        while not queue.empty():
            item = queue.get_nowait()
            if item is None or item[0] != end:
                return item
            if size + len(item[1]) > _MERGE_BYTES_MAX or len(group) >= _MERGE_PARTS_MAX:
                return item
            group.append(item)
            end += len(item[1])
            size += len(item[1])
        return _NOTHING

    def _write(self, group: list[_Item]) -> WalWriteFailed | None:
        if self._failure is not None:
            return self._failure
        position = group[0][0]
        parts = [data for _, data, _ in group]
        size = sum(map(len, parts))
        started = time.monotonic()
        try:
            self._zeroing.wait_for(position + size)
            if self._failure is None:
                self._io.write(position, parts)
        except OSError as error:
            self._fail(f"write of {size} bytes at position {position}", error)
        self._pacing.spend(size)
        self.writes_total += 1
        self.written_bytes_total += size
        taken = time.monotonic() - started
        self.write_seconds_total += taken
        if size <= _INLINE_BYTES_MAX:
            self._small_write_s += (taken - self._small_write_s) / _AVERAGED_OVER
        return self._failure

    def _pace(self) -> None:
        if self._pacing.is_unlimited:
            return
        while (delay := self._pacing.delay_s(time.monotonic())) > 0:
            time.sleep(delay)

    def _zeroing_failed(self, error: OSError) -> None:
        self._fail("zero-filling", error)

    def _fail(self, what: str, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, "?")
        failure = WalWriteFailed(f"WAL {self._io.path}: {what} failed: {name} {error.strerror}")
        failure.__cause__ = error
        self._failure = self._failure or failure

    def _schedule_delivery(self) -> None:
        """One wake-up of the loop for everything that finished since the last one.

        The flag needs no lock: the loop clears it before it empties the deque, and this thread sets it after it added.
        """
        if not self._is_delivery_scheduled and self._loop is not None:
            self._is_delivery_scheduled = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop is closed: the process is ending, nobody waits for these any more.
                self._is_delivery_scheduled = False

    # back on the loop

    def _deliver(self) -> None:
        self._is_delivery_scheduled = False
        finished = self._finished
        try:
            while finished:
                done, error = finished.popleft()
                self._undelivered -= 1
                done(error)
        finally:
            # A callback that raises is the caller's bug, and must not cost the others their acks.
            if finished and self._loop is not None:
                self._loop.call_soon(self._deliver)


def _nobody(error: BaseException | None) -> None:
    """Never called."""


_NOTHING: _Item = (-1, memoryview(b""), _nobody)

__all__ = ["DirectWal"]
