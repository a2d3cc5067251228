"""What this broker tells the controller of its load: bytes per partition since the last report, and the WAL's fill."""

import heapq
from collections.abc import Callable

from automq_broker.cluster.sessions import Load
from automq_broker.engine.open_close import OpenPartitions
from automq_broker.kernel.ids import StreamId
from automq_broker.ports import Clock

STREAMS_MAX = 1_000
"""Partitions named in one report, the busiest; the sums are of all."""


class LoadReport:
    """`take` gives the load since it was taken last."""

    def __init__(
        self,
        *,
        open_partitions: OpenPartitions,
        clock: Clock,
        wal_capacity_bytes: int,
        wal_free_bytes: Callable[[], int],
        connections: Callable[[], int],
        is_draining: Callable[[], bool],
        applied_seq: Callable[[], int],
    ) -> None:
        self._open_partitions = open_partitions
        self._clock = clock
        self._wal_capacity_bytes = wal_capacity_bytes
        self._wal_free_bytes = wal_free_bytes
        self._connections = connections
        self._is_draining = is_draining
        self._applied_seq = applied_seq
        self._seen: dict[StreamId, tuple[int, int]] = {}
        self._taken_at = clock.monotonic()

    def take(self) -> Load:
        """The load of the time since the last call; partitions that closed meanwhile are left out."""
        now = self._clock.monotonic()
        moved: dict[int, tuple[int, int]] = {}
        seen: dict[StreamId, tuple[int, int]] = {}
        for stream_id, partition in self._open_partitions.by_stream.items():
            total = (partition.bytes_in, partition.bytes_out)
            before = self._seen.get(stream_id, (0, 0))
            if total < before:  # closed and opened again
                before = (0, 0)
            if total != before:
                moved[stream_id] = (total[0] - before[0], total[1] - before[1])
            seen[stream_id] = total
        interval_ms = round((now - self._taken_at) * 1000)
        self._seen, self._taken_at = seen, now
        busiest = heapq.nlargest(STREAMS_MAX, moved.items(), key=lambda item: sum(item[1]))
        return Load(
            interval_ms=interval_ms,
            bytes_in=sum(bytes_in for bytes_in, _ in moved.values()),
            bytes_out=sum(bytes_out for _, bytes_out in moved.values()),
            streams=dict(busiest),
            wal_used_bytes=self._wal_capacity_bytes - self._wal_free_bytes(),
            wal_capacity_bytes=self._wal_capacity_bytes,
            connections=self._connections(),
            is_draining=self._is_draining(),
            applied_seq=self._applied_seq(),
        )


__all__ = ["STREAMS_MAX", "LoadReport"]
