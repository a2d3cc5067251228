"""Who may enter the ring now: free at low fill, paced by the drain in the middle, internal topics alone at the top.

A full ring must slow producers smoothly instead of failing them at a cliff, and acks must never outrun durability.
So requests queue here, before they get offsets: one that leaves by its deadline has not entered the log at all.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from automq_broker.engine.knobs import EngineKnobs


@dataclass(slots=True)
class Waiting:
    """One append that waits for room: `enter()` runs it, `give_up()` answers REQUEST_TIMED_OUT."""

    size_bytes: int
    is_internal: bool
    enter: Callable[[], None]
    give_up: Callable[[], None]
    deadline: float
    timer: asyncio.TimerHandle | None = None
    is_done: bool = False


class Admission:
    """First in, first out, so that a partition's batches keep their order. All times are the loop's.

    `capacity_bytes` is the ring's size, `free_bytes()` what it could take now. `press()` asks for an upload at once.
    """

    def __init__(
        self, *, knobs: EngineKnobs, capacity_bytes: int, free_bytes: Callable[[], int], press: Callable[[], None]
    ) -> None:
        self._free_bytes = free_bytes
        self._press = press
        self._soft_free = int(capacity_bytes * (1 - knobs.ring_soft_fraction))
        self._hard_free = int(capacity_bytes * (1 - knobs.ring_hard_fraction))
        self._queue: deque[Waiting] = deque()
        self._drain_bytes_s = 0.0
        self._drained_at: float | None = None
        self._pace: asyncio.TimerHandle | None = None
        self.waited_total = 0
        self.timed_out_total = 0

    def is_free(self, size_bytes: int) -> bool:
        """Whether an append of this size enters without waiting; the hot path asks only this."""
        return not self._queue and self._free_bytes() - size_bytes > self._soft_free

    def enter_or_wait(
        self,
        size_bytes: int,
        *,
        is_internal: bool,
        deadline: float,
        enter: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        """Queue the append behind the others. Exactly one of `enter` and `give_up` is called, never both."""
        loop = asyncio.get_running_loop()
        waiting = Waiting(size_bytes, is_internal, enter, give_up, deadline)
        waiting.timer = loop.call_at(deadline, self._expire, waiting)
        self._queue.append(waiting)
        self.waited_total += 1
        self._press()
        self._advance()

    def drained(self, freed_bytes: int) -> None:
        """The ring was trimmed by `freed_bytes`: learn the drain rate and let the queue move."""
        now = asyncio.get_running_loop().time()
        if self._drained_at is not None and now > self._drained_at:
            rate = freed_bytes / (now - self._drained_at)
            self._drain_bytes_s = rate if not self._drain_bytes_s else 0.5 * self._drain_bytes_s + 0.5 * rate
        self._drained_at = now
        self._advance()

    @property
    def waiting(self) -> int:
        """Appends that wait for room now."""
        return len(self._queue)

    def abandon(self) -> None:
        """The process ends: nobody enters any more."""
        while self._queue:
            self._finish(self._queue.popleft()).give_up()

    def _advance(self) -> None:
        """Let in what fits; between the two marks one at a time, at the pace of the drain."""
        while self._queue and self._pace is None:
            head = self._queue[0]
            if head.is_done:
                self._queue.popleft()
                continue
            left = self._free_bytes() - head.size_bytes
            if left <= (0 if head.is_internal else self._hard_free):
                self._let_internal_pass()
                return
            self._queue.popleft()
            self._finish(head).enter()
            if left < self._soft_free and self._drain_bytes_s > 0:
                delay = head.size_bytes / self._drain_bytes_s
                self._pace = asyncio.get_running_loop().call_later(delay, self._paced)

    def _let_internal_pass(self) -> None:
        """The reserve belongs to internal topics, so they need not queue behind clients' batches."""
        for waiting in list(self._queue):
            if waiting.is_internal and not waiting.is_done and self._free_bytes() > waiting.size_bytes:
                self._queue.remove(waiting)
                self._finish(waiting).enter()

    def _paced(self) -> None:
        self._pace = None
        self._advance()

    def _finish(self, waiting: Waiting) -> Waiting:
        waiting.is_done = True
        if waiting.timer is not None:
            waiting.timer.cancel()
        return waiting

    def _expire(self, waiting: Waiting) -> None:
        if not waiting.is_done:
            waiting.is_done = True
            self.timed_out_total += 1
            waiting.give_up()


__all__ = ["Admission"]
