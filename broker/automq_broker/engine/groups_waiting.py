"""A caller that waits for a group's answer: its token. No task stands behind it, only a future when it has to wait."""

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Waiting(Generic[R]):
    """`respond` turns the machine's answer into what the caller wants; it runs in the turn of the answer."""

    __slots__ = ("_future", "_is_answered", "_respond", "_response")

    def __init__(self, respond: Callable[[Any], R]) -> None:
        self._respond = respond
        self._response: R | None = None
        self._is_answered = False
        self._future: asyncio.Future[R] | None = None

    def resolve(self, answer: object) -> None:
        """Called exactly once, by whoever carries out the effects. A caller that is gone is no error."""
        self._response = self._respond(answer)
        self._is_answered = True
        if self._future is not None and not self._future.done():
            self._future.set_result(self._response)

    def result(self) -> "R | asyncio.Future[R]":
        """The response if it is there, else a future of it; to be called once, after the event."""
        if self._is_answered:
            response: R = self._response  # type: ignore[assignment]
            return response
        self._future = asyncio.get_running_loop().create_future()
        return self._future


__all__ = ["Waiting"]
