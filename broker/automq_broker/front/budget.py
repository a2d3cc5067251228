"""The memory that requests of all connections may hold together.

Bytes are reserved before they are read. When nothing is left the connection waits its turn and is not read: TCP then
slows the sender, which is no error for anybody. First come, first served, so that nobody is starved.

Small and large requests have pools of their own: whoever announces large requests and sends them slowly cannot hold up
the small ones, and a flood of small ones cannot hold up a large one.
"""

import asyncio
from typing import Protocol

SMALL_MAX = 64 * 1024


class Waiter(Protocol):
    """A connection that waits for memory."""

    def granted(self) -> None:
        """The bytes it asked for are reserved now. Called on the loop, never from within `release`."""


class Pool:
    """Counts reserved bytes up to `limit`.

    One request may be larger than the pool (a frame of 100 MiB under 48 MiB). It is charged three quarters
    of the limit: one such request at a time passes, also beside smaller ones that are answered late.
    """

    __slots__ = ("_charge_max", "_is_granting", "_waiting", "limit", "used", "waited_total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.waited_total = 0
        self._charge_max = limit * 3 // 4
        self._waiting: dict[Waiter, int] = {}
        self._is_granting = False

    def reserve(self, size: int, waiter: Waiter) -> bool:
        """Reserve `size` bytes now, or queue `waiter`, whose `granted` is called once they are reserved for it."""
        charge = size if size < self._charge_max else self._charge_max
        if not self._waiting and self.used + charge <= self.limit:
            self.used += charge
            return True
        self._waiting[waiter] = charge
        self.waited_total += 1
        return False

    def release(self, size: int) -> None:
        """Give back what was reserved for a request of `size` bytes."""
        self.used -= size if size < self._charge_max else self._charge_max
        if self._waiting:
            self._grant_soon()

    def forget(self, waiter: Waiter) -> bool:
        """Take a waiter out of the queue; True if it was there, False if it was granted before or never asked."""
        if self._waiting.pop(waiter, None) is None:
            return False
        self._grant_soon()
        return True

    @property
    def waiting(self) -> int:
        """Connections that wait for memory now."""
        return len(self._waiting)

    @property
    def available(self) -> int:
        """Bytes that could be reserved at once."""
        return 0 if self._waiting else max(0, self.limit - self.used)

    def _grant_soon(self) -> None:
        if not self._is_granting:
            self._is_granting = True
            asyncio.get_running_loop().call_soon(self._grant)

    def _grant(self) -> None:
        self._is_granting = False
        while self._waiting:
            waiter, charge = next(iter(self._waiting.items()))
            if self.used + charge > self.limit:
                return
            del self._waiting[waiter]
            self.used += charge
            waiter.granted()


class Budget:
    """The two pools; a quarter of the limit is kept for requests of at most SMALL_MAX bytes."""

    __slots__ = ("large", "limit", "small")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.small = Pool(limit // 4)
        self.large = Pool(limit - limit // 4)

    def pool(self, size: int) -> Pool:
        """The pool that a request of `size` bytes is charged to."""
        return self.small if size <= SMALL_MAX else self.large

    @property
    def used(self) -> int:
        """Bytes reserved now."""
        return self.small.used + self.large.used

    @property
    def waiting(self) -> int:
        """Connections that wait for memory now."""
        return self.small.waiting + self.large.waiting


__all__ = ["SMALL_MAX", "Budget", "Pool", "Waiter"]
