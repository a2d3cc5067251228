"""A dashboard as Grafana imports it."""

from typing import Any, Final

from tools.dashboards.parts import DATASOURCE, Dashboard, Panel

WIDTH: Final = 8
HEIGHT: Final = 7


def as_grafana(page: Dashboard) -> dict[str, Any]:
    """As Grafana 10 and newer import it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in page.rows:
        panels.append(
            _placed({"type": "row", "title": heading, "collapsed": False, "panels": []}, len(panels), 0, top, 24, 1)
        )
        top += 1
        for position, panel in enumerate(row):
            left = position * WIDTH % 24
            below = top + position * WIDTH // 24 * HEIGHT
            panels.append(_placed(_panel(panel, page.selector), len(panels), left, below, WIDTH, HEIGHT))
        top += -(-len(row) * WIDTH // 24) * HEIGHT
    return {
        "uid": page.uid,
        "title": page.title,
        "tags": ["automq", "kafka"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(page.variables)},
        "panels": panels,
    }


def _placed(panel: dict[str, Any], count: int, left: int, top: int, width: int, height: int) -> dict[str, Any]:
    return {"id": count + 1, **panel, "gridPos": {"x": left, "y": top, "w": width, "h": height}}


def _panel(panel: Panel, selector: str) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": expression.replace("$selector", selector),
                "legendFormat": legend,
            }
            for number, (expression, legend) in enumerate(panel.queries)
        ],
    }
