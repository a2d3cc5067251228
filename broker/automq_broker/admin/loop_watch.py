"""How late the event loop is: the delay that every request feels, whatever caused it."""

import asyncio
from collections.abc import Iterator

from automq_broker.contract import metrics
from automq_broker.contract.histogram import Histogram
from automq_broker.contract.metrics import Sample
from automq_broker.ports import Clock

_INTERVAL_S = 0.25


class LoopWatch:
    """A timer that measures its own lateness four times per second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._delays = Histogram()

    async def run(self) -> None:
        """For ever."""
        while True:
            due = self._clock.monotonic() + _INTERVAL_S
            await asyncio.sleep(_INTERVAL_S)
            self._delays.observe(max(0.0, self._clock.monotonic() - due))

    def samples(self) -> Iterator[Sample]:
        """The delays so far."""
        yield Sample(metrics.LOOP_DELAY, self._delays.distribution())


__all__ = ["LoopWatch"]
