"""Fetches that wait for bytes: woken by appends, by their deadline, or when a partition closes."""

import asyncio
from collections.abc import Sequence

from automq_broker.engine.partition import Partition
from automq_broker.kernel.ids import StreamId


class _Wait:
    __slots__ = ("future", "left", "streams", "timer")

    def __init__(self, streams: list[StreamId], left: int, future: "asyncio.Future[None]") -> None:
        self.streams = streams
        self.left = left
        self.future = future
        self.timer: asyncio.TimerHandle | None = None


class Waiters:
    """Bytes are counted per wait, so a fetch with min_bytes wakes once. An append without waiters costs one lookup."""

    def __init__(self) -> None:
        self._by_stream: dict[StreamId, dict[_Wait, None]] = {}

    def wait(self, partitions: Sequence[Partition], min_bytes: int, deadline: float) -> "asyncio.Future[None]":
        """Resolves after `min_bytes` became readable in these partitions together, or at `deadline` (loop time)."""
        loop = asyncio.get_running_loop()
        wait = _Wait([partition.stream_id for partition in partitions], max(1, min_bytes), loop.create_future())
        for stream_id in wait.streams:
            self._by_stream.setdefault(stream_id, {})[wait] = None
        wait.timer = loop.call_at(deadline, self._wake, wait)
        wait.future.add_done_callback(lambda _: self._forget(wait))  # a cancelled fetch leaves nothing behind
        return wait.future

    def appended(self, partition: Partition, size_bytes: int) -> None:
        """These bytes became readable."""
        waits = self._by_stream.get(partition.stream_id)
        if waits:
            for wait in list(waits):
                wait.left -= size_bytes
                if wait.left <= 0:
                    self._wake(wait)

    def closed(self, stream_id: StreamId) -> None:
        """The partition is not served here any more: whoever waits must look again."""
        for wait in list(self._by_stream.get(stream_id, ())):
            self._wake(wait)

    @property
    def waiting(self) -> int:
        """Distinct streams that somebody waits for."""
        return len(self._by_stream)

    def _wake(self, wait: _Wait) -> None:
        if not wait.future.done():
            wait.future.set_result(None)

    def _forget(self, wait: _Wait) -> None:
        if wait.timer is not None:
            wait.timer.cancel()
        for stream_id in wait.streams:
            waits = self._by_stream.get(stream_id)
            if waits is not None:
                waits.pop(wait, None)
                if not waits:
                    del self._by_stream[stream_id]


__all__ = ["Waiters"]
