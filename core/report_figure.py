"""The figure of the alignment-tax report: an SVG of our own, that stands alone as a file and inside the page.

A small panel for each set and measure: what every model but the base has changed, with the interval of 95 %, above or
below the base at zero. A full dot is a change whose interval leaves out zero. Text takes the colour around it.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.records_report import MEASURES, SECOND, SHARES, Block, Figure, TaxReport

WIDTH, HEIGHT, GAP = 270, 190, 18  # of a panel
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 44, 34
A_ROW = 3
LONGEST = 34  # characters of a heading
LETTER = 6.2  # width of one, on average
SHARED = re.compile(r".*[ \-_/:·]", re.DOTALL)  # what names begin with, up to where a word ends
STYLE = (
    ".tax-figure text{font:11px system-ui,sans-serif;fill:currentColor}"
    ".tax-figure .head{font-weight:600;font-size:12px}.tax-figure .quiet{opacity:.65}"
    ".tax-figure .zero{stroke:currentColor;opacity:.55;stroke-dasharray:4 3}"
    ".tax-figure .grid{stroke:currentColor;opacity:.12}"
    ".tax-figure .point{color:#6b7280;stroke:currentColor;stroke-width:2}.tax-figure .point circle{fill:currentColor}"
    ".tax-figure .point.better{color:#0f766e}.tax-figure .point.worse{color:#b42318}"
    ".tax-figure .point circle.in{fill:#fff}"
)


@dataclass(frozen=True)
class Panel:
    """One set and measure; points: (the model's name, its figure) in the order of the table."""

    block: Block
    measure: str
    points: list[tuple[str, Figure]]


def panels(report: TaxReport) -> list[Panel]:
    found = []
    for place, block in enumerate(report.blocks):
        for measure in block.measures:
            if measure in SECOND:
                continue
            points = [
                (line.name, figure)
                for line in report.lines[1:]
                if (figure := line.figures[place].get(measure)) is not None and figure.change_low is not None
            ]
            if points:
                found.append(Panel(block, measure, points))
    return found


def figure_svg(report: TaxReport, words: Mapping[str, str]) -> str:
    """The whole figure; "" where nothing is compared. words: by measure and role, and `up`, `down`."""
    drawn = panels(report)
    if not drawn:
        return ""
    columns = min(A_ROW, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, height = columns * (WIDTH + GAP) - GAP, rows * (HEIGHT + GAP) - GAP
    parts = [
        f'<g transform="translate({at % columns * (WIDTH + GAP)} {at // columns * (HEIGHT + GAP)})">'
        f"{_panel(panel, words)}</g>"
        for at, panel in enumerate(drawn)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tax-figure" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Panel, words: Mapping[str, str]) -> str:
    values = [
        value for _, figure in panel.points for value in (figure.change_low, figure.change_high) if value is not None
    ]
    low, high = _range([0.0, *values], least=0.05 if panel.measure in SHARES else 1.0)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - TOP)

    share = 100 if panel.measure in SHARES else 1
    parts = [_heading(panel, words)]
    for tick in ticks(low * share, high * share):
        at = y(tick / share)
        parts.append(
            f'<line class="{"zero" if tick == 0 else "grid"}" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(f'<text class="quiet" text-anchor="end" x="{LEFT - 6}" y="{at + 3.5:.1f}">{tick:+.4g}</text>')
    step = (right - LEFT) / len(panel.points)
    labels = short([name for name, _ in panel.points], max(4, int(step / LETTER)))
    for at, ((name, figure), label) in enumerate(zip(panel.points, labels, strict=True)):
        x = LEFT + step * (at + 0.5)
        parts.append(_point(x, y, figure))
        said = f"{_esc(label)}<title>{_esc(name)}</title>"
        parts.append(f'<text text-anchor="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{said}</text>')
    return "".join(parts)


def _heading(panel: Panel, words: Mapping[str, str]) -> str:
    """What is measured, of which set, and which way is good."""
    direction = MEASURES[panel.measure]
    way = words["up"] if direction > 0 else words["down"] if direction < 0 else ""
    unit = "%" if panel.measure in SHARES else ""
    head = " ".join(part for part in (words[panel.measure], f"({unit})" if unit else "", way) if part)
    role = f"{words[panel.block.role]} · " if panel.block.role else ""
    about = cut(role + panel.block.label, LONGEST)
    return f'<text class="head" x="0" y="13">{_esc(head)}</text><text class="quiet" x="0" y="29">{_esc(about)}</text>'


def _point(x: float, y: Callable[[float], float], figure: Figure) -> str:
    assert figure.change is not None
    sure = "" if figure.verdict in ("open", "") else figure.verdict
    whisker = ""
    if figure.change_low is not None and figure.change_high is not None:
        ends = f'y1="{y(figure.change_low):.1f}" y2="{y(figure.change_high):.1f}"'
        whisker = f'<line x1="{x:.1f}" x2="{x:.1f}" {ends}/>'
    dot = f'<circle class="{"" if sure else "in"}" cx="{x:.1f}" cy="{y(figure.change):.1f}" r="4.5"/>'
    return f'<g class="point {sure}">{whisker}{dot}</g>'


def _range(values: Sequence[float], least: float) -> tuple[float, float]:
    """The values with some space about them; `least` on each side where all are the same."""
    low, high = min(values), max(values)
    space = 0.08 * (high - low) or least
    return low - space, high + space


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers within [low, high], zero among them; steps are 1, 2 or 5 times a power of ten."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    return [round(at * step, 12) for at in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def short(names: Sequence[str], length: int) -> list[str]:
    """Names of `length` characters at most: without the words that all begin with, where one is too long, then cut."""
    if len(names) > 1 and max(map(len, names)) > length:
        first, last = min(names), max(names)  # what these two begin with alike, all do
        same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        shared = SHARED.match(first[:same])
        names = [name[shared.end() :] or name for name in names] if shared else names
    return [cut(name, length) for name in names]


def cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _esc(text: str) -> str:
    return html.escape(text, quote=True)
