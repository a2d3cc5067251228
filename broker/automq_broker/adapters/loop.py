"""The event loop of the process: which one, what it does with errors nobody caught, how it is told to stop."""

import asyncio
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("automq.loop")

_FORCED_EXIT_CODE = 130


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop where it is installed, else on asyncio's own loop, and return its result."""
    with asyncio.Runner(loop_factory=_factory()) as runner:
        runner.get_loop().set_exception_handler(_report)
        return runner.run(main)


def _factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - only a process that runs a loop pays for it
    except ImportError:
        return None
    return uvloop.new_event_loop


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("unexpected error", exc_info=error, extra={"where": context.get("message", "")})


def on_stop_signals(stop: Callable[[], None], unfinished: Callable[[], str] = str) -> None:
    """Call `stop` on the first SIGTERM or SIGINT; the second one ends the process at once.

    `unfinished` says in words what a forced exit would leave undone; it is shown with the notice of the first signal.
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
        stop()

    for which in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(which, handle, which)


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


__all__ = ["on_stop_signals", "raise_open_files_limit", "run_loop"]
