"""What loading groups comes to, told once for many partitions: a start opens fifty of them and more at once."""

import logging

from automq_broker.ports import Clock

logger = logging.getLogger(__name__)


class GroupsLoading:
    """One line when the last of the partitions that load together is done, one when the first of them has to wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._left: set[int] = set()
        self._is_waiting_told = False
        self._began_s = clock.monotonic()
        self._partitions = self._groups = self._size_bytes = 0

    def began(self, partition: int) -> None:
        """A partition of `__consumer_offsets` opened, and its log is read."""
        if not self._left:
            self._begin()
        self._left.add(partition)

    def waits(self, partition: int, reason: Exception) -> None:
        """Its log cannot be read yet; the others will hardly fare better, so the first one speaks for all."""
        if not self._is_waiting_told:
            self._is_waiting_told = True
            logger.warning("loading groups waits", extra={"partition": partition, "reason": str(reason)})

    def loaded(self, partition: int, *, groups: int, size_bytes: int) -> None:
        """Its groups answer from now on."""
        self._partitions += 1
        self._groups += groups
        self._size_bytes += size_bytes
        self.left(partition)

    def left(self, partition: int) -> None:
        """Nothing more is waited for: it is loaded, closed, or damaged, which is told elsewhere. Safe to repeat."""
        self._left.discard(partition)
        if not self._left and self._partitions:
            logger.info(
                "groups loaded",
                extra={
                    "partitions": self._partitions,
                    "groups": self._groups,
                    "bytes": self._size_bytes,
                    "seconds": round(self._clock.monotonic() - self._began_s, 3),
                },
            )
            self._begin()

    def _begin(self) -> None:
        self._began_s = self._clock.monotonic()
        self._partitions = self._groups = self._size_bytes = 0
        self._is_waiting_told = False


__all__ = ["GroupsLoading"]
