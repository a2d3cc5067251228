"""The event loop of the process: which one, what it does with errors nobody caught, how it is told to stop."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("automq.loop")

_FORCED_EXIT_CODE = 130
_LATE_EXIT_CODE = 1
_ALARM_AFTER_S = 0.5
_COLLECT_AFTER = (20_000, 20, 20)
"""More than the objects of all requests that are usually in flight, so that a burst alone starts no collection."""


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop where it is installed, else on asyncio's own loop, and return its result."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.get_loop().set_exception_handler(_report)
        return runner.run(main)


def settle_collector() -> None:
    """Tell the garbage collector that what exists now is here to stay, and that little of what follows is in cycles.

    Requests and batches die by their reference counts; the collector found nothing among them and took a third of the
    CPU time of small produce requests (and 120 ms pauses). What is left to it are the traces of failed tasks.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - only a process that runs a loop pays for it
    except ImportError:
        return None
    return uvloop.new_event_loop


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("unexpected error", exc_info=error, extra={"where": context.get("message", "")})


def on_stop_signals(
    stop: Callable[[], None], unfinished: Callable[[], str] = str, *, limit_s: float | None = None
) -> None:
    """Call `stop` on the first SIGTERM or SIGINT; the second one ends the process at once.

    `unfinished` says in words what a forced exit would leave undone; it is shown with the notice of the first signal.
    A process that lives `limit_s` after the first signal is ended with code 1, whatever its loop or a thread waits for.
    """
    loop = asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def handle(which: signal.Signals) -> None:
        received.append(which)
        if len(received) > 1:
            log.warning("forced exit", extra={"signal": which.name, "unfinished": unfinished()})
            sys.stderr.flush()
            os._exit(_FORCED_EXIT_CODE)
        log.info(
            "stopping", extra={"signal": which.name, "unfinished": unfinished(), "hint": "again to force the exit"}
        )
        if limit_s is not None:
            _end_after(limit_s)
        stop()

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, handle, which)


def _end_after(limit_s: float) -> None:
    """From a thread of its own, since a device or a library that hangs may hold the loop, or the exit of the process.

    The kernel's alarm comes a moment later, for a thread that is held up itself: by the interpreter, or by a full pipe.
    """

    def end() -> None:
        log.error("forced exit: the orderly stop took too long; nothing is lost", extra={"limit_s": limit_s})
        sys.stderr.flush()
        os._exit(_LATE_EXIT_CODE)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    signal.setitimer(signal.ITIMER_REAL, limit_s + _ALARM_AFTER_S)


def raise_open_files_limit() -> int:
    """Allow this process as many open files as the system permits; returns the limit now in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # macOS refuses an unlimited value; what was allowed before then stays.
            return soft
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


__all__ = ["on_stop_signals", "raise_open_files_limit", "run_loop", "settle_collector"]
