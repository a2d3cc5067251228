"""Who may enter the ring now: free at low fill, paced by the drain in the middle, internal topics alone at the top.

A full ring must slow producers smoothly instead of failing them at a cliff, and acks must never outrun durability.
So requests queue here, before they get offsets: one that leaves by its deadline has not entered the log at all.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import dropwhile

from automq_broker.engine.knobs import EngineKnobs
from automq_broker.kernel.ids import StreamId


@dataclass(slots=True, eq=False)
class Waiting:
    """One append that waits for room: `enter()` runs it, `give_up()` answers REQUEST_TIMED_OUT."""

    size_bytes: int
    stream_id: StreamId
    is_internal: bool
    enter: Callable[[], None]
    give_up: Callable[[], None]
    deadline: float
    sequence_of: object = None
    """Whose sequence it continues (an idempotent producer in a partition); None for none."""
    timer: asyncio.TimerHandle | None = None


class Admission:
    """First in, first out, so that a partition's batches keep their order. All times are the loop's.

    `capacity_bytes` is the ring's size, `free_bytes()` what it could take now. `press()` asks for an upload at once.
    """

    def __init__(
        self, *, knobs: EngineKnobs, capacity_bytes: int, free_bytes: Callable[[], int], press: Callable[[], None]
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self._free_bytes = free_bytes
        self._press = press
        self._soft_free = int(capacity_bytes * (1 - knobs.ring_soft_fraction))
        self._hard_free = int(capacity_bytes * (1 - knobs.ring_hard_fraction))
        self._queue: OrderedDict[Waiting, None] = OrderedDict()
        """Only those that still wait: one that gave up leaves at once, with its bytes, from wherever it stood."""
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
        stream_id: StreamId,
        is_internal: bool,
        deadline: float,
        enter: Callable[[], None],
        give_up: Callable[[], None],
        sequence_of: object = None,
    ) -> None:
        """Queue the append behind the others. Exactly one of `enter` and `give_up` is called, never both.

        Those behind it with an equal `sequence_of` give up together with it: a producer that the partition does not
        know yet may begin anywhere, so letting them in would make its retry of this one a gap for ever.
        """
        loop = asyncio.get_running_loop()
        waiting = Waiting(size_bytes, stream_id, is_internal, enter, give_up, deadline, sequence_of)
        waiting.timer = loop.call_at(deadline, self._expire, waiting)
        self._queue[waiting] = None
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

    @property
    def used_bytes(self) -> int:
        """Bytes of the ring that are not free for new records."""
        return max(0, self.capacity_bytes - self._free_bytes())

    @property
    def is_slowing(self) -> bool:
        """Whether appends wait, or would."""
        return bool(self._queue) or self._free_bytes() <= self._soft_free

    @property
    def is_full(self) -> bool:
        """Whether the next batch of a client's topic could not enter, so that only internal topics may."""
        first = next((waiting.size_bytes for waiting in self._queue), 0)
        return self._free_bytes() - first <= self._hard_free

    def closed(self, stream_id: StreamId) -> None:
        """The partition is not served here any more: its appends enter at once, and are refused where they enter."""
        for waiting in [each for each in self._queue if each.stream_id == stream_id]:
            self._leave(waiting).enter()

    def _advance(self) -> None:
        """Let in what fits; between the two marks one at a time, at the pace of the drain."""
        while self._queue and self._pace is None:
            head = next(iter(self._queue))
            left = self._free_bytes() - head.size_bytes
            if left <= (0 if head.is_internal else self._hard_free):
                self._let_internal_pass()
                return
            self._leave(head).enter()
            if left < self._soft_free and self._drain_bytes_s > 0:
                delay = head.size_bytes / self._drain_bytes_s
                self._pace = asyncio.get_running_loop().call_later(delay, self._paced)

    def _let_internal_pass(self) -> None:
        """The reserve belongs to internal topics, so they need not queue behind clients' batches."""
        for waiting in list(self._queue):
            if waiting.is_internal and self._free_bytes() > waiting.size_bytes:
                self._leave(waiting).enter()

    def _paced(self) -> None:
        self._pace = None
        self._advance()

    def _leave(self, waiting: Waiting) -> Waiting:
        del self._queue[waiting]
        if waiting.timer is not None:
            waiting.timer.cancel()
        return waiting

    def _expire(self, waiting: Waiting) -> None:
        behind = [waiting]
        if waiting.sequence_of is not None:
            later = dropwhile(lambda each: each is not waiting, self._queue)
            behind = [each for each in later if each.sequence_of == waiting.sequence_of]
        for each in behind:
            self.timed_out_total += 1
            self._leave(each).give_up()
        self._advance()  # what waited behind a large batch may fit


__all__ = ["Admission"]
