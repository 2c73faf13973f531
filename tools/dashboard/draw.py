"""The dashboard as a page: each panel of the JSON file with what Prometheus answered to its queries, drawn as SVG.

Not Grafana, which draws the same panels in its own way; made so that the documentation can show them with real numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from math import ceil, isfinite, log10
from typing import Any, Final

COLORS: Final = (
    "#3f7fd9",
    "#e0852b",
    "#4aa564",
    "#b455b6",
    "#d6433f",
    "#2aa3a3",
    "#9a8a2f",
    "#7a6fd0",
    "#8c6d5a",
    "#6b7a8f",
)
STEPS: Final = {"green": "#3b8d57", "red": "#c4403b", "orange": "#cf7a1f"}

COLUMN, LINE, GAP = 62, 30, 10
"""Pixels of a column and a line of the grid, and between two panels."""

STYLE: Final = """
body { margin: 0; background: #f3f4f6; font: 12px "DejaVu Sans", sans-serif; color: #24292f }
h1 { font-size: 17px; margin: 14px 14px 4px }
main { position: relative; margin: 6px }
section { position: absolute; background: #fff; border: 1px solid #d8dce2; border-radius: 4px; overflow: hidden }
section h2 { font-size: 12px; margin: 6px 8px 0; font-weight: 600 }
section.stat { color: #fff; text-align: center; border: 0 }
section.stat p { font-size: 30px; margin: 18px 0 0 }
section.row { background: none; border: 0; font-size: 14px; font-weight: 600 }
ul { margin: 0 8px; padding: 0; font-size: 10.5px; line-height: 15px; height: 30px; overflow: hidden }
li { display: inline-block; margin-right: 10px }
li i { display: inline-block; width: 10px; height: 3px; margin: 0 4px 3px 0 }
svg text { font-size: 10px; fill: #6b7280 }
"""


@dataclass(frozen=True)
class Series:
    """`points` are pairs of Unix seconds and value."""

    name: str
    points: Sequence[tuple[float, float]]


Answers = Mapping[int, Sequence[Series]]
"""The series of each panel, by its id."""


def page(dashboard: Mapping[str, Any], answers: Answers, span: tuple[float, float]) -> str:
    """HTML. `span` is from when to when."""
    panels = dashboard["panels"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * LINE
    drawn = "".join(_panel(panel, answers.get(panel["id"], ()), span) for panel in panels)
    head = f"<h1>{escape(dashboard['title'])}: {escape(dashboard['description'])}</h1>"
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{head}<main style="height:{bottom}px">{drawn}</main>'


def size(dashboard: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of the page, in pixels."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    return 24 * COLUMN + 12, bottom * LINE + 60


def shown(value: float, unit: str) -> str:
    """A value as people read it."""
    if unit == "percentunit":
        return f"{_short(value * 100)} %"
    if unit == "s":
        return f"{_short(value * 1000)} ms" if value < 1 else f"{_short(value)} s"
    if unit in ("bytes", "Bps"):
        power = next((power for power in (3, 2, 1) if value >= 1024**power), 0)
        return f"{_short(value / 1024**power)} {('B', 'KiB', 'MiB', 'GiB')[power]}{'/s' if unit == 'Bps' else ''}"
    return _short(value) + {"reqps": " req/s", "cps": " /s"}.get(unit, "")


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or value >= 100 else f"{value:.3g}"


def _panel(panel: Mapping[str, Any], series: Sequence[Series], span: tuple[float, float]) -> str:
    place = panel["gridPos"]
    width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
    style = f"left:{place['x'] * COLUMN}px;top:{place['y'] * LINE}px;width:{width}px;height:{height}px"
    kinds: Mapping[str, Callable[[], str]] = {
        "row": lambda: f'<section class="row" style="{style}">{escape(panel["title"])}</section>',
        "stat": lambda: _stat(panel, series, style),
        "timeseries": lambda: _chart(panel, series, style, (width, height), span),
    }
    return kinds[panel["type"]]()


def _stat(panel: Mapping[str, Any], series: Sequence[Series], style: str) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    value = series[0].points[-1][1] if series and series[0].points else 0.0
    steps = [step for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    color = STEPS[steps[-1]["color"]]
    number = escape(shown(value, defaults["unit"]))
    title = f"<h2>{escape(panel['title'])}</h2>"
    return f'<section class="stat" style="{style};background:{color}">{title}<p>{number}</p></section>'


def _chart(
    panel: Mapping[str, Any], series: Sequence[Series], style: str, room: tuple[int, int], span: tuple[float, float]
) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    lines = _stack(series) if stacked else list(series)
    top = _round_up(max((value for line in lines for _, value in line.points), default=0.0))
    left, width, height = 64, room[0] - 94, room[1] - 84

    def at(point: tuple[float, float]) -> str:
        x = left + (point[0] - span[0]) / (span[1] - span[0]) * width
        return f"{x:.1f},{8 + height - point[1] / top * height:.1f}"

    grid = "".join(
        _grid(top * part / 4, defaults["unit"], left, width, 8 + height - height * part / 4) for part in range(5)
    )
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        grid += _time(span[0] + part * (span[1] - span[0]), left + part * width, 21 + height, anchor)
    drawn = "".join(_line(line, COLORS[i % len(COLORS)], at) for i, line in enumerate(lines))
    legend = "".join(
        f'<li><i style="background:{COLORS[i % len(COLORS)]}"></i>{escape(line.name)}</li>'
        for i, line in enumerate(series)
    )
    picture = f'<svg width="{room[0]}" height="{height + 26}">{grid}{drawn}</svg>'
    return (
        f'<section style="{style}"><h2>{escape(panel["title"])}</h2>{picture}<ul>{legend or "nothing"}</ul></section>'
    )


def _grid(value: float, unit: str, left: int, width: int, y: float) -> str:
    label = f'<text x="{left - 5}" y="{y + 3:.1f}" text-anchor="end">{escape(shown(value, unit))}</text>'
    return f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>{label}'


def _time(when: float, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{datetime.fromtimestamp(when, UTC):%H:%M:%S}</text>'


def _line(line: Series, color: str, at: Callable[[tuple[float, float]], str]) -> str:
    """Broken where nothing was measured."""
    pieces: list[list[tuple[float, float]]] = [[]]
    steps = [after[0] - before[0] for before, after in pairwise(line.points)]
    usual = min(steps, default=1.0)
    for index, point in enumerate(line.points):
        if index and steps[index - 1] > 1.5 * usual:
            pieces.append([])
        pieces[-1].append(point)
    return "".join(
        f'<polyline fill="none" stroke="{color}" stroke-width="1.6" points="{" ".join(map(at, piece))}"/>'
        for piece in pieces
    )


def _stack(series: Iterable[Series]) -> list[Series]:
    """Each on top of those before it."""
    below: dict[float, float] = {}
    found = []
    for one in series:
        below |= {when: below.get(when, 0.0) + value for when, value in one.points}
        found.append(Series(one.name, [(when, below[when]) for when, _ in one.points]))
    return found


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5 and 5 with zeros."""
    if not isfinite(value) or value <= 0:
        return 1.0
    unit = 10.0 ** (ceil(log10(value)) - 1)
    return next(unit * step for step in (1, 1.5, 2, 2.5, 4, 5, 7.5, 10, 15) if unit * step >= value * 0.9999)
