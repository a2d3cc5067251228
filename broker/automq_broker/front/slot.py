"""A request's place in the row of answers of its connection, and the owner of its memory until it is answered."""

import asyncio
import types
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from automq_broker.front.budget import SMALL_MAX
from automq_broker.front.buffers import FrameBuffer
from automq_broker.kernel.errors import CloseConnection, Fenced
from automq_broker.kernel.later import Later
from automq_broker.ports import Buffer
from automq_broker.wire.frames import RequestHeader
from automq_broker.wire.index import ALL_APIS

if TYPE_CHECKING:
    from automq_broker.front.shared import Shared

AWAITED = (Later, asyncio.Future, types.CoroutineType)
_SAID_ELSEWHERE = (CloseConnection, Fenced)
"""Errors that close a connection without a trace of their own: the second ends the process, which says why."""

_UNKNOWN = RequestHeader(-1, 0, 0, None)


class Answering(Protocol):
    """A connection, as the slots of its requests see it."""

    def complete(self, slot: "Slot", answer: Any) -> None:
        """The answer is there; None is "nothing to send"."""

    def failed(self, slot: "Slot", reason: str) -> None:
        """There will be no answer."""


class Slot:
    """One request. `segments` is None until its answer is encoded; an empty sequence is "nothing to send"."""

    __slots__ = ("buffer", "connection", "header", "is_released", "segments", "shared", "size", "started_at", "task")

    def __init__(
        self, connection: Answering, shared: "Shared", started_at: float, size: int, buffer: FrameBuffer | None
    ) -> None:
        self.connection: Answering | None = connection
        self.shared = shared
        self.header = _UNKNOWN
        self.started_at = started_at
        self.size = size
        self.buffer = buffer
        self.segments: Sequence[Buffer] | None = None
        self.task: asyncio.Future[Any] | None = None
        self.is_released = False

    def release(self) -> None:
        """Give the request's memory back, once."""
        if self.is_released:
            return
        self.is_released = True
        budget = self.shared.budget
        (budget.small if self.size <= SMALL_MAX else budget.large).release(self.size)
        if self.buffer is not None:
            self.shared.buffers.give_back(self.buffer)
            self.buffer = None

    def follow(self, answer: "Later | asyncio.Future[Any] | Coroutine[Any, Any, Any]") -> None:
        """Complete the slot when `answer` is there; a coroutine becomes a task named after the API."""
        if isinstance(answer, Later):
            answer.then(self._arrived)
            return
        if isinstance(answer, asyncio.Future):
            answer.add_done_callback(self._done)
            return
        task = asyncio.get_running_loop().create_task(answer, name=ALL_APIS[self.header.api_key].name)
        self.task = task
        task.add_done_callback(self._done)

    def abandon(self) -> None:
        """The connection is gone. Work that has no use without a reader is cancelled, the rest ends unheard.

        The memory stays reserved until then, so that reconnecting does not get around the budget.
        """
        self.connection = None
        if self.segments is not None:
            self.release()
        elif self.task is not None and self.header.api_key in self.shared.limits.cancelled_when_lost:
            self.task.cancel()

    def _arrived(self, answer: Any) -> None:
        self.shared.answer_soon(self, answer)

    def _done(self, future: "asyncio.Future[Any]") -> None:
        self.task = None
        connection = self.connection
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, _SAID_ELSEWHERE):
            asyncio.get_running_loop().call_exception_handler(
                {
                    "message": f"the handler of {ALL_APIS[self.header.api_key].name} failed",
                    "exception": error,
                    "future": future,
                }
            )
        if connection is None:
            self.release()
        elif future.cancelled() or error is not None:
            connection.failed(self, str(error) if isinstance(error, _SAID_ELSEWHERE) else "failed")
        else:
            connection.complete(self, future.result())


__all__ = ["AWAITED", "Slot"]
