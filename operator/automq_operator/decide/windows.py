"""Maintenance windows: whether one is open, and when the next one opens."""

from collections.abc import Iterator
from typing import Final

from automq_operator.decide.values import Window

_MINUTE_S: Final = 60
_DAY_S: Final = 86_400
_THURSDAY: Final = 3
"""The first day of Unix time, counted from Monday."""


def is_open(windows: tuple[Window, ...], now: float) -> bool:
    """Whether one of them is; also if there are none."""
    return not windows or any(
        at <= now < at + each.length * _MINUTE_S for each in windows for at in _openings(each, now)
    )


def opens_in(windows: tuple[Window, ...], now: float) -> float:
    """Seconds until the next one opens."""
    return min(at - now for each in windows for at in _openings(each, now) if at > now)


def _openings(window: Window, now: float) -> Iterator[float]:
    """When it opens, from yesterday to the same day of next week."""
    today = int(now // _DAY_S)
    for day in range(today - 1, today + 8):
        if (day + _THURSDAY) % 7 in window.days:
            yield day * _DAY_S + window.start * _MINUTE_S


__all__ = ["is_open", "opens_in"]
