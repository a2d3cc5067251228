"""Samples in, Prometheus' text out. Sources are asked on the loop, where their figures live; the text is made elsewhere."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric as Family

from automq_broker.contract.metrics import METRICS, Distribution, Kind, Metric, Sample, Total
from automq_broker.kernel.errors import Bug

CONTENT_TYPE = CONTENT_TYPE_LATEST

Source = Callable[[], Iterable[Sample]]


class Metrics:
    """The broker's own registry: sources of samples, and what prometheus-client knows of the process."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def add_source(self, source: Source) -> None:
        """Ask `source` at every scrape, on the loop; it must be quick and must not raise."""
        self._sources.append(source)

    def samples(self) -> list[Sample]:
        """What all sources say now."""
        return [sample for source in self._sources for sample in source()]

    def text(self, samples: Sequence[Sample]) -> bytes:
        """The page for these samples; may run in a thread, since it takes about 10 us per value."""
        return generate_latest(_Once([*families(samples), *self._process.collect()]))


class _Once(CollectorRegistry):
    """A registry of families that are complete already."""

    def __init__(self, collected: Sequence[Family]) -> None:
        super().__init__(auto_describe=False)
        self._collected = collected

    def collect(self) -> Iterator[Family]:
        return iter(self._collected)


def families(samples: Iterable[Sample]) -> list[Family]:
    """Samples grouped by metric, in the order of the contract; raises Bug for one that the contract does not have."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.metric.name, []).append(sample)
    found = [_family(metric, grouped.pop(metric.name)) for metric in METRICS if metric.name in grouped]
    if grouped:
        raise Bug(f"metrics outside the contract: {', '.join(grouped)}")
    return found


def _family(metric: Metric, samples: Sequence[Sample]) -> Family:
    match metric.kind:
        case Kind.COUNTER:
            return _plain(
                CounterMetricFamily(metric.name.removesuffix("_total"), metric.meaning, labels=metric.labels), samples
            )
        case Kind.GAUGE:
            return _plain(GaugeMetricFamily(metric.name, metric.meaning, labels=metric.labels), samples)
        case Kind.HISTOGRAM:
            return _histogram(metric, samples)
        case Kind.SUMMARY:
            return _summary(metric, samples)


def _plain(family: CounterMetricFamily | GaugeMetricFamily, samples: Sequence[Sample]) -> Family:
    for sample in samples:
        assert isinstance(sample.value, int | float)
        family.add_metric(sample.labels, sample.value)
    return family


def _histogram(metric: Metric, samples: Sequence[Sample]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for sample in samples:
        assert isinstance(sample.value, Distribution)
        family.add_metric(sample.labels, _cumulative(sample.value), sample.value.sum)
    return family


def _cumulative(distribution: Distribution) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, distribution.bounds), "+Inf"), distribution.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _summary(metric: Metric, samples: Sequence[Sample]) -> Family:
    family = SummaryMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for sample in samples:
        assert isinstance(sample.value, Total)
        family.add_metric(sample.labels, int(sample.value.times), sample.value.sum)
    return family


__all__ = ["CONTENT_TYPE", "Metrics", "Source", "families"]
