"""Metrics as curves: small SVG drawings of our own, which follow the page's colours and weigh a few kilobytes.

They leave out zooming. `page.js` shows the values under the pointer from the `data-curve` attribute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from core.spikes import APART, spikes
from webui.figures import esc, figure
from webui.tails import Points, Tail
from webui.text import has, t

# What a stage's run draws large, beside its losses: (as logged, as evaluated) of each further chart.
CHARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "pretrain": (("", "eval_bits_per_byte"),),
    "reward": (("accuracy", "eval_accuracy"), ("margin", "eval_margin")),
}
SMALL_FIRST = ("learning_rate", "tokens_per_second", "tflops", "mfu", "grad_norm")  # figures read by their shape
NOT_SMALL = ("loss", "eval_loss", "epoch", "tokens")  # figures that are drawn large, or say little as a curve
SHARES = ("mfu", "accuracy", "eval_accuracy")  # shown as per cent
MOST_MARKS = 30
BY_SOURCE = "eval_loss."
SMOOTH_FROM = 24  # a curve of fewer points is shown as it is
SMOOTHING = 0.78
MOST_DOTS = 24  # more evaluations than this are a line, not points
Mark = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 20


@dataclass(frozen=True)
class Curve:
    """One line of a chart. `role` is its CSS class: main, raw (faint), other (second colour, with dots)."""

    label: str
    role: str
    points: Points


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """About `wanted` round numbers within [low, high]; steps are 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def smooth(points: Points, weight: float = SMOOTHING) -> Points:
    """Exponential moving average, debiased at the start (as TensorBoard draws it)."""
    mean, mass = 0.0, 0.0
    result: Points = []
    for x, y in points:
        mean, mass = weight * mean + (1 - weight) * y, weight * mass + (1 - weight)
        result.append((x, mean / mass))
    return result


