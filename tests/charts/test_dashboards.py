"""Dashboards: what they ask for is exported, and what they are given by the charts is valid JSON of Grafana's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from charts.metric_names import LABELS, of_target, selectors
from charts.rendering import CHARTS, CLUSTER, OPERATOR, objects, one

Object = dict[str, Any]
PAGES = sorted(CHARTS.glob("*/files/dashboards/*.json"))


def queries(page: Path) -> Iterator[tuple[str, str]]:
    """(panel, query) of a page."""
    for panel in json.loads(page.read_text())["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_panels_ask_for_metrics_and_labels_that_are_exported(page: Path) -> None:
    found = list(queries(page))
    assert found
    for panel, query in found:
        for metric, labels in selectors(query):
            known = of_target(metric)
            assert known is not None, f"{panel}: nothing exports {metric}"
            assert set(labels) <= known | LABELS, f"{panel}: {metric} has no {set(labels) - known}"


@pytest.mark.parametrize("chart", [CLUSTER, OPERATOR], ids=lambda chart: chart.name)
def test_a_chart_gives_grafana_every_page_of_its_own_when_asked(chart: Path) -> None:
    values: Object = {"storage": {"s3": {"bucket": "orders-kafka"}}} if chart == CLUSTER else {}
    assert not [each for each in objects(chart, values) if each["kind"] == "ConfigMap"]
    made = one(objects(chart, values | {"monitoring": {"dashboards": {"enabled": True}}}), "ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    own = [page for page in PAGES if chart in page.parents]
    assert {name: json.loads(text) for name, text in made["data"].items()} == {
        page.name: json.loads(page.read_text()) for page in own
    }
