"""What a step does with rows, as HTML: before → after, and examples of what it drops and what it changes. No gradio.

Rows are shown as they are, escaped; long ones are cut, and what a step changed is marked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.data.recipe.preview import Example, StepPreview
from webui.figures import count, esc
from webui.messages import problem_text
from webui.text import has, t

SHOWN = 8  # examples of each
EXCERPT = 600  # characters of an example
DIFFED = 4000  # characters beyond which a change is shown without marks
CONTEXT = 60  # characters kept round a change


@dataclass(frozen=True)
class Effect:
    """A step's part of a preview. `stale`: something at or before the step was changed since."""

    preview: StepPreview
    stale: bool


# -- figures ----------------------------------------------------------------------------------------------------------
def effect_cell(effect: Effect | None, lang: str) -> str:
    """`1,000 → 987 · −1.3 %` with a bar of what is left; empty before the first preview."""
    if effect is None:
        return ""
    seen = effect.preview
    return counts(seen.before, seen.after, seen.changed, lang, parts=seen.parts, stale=effect.stale)


def counts(
    before: int, after: int, changed: int, lang: str, *, parts: Mapping[str, int] | None = None, stale: bool = False
) -> str:
    """What a step did in figures; `parts`: rows by the part's name, of a step that makes several datasets."""
    if stale:
        return _counts(before, after, [t("recipe.stale", lang)])
    facts = [] if after == before else [share_text(before, after)]
    facts += [t("recipe.changed", lang, n=count(changed))] if changed else []
    facts += [f"{name} {count(rows)}" for name, rows in (parts or {}).items()]
    facts += [t("recipe.nothing", lang)] if not facts else []
    return _counts(before, after, facts)


def _counts(before: int, after: int, facts: list[str]) -> str:
    share = min(1.0, after / before) if before else 1.0
    width = share * 100 if after >= before else min(share * 100, 99)  # what is lost is seen, however little
    return (
        f'<span class="rec-counts"><span>{count(before)} → <b>{count(after)}</b></span>'
        f"<em>{esc(' · '.join(facts))}</em></span>"
        f'<span class="rec-bar"><i style="width:{width:.1f}%"></i></span>'
    )


def share_text(before: int, after: int) -> str:
    """`−1.3 %`, `+100 %`; never rounded to nothing."""
    share = (after - before) / before * 100 if before else 100.0
    digits = 0 if abs(share) >= 10 else 1 if abs(share) >= 0.1 else 2
    return f"{'−' if share < 0 else '+'}{abs(share):.{digits}f} %"


# -- examples ---------------------------------------------------------------------------------------------------------
def examples(effect: Effect | None, lang: str) -> str:
    """The first rows that the step drops, with the reason, and the first that it changes, with the change marked."""
    if effect is None:
        return f'<p class="hint">{esc(t("recipe.no_preview", lang))}</p>'
    seen = effect.preview
    parts = [f'<p class="notice calm">{esc(t("recipe.stale_help", lang))}</p>'] if effect.stale else []
    if seen.dropped:
        items = "".join(_dropped(each, lang) for each in seen.dropped[:SHOWN])
        total = sum(seen.reasons.values())
        parts.append(_group("recipe.would_drop", total, min(SHOWN, len(seen.dropped)), items, lang))
    if seen.changed_rows:
        items = "".join(_changed(each, lang) for each in seen.changed_rows[:SHOWN])
        parts.append(_group("recipe.would_change", seen.changed, min(SHOWN, len(seen.changed_rows)), items, lang))
    if not seen.dropped and not seen.changed_rows:
        parts.append(f'<p class="hint">{esc(t("recipe.no_examples", lang))}</p>')
    return "".join(parts)


def _group(key: str, total: int, shown: int, items: str, lang: str) -> str:
    more = t("data.first_of", lang, shown=count(shown), count=count(total)) if shown < total else ""
    return f'<h5>{esc(t(key, lang))} <span>{esc(more)}</span></h5><ul class="rec-list">{items}</ul>'


def _dropped(each: Example, lang: str) -> str:
    reason = problem_text(each.problem, lang) if each.problem is not None else ""
    return f"<li>{_head(each, lang)}<b>{esc(reason)}</b></div><pre>{esc(cut(row_text(each.row, lang)))}</pre></li>"


def _changed(each: Example, lang: str) -> str:
    before = row_text(each.row, lang)
    if len(each.after) == 1:
        return f"<li>{_head(each, lang)}</div><pre>{marked(before, row_text(each.after[0], lang))}</pre></li>"
    rows = "".join(f"<pre>{esc(cut(row_text(row, lang)))}</pre>" for row in each.after[:3])
    became = esc(t("recipe.became", lang, n=count(len(each.after))))
    return f'<li>{_head(each, lang)}</div><pre>{esc(cut(before))}</pre><p class="hint">{became}</p>{rows}</li>'


def _head(each: Example, lang: str) -> str:
    return f'<div><span class="line">{esc(t("recipe.line", lang, n=count(each.line)))}</span>'


def row_text(row: Mapping[str, Any] | None, lang: str) -> str:
    """A canonical row as plain text: who says what."""
    parts = []
    for key, value in (row or {}).items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            said = [f"{_role(str(turn.get('role', '')), lang)}{turn.get('content', '')}" for turn in value]
            parts += said if key == "messages" else [f"[{_name(key, lang)}] " + "\n".join(said)]
        elif isinstance(value, list):
            parts.append(f"[{_name(key, lang)}] " + " / ".join(map(str, value)))
        elif value is not None:
            parts.append(str(value) if key == "text" else f"[{_name(key, lang)}] {value}")
    return "\n".join(parts)


def _name(key: str, lang: str) -> str:
    return t(f"role.{key}", lang) if has(f"role.{key}") else key


def _role(role: str, lang: str) -> str:
    return f"{_name(role, lang)}: " if role else ""


def cut(text: str, most: int = EXCERPT) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def marked(before: str, after: str) -> str:
    """`after` with what came marked as new and what went struck through; long stretches without a change left out."""
    if len(before) > DIFFED or len(after) > DIFFED:
        return f"<del>{esc(cut(before))}</del>\n<ins>{esc(cut(after))}</ins>"
    old, new = _words(before), _words(after)
    if sum(map(len, old)) and difflib.SequenceMatcher(None, old, new, autojunk=False).quick_ratio() < 0.3:
        return f"<del>{esc(cut(before))}</del>\n<ins>{esc(cut(after))}</ins>"
    out = []
    for kind, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        gone, come = "".join(old[i:j]), "".join(new[k:m])
        if kind == "equal":
            out.append(esc(_shortened(gone, first=i == 0, last=j == len(old))))
        else:
            out.append(
                (f"<del>{esc(cut(gone))}</del>" if gone else "") + (f"<ins>{esc(cut(come))}</ins>" if come else "")
            )
    return "".join(out)


def _words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+|\s+|.", text, re.DOTALL)


def _shortened(text: str, *, first: bool, last: bool) -> str:
    if len(text) <= 3 * CONTEXT:
        return text
    head, tail = ("" if first else text[:CONTEXT]), ("" if last else text[-CONTEXT:])
    return f"{head}…{tail}"
