"""The legs through Envoy as bars, in SVG: requests a second, and processor time for each request."""

from collections.abc import Sequence
from html import escape

from bench.legs import Leg
from bench.load_tables import WITHOUT
from bench.through_envoy import MANY, Measured, Spent

WIDTH, LEFT, BAR, ROW, TOP = 860, 250, 400, 24, 44
COLOURS = {"server": "#3b6fb6", "envoy": "#b9c3cf", "redis": "#c8553d"}
RATE = "#4f8a5b"
STYLE = "text{font:12px sans-serif;fill:#222}.title{font-weight:bold;font-size:14px}rect.back{fill:#fff}"


def svg(found: Measured) -> str:
    """A picture of the closed loop with MANY callers."""
    legs = list(found.closed)
    typical = {leg: found.typical(leg, MANY) for leg in legs}
    second = TOP + ROW * len(legs) + 40
    height = second + TOP + ROW * len(legs)
    most_rate = max(each.load.rate for each in typical.values())
    most_cpu = max(each.spent.all for each in typical.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"><style>{STYLE}</style>',
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        _text(12, 24, f"requests a second, {MANY} callers", "title"),
        _text(12, second + 24, "CPU for each request, µs: server (blue), Envoy (grey), Redis (red)", "title"),
    ]
    for number, leg in enumerate(legs):
        rate, spent = typical[leg].load.rate, typical[leg].spent
        parts += _row(leg, TOP + ROW * number, [(rate / most_rate, RATE)], f"{rate:,.0f}")
        parts += _row(leg, second + TOP + ROW * number, _stack(spent, most_cpu), f"{spent.all:,.0f}")
    return "\n".join([*parts, "</svg>", ""])


def _stack(spent: Spent, most: float) -> list[tuple[float, str]]:
    return [(getattr(spent, name) / (most or 1.0), colour) for name, colour in COLOURS.items()]


def _row(leg: Leg | None, y: int, bars: Sequence[tuple[float, str]], told: str) -> list[str]:
    """A name, bars one after the other (parts of the longest), and a figure."""
    parts, x = [_text(12, y + 14, leg.name if leg else WITHOUT)], float(LEFT)
    for part, colour in bars:
        if part > 0:
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{part * BAR:.1f}" height="{ROW - 6}" fill="{colour}"/>')
            x += part * BAR
    return [*parts, _text(int(x) + 6, y + 14, told)]


def _text(x: int, y: int, words: str, style: str = "") -> str:
    return f'<text x="{x}" y="{y}" class="{style}">{escape(words)}</text>'