def line_chart(
    curves: Sequence[Curve], *, width: int = 600, height: int = 208, x_label: str = "", marks: Sequence[Mark] = ()
) -> str:
    """An SVG with axes and all curves on common scales; "" where no curve has a finite point.

    `marks` are points to be noticed; they do not stretch the scales, and stand at the top where they are above it.
    """
    curves = [Curve(c.label, c.role, [p for p in c.points if math.isfinite(p[1])]) for c in curves]
    curves = [c for c in curves if c.points]
    if not curves:
        return ""
    x_low, x_high = _range([x for c in curves for x, _ in c.points], 0.0)
    y_low, y_high = _range([y for c in curves for _, y in c.points], 0.06)
    right, bottom = width - RIGHT, height - BOTTOM

    def px(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (right - LEFT)

    def py(y: float) -> float:
        return bottom - (y - y_low) / (y_high - y_low) * (bottom - TOP)

    parts = []
    for y in ticks(y_low, y_high, 4):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{py(y):.1f}" y2="{py(y):.1f}"/>')
        parts.append(f'<text class="tick y" x="{LEFT - 8}" y="{py(y) + 3.5:.1f}">{figure(y)}</text>')
    for x in ticks(x_low, x_high, 6):
        if x == int(x):
            parts.append(f'<text class="tick x" x="{px(x):.1f}" y="{height - 4}">{int(x)}</text>')
    for curve in curves:
        drawn = [(px(x), py(y)) for x, y in curve.points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
        if len(drawn) > 1:
            parts.append(f'<path class="curve {curve.role}" d="{path}"/>')
        if len(drawn) == 1 or (curve.role == "other" and len(drawn) <= MOST_DOTS):
            parts.extend(
                f'<circle class="dot {curve.role}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in drawn[-40:]
            )
    for x, y in marks:
        at = max(TOP, min(bottom, py(y)))
        hint = esc(f"{x_label} {x:g}: {figure(y)}")
        shape = f"M{px(x) - 4:.1f} {at - 9:.1f}h8l-4 6.5z"
        parts.append(f'<path class="mark" d="{shape}"><title>{hint}</title></path>')
    data = {
        "box": [LEFT, right, TOP, bottom, x_low, x_high, y_low, y_high],
        "x": x_label,
        "curves": [{"l": c.label, "r": c.role, "p": [[x, float(f"{y:.4g}")] for x, y in c.points]} for c in curves],
    }
    packed = esc(json.dumps(data, ensure_ascii=False, separators=(",", ":")))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" data-curve="{packed}">'
        f'{"".join(parts)}<line class="cross" x1="0" x2="0" y1="{TOP}" y2="{bottom}"/></svg>'
    )


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high == low:
        spread = abs(low) * 0.5 or 1.0
        return (low - spread, high + spread) if margin else (max(0.0, low - 1), high + 1)  # no step before 0
    space = (high - low) * margin
    return low - space, high + space


def spark(points: Points, width: int = 150, height: int = 30) -> str:
    """A line without axes, for figures that are read by their shape."""
    points = [p for p in points if math.isfinite(p[1])]
    if len(points) < 2:
        return f'<svg class="spark" viewBox="0 0 {width} {height}"></svg>'
    x_low, x_high = _range([x for x, _ in points], 0.0)
    y_low, y_high = _range([y for _, y in points], 0.05)
    path = "M" + "L".join(
        f"{(x - x_low) / (x_high - x_low) * width:.1f} {height - 1 - (y - y_low) / (y_high - y_low) * (height - 2):.1f}"
        for x, y in points
    )
    return f'<svg class="spark" viewBox="0 0 {width} {height}" preserveAspectRatio="none"><path d="{path}"/></svg>'


def name_of(key: str, lang: str) -> str:
    """What a figure is called; the evaluation loss of one source with the source's name."""
    if key.startswith(BY_SOURCE):
        return f"{name_of('eval_loss', lang)} · {key.removeprefix(BY_SOURCE)}"
    return t(f"figure.{key}", lang) if has(f"figure.{key}") else key.replace("_", " ")


def value_of(key: str, value: float | None) -> str:
    return f"{100 * value:.3g} %" if key in SHARES and value is not None else figure(value)


def drawn(metrics: Tail, stage: str, lang: str) -> str:
    """Everything that is drawn of a run: its losses, the stage's own charts, and the small figures."""
    own = CHARTS.get(stage, ())
    large = [key for pair in own for key in pair if key]
    more = [chart for main, other in own if (chart := pair_chart(metrics, lang, main, other, height=132))]
    below = sparks(metrics, lang, skip=(*NOT_SMALL, *large))
    return f'<div class="curves">{loss_chart(metrics, lang)}{"".join(more)}{below}</div>'


def loss_chart(metrics: Tail, lang: str, main: str = "loss", other: str = "eval_loss") -> str:
    """The panel's chart: the losses, with spikes marked; a sentence where nothing is logged yet."""
    found = spike_points(metrics, main)
    chart = pair_chart(metrics, lang, main, other, marks=found)
    return chart or f'<div class="chart-empty">{esc(t("run.no_metrics", lang))}</div>'


def pair_chart(
    metrics: Tail, lang: str, main: str, other: str, *, marks: Sequence[Mark] = (), height: int = 208
) -> str:
    """`main` (faint as logged, strong when smoothed), `other` with that of each source, a legend; "" without either."""
    logged, evaluated = metrics.curve(main), metrics.curve(other)
    curves = []
    if len(logged) >= SMOOTH_FROM:
        curves = [Curve(name_of(main, lang), "raw", logged), Curve(t("figure.smoothed", lang), "main", smooth(logged))]
    elif logged:
        curves = [Curve(name_of(main, lang), "main", logged)]
    if evaluated:
        curves.append(Curve(name_of(other, lang), "other", evaluated))
    sources = sorted(key for key in metrics.columns if key.startswith(f"{other}."))
    curves += [Curve(name_of(key, lang), "other source", metrics.curve(key)) for key in sources]
    drawing = line_chart(curves, x_label=t("figure.step", lang), marks=marks, height=height)
    if not drawing:
        return ""
    legend = [_key(role, key, metrics, lang) for role, key in (("main", main), ("other", other)) if metrics.curve(key)]
    if marks:
        steps = ", ".join(f"{step:g}" for step, _ in marks)
        said = t("figure.spikes", lang, n=len(marks))
        legend.append(f'<span class="key spike" title="{esc(steps)}">{esc(said)}</span>')
    return f'<div class="legend">{"".join(legend)}</div>{drawing}'


def _key(role: str, key: str, metrics: Tail, lang: str) -> str:
    value = value_of(key, metrics.last.get(key))
    return f'<span class="key {role}">{esc(name_of(key, lang))}<b>{value}</b></span>'


def sparks(metrics: Tail, lang: str, skip: Sequence[str] = NOT_SMALL, most: int = 5) -> str:
    """The other figures, each with its last value; the most asked for first."""
    order = {key: place for place, key in enumerate(SMALL_FIRST)}
    wanted = (key for key in metrics.columns if key not in skip and not key.startswith(BY_SOURCE))
    keys = sorted(wanted, key=lambda key: (order.get(key, len(order)), key))
    cells = [
        f'<div class="figure"><span>{esc(name_of(key, lang))}</span><b>{value_of(key, metrics.last[key])}</b>'
        f"{spark(metrics.curve(key, 120))}</div>"
        for key in keys[:most]
    ]
    return f'<div class="figures">{"".join(cells)}</div>' if cells else ""


# -- spikes -----------------------------------------------------------------------------------------------------------
_looked: WeakKeyDictionary[Tail, tuple[int, list[int]]] = WeakKeyDictionary()  # rows looked at, spikes among them


def spike_points(metrics: Tail, key: str) -> Points:
    """(step, value) of the highest spikes of a column, by step. Rows that were looked at before are not again."""
    column = list(metrics.columns.get(key, ()))
    rows, known = _looked.get(metrics, (0, []))
    if rows > len(column):  # a resumed run cuts its metrics
        rows, known = 0, []
    since = max(0, rows - APART)  # the last spike may have risen further
    found = [index for index in known if index < since] + spikes([value for _, value in column], since)
    _looked[metrics] = len(column), found
    highest = sorted(found, key=lambda index: -column[index][1])[:MOST_MARKS]
    return [column[index] for index in sorted(highest)]
