"""Whoever waits for the metadata or the open partitions to become as wished is told of every change, and looks again."""

import asyncio


class Changes:
    """One future for all that wait; nothing is kept while nobody does."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def tell(self, _: object) -> None:
        """Something changed: wake everybody."""
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    async def wait(self, timeout_s: float) -> None:
        """Returns at the next change, or after `timeout_s` without one."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._next], timeout=timeout_s)


__all__ = ["Changes"]
