"""The Data tab's part "Annotate" as HTML: what a run has done so far, how a dataset was annotated, the rating pane.

The rating pane is a frame in the reader's language; `rating.js` puts the rows into it. No gradio.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.annotating.people import KEYS, MOST_ANSWERS
from core.configs.annotate import TaskKind
from core.data.store.dataset import Dataset
from core.rundir import RunDir, read_jsonl
from webui.figures import count, esc
from webui.text import t
from webui.text_fields import choice_label

GRADES: dict[TaskKind, tuple[str, str]] = {  # what the first and the last grade mean
    "difficulty": ("rate.key_easy", "rate.key_hard"),
    "score": ("rate.key_poor", "rate.key_good"),
}


def so_far(run: RunDir, lang: str) -> str:
    """Tokens, failures and cost of a run, from the last line of its metrics; "" before there is any."""
    rows, _ = read_jsonl(run.metrics_file)
    if not rows:
        return ""
    last = rows[-1]
    figures = {name: count(last.get(name) or 0) for name in ("tokens_in", "tokens_out", "failed")}
    said = t("annotate.so_far", lang, **figures)
    if last.get("cost") is not None:
        said += " · " + t("annotate.cost", lang, cost=f"{last['cost']:.4g}")
    return f'<p class="quiet annotate-sofar">{esc(said)}</p>'


def annotated_by(dataset: Dataset, lang: str) -> str:
    """How a dataset was annotated, in a line; "" for one that was not."""
    held = dataset.card.annotation
    if not held:
        return ""
    task, who = held.get("task") or {}, held.get("annotator") or {}
    said = [choice_label("task.kind", str(task.get("kind")), lang)]
    name = str(who.get("name") or "")
    said.append(t("annotate.by_model", lang, name=name) if name else t("annotate.by_person", lang))
    if held.get("cost") is not None:
        said.append(t("annotate.cost", lang, cost=f"{held['cost']:.4g}"))
    return f'<p class="made-line"><span>{esc(" · ".join(said))}</span></p>'


# -- rating -----------------------------------------------------------------------------------------------------------
def rating(runs: Sequence[Mapping[str, Any]], lang: str) -> str:
    """The frame of the rating pane; "" where no run has rows that wait. `runs`: {"id", "name"} of each."""
    if not runs:
        return ""
    options = "".join(f'<option value="{esc(run["id"])}">{esc(run["name"])}</option>' for run in runs)
    say = {name: t(key, lang, **({"n": "{n}"} if name == "unsent" else {})) for name, key in SAYS.items()}
    return (
        f'<div class="rate" tabindex="-1" data-runs="{esc(json.dumps([run["id"] for run in runs]))}" '
        f'data-keys="{KEYS}" data-say="{esc(json.dumps(say, ensure_ascii=False))}" lang="{lang}">'
        f'<div class="rate-head"><h3>{esc(t("rate.title", lang))}</h3>'
        f'<label class="rate-runs"><span>{esc(t("rate.runs", lang))}</span><select data-run>{options}</select></label>'
        f'<div class="rate-figures">{_figures(lang)}</div></div>'
        '<div class="bar"><i class="rate-share"></i></div>'
        f"{_texts(lang)}{_keys(lang)}"
        f'<div class="rate-foot"><span class="rate-note" role="status"></span>'
        f'<button type="button" class="act" data-make>{esc(t("rate.make", lang))}</button></div></div>'
    )


SAYS = {"done": "rate.done", "loading": "rate.loading", "unsent": "rate.unsent", "gone": "rate.gone"}


def _figure(name: str, key: str, lang: str) -> str:
    return f'<div><b class="rate-{name}">–</b><span>{esc(t(key, lang))}</span></div>'


def _figures(lang: str) -> str:
    shown = (("count", "rate.count"), ("left", "rate.left"), ("pace", "rate.pace"))
    return "".join(_figure(name, key, lang) for name, key in shown)


def _texts(lang: str) -> str:
    """Where the row stands; what it does not have is hidden."""
    return (
        '<div class="rate-row" aria-live="polite"><p class="rate-state"></p>'
        f'<section data-part="document"><h4>{esc(t("rate.document", lang))}</h4><pre></pre></section>'
        f'<section data-part="question"><h4>{esc(t("rate.question", lang))}</h4><pre></pre></section>'
        f'<section data-part="answer"><h4>{esc(t("rate.answer", lang))}</h4><pre></pre></section>'
        '<div class="rate-answers"></div>'
        f'<label class="rate-write"><span>{esc(t("rate.write", lang))}</span><textarea rows="6"></textarea></label>'
        "</div>"
    )


def _keys(lang: str) -> str:
    """Every key of every task as a button; the pane shows those of the task in front."""
    space = t("rate.space", lang)
    parts = [f'<span class="for-{task}">{_grades(task, lang)}</span>' for task in GRADES]
    pair = _key("1", "1", "rate.key_left", lang) + _key("2", "2", "rate.key_right", lang)
    numbers = "".join(_bare(str(at % 10)) for at in range(1, MOST_ANSWERS + 1))
    parts.append(f'<span class="for-pair">{pair}</span>')
    parts.append(f'<span class="for-list">{numbers}<em>{esc(t("rate.key_number", lang))}</em></span>')
    parts.append(
        f'<span class="for-rank">{_key("t", "T", "rate.key_tie", lang)}{_key("b", "B", "rate.key_bad", lang)}</span>'
    )
    parts.append(f'<span class="for-improve">{_key("f", "F", "rate.key_fine", lang)}</span>')
    parts.append(f'<span class="for-rank for-improve">{_key("e", "E", "rate.key_write", lang)}</span>')
    always = _key(" ", space, "rate.key_skip", lang) + _key("u", "U", "rate.key_undo", lang)
    parts.append(f"<span>{always}</span>")
    return f'<div class="rate-keys">{"".join(parts)}</div>'


def _grades(task: TaskKind, lang: str) -> str:
    low, high = GRADES[task]
    numbers = "".join(_bare(str(at)) for at in range(1, KEYS + 1))
    return f"<em>{esc(t(low, lang))}</em>{numbers}<em>{esc(t(high, lang))}</em>"


def _key(key: str, shown: str, text: str, lang: str) -> str:
    return f'<button type="button" data-key="{key}"><kbd>{esc(shown)}</kbd>{esc(t(text, lang))}</button>'


def _bare(key: str) -> str:
    return f'<button type="button" data-key="{key}"><kbd>{key}</kbd></button>'
