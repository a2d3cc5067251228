"""When the balance is looked at, and which partitions rest: the pace that keeps moves from chasing each other.

One batch at a time. The next one waits until the last is carried out, or has had its time; a partition that moved rests
for a while; and what a look found counts until the next look, unless a broker joined that can help.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Seconds."""

    interval_s: float = 60.0
    """Between two looks."""

    batch_interval_s: float = 5.0
    """Between two batches of one look that found more to move than one batch holds."""

    batch_time_s: float = 60.0
    """A batch that is not carried out by then no longer holds up the next."""

    rest_s: float = 300.0
    """A partition that moved, by whomever, is not moved again."""


class Pace:
    """Remembers the last look and the batch under way. Times are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._taking_part: frozenset[int] = frozenset()
        self._is_full = False
        self._under_way: set[int] = set()

    def is_due(self, pacing: Pacing, now: float, taking_part: Iterable[int], is_settled: Callable[[int], bool]) -> bool:
        """Whether to look now; `is_settled` says of a stream whether its move is carried out (or moot)."""
        passed_s = now - self._looked_at
        self._under_way = {stream_id for stream_id in self._under_way if not is_settled(stream_id)}
        if passed_s < pacing.batch_interval_s or (self._under_way and passed_s < pacing.batch_time_s):
            return False
        has_joined = not frozenset(taking_part) <= self._taking_part
        return self._is_full or has_joined or passed_s >= pacing.interval_s

    def looked(self, now: float, taking_part: Iterable[int], moved: Iterable[int], *, is_full: bool) -> None:
        """The outcome of a look: the streams that were given to others."""
        self._looked_at = now
        self._taking_part = frozenset(taking_part)
        self._is_full = is_full
        self._under_way = set(moved)

    @property
    def under_way(self) -> int:
        """Moves of the last batch that are not carried out yet, as of the last look at the clock."""
        return len(self._under_way)


class Rest:
    """Which partitions moved lately, by whomever: what a person has just put somewhere is not taken away at once."""

    def __init__(self) -> None:
        self._moved_at: dict[int, float] = {}

    def moved(self, stream_ids: Iterable[int], now: float, rest_s: float) -> None:
        """These were given to other brokers; those that have rested are forgotten."""
        for stream_id in stream_ids:
            self._moved_at.pop(stream_id, None)
            self._moved_at[stream_id] = now
        while self._moved_at and now - self._moved_at[oldest := next(iter(self._moved_at))] >= rest_s:
            del self._moved_at[oldest]

    def is_over(self, stream_id: int, now: float, rest_s: float) -> bool:
        """Whether the partition may be moved, as far as this goes."""
        moved_at = self._moved_at.get(stream_id)
        return moved_at is None or now - moved_at >= rest_s


__all__ = ["Pace", "Pacing", "Rest"]
