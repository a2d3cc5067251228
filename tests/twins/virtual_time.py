"""An asyncio loop whose time jumps to the next timer when nothing else is to do: hours of waiting cost nothing.

Only for code that waits by the loop's timers. When nothing could ever happen again the loop says so instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set: this would hang for ever")
        self.now += timeout
        return ready


_MOMENT_S = 2e-9
"""Every timer takes longer than the loop's resolution, so that one for a tiny rest of time lets time go on."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 1000 s and moves only by waiting."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return super().call_at(max(when, self.time() + _MOMENT_S), callback, *args, context=context)


class LoopClock:
    """Port Clock over the running loop; wall time can be set apart with `offset_ms`."""

    def __init__(self, offset_ms: int = 1_700_000_000_000) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """See Clock.now_ms."""
        return self.offset_ms + int(self.monotonic() * 1000)

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return asyncio.get_running_loop().time()


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end on a loop of its own; tasks that are left are cancelled, as asyncio.run does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


__all__ = ["LoopClock", "VirtualLoop", "run_virtual"]
