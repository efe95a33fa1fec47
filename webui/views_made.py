"""How a dataset came about, as HTML: its parents, each step with its counts, and the rows that were dropped. No gradio.

`MADE_JS` tells the page of clicks: `pick` a dataset, `turn` a page of the dropped rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from core.data.store.dataset import Dataset
from webui import views
from webui.figures import count, esc
from webui.messages import code_text
from webui.recipe_draft import Draft, steps_from
from webui.text import t
from webui.text_steps import step_label
from webui.views_annotate import annotated_by
from webui.views_effect import counts, cut, row_text
from webui.views_step import settings_line

PAGE_ROWS = 20
MADE_JS = """
element.addEventListener('click', (e) => {
  const pick = e.target.closest('[data-ref]');
  if (pick) {
    if (pick.dataset.again) {
      const all = galen.kept('recipes', {});
      all[pick.dataset.ref] = JSON.parse(pick.dataset.again);
      galen.keep('recipes', all);
    }
    return trigger('pick', {ref: pick.dataset.ref});
  }
  const turn = e.target.closest('[data-first]');
  if (turn && !turn.disabled) trigger('turn', {first: Number(turn.dataset.first), step: turn.dataset.step});
});
element.addEventListener('change', (e) => {
  if (e.target.matches('[data-filter]')) trigger('turn', {first: 0, step: e.target.value});
});
"""


# -- what was dropped -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DroppedPage:
    """Some of a dataset's dropped rows; `total` counts all that `step` dropped (None: every one)."""

    rows: Sequence[Mapping[str, Any]]
    first: int
    total: int
    step: int | None


