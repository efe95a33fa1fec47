"""The overlay of several runs as an SVG that stands alone: in the page, in an HTML file, and as what a PNG is made of.

Colours are custom properties with a fallback, so that it follows the page's light or dark look and needs nothing of it
elsewhere. `data-curve` holds the values, which `page.js`, and the HTML file's own few lines, show under the pointer.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.runs.curves import RunCurve, Wanted
from core.runs.scales import log_ticks, short, spread, ticks
from core.tails import Points

WIDTH, HEIGHT = 760, 430  # the legend comes beneath
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 40
KEY_HEIGHT, KEYS_A_ROW, KEY_LETTERS = 18, 2, 36
COLOURS = ("#0d6f64", "#b3541e", "#3b5ba9", "#8a2f6b", "#6b7f1a", "#1f8fb5", "#a3871b", "#5b5f66")
DASHES = ("", "6 3")  # the second time that a colour comes
UNITS = ((86400.0 * 2, 86400.0, "days"), (7200.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))
STYLE = (
    ".overlay text{font:11px system-ui,'Noto Sans CJK SC',sans-serif;fill:var(--ink-2,#55615d)}"
    ".overlay .y{text-anchor:end}.overlay .x{text-anchor:middle}.overlay .grid{stroke:var(--line,#e2e5e1)}"
    ".overlay .axis{fill:var(--ink-3,#87918d)}.overlay .value{font-weight:600;fill:var(--ink,#1b2422)}"
    ".overlay path{fill:none;stroke-width:1.8;stroke-linejoin:round}.overlay path.faint{stroke-width:1;opacity:.25}"
    ".overlay .cross{stroke:var(--ink-3,#87918d);visibility:hidden}.overlay.hover .cross{visibility:visible}"
    + "".join(
        f".overlay .c{at}{{stroke:var(--run-{at},{colour})}}.overlay .dot.c{at}{{fill:var(--run-{at},{colour})}}"
        for at, colour in enumerate(COLOURS)
    )
    + ".overlay .dashed{stroke-dasharray:6 3}"
)


@dataclass(frozen=True)
class Scale:
    """From figures to the drawing's own units."""

    x: tuple[float, float]
    y: tuple[float, float]
    log: bool
    whole: bool = False  # the axis counts something

    def px(self, x: float) -> float:
        return LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - RIGHT - LEFT)

    def py(self, y: float) -> float:
        place = math.log10(y) if self.log else y
        return HEIGHT - BOTTOM - (place - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - BOTTOM - TOP)


def svg(curves: Sequence[RunCurve], wanted: Wanted, words: Mapping[str, str]) -> str:
    """The whole drawing; "" where no run has a point. words: the figure under `metric`, and each axis and unit of time
    by its name; the English one where it is missing."""
    if not any(curve.points for curve in curves):
        return ""
    curves, unit = _in_units(curves, wanted)
    scale = _scale(curves, wanted)
    axis = words.get(wanted.axis, wanted.axis) + (f" ({words.get(unit, unit)})" if unit else "")
    metric = words.get("metric", wanted.metric)
    lines = "".join(_line(curve, at, scale) for at, curve in enumerate(curves))
    rows = math.ceil(len(curves) / KEYS_A_ROW)
    height = HEIGHT + rows * KEY_HEIGHT + 6
    keys = "".join(_key(curve, at) for at, curve in enumerate(curves))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart overlay" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'data-curve="{_data(curves, scale, axis)}"><style>{STYLE}</style>{_grid(scale)}{lines}'
        f'<line class="cross" x1="0" x2="0" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="axis" x="{LEFT}" y="{TOP + 8}" dx="6">{html.escape(metric)}</text>'
        f'<text class="axis x" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}">{html.escape(axis)}</text>{keys}</svg>'
    )


