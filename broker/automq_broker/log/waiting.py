"""Fetches that wait for bytes: who wants how much of which partition, and until when.

A plain registry: the engine tells it what became durable and what time it is, and gets back the tokens to wake. It
holds no futures and starts no timers. An append to a partition that nobody waits for costs one dictionary look-up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

from automq_broker.kernel.errors import Bug
from automq_broker.kernel.ids import StreamId

Token = TypeVar("Token")

STALE_SLACK: Final = 64
"""The heap of deadlines is rebuilt when more than this many, and half of it, belong to waiters that are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiterStatistics:
    """The registry in numbers; the counters count since the start."""

    waiting: int
    streams: int
    woken_by_bytes: int
    woken_by_deadline: int


class _Waiter(Generic[Token]):
    __slots__ = ("deadline", "interest", "missing_bytes", "number", "token")

    def __init__(
        self, number: int, interest: dict[StreamId, int], missing_bytes: int, deadline: float, token: Token
    ) -> None:
        self.number = number
        self.interest = interest
        self.missing_bytes = missing_bytes
        self.deadline = deadline
        self.token = token


class Waiters(Generic[Token]):
    """The waiting fetches of one broker. A token is woken exactly once, or cancelled."""

    def __init__(self) -> None:
        self._waiters: dict[int, _Waiter[Token]] = {}
        self._by_stream: dict[StreamId, dict[int, _Waiter[Token]]] = {}
        self._deadlines: list[tuple[float, int]] = []
        self._next_number = 0
        self._woken_by_bytes = 0
        self._woken_by_deadline = 0

    def __len__(self) -> int:
        return len(self._waiters)

    def register(self, interest: Mapping[StreamId, int], min_bytes: int, deadline: float, token: Token) -> int:
        """Wake `token` when `min_bytes` more have become readable, or at `deadline`; the number is for `cancel`.

        `interest` maps streams to the offset from which bytes count. What the fetch found already must be taken off
        `min_bytes` by the caller, in the same loop step, or bytes that arrive in between are missed. Deadlines are in
        whatever unit `expire` gets.
        """
        if min_bytes <= 0:
            raise Bug("a fetch that has enough bytes must not wait")
        number = self._next_number
        self._next_number += 1
        waiter = _Waiter(number, dict(interest), min_bytes, deadline, token)
        self._waiters[number] = waiter
        for stream_id in waiter.interest:
            self._by_stream.setdefault(stream_id, {})[number] = waiter
        heappush(self._deadlines, (deadline, number))
        return number

    def appended(self, stream_id: StreamId, last_offset: int, size_bytes: int) -> list[Token]:
        """A batch that ends at `last_offset` became readable: the tokens that have enough now, in order of arrival."""
        waiting = self._by_stream.get(stream_id)
        if waiting is None:
            return []
        enough: list[_Waiter[Token]] = []
        for waiter in waiting.values():
            if last_offset >= waiter.interest[stream_id]:
                waiter.missing_bytes -= size_bytes
                if waiter.missing_bytes <= 0:
                    enough.append(waiter)
        self._woken_by_bytes += len(enough)
        return [self._remove(waiter) for waiter in enough]

    def disturbed(self, stream_id: StreamId) -> list[Token]:
        """The partition closed, moved, was deleted or changed its start: everyone who waits for it must look again."""
        waiting = self._by_stream.get(stream_id)
        return [self._remove(waiter) for waiter in list(waiting.values())] if waiting else []

    def cancel(self, number: int) -> None:
        """The fetch is gone (its connection closed); unknown numbers were woken before and are no error."""
        waiter = self._waiters.get(number)
        if waiter is not None:
            self._remove(waiter)

    def expire(self, now: float) -> list[Token]:
        """The tokens whose deadline is at or before `now`, the earliest deadline first."""
        late: list[Token] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number = heappop(self._deadlines)
            waiter = self._waiters.get(number)
            if waiter is not None:
                late.append(self._remove(waiter))
        self._woken_by_deadline += len(late)
        return late

    def next_deadline(self) -> float | None:
        """When `expire` has something to do next; None while nobody waits."""
        while self._deadlines and self._deadlines[0][1] not in self._waiters:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def statistics(self) -> WaiterStatistics:
        """The registry in numbers."""
        return WaiterStatistics(
            waiting=len(self._waiters),
            streams=len(self._by_stream),
            woken_by_bytes=self._woken_by_bytes,
            woken_by_deadline=self._woken_by_deadline,
        )

    def check(self) -> None:
        """Raises Bug with the first broken invariant; run after each step of a test or a simulation."""
        seen = {(number, stream_id) for stream_id, waiting in self._by_stream.items() for number in waiting}
        wanted = {(number, stream_id) for number, waiter in self._waiters.items() for stream_id in waiter.interest}
        if seen != wanted or not all(self._by_stream.values()):
            raise Bug("waiters and their streams disagree")
        if any(waiter.missing_bytes <= 0 for waiter in self._waiters.values()):
            raise Bug("a waiter has enough bytes and was not woken")
        if not set(self._waiters) <= {number for _, number in self._deadlines}:
            raise Bug("a waiter has no deadline")
        if len(self._deadlines) > 2 * len(self._waiters) + STALE_SLACK + 1:
            raise Bug(f"{len(self._deadlines)} deadlines for {len(self._waiters)} waiters")

    def _remove(self, waiter: _Waiter[Token]) -> Token:
        number = waiter.number
        del self._waiters[number]
        for stream_id in waiter.interest:
            waiting = self._by_stream[stream_id]
            del waiting[number]
            if not waiting:
                del self._by_stream[stream_id]
        if len(self._deadlines) > 2 * len(self._waiters) + STALE_SLACK:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._waiters]
            heapify(self._deadlines)
        return waiter.token


__all__ = ["WaiterStatistics", "Waiters"]
