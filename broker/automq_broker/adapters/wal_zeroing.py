"""Zero-fills the rest of a WAL file behind the back of the broker: first writes to a hole cost twice the latency."""

import mmap
import threading
import time
from collections.abc import Callable

from automq_broker.adapters.wal_io import WalIo

AHEAD_BYTES = 64 << 20
"""Zeroed before a new WAL is used, and kept ahead of the writer without pacing."""

_CHUNK_BYTES = 256 * 1024
"""Small, since ext4 holds the file's lock exclusively while it fills a chunk of a hole, and the writer waits for it."""

_FIRST_CHUNK_BYTES = 4 << 20

PACE_BYTES_PER_S = 64 << 20


class Zeroing:
    """Zeroes [mark, end) in a thread of its own. SAFETY: nobody may write above `mark`; the writer calls `wait_for`.

    `mark` only grows and is read without a lock (one integer); `_turn` is shared with the writer's thread.
    """

    def __init__(self, io: WalIo, *, end: int, fail: Callable[[OSError], None]) -> None:
        self._io = io
        self._end = end
        self._fail = fail
        self._zeros = memoryview(mmap.mmap(-1, _CHUNK_BYTES))
        self._turn = threading.Condition()
        self._wanted = 0
        self._is_stopped = False
        self._thread: threading.Thread | None = None
        self.mark = end

    def fill_now(self, start: int, size: int) -> None:
        """Zero the first part before anything else uses the device. Blocks; raises OSError."""
        self.mark = start
        target = min(self._end, start + size)
        zeros = memoryview(mmap.mmap(-1, _FIRST_CHUNK_BYTES))
        while self.mark < target:
            chunk = min(_FIRST_CHUNK_BYTES, target - self.mark)
            self._io.write(self.mark, [zeros[:chunk]])
            self.mark += chunk

    def start(self, mark: int) -> None:
        """Go on from `mark` in the background; from now on writes above the mark wait."""
        if self._thread is not None or mark >= self._end:
            self.mark = max(self.mark, mark)
            return
        self.mark = mark
        self._wanted = mark
        self._thread = threading.Thread(target=self._run, name="wal-zeroing", daemon=True)
        self._thread.start()

    def wait_for(self, end: int) -> None:
        """Called by the writer before a write that ends there; returns when the zeroing is past it."""
        if self._thread is None or self.mark >= self._end:
            return
        with self._turn:
            self._wanted = max(self._wanted, end)
            self._turn.notify_all()
            while self.mark < end and not self._is_stopped:
                self._turn.wait()

    def stop(self) -> None:
        """End the thread after its current chunk."""
        with self._turn:
            self._is_stopped = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while self.mark < self._end:
                with self._turn:
                    if self._is_stopped:
                        return
                    is_behind = self.mark < self._wanted + AHEAD_BYTES
                started = time.monotonic()
                self._zero_chunk()
                with self._turn:
                    self._turn.notify_all()
                    if not is_behind and not self._is_stopped:
                        rest = _CHUNK_BYTES / PACE_BYTES_PER_S - (time.monotonic() - started)
                        self._turn.wait(max(0.0, rest))
        except OSError as error:
            self._fail(error)
            with self._turn:
                self._is_stopped = True
                self._turn.notify_all()

    def _zero_chunk(self) -> None:
        size = min(_CHUNK_BYTES, self._end - self.mark)
        self._io.write(self.mark, [self._zeros[:size]])
        self.mark += size


__all__ = ["AHEAD_BYTES", "PACE_BYTES_PER_S", "Zeroing"]