def _in_units(curves: Sequence[RunCurve], wanted: Wanted) -> tuple[Sequence[RunCurve], str]:
    """Seconds as the unit that suits the longest run; any other axis as it is."""
    if wanted.axis != "time":
        return curves, ""
    longest = max(x for curve in curves for x, _ in curve.points)
    size, name = next((size, name) for least, size, name in UNITS if longest >= least)

    def scaled(points: Points) -> Points:
        return [(x / size, y) for x, y in points]

    return [RunCurve(c.run, c.name, scaled(c.points), scaled(c.raw), c.last) for c in curves], name


def _scale(curves: Sequence[RunCurve], wanted: Wanted) -> Scale:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in (*curve.points, *curve.raw)]
    height = spread([math.log10(y) for y in ys] if wanted.log else ys, 0.05)
    return Scale(spread(xs), height, wanted.log, wanted.axis in ("step", "tokens"))


def _grid(scale: Scale) -> str:
    low, high = (10 ** scale.y[0], 10 ** scale.y[1]) if scale.log else scale.y
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{scale.py(y):.1f}" y2="{scale.py(y):.1f}"/>'
        f'<text class="y" x="{LEFT - 7}" y="{scale.py(y) + 4:.1f}">{short(y)}</text>'
        for y in (log_ticks if scale.log else ticks)(low, high, 6)
    ]
    across = ticks(*scale.x, 8, whole=scale.whole)
    parts += [f'<text class="x" x="{scale.px(x):.1f}" y="{bottom + 15}">{short(x)}</text>' for x in across]
    return "".join(parts)


def _look(at: int) -> str:
    """The class of the line at this place."""
    return f"c{at % len(COLOURS)}" + (" dashed" if at // len(COLOURS) % len(DASHES) else "")


def _line(curve: RunCurve, at: int, scale: Scale) -> str:
    parts = [
        f'<path class="{look}" d="M{"L".join(f"{scale.px(x):.1f} {scale.py(y):.1f}" for x, y in points)}"/>'
        for look, points in ((f"{_look(at)} faint", curve.raw), (_look(at), curve.points))
        if len(points) > 1
    ]
    if len(curve.points) == 1:
        (x, y), *_ = curve.points
        parts.append(f'<circle class="dot c{at % len(COLOURS)}" cx="{scale.px(x):.1f}" cy="{scale.py(y):.1f}" r="3"/>')
    return "".join(parts)


def _key(curve: RunCurve, at: int) -> str:
    """The line's name and last value, beneath the axis."""
    x = LEFT + at % KEYS_A_ROW * (WIDTH - LEFT - RIGHT) / KEYS_A_ROW
    y = HEIGHT + at // KEYS_A_ROW * KEY_HEIGHT + 8
    value = "–" if curve.last is None else short(curve.last)
    name = f"<title>{html.escape(curve.run)}</title>{html.escape(cut(curve.name, KEY_LETTERS))}"
    return (
        f'<path class="{_look(at)}" d="M{x:.0f} {y - 4}h20"/><text x="{x + 27:.0f}" y="{y}">{name}'
        f'<tspan class="value" dx="7">{value}</tspan></text>'
    )


def cut(text: str, letters: int) -> str:
    """`text` in so many letters of Latin width; a Chinese one counts as two."""
    used = 0
    for place, char in enumerate(text):
        used += 2 if ord(char) > 0x2E7F else 1
        if used > letters:
            return text[:place] + "…"
    return text


def _data(curves: Sequence[RunCurve], scale: Scale, axis: str) -> str:
    """What is shown under the pointer, as `page.js` reads it."""
    lines = [
        {"l": cut(curve.name, KEY_LETTERS), "r": "main", "p": [[_brief(x), _brief(y)] for x, y in curve.points]}
        for curve in curves
        if curve.points
    ]
    box = [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM, *scale.x, *scale.y]
    packed = json.dumps({"box": box, "x": axis, "curves": lines}, ensure_ascii=False, separators=(",", ":"))
    return html.escape(packed)


def _brief(value: float) -> float:
    return float(f"{value:.5g}") if value != int(value) else int(value)
