"""The board of the Runs tab: its bar of views and tools, the overlay, settings side by side. No gradio, no files.

A button carries what it asks for in `data-ask`, a field in `data-name`; `BOARD_JS` tells the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.rundir import RunDir
from core.runs.curves import AXES, MOST_SMOOTHING, RunCurve, Wanted
from core.runs.differences import ABSENT, Setting
from core.runs.drawing import svg
from webui.charts import name_of
from webui.figures import count, esc
from webui.text import t
from webui.text_fields import label, section_name
from webui.views import by_name, empty, shown

VIEWS = ("run", "curves", "settings", "lineage", "disk")
SAVED_AS = ("png", "html", "csv")
NAMED = 6  # runs that are named in one sentence

BOARD_JS = """
const ask = (data) => trigger('pick', data);
element.addEventListener('click', (e) => {
  const png = e.target.closest('[data-png]');
  if (png) return galen.png('#runs-board svg.overlay', png.dataset.png);
  const button = e.target.closest('[data-ask]');
  if (button) { ask(JSON.parse(button.dataset.ask)); return; }
  const link = e.target.closest('a[data-run]');
  if (link && !e.ctrlKey && !e.metaKey && !e.shiftKey && e.button === 0) {
    e.preventDefault(); ask({run: link.dataset.run});
  }
  const twice = e.target.closest('[data-do]'), row = twice?.closest('[data-names]');
  if (!row) return;
  if (twice.dataset.do === 'remove') ask({clean: JSON.parse(row.dataset.names)});
  row.classList.toggle('sure', twice.dataset.do === 'ask');
});
element.addEventListener('change', async (e) => {
  const field = e.target;
  if (field.type === 'file') {
    const file = field.files[0];
    if (file) { element.classList.add('busy'); ask({import: (await upload(file)).path, name: file.name}); }
    field.value = '';
  } else if (field.dataset.name) {
    ask({[field.dataset.name]: field.type === 'checkbox' ? field.checked : field.value});
  }
});
element.addEventListener('input', (e) => {
  if (e.target.type === 'range') e.target.nextElementSibling.textContent = (+e.target.value).toFixed(2);
});"""


def few(names: Sequence[str]) -> str:
    """The first names of a list, for a sentence."""
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")


def ask(**data: Any) -> str:
    return esc(json.dumps(data))


# -- the bar ----------------------------------------------------------------------------------------------------------
def bar(view: str, compared: int, tools: str, lang: str) -> str:
    """The views as tabs, what was ticked, and the tools of the view in front."""
    tabs = "".join(
        f'<button type="button" role="tab" aria-selected="{str(name == view).lower()}" '
        f'class="{"selected" if name == view else ""}" data-ask="{ask(view=name)}">{esc(t(f"board.{name}", lang))}'
        f"{_ticked(name, compared)}</button>"
        for name in VIEWS
    )
    clear = ""
    if compared:
        said = esc(t("runs.clear", lang, n=compared))
        clear = f'<button type="button" class="to clear" data-ask="{ask(clear=True)}">{said}</button>'
    upload = (
        f'<label class="to import">{esc(t("runs.import", lang))}'
        f'<input type="file" accept=".zip" hidden id="runs-import"></label>'
    )
    return (
        f'<div class="board-bar" data-view="{view}"><div class="board-tabs" role="tablist">{tabs}</div>'
        f'<div class="board-side">{clear}{upload}</div></div>{tools}'
    )


def _ticked(name: str, compared: int) -> str:
    return f"<i>{compared}</i>" if compared and name in ("curves", "settings") else ""


def curve_tools(wanted: Wanted, metrics: Sequence[str], lang: str) -> str:
    """Which figure, over what, how smooth, on which scale."""
    if not metrics:
        return ""
    figures = "".join(
        f'<option value="{esc(key)}"{" selected" if key == wanted.metric else ""}>{esc(name_of(key, lang))}</option>'
        for key in metrics
    )
    axes = "".join(
        f'<button type="button" class="{"selected" if axis == wanted.axis else ""}" data-ask="{ask(axis=axis)}">'
        f"{esc(t(f'axis.{axis}', lang))}</button>"
        for axis in AXES
    )
    smoothing = f"{wanted.smoothing:.2f}"
    return (
        f'<div class="board-tools"><label><span>{esc(t("overlay.metric", lang))}</span>'
        f'<select data-name="metric" id="overlay-metric">{figures}</select></label>'
        f'<div class="tool"><span>{esc(t("overlay.by", lang))}</span><span class="axes">{axes}</span></div>'
        f'<label><span>{esc(t("overlay.smoothing", lang))}</span><input type="range" data-name="smoothing" min="0" '
        f'max="{MOST_SMOOTHING}" step="0.01" value="{smoothing}"><output>{smoothing}</output></label>'
        f'<label class="tick"><input type="checkbox" data-name="log"{" checked" if wanted.log else ""}>'
        f"{esc(t('overlay.log', lang))}</label></div>"
    )


def _saves(kind: str, wanted: Wanted) -> str:
    name = esc(f"{wanted.metric}-{wanted.axis}.{kind}")
    return f'data-png="{name}"' if kind == "png" else f'data-ask="{ask(save=kind)}"'


def difference_tools(everything: bool, rows: Sequence[Setting], lang: str) -> str:
    if not rows:
        return ""
    said = t("differ.count", lang, n=count(sum(row.differs for row in rows)), total=count(len(rows)))
    return (
        f'<div class="board-tools"><label class="tick"><input type="checkbox" data-name="only"'
        f"{'' if everything else ' checked'}>{esc(t('differ.only', lang))}</label>"
        f'<span class="quiet">{esc(said)}</span></div>'
    )


# -- curves -----------------------------------------------------------------------------------------------------------
def overlay(curves: Sequence[RunCurve], wanted: Wanted, lang: str) -> str:
    if not curves:
        return empty(t("overlay.nothing", lang))
    drawing = svg(curves, wanted, overlay_words(wanted, lang))
    without = [curve.name for curve in curves if not curve.points]
    if not drawing:
        return empty(t("overlay.no_points", lang))
    more = f'<p class="quiet">{esc(t("overlay.some_missing", lang, names=few(without)))}</p>' if without else ""
    saved = "".join(
        f'<button type="button" class="to" {_saves(kind, wanted)}>{kind.upper()}</button>' for kind in SAVED_AS
    )
    save = f'<div class="overlay-save"><span>{esc(t("overlay.save", lang))}</span>{saved}</div>'
    return f'<div class="overlay-box">{drawing}</div>{more}{save}'


def overlay_words(wanted: Wanted, lang: str) -> dict[str, str]:
    """What the drawing says, in the language of the page."""
    said = {name: t(f"axis.{name}", lang) for name in (*AXES, "days", "hours", "minutes", "seconds")}
    return {**said, "metric": name_of(wanted.metric, lang)}


# -- settings ---------------------------------------------------------------------------------------------------------
def differences(
    runs: Sequence[RunDir], names: Sequence[str], rows: Sequence[Setting], everything: bool, lang: str
) -> str:
    """A table with a column for each run; what differs is marked where everything is shown."""
    if len(runs) < 2:
        return empty(t("differ.nothing", lang))
    wanted = [row for row in rows if everything or row.differs]
    if not wanted:
        return empty(t("differ.none", lang))
    heads = "".join(
        f'<th title="{esc(run.id)}"><button type="button" class="to" data-ask="{ask(run=run.id)}">{esc(name)}</button>'
        f'<button type="button" class="drop" data-ask="{ask(untick=run.id)}" aria-label="×">×</button></th>'
        for run, name in zip(runs, names, strict=True)
    )
    body, section = [], ""
    for row in wanted:
        if row.section != section:
            section = row.section
            body.append(
                f'<tr class="section"><th colspan="{len(runs) + 1}">{esc(section_name(section, lang))}</th></tr>'
            )
        stage = next(run.stage for run, value in zip(runs, row.values, strict=True) if value is not ABSENT)
        cells = "".join(f"<td>{_value(row.key, value, runs[0].path.parent, lang)}</td>" for value in row.values)
        marked = ' class="changed"' if everything and row.differs else ""
        body.append(f'<tr{marked}><th title="{esc(row.key)}">{esc(label(stage, row.key, lang))}</th>{cells}</tr>')
    return (
        f'<div class="scroll differ"><table class="table"><thead><tr><th></th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _value(key: str, value: Any, beside: Path, lang: str) -> str:
    if value is ABSENT:
        return f'<span class="quiet">{esc(t("differ.absent", lang))}</span>'
    if isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(each, Mapping) for each in value)):
        return f"<code>{esc(value)}</code>"
    return esc(by_name(shown(key, value, lang), beside, with_id=True))
