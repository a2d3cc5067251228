"""Blocking bucket calls on a bounded pool of threads, without ever letting go of a buffer too early."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class BucketThreads:
    """A pool of named threads. Calls beyond its size wait their turn, first come first served."""

    def __init__(self, name: str, size: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=size, thread_name_prefix=name)

    async def read(self, work: Callable[[], T]) -> T:
        """Run `work`; when cancelled, return at once and drop the result when it comes."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def write(self, work: Callable[[], T]) -> T:
        """Run `work` to its end, even when cancelled: only then are its buffers free again.

        A cancellation is raised after the end. Work that never started is dropped.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await _wait_done(future)
            raise

    def close(self) -> None:
        """Let running calls end, drop those that wait, and free the threads without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)


async def _wait_done(future: asyncio.Future[T]) -> None:
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue  # SAFETY: the caller may reuse its buffers as soon as we return, so we do not
    if not future.cancelled():
        future.exception()  # looked at, so that asyncio does not report it as never retrieved


__all__ = ["BucketThreads"]
