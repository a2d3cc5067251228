"""One watch: a thread reads the lines of an answer that lasts, the loop takes them one by one."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from typing import Final

import urllib3

from automq_operator.kube import Change, KubeError, Object, UnavailableError

_WAITING_MAX: Final = 256
"""Events that were read and not taken yet; then the connection is not read any further."""


class EventStream:
    """Read once. `stop` lets the thread end at its next line, or when the API server ends the answer."""

    def __init__(self, connect: Callable[[], urllib3.BaseHTTPResponse]) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[Change, Object] | KubeError | None] = asyncio.Queue(_WAITING_MAX)
        self._is_stopped = False

    async def events(self) -> AsyncIterator[tuple[Change, Object]]:
        """Until the API server ends it. Raises kube.KubeError."""
        threading.Thread(target=self._read, name="watch", daemon=True).start()
        while True:
            found = await self._queue.get()
            if found is None:
                return
            if isinstance(found, KubeError):
                raise found
            yield found

    def stop(self) -> None:
        """Nobody takes anything any more."""
        self._is_stopped = True

    def _read(self) -> None:
        end: KubeError | None = None
        try:
            response = self._connect()
            try:
                self._hand_over_all(response)
            finally:
                response.close()
        except KubeError as error:
            end = error
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            end = UnavailableError(f"a watch broke off: {error}")
        self._hand_over(end)

    def _hand_over_all(self, response: urllib3.BaseHTTPResponse) -> None:
        rest = b""
        for piece in response.stream(65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if self._is_stopped:
                    return
                if line:
                    self._hand_over(_event(line))

    def _hand_over(self, found: tuple[Change, Object] | KubeError | None) -> None:
        """Waits while the queue is full; a loop that has ended takes nothing."""
        put = self._queue.put(found)
        try:
            asyncio.run_coroutine_threadsafe(put, self._loop).result()
        except (RuntimeError, CancelledError):
            put.close()
            self._is_stopped = True


def _event(line: bytes) -> tuple[Change, Object]:
    told = json.loads(line)
    if told["type"] == "ERROR":
        raise UnavailableError(str(told["object"].get("message", "the watch ended with an error")))
    return Change(told["type"]), told["object"]


__all__ = ["EventStream"]
