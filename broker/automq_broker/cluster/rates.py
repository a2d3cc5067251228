"""Bytes per second of every partition and broker over a sliding window, from the load that heartbeats tell."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Final

from automq_broker.cluster.sessions import Load

WINDOW_S: Final = 15.0
"""Long enough that a burst of one heartbeat moves nothing, short enough that a new broker helps within half a minute."""


@dataclass(slots=True, kw_only=True)
class NodeRates:
    """What a node told over the window, bytes per second. `unnamed_*` is of the partitions that are too many to name."""

    heard_at: float
    window_s: float
    bytes_in: float
    bytes_out: float
    unnamed_in: float
    unnamed_out: float
    last: Load


@dataclass(slots=True)
class _Heard:
    broker_epoch: int
    reports: deque[tuple[float, Load]] = field(default_factory=deque)


class Rates:
    """One controller's memory of everybody's reports. Times are seconds of the controller's own monotonic clock."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._nodes: dict[int, _Heard] = {}

    def heard(self, node_id: int, broker_epoch: int, load: Load, now: float) -> None:
        """A report arrived; those of an earlier broker epoch no longer count."""
        heard = self._nodes.get(node_id)
        if heard is None or heard.broker_epoch != broker_epoch:
            self._nodes[node_id] = heard = _Heard(broker_epoch)
        heard.reports.append((now, load))
        while heard.reports[0][0] <= now - self._window_s - load.interval_ms / 2000:
            heard.reports.popleft()

    def node(self, node_id: int) -> NodeRates | None:
        """The rates of a node; None if it told nothing yet."""
        heard = self._nodes.get(node_id)
        if heard is None:
            return None
        seconds = _seconds(heard)
        named_in, named_out = _named(heard)
        total_in = sum(load.bytes_in for _, load in heard.reports)
        total_out = sum(load.bytes_out for _, load in heard.reports)
        return NodeRates(
            heard_at=heard.reports[-1][0],
            window_s=seconds,
            bytes_in=total_in / seconds if seconds else 0.0,
            bytes_out=total_out / seconds if seconds else 0.0,
            unnamed_in=max(0, total_in - named_in) / seconds if seconds else 0.0,
            unnamed_out=max(0, total_out - named_out) / seconds if seconds else 0.0,
            last=heard.reports[-1][1],
        )

    def streams(self) -> dict[int, tuple[float, float]]:
        """(in, out) of every partition that was named, wherever it was served meanwhile."""
        rates: defaultdict[int, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for heard in self._nodes.values():
            seconds = _seconds(heard)
            if not seconds:
                continue
            for _, load in heard.reports:
                for stream_id, (bytes_in, bytes_out) in load.streams.items():
                    sum_in, sum_out = rates[stream_id]
                    rates[stream_id] = (sum_in + bytes_in / seconds, sum_out + bytes_out / seconds)
        return dict(rates)

    def forget(self, node_ids: set[int]) -> None:
        """Keep only what these nodes told."""
        self._nodes = {node_id: heard for node_id, heard in self._nodes.items() if node_id in node_ids}


def _seconds(heard: _Heard) -> float:
    return sum(load.interval_ms for _, load in heard.reports) / 1000


def _named(heard: _Heard) -> tuple[int, int]:
    named = [moved for _, load in heard.reports for moved in load.streams.values()]
    return sum(bytes_in for bytes_in, _ in named), sum(bytes_out for _, bytes_out in named)


__all__ = ["WINDOW_S", "NodeRates", "Rates"]
