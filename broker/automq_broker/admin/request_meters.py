"""What the front counts: requests per API, connections per listener. Plain integers; Prometheus reads them when it asks."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from automq_broker.contract import metrics
from automq_broker.contract.histogram import SECONDS, Histogram
from automq_broker.contract.metrics import Sample
from automq_broker.wire.index import ALL_APIS


class _Api:
    __slots__ = ("bytes_in", "bytes_out", "latency")

    def __init__(self) -> None:
        self.bytes_in = 0
        self.bytes_out = 0
        self.latency = Histogram()


class RequestMeters:
    """The front's Meters. Used on the loop only."""

    def __init__(self) -> None:
        self._apis: dict[int, _Api] = {}
        self._failed: Counter[tuple[int, str]] = Counter()
        self._opened: Counter[str] = Counter()
        self._closed: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()

    def request_done(self, api_key: int, latency_s: float, bytes_in: int, bytes_out: int) -> None:
        """A request was answered."""
        api = self._apis.get(api_key)
        if api is None:
            api = self._apis[api_key] = _Api()
        api.bytes_in += bytes_in
        api.bytes_out += bytes_out
        # Inlined Histogram.observe: this runs for every request.
        latency = api.latency
        latency.counts[bisect_left(SECONDS, latency_s)] += 1
        latency.sum += latency_s

    def request_failed(self, api_key: int, reason: str) -> None:
        """A request ended its connection."""
        self._failed[api_key, reason] += 1

    def connection_opened(self, listener: str) -> None:
        """A connection was accepted."""
        self._opened[listener] += 1

    def connection_closed(self, listener: str, reason: str) -> None:
        """An accepted connection is gone."""
        self._closed[listener, reason] += 1

    def connection_refused(self, listener: str, reason: str) -> None:
        """A connection was turned away."""
        self._refused[listener, reason] += 1

    @property
    def bytes_in(self) -> int:
        """Bytes of all answered requests."""
        return sum(api.bytes_in for api in self._apis.values())

    @property
    def bytes_out(self) -> int:
        """Bytes of all answers."""
        return sum(api.bytes_out for api in self._apis.values())

    def samples(self) -> Iterator[Sample]:
        """Everything counted so far."""
        for key, api in self._apis.items():
            name = (_name(key),)
            yield Sample(metrics.REQUESTS, api.latency.count, name)
            yield Sample(metrics.REQUEST_BYTES, api.bytes_in, name)
            yield Sample(metrics.RESPONSE_BYTES, api.bytes_out, name)
            yield Sample(metrics.REQUEST_DURATION, api.latency.distribution(), name)
        yield Sample(metrics.NETWORK_BYTES, self.bytes_in, ("in",))
        yield Sample(metrics.NETWORK_BYTES, self.bytes_out, ("out",))
        for (key, reason), count in self._failed.items():
            yield Sample(metrics.REQUEST_ERRORS, count, (_name(key), reason))
        yield from self._connections()

    def _connections(self) -> Iterator[Sample]:
        closed: Counter[str] = Counter()
        for (listener, reason), count in self._closed.items():
            closed[listener] += count
            yield Sample(metrics.CONNECTIONS_CLOSED, count, (listener, reason))
        for listener, count in self._opened.items():
            yield Sample(metrics.CONNECTIONS_OPENED, count, (listener,))
            yield Sample(metrics.CONNECTIONS, count - closed[listener], (listener,))
        for (listener, reason), count in self._refused.items():
            yield Sample(metrics.CONNECTIONS_REFUSED, count, (listener, reason))


def _name(api_key: int) -> str:
    entry = ALL_APIS.get(api_key)
    return "unknown" if entry is None else entry.name


__all__ = ["RequestMeters"]
