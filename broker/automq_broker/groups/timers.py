"""Many deadlines, of which most are moved long before they pass.

A heartbeat moves its member's deadline; only the number changes, nothing enters the heap. The heap holds at most one
live entry per key; an entry that comes up too early goes back with the deadline of that moment.
"""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Timers(Generic[K]):
    """Absolute deadlines by key, in the caller's milliseconds. Cost of moving one later: O(1)."""

    __slots__ = ("_count", "_deadlines", "_heap", "_queued")

    def __init__(self) -> None:
        self._deadlines: dict[K, int] = {}
        self._queued: dict[K, int] = {}
        self._heap: list[tuple[int, int, K]] = []
        self._count = 0

    def set(self, key: K, at_ms: int) -> None:
        """Let `key` come due at `at_ms`, instead of any earlier setting."""
        self._deadlines[key] = at_ms
        queued = self._queued.get(key)
        if queued is None or at_ms < queued:
            self._push(key, at_ms)

    def cancel(self, key: K) -> None:
        """Forget `key`; unknown keys are fine."""
        self._deadlines.pop(key, None)

    def get(self, key: K) -> int | None:
        """The deadline of `key`, None if it has none."""
        return self._deadlines.get(key)

    def __len__(self) -> int:
        return len(self._deadlines)

    def next_deadline(self) -> int | None:
        """No key comes due before this. It may be early by entries that were moved or cancelled since."""
        while self._heap and not self._is_live(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now_ms: int) -> Iterator[K]:
        """Take out, in order of time, what is due at `now_ms`. Keys may be set and cancelled between the steps."""
        while self._heap and self._heap[0][0] <= now_ms:
            entry = heapq.heappop(self._heap)
            if not self._is_live(entry):
                continue
            key = entry[2]
            del self._queued[key]
            deadline = self._deadlines.get(key)
            if deadline is None:
                continue
            if deadline > now_ms:
                self._push(key, deadline)
                continue
            del self._deadlines[key]
            yield key

    def _is_live(self, entry: tuple[int, int, K]) -> bool:
        return self._queued.get(entry[2]) == entry[0]

    def _push(self, key: K, at_ms: int) -> None:
        self._count += 1  # ties are broken by age, so that one seed gives one order
        self._queued[key] = at_ms
        heapq.heappush(self._heap, (at_ms, self._count, key))


__all__ = ["Timers"]
