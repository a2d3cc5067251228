"""Counters to rates: what each broker moves, from two looks at least some seconds apart, never across a restart."""

from dataclasses import dataclass
from typing import Final

from automq_operator.broker_api import Figures
from automq_operator.world import Load

_LEAST_S: Final = 5.0

MBPS: Final = {
    "m6in.large": 3125, "m6in.xlarge": 6250, "m6in.2xlarge": 12500, "r6in.large": 3125, "r6in.xlarge": 6250,
    "c6in.large": 3125, "c7gn.medium": 3125, "c7gn.large": 6250, "c8gn.large": 6250, "m8gn.large": 6250,
    "r8gn.large": 6250, "c6gn.large": 3000, "m7g.large": 937, "m7g.xlarge": 1876, "m7g.2xlarge": 3750,
    "r7g.large": 937, "c7g.large": 937, "m8g.large": 937, "r8g.large": 937, "c8g.large": 937, "m5.large": 750,
    "m5n.large": 2100, "m6i.large": 781, "r6i.large": 781, "i4i.large": 781, "m7i.large": 781, "r7i.large": 781,
    "m7a.large": 781, "m7i.xlarge": 1562, "i3en.large": 2100, "t3.medium": 256, "t3.large": 512, "t4g.medium": 256,
}  # fmt: skip
"""Baseline of EC2 instance types, megabits per second in each direction; what they burst to is no baseline.
Source: EC2's published network baselines."""


@dataclass(frozen=True, slots=True)
class _Sample:
    uid: str
    at: float
    bytes_in: float
    bytes_out: float


class Rates:
    """Remembers the counters of one cluster's brokers."""

    def __init__(self) -> None:
        self._samples: dict[int, _Sample] = {}
        self._loads: dict[int, Load] = {}

    def load(self, node_id: int, uid: str, figures: Figures, baseline_mbps: int | None, now: float) -> Load | None:
        """The broker's load; None until two looks at the same process were far enough apart."""
        before = self._samples.get(node_id)
        sample = _Sample(uid, now, figures.network_in, figures.network_out)
        if before is None or before.uid != uid or sample.bytes_in < before.bytes_in:
            self._samples[node_id] = sample
            self._loads.pop(node_id, None)
            return None
        passed_s = now - before.at
        if passed_s >= _LEAST_S:
            self._samples[node_id] = sample
            self._loads[node_id] = Load(
                node_id=node_id,
                measured_at=now,
                bytes_in=(sample.bytes_in - before.bytes_in) / passed_s,
                bytes_out=(sample.bytes_out - before.bytes_out) / passed_s,
                baseline=(baseline_mbps or 0) * 125_000.0,
            )
        return self._loads.get(node_id)


__all__ = ["MBPS", "Rates"]
