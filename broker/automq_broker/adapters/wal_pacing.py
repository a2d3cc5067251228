"""Keeps the WAL's writes under the limits of its volume, so that the volume's own throttling never sets in."""

_IO_BYTES = 256 * 1024
"""A cloud volume counts a larger write as several of this size (EBS: SSD volumes)."""

_BURST_S = 0.02


class Pacing:
    """Two token buckets, operations and bytes per second; a limit of 0 means none. Times are monotonic seconds.

    A write is let through whole as soon as neither bucket is in debt, and then owes its size: large writes need no
    special case, and the average keeps to the limit.
    """

    def __init__(self, *, iops: float = 0, bytes_per_s: float = 0) -> None:
        self._iops = iops
        self._bytes_per_s = bytes_per_s
        self._operations = iops * _BURST_S
        self._bytes = bytes_per_s * _BURST_S
        self._at = 0.0

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is ever delayed."""
        return not self._iops and not self._bytes_per_s

    def delay_s(self, now: float) -> float:
        """How long a write has to wait from `now` on; 0 when it may go."""
        passed, self._at = max(0.0, now - self._at), max(now, self._at)
        delay = 0.0
        if self._iops:
            self._operations = min(self._iops * _BURST_S, self._operations + passed * self._iops)
            delay = max(delay, -self._operations / self._iops)
        if self._bytes_per_s:
            self._bytes = min(self._bytes_per_s * _BURST_S, self._bytes + passed * self._bytes_per_s)
            delay = max(delay, -self._bytes / self._bytes_per_s)
        return delay

    def spend(self, size_bytes: int) -> None:
        """A write of this size was started."""
        self._operations -= -(-size_bytes // _IO_BYTES)
        self._bytes -= size_bytes


__all__ = ["Pacing"]
