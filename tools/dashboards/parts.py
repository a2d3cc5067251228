"""What dashboards are made of: panels, variables, and queries that come again and again."""

from dataclasses import dataclass
from typing import Any, Final

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
BROKERS: Final = 'job="$cluster",pod=~"$broker"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. `queries` are (expression, legend); `kind` is Grafana's name of the form."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels by their headings, and what may be chosen above them."""

    uid: str
    title: str
    selector: str
    variables: tuple[dict[str, Any], ...]
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def chosen(name: str, label: str, query: str, *, is_many: bool = False) -> dict[str, Any]:
    """A variable whose values Prometheus knows."""
    found = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }
    return found | ({"multi": True, "includeAll": True, "allValue": ".*"} if is_many else {})


def typed(name: str, label: str, value: str) -> dict[str, Any]:
    """A number that the reader may change: prices differ by region and contract."""
    current = {"text": value, "value": value}
    return {"type": "textbox", "name": name, "label": label, "query": value, "current": current, "options": [current]}


SOURCE: Final = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus"}
CLUSTER: Final = chosen("cluster", "Cluster", "label_values(automq_build_info, job)")
BROKER: Final = chosen("broker", "Broker", 'label_values(automq_build_info{job="$cluster"}, pod)', is_many=True)


def each_broker(title: str, unit: str, expression: str, description: str = "") -> Panel:
    """One line per broker."""
    return Panel(title, unit, ((expression, "{{pod}}"),), description=description)


def rate(metric: str, by: str, more: str = "") -> str:
    """Per second, over what Grafana's zoom makes sensible."""
    return f"sum by ({by}) (rate({metric}{{$selector{more}}}[$__rate_interval]))"


def quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    """Half of all, and all but one in a hundred."""
    return tuple(
        (f"histogram_quantile({each}, {rate(f'{metric}_bucket', 'le')})", f"p{each * 100:g}") for each in (0.5, 0.99)
    )


def ratio(above: str, below: str) -> str:
    """How much of one counter comes with each of another."""
    return f"sum(rate({above}[$__rate_interval])) / sum(rate({below}[$__rate_interval]))"