def dropped_page(folder: Path, first: int, step: int | None = None) -> DroppedPage:
    """A page of `dropped.parquet`, read without the rest. Versions of earlier days know no steps."""
    path = folder / "dropped.parquet"
    if not path.is_file():
        return DroppedPage([], 0, 0, step)
    with pq.ParquetFile(path) as file:
        if "step" in file.schema_arrow.names:
            steps = file.read(["step"]).column("step").fill_null(0).to_numpy()
        else:
            steps = np.zeros(file.metadata.num_rows, dtype=np.int64)
        places = np.arange(len(steps)) if step is None else np.flatnonzero(steps == step)
        last = max(0, len(places) - 1) // PAGE_ROWS * PAGE_ROWS
        first = min(max(0, first) // PAGE_ROWS * PAGE_ROWS, last)
        rows = _read(file, places[first : first + PAGE_ROWS])
    return DroppedPage(rows, first, len(places), step)


def _read(file: Any, wanted: Any) -> list[dict[str, Any]]:
    """The rows at these places, from the row groups that hold them."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    ends = np.cumsum([0, *sizes])
    found: list[dict[str, Any]] = []
    for group in np.unique(np.searchsorted(ends, wanted, side="right") - 1).tolist():
        within = wanted[(wanted >= ends[group]) & (wanted < ends[group + 1])] - ends[group]
        found += file.read_row_group(group).take(within).to_pylist()
    return found


# -- the pane ---------------------------------------------------------------------------------------------------------
def made_pane(dataset: Dataset, page: DroppedPage, present: set[str], lang: str) -> str:
    """Parents, steps and dropped rows of a dataset; "" for one that no recipe made and that lost no row.

    `present`: the datasets there are, as name@version.
    """
    card = dataset.card
    if card.recipe is None and card.annotation is None and not card.dropped:
        return ""
    head = _head(dataset, present, lang) + _steps(dataset, lang) if card.recipe is not None else ""
    if card.annotation is not None:
        head = _head(dataset, present, lang) + annotated_by(dataset, lang)
    return f'<div class="made-of">{head}{dropped_table(dataset, page, lang)}</div>'


def _head(dataset: Dataset, present: set[str], lang: str) -> str:
    card = dataset.card
    parents = " + ".join(_ref(ref, ref in present) for ref in card.parents)
    siblings = [f"{name}@{dataset.version}" for name in card.parts if name != dataset.name]
    parts = ""
    if siblings:
        listed = " ".join(_ref(ref, ref in present) for ref in siblings)
        parts = f'<p class="made-line"><span>{esc(t("made.siblings", lang))}</span>{listed}</p>'
    again = ""
    if card.recipe is not None and card.parents and card.parents[0] in present:
        again = (
            f'<button type="button" class="rec-button" data-ref="{esc(card.parents[0])}" '
            f'data-again="{esc(again_draft(dataset))}">{esc(t("made.again", lang))}</button>'
        )
    line = f'<p class="made-line"><span>{esc(t("made.from", lang))}</span>{parents}{again}</p>'
    return views.title(t("made.title", lang), dataset.ref) + line + parts


def _ref(ref: str, there: bool) -> str:
    name, _, version = ref.partition("@")
    inside = f"{esc(name)}<code>{esc(version)}</code>"
    return f'<button type="button" class="made-ref" data-ref="{esc(ref)}">{inside}</button>' if there else inside


def again_draft(dataset: Dataset) -> str:
    """The recipe that made `dataset`, as a draft for its first parent."""
    recipe = dataset.card.recipe or {}
    inputs = [entry for entry in recipe.get("inputs", []) if isinstance(entry, dict)]
    parents = dataset.card.parents
    plain = Draft(parents[0], steps_from(recipe.get("steps")), output=str(recipe.get("output") or ""))
    plain.seed = str(recipe.get("seed", plain.seed))
    held = json.loads(plain.to_json())
    held["weight"] = f"{inputs[0].get('weight', 1):g}" if inputs else "1"
    further = zip(parents[1:], inputs[1:], strict=False)
    held["mixed"] = [{"dataset": ref, "weight": f"{entry.get('weight', 1):g}"} for ref, entry in further]
    return json.dumps(held, ensure_ascii=False)


def _steps(dataset: Dataset, lang: str) -> str:
    drafted = steps_from((dataset.card.recipe or {}).get("steps"))
    items = []
    for at, step in enumerate(dataset.card.steps):
        settings = settings_line(drafted[at], lang) if at < len(drafted) and drafted[at].do == step.do else ""
        items.append(
            f'<li class="rec-step"><div class="rec-row"><span class="rec-number">{at + 1}</span>'
            f'<div class="rec-what"><b>{esc(step_label(step.do, lang))}</b>'
            f'<span class="rec-set">{esc(settings)}</span></div>'
            f'<div class="rec-effect">{counts(step.before, step.after, step.changed, lang)}</div></div></li>'
        )
    return f'<ol class="rec-steps">{"".join(items)}</ol>' if items else ""


def dropped_table(dataset: Dataset, page: DroppedPage, lang: str) -> str:
    """The dropped rows with line, reason and the row itself, a page of them, and what turns the pages."""
    card = dataset.card
    if not card.dropped:
        return f'<p class="hint">{esc(t("made.none_dropped", lang))}</p>' if card.recipe is not None else ""
    rows = "".join(_dropped_row(row, lang) for row in page.rows)
    heads = "".join(
        f'<th class="{name}">{esc(t(key, lang))}</th>'
        for name, key in (("line", "data.line"), ("why", "data.reason"), ("row", "made.row"))
    )
    table = f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    title = views.title(t("made.dropped", lang), t("made.dropped_note", lang, n=count(card.dropped)))
    bar = f'<div class="made-bar">{title}{_filter(dataset, page, lang)}{_pager(page, lang)}</div>'
    return f'{bar}<div class="scroll made-rows">{table}</div>'


def _dropped_row(row: Mapping[str, Any], lang: str) -> str:
    params = _mapping(row.get("params"))
    said = code_text(str(row.get("code")), params, lang)[0] if params is not None else str(row.get("message") or "")
    whole = _mapping(row.get("row"))
    text = row_text(whole, lang) if whole else str(row.get("excerpt") or "")
    line = "–" if row.get("line") is None else count(row["line"])
    step = f'<span class="made-step">{row["step"]}</span>' if row.get("step") else ""
    return (
        f'<tr><td class="line">{line}</td><td class="why">{step}{esc(said)}</td>'
        f'<td class="row"><pre>{esc(cut(text))}</pre></td></tr>'
    )


def _mapping(text: Any) -> dict[str, Any] | None:
    try:
        held = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return held if isinstance(held, dict) else None


def _filter(dataset: Dataset, page: DroppedPage, lang: str) -> str:
    """A choice of the step whose dropped rows are shown; none where only one step dropped any."""
    droppers = [at for at, step in enumerate(dataset.card.steps, 1) if step.after < step.before]
    if len(droppers) < 2:
        return ""
    options = [f'<option value="">{esc(t("made.all_steps", lang))}</option>']
    for at in droppers:
        chosen = " selected" if page.step == at else ""
        label = f"{at} · {step_label(dataset.card.steps[at - 1].do, lang)}"
        options.append(f'<option value="{at}"{chosen}>{esc(label)}</option>')
    return f'<select data-filter aria-label="{esc(t("made.step", lang))}">{"".join(options)}</select>'


def _pager(page: DroppedPage, lang: str) -> str:
    last = min(page.total, page.first + PAGE_ROWS)
    note = t(
        "data.rows_from", lang, first=count(min(page.first + 1, page.total)), last=count(last), total=count(page.total)
    )
    step = "" if page.step is None else str(page.step)
    back, on = max(0, page.first - PAGE_ROWS), page.first + PAGE_ROWS
    return (
        f'<span class="made-pager"><span class="quiet">{esc(note)}</span>'
        f'<button type="button" data-first="{back}" data-step="{step}" aria-label="{esc(t("data.previous", lang))}"'
        f"{' disabled' if page.first == 0 else ''}>‹</button>"
        f'<button type="button" data-first="{on}" data-step="{step}" aria-label="{esc(t("data.next", lang))}"'
        f"{' disabled' if on >= page.total else ''}>›</button></span>"
    )
