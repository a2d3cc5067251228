"""The admin page's routes: up before recovery begins, ready when the broker serves."""

import contextlib
from typing import Any

from automq_broker.engine.start import Running
from automq_broker.front.meters import NoMeters
from automq_broker.ports import Clock
from automq_broker.settings import Settings


class AdminPages:
    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.meters = NoMeters()

    async def start(self, stack: contextlib.AsyncExitStack) -> None:
        return None

    def serve_broker(self, running: Running, server: Any, groups: Any) -> None:
        return None

    def stopping(self) -> None:
        return None
