"""Threads for CPU work that must not stop the loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class ThreadWorkers:
    """At most `threads` pieces of work at once, `queued_max` behind them; others wait in their own coroutines."""

    def __init__(self, threads: int, queued_max: int = 64) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="worker")
        self._places = asyncio.Semaphore(threads + queued_max)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work(*arguments)` in a thread; raises what it raises.

        Cancelling the waiter does not stop work that has begun; its place is free again when it ends.
        """
        await self._places.acquire()
        try:
            future = self._pool.submit(work, *arguments)
        except RuntimeError:
            self._places.release()
            raise
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_unless_closed(loop, self._places.release))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _call_unless_closed(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)


__all__ = ["ThreadWorkers"]
