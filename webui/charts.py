"""Metrics as curves: small SVG drawings of our own, which follow the page's colours and weigh a few kilobytes.

They leave out zooming. `page.js` shows the values under the pointer from the `data-curve` attribute.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from core.runs.scales import smooth, ticks
from core.spikes import APART, spikes
from core.tails import Points, Tail
from webui.figures import esc, figure
from webui.text import has, t

Pair = tuple[str, str]  # the same figure as logged and as evaluated; "" where there is none


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a stage's runs. main: the large chart. further: smaller ones beneath it, `beside` each other.

    small: the figures that are read by their shape, the most asked for first; `most` are shown. fill: with whatever
    else the run logs, where there are fewer.
    """

    main: Pair = ("loss", "eval_loss")
    further: tuple[Pair, ...] = ()
    beside: bool = False
    small: tuple[str, ...] = ("learning_rate", "tokens_per_second", "tflops", "mfu", "grad_norm")
    most: int = 5
    fill: bool = True


PPO_SMALL = (
    "policy_loss", "value_loss", "explained_variance", "entropy", "kl_coefficient", "approx_kl", "clip_fraction",
    "ratio_off", "no_end", "reward_std", "learning_rate", "grad_norm", "sampling_tokens_per_second",
    "scoring_tokens_per_second", "learning_tokens_per_second",
)  # fmt: skip
DRAWINGS = {
    "pretrain": Drawing(further=(("", "eval_bits_per_byte"),)),
    "reward": Drawing(further=(("accuracy", "eval_accuracy"), ("margin", "eval_margin"))),
    "dpo": Drawing(further=(("accuracy", "eval_accuracy"), ("margin", "eval_margin"))),
    "ppo": Drawing(
        ("reward", "eval_reward"), (("kl", "eval_kl"), ("length", "eval_length")), beside=True,
        small=PPO_SMALL, most=len(PPO_SMALL), fill=False,
    ),
}  # fmt: skip
NOT_SMALL = ("loss", "eval_loss", "epoch", "tokens")  # figures that are drawn large, or say little as a curve
SHARES = ("mfu", "accuracy", "eval_accuracy", "no_end", "eval_no_end", "clip_fraction")  # shown as per cent
MOST_MARKS = 30
SPIKING = "loss"  # the figure whose spikes are marked
SOURCES = 6  # so many lines of sources can be told apart
SMOOTH_FROM = 24  # a curve of fewer points is shown as it is
MOST_DOTS = 24  # more evaluations than this are a line, not points
Mark = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 20


@dataclass(frozen=True)
class Curve:
    """One line of a chart. `role` is its CSS class: main, raw (faint), other (second colour, with dots), source."""

    label: str
    role: str
    points: Points


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
    for x in ticks(x_low, x_high, 6, whole=True):
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
    """What a figure is called; that of one source (`eval_loss.web`) with the source's name."""
    figure_, dot, source = key.partition(".")
    if dot:
        return f"{name_of(figure_, lang)} · {source}"
    return t(f"figure.{key}", lang) if has(f"figure.{key}") else key.replace("_", " ")


def value_of(key: str, value: float | None) -> str:
    return f"{100 * value:.3g} %" if key in SHARES and value is not None else figure(value)


def drawn(metrics: Tail, stage: str, lang: str) -> str:
    """Everything that is drawn of a run, as its stage declares it."""
    own = DRAWINGS.get(stage, Drawing())
    large = [key for pair in (own.main, *own.further) for key in pair if key]
    height, width = (124, 292) if own.beside else (132, 600)
    charts = [pair_chart(metrics, lang, main, other, height=height, width=width) for main, other in own.further]
    more = "".join(charts)
    if own.beside and more:
        more = f'<div class="charts-beside">{"".join(f"<div>{chart}</div>" for chart in charts if chart)}</div>'
    below = sparks(metrics, lang, own, skip=(*NOT_SMALL, *large))
    return f'<div class="curves">{main_chart(metrics, lang, own.main)}{more}{below}</div>'


