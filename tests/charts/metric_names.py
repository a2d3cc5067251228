"""Which metrics are exported, with which labels, and which ones a query of Prometheus speaks of."""

import re
from collections.abc import Iterator

from automq_broker.contract.metrics import METRICS, Kind
from automq_operator.report import metrics as operator_metrics
from prometheus_client.metrics import MetricWrapperBase

LABELS = {"job", "pod", "namespace", "instance", "container", "endpoint"}
"""Those that Prometheus adds to all series of a target."""

PROCESS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Prometheus' own, and the Python client's."""

_SELECTOR = re.compile(r"\b((?:automq|process|python)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
_PARTS = {
    Kind.HISTOGRAM: ("_bucket", "_count", "_sum"),
    Kind.SUMMARY: ("_count", "_sum"),
}


def _brokers() -> Iterator[tuple[str, set[str]]]:
    for metric in METRICS:
        for part in _PARTS.get(metric.kind, ("",)):
            yield metric.name + part, {*metric.labels} | ({"le"} if part == "_bucket" else set())


def _operators() -> Iterator[tuple[str, set[str]]]:
    for metric in vars(operator_metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for part in {"counter": ("_total",), "histogram": _PARTS[Kind.HISTOGRAM]}.get(family.type, ("",)):
                yield family.name + part, {*metric._labelnames} | ({"le"} if part == "_bucket" else set())


_KNOWN = dict(_brokers()) | dict(_operators())


def of_target(name: str) -> set[str] | None:
    """Labels of a series; None if nothing exports it. A family's own name will do for a histogram."""
    if name in PROCESS:
        return set()
    return _KNOWN.get(name, _KNOWN.get(f"{name}_count"))


def selectors(query: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(metric, its matchers) of everything that a query selects."""
    for name, matchers in _SELECTOR.findall(query):
        yield name, dict(_MATCHER.findall(matchers))
