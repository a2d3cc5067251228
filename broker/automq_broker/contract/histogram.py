"""A histogram that costs two additions and a bisection per observation. One thread counts."""

from bisect import bisect_left

from automq_broker.contract.metrics import Distribution

SECONDS: tuple[float, ...] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Bounds for times between a memory access and a client's patience; a value on a bound belongs below it."""


class Histogram:
    """Counts observations between fixed bounds. `counts` and `sum` may be added to directly on a hot path."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def distribution(self) -> Distribution:
        """How it is now, as a value of its own."""
        return Distribution(self.bounds, tuple(self.counts), self.sum)


__all__ = ["SECONDS", "Histogram"]
