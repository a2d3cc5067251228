"""Lets the ring go: the trim point follows commits, the superblock follows the trim point, free room follows both.

Trim is never derived from "uploaded", only from commits that were confirmed (DESIGN, rule 2): the trim point is the LSN
of the oldest batch that the tail index still calls un-committed.
"""

import asyncio

from automq_broker.cache.tail import TailCache
from automq_broker.engine.admission import Admission
from automq_broker.engine.append import Appender
from automq_broker.engine.knobs import EngineKnobs
from automq_broker.engine.recover import write_durably
from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import Lsn
from automq_broker.ports import WalDevice
from automq_broker.wal.writer import WalWriter, Write


class RingKeeper:
    """Writes superblocks lazily: after `superblock_interval_s`, `superblock_bytes`, or at once when producers wait."""

    def __init__(
        self,
        *,
        writer: WalWriter,
        device: WalDevice,
        cache: TailCache,
        appender: Appender,
        admission: Admission,
        knobs: EngineKnobs,
    ) -> None:
        self._writer = writer
        self._device = device
        self._cache = cache
        self._appender = appender
        self._admission = admission
        self._knobs = knobs
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopped = False

    def committed(self) -> None:
        """Commits were applied: move the trim point, and see that a superblock says so soon."""
        backlogs = self._cache.uncommitted_streams()
        self._writer.trim(backlogs[0].first_lsn if backlogs else self._appender.durable_lsn)
        waiting = self._writer.untrimmed_bytes
        if not waiting or self._is_stopped:
            return
        if waiting >= self._knobs.superblock_bytes or self._admission.waiting:
            self._write_superblock()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._knobs.superblock_interval_s, self._write_superblock)

    def repeat_superblock(self) -> None:
        """Write one although nothing calls for it: whether the device answers is worth knowing."""
        if not self._is_stopped:
            self._write_superblock()

    def stop(self) -> None:
        """No more superblocks but the clean one."""
        self._is_stopped = True
        self._stop_timer()

    async def mark_clean(self) -> None:
        """The last write of an orderly stop: everything is committed, the keeper is stopped, nothing is in flight."""
        write = self._writer.superblock(zeroed_bytes=self.zeroed_bytes, is_clean=True)
        if write is None:
            raise Bug("another superblock is in flight beside the clean one")
        await write_durably(self._device, write.position, write.data)
        # Whoever watches the device must not wait for this one's answer while the controller is slow to hear the last word.
        self._appender.written(write, None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write_superblock(self) -> None:
        self._stop_timer()
        freed = self._writer.untrimmed_bytes
        write = self._writer.superblock(zeroed_bytes=self.zeroed_bytes)
        if write is None:  # one is on its way; the next must not tear together with it
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(0.01, self._write_superblock)
            return

        def written(error: BaseException | None, write: Write = write) -> None:
            self._appender.written(write, error)
            if error is None:
                self._admission.drained(freed)

        self._device.write(write.position, write.data, written)

    @property
    def zeroed_bytes(self) -> int:
        """Up to which byte of the device it is zero-filled; what lies above is filled in the background."""
        return getattr(self._device, "zeroed_bytes", 0)

    @property
    def trim_lsn(self) -> Lsn:
        """Where a recovery would start now, apart from what the superblock lags behind."""
        backlogs = self._cache.uncommitted_streams()
        return backlogs[0].first_lsn if backlogs else self._appender.durable_lsn


__all__ = ["RingKeeper"]
