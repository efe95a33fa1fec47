"""An overlay as files: HTML that stands alone, SVG, CSV. A PNG is made of the SVG by the browser.

write(Path("curves.html"), runs, wanted)      # the ending says which
"""

from __future__ import annotations

import html
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from core.errors import InputError
from core.rundir import RunDir
from core.runs.curves import RunCurve, Wanted, csv_lines, overlay
from core.runs.drawing import svg

ENDINGS = (".html", ".svg", ".csv")
STYLE = (
    "body{font:14px/1.5 system-ui,'Noto Sans CJK SC',sans-serif;color:#1b2422;max-width:1000px;margin:32px auto;"
    "padding:0 20px}svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;font-size:13px}"
    "td,th{text-align:left;padding:4px 10px 4px 0;border-bottom:1px solid #e2e5e1}td.n{text-align:right}"
    "#tip{position:fixed;pointer-events:none;background:#1b2422;color:#fff;font-size:12px;padding:5px 9px;"
    "border-radius:5px;white-space:pre;display:none}"
)
SCRIPT = """
const chart = document.querySelector('svg'), cross = chart.querySelector('.cross');
const tip = document.getElementById('tip');
const data = JSON.parse(chart.dataset.curve), [left, right, , , low, high] = data.box;
const nearest = (points, x) => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
chart.addEventListener('mousemove', (event) => {
  const frame = chart.getBoundingClientRect(), scale = chart.viewBox.baseVal.width / frame.width;
  const x = low + ((event.clientX - frame.left) * scale - left) / (right - left) * (high - low);
  const at = nearest(data.curves.flatMap((curve) => curve.p), x)[0];
  const px = left + (at - low) / (high - low) * (right - left);
  const lines = data.curves.map((curve) => `${curve.l}  ${nearest(curve.p, at)[1]}`);
  tip.textContent = [`${data.x} ${at}`, ...lines].join('\\n');
  tip.style.cssText = `display:block;left:${event.clientX + 14}px;top:${event.clientY + 14}px`;
  cross.setAttribute('x1', px); cross.setAttribute('x2', px); chart.classList.add('hover');
});
chart.addEventListener('mouseleave', () => { tip.style.display = 'none'; chart.classList.remove('hover'); });
"""


def write(path: Path, runs: Sequence[RunDir], wanted: Wanted, words: Mapping[str, str] | None = None) -> None:
    """Write the overlay to `path`, whole or not at all; a file that is there is replaced.

    Raises InputError `runs.bad_ending`, `runs.no_figure` where none of the runs has logged it, `runs.too_many`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError("runs.bad_ending", name=path.name, known=", ".join(ENDINGS))
    curves = overlay(runs, wanted)
    drawing = svg(curves, wanted, words or {})
    if not drawing:
        raise InputError("runs.no_figure", metric=wanted.metric, axis=wanted.axis)
    if path.suffix.lower() == ".csv":
        _put(path, csv_lines(runs, wanted))
    elif path.suffix.lower() == ".svg":
        _put(path, [drawing])
    else:
        _put(path, [page(curves, drawing, wanted, words or {})])


def page(curves: Sequence[RunCurve], drawing: str, wanted: Wanted, words: Mapping[str, str]) -> str:
    """One HTML file that asks for nothing else."""
    title = html.escape(words.get("metric", wanted.metric))
    rows = "".join(
        f"<tr><td>{html.escape(curve.name)}</td><td>{html.escape(curve.run)}</td>"
        f'<td class="n">{"–" if curve.last is None else f"{curve.last:.6g}"}</td></tr>'
        for curve in curves
    )
    return (
        f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}'
        f'</title><style>{STYLE}</style><h1>{title}</h1>{drawing}<table>{rows}</table><div id="tip"></div>'
        f"<script>{SCRIPT}</script>\n"
    )


def _put(path: Path, texts: Iterable[str]) -> None:
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(hidden, "w", encoding="utf-8") as file:
            file.writelines(texts)
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