def main_chart(metrics: Tail, lang: str, pair: Pair = Drawing.main) -> str:
    """The panel's chart, with spikes of a loss marked; a sentence where nothing is logged yet."""
    main, other = pair
    found = spike_points(metrics, main) if main == SPIKING else []
    chart = pair_chart(metrics, lang, main, other, marks=found)
    return chart or f'<div class="chart-empty">{esc(t("run.no_metrics", lang))}</div>'


def pair_chart(
    metrics: Tail, lang: str, main: str, other: str, *, marks: Sequence[Mark] = (), height: int = 208, width: int = 600
) -> str:
    """`main` (faint as logged, strong when smoothed), `other`, either by source, a legend; "" without any of them."""
    logged, evaluated = metrics.curve(main), metrics.curve(other)
    curves = []
    if len(logged) >= SMOOTH_FROM:
        curves = [Curve(name_of(main, lang), "raw", logged), Curve(t("figure.smoothed", lang), "main", smooth(logged))]
    elif logged:
        curves = [Curve(name_of(main, lang), "main", logged)]
    if evaluated:
        curves.append(Curve(name_of(other, lang), "other", evaluated))
    sources = {key: role for role, key in _sources(metrics, main, other)}
    curves += [Curve(name_of(key, lang), role, _calm(role, metrics.curve(key))) for key, role in sources.items()]
    drawing = line_chart(curves, x_label=t("figure.step", lang), marks=marks, height=height, width=width)
    if not drawing:
        return ""
    legend = [_key(role, key, metrics, lang) for role, key in (("main", main), ("other", other)) if metrics.curve(key)]
    legend += [_key(role, key, metrics, lang) for key, role in sources.items() if role.startswith("main")]
    if marks:
        steps = ", ".join(f"{step:g}" for step, _ in marks)
        said = t("figure.spikes", lang, n=len(marks))
        legend.append(f'<span class="key spike" title="{esc(steps)}">{esc(said)}</span>')
    return f'<div class="legend">{"".join(legend)}</div>{drawing}'


def _sources(metrics: Tail, main: str, other: str) -> list[tuple[str, str]]:
    """(role, key) of the sources' lines: as logged, else as evaluated, where they tell less between evaluations."""
    for role, figure_ in (("main", main), ("other", other)):
        found = sorted(key for key in metrics.names() if figure_ and key.startswith(f"{figure_}."))
        if found:
            return [(f"{role} source s{place % SOURCES}", key) for place, key in enumerate(found)]
    return []


def _calm(role: str, points: Points) -> Points:
    return smooth(points) if role.startswith("main") and len(points) >= SMOOTH_FROM else points


def _key(role: str, key: str, metrics: Tail, lang: str) -> str:
    value = value_of(key, metrics.last.get(key))
    said = name_of(key, lang)
    swatch = ""
    if "source" in role:
        said = key.partition(".")[2]
        swatch = f'<svg class="swatch" viewBox="0 0 18 6"><path class="curve {role}" d="M0 3H18"/></svg>'
    return f'<span class="key {role}">{swatch}{esc(said)}<b>{value}</b></span>'


def sparks(metrics: Tail, lang: str, own: Drawing = Drawing(), skip: Sequence[str] = NOT_SMALL) -> str:
    """The other figures, each with its last value; the most asked for first."""
    order = {key: place for place, key in enumerate(own.small)}
    wanted = (key for key in metrics.names() if key not in skip and "." not in key and (own.fill or key in order))
    keys = sorted(wanted, key=lambda key: (order.get(key, len(order)), key))
    cells = [
        f'<div class="figure"><span>{esc(name_of(key, lang))}</span><b>{value_of(key, metrics.last[key])}</b>'
        f"{spark(metrics.curve(key, 120))}</div>"
        for key in keys[: own.most]
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
