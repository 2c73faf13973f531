"""Write deploy/grafana/extproc.json from the panels: `python -m tools.dashboard.make`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tools.dashboard.panels import ROWS, Panel

TARGET: Final = Path(__file__).parents[2] / "deploy" / "grafana" / "extproc.json"

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HEIGHTS: Final = {"stat": 4, "timeseries": 8}
VARIABLES: Final = {"gateway": "Gateway", "namespace": "Namespace", "backend": "Backend"}


def dashboard() -> dict[str, Any]:
    """As Grafana 10 and later import it."""
    return {
        "title": "extproc",
        "uid": "extproc",
        "description": "Egress policy for Envoy: what it decides, what it waits for, what fails.",
        "tags": ["extproc", "envoy", "egress"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source(), *(_variable(name, label) for name, label in VARIABLES.items())]},
        "panels": list(_panels()),
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    """Rows from top to bottom, their panels from left to right."""
    number, y = 0, 0
    for row in ROWS:
        number, x, height = number + 1, 0, HEIGHTS[row.panels[0].kind]
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        y += 1
        for panel in row.panels:
            if x + panel.width > 24:
                x, y = 0, y + height
            number += 1
            yield _panel(panel, number, {"x": x, "y": y, "w": panel.width, "h": height})
            x += panel.width
        y += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": query.text, "legendFormat": query.legend}
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.steps:
        steps = [{"color": color, "value": value} for color, value in panel.steps]
        found["thresholds"] = {"mode": "absolute", "steps": steps}
    if panel.kind == "timeseries":
        mode = "normal" if panel.stacked else "none"
        found["custom"] = {"fillOpacity": 20 if panel.stacked else 0, "stacking": {"mode": mode}}
    return found


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, label: str) -> dict[str, Any]:
    """Those of its values that were seen; everybody at first, those without one too."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values(extproc_requests_total, {name})", "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    TARGET.write_text(text())
