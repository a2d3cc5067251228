"""Named background tasks, and the one place that decides what an escaped error means: the process ends.

A task that fails is a broken promise somewhere (a full stop in a loop that should run for ever), so the supervisor never
restarts it; it reports the first error to whoever waits in `wait_failed` and the process exits non-zero.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Supervisor:
    """Owns every background task below the desk. Not restartable: after `stop` it takes no more tasks."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their start
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._is_stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run `work` as a task named `name`; an error in it ends the process."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def fail(self, error: BaseException) -> None:
        """Report an error that must end the process; the first one is kept."""
        if not self._failed.done() and not self._is_stopping:
            self._failed.set_result(error)

    async def wait_failed(self) -> BaseException:
        """Waits until something failed, and returns the first error."""
        return await asyncio.shield(self._failed)

    @property
    def has_failed(self) -> bool:
        """Whether an error was reported."""
        return self._failed.done()

    async def stop(self) -> None:
        """Cancel what still runs and wait for it."""
        self._is_stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


__all__ = ["Supervisor"]
