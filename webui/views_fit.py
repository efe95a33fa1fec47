"""A fit estimate as HTML: one line for the verdict, the memory part by part, and what could be changed. No gradio.

`FIT_JS` tells the page which change was chosen: `apply` with the settings and their values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import Problem
from core.fit.estimate import DeviceFit, Fit
from core.fit.weighing import Rung, Verdict
from webui.figures import count, esc, roughly, size
from webui.messages import code_text, problem_text
from webui.text import has, t
from webui.text_fields import choice_label, label

FIT_JS = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-changes]');
  if (button) trigger('apply', {changes: JSON.parse(button.dataset.changes)}); });"""
VERDICTS = {"fits": "fit.fits", "tight": "fit.tight", "no": "fit.no"}
LEAST = 0.03  # a part of the memory below this share goes to the others


def pane(fit: Fit, stage: str, lang: str, *, button: str = "fit.apply") -> str:
    """The estimate of a form. `button`: what taking a change is called."""
    verdict = f'<span class="verdict">{esc(t(VERDICTS[fit.verdict], lang))}</span>'
    return (
        f'<div class="fit {fit.verdict}"><div class="fit-line">{verdict}'
        f"<span>{esc(_memory(fit, lang))}</span></div>{_bar(fit, lang)}"
        f'<div class="sub">{"".join(f"<span>{esc(fact)}</span>" for fact in facts(fit, lang))}</div>'
        f"{_notes(fit.notes, lang)}{ladder(fit.rungs, fit.verdict, stage, lang, button)}</div>"
    )


def facts(fit: Fit, lang: str) -> list[str]:
    """Beside the memory: the effective batch, steps, time, disk."""
    said = []
    if fit.rows_per_step:
        rows, tokens = count(round(fit.rows_per_step)), count(round(fit.tokens_per_step))
        said.append(t("fit.batch", lang, rows=rows, tokens=tokens))
    if fit.steps:
        said.append(t("fit.steps", lang, n=count(fit.steps)))
    if fit.seconds is not None:
        said.append(t("fit.time", lang, time=roughly(fit.seconds, lang)))
    if fit.disk:
        said.append(t("fit.disk", lang, disk=size(fit.disk), free=size(fit.disk_free)))
    return said


def _memory(fit: Fit, lang: str) -> str:
    """`total` against each device; devices that are alike are named together."""
    alike: dict[tuple[float, float], list[DeviceFit]] = {}
    for device in fit.devices:
        alike.setdefault((device.free, device.total), []).append(device)
    places = [
        t("fit.place", lang, free=size(free), device=", ".join(device.id for device in devices))
        for (free, _), devices in alike.items()
    ]
    return t("fit.memory", lang, total=size(fit.total), places="; ".join(places))


def _bar(fit: Fit, lang: str) -> str:
    """The parts side by side, as wide as their share of the free memory (of the total where it does not fit)."""
    room = max([fit.total, *(device.free for device in fit.devices[:1])]) or 1
    large = {name: value for name, value in fit.parts.items() if value >= LEAST * fit.total}
    rest = sum(fit.parts.values()) - sum(large.values())
    shown = [*sorted(large.items(), key=lambda item: -item[1]), *([("rest", rest)] if rest > 0 else [])]
    cells = "".join(
        f'<i class="p{at % 6}" style="width:{100 * value / room:.1f}%" '
        f'title="{esc(part_name(name, lang))} {size(value)}"></i>'
        for at, (name, value) in enumerate(shown)
    )
    keys = "".join(
        f'<span class="key p{at % 6}">{esc(part_name(name, lang))} <b>{size(value)}</b></span>'
        for at, (name, value) in enumerate(shown)
    )
    return f'<div class="fit-bar">{cells}</div><div class="fit-keys">{keys}</div>'


def part_name(name: str, lang: str) -> str:
    key = f"fit.part_{name}"
    return t(key, lang) if has(key) else name.replace("_", " ")


def _notes(notes: Sequence[Problem], lang: str) -> str:
    items = "".join(f"<li>{esc(problem_text(note, lang))}</li>" for note in notes)
    return f'<ul class="problem-list">{items}</ul>' if items else ""


# -- what could be changed --------------------------------------------------------------------------------------------
def ladder(rungs: Sequence[Rung], verdict: Verdict, stage: str, lang: str, button: str) -> str:
    """The changes that make it fit, or what there is room for; open where something must be changed."""
    if not rungs:
        return ""
    items = "".join(_rung(rung, stage, lang, button) for rung in rungs)
    title = t("fit.room" if verdict == "fits" else "fit.ladder", lang)
    opened = "" if verdict == "fits" else " open"
    return f'<details{opened}><summary>{esc(title)}</summary><ul class="rungs">{items}</ul></details>'


def _rung(rung: Rung, stage: str, lang: str, button: str) -> str:
    why = code_text(rung.code, {}, lang)[0] if rung.code else ""
    packed = esc(json.dumps(dict(rung.changes)))
    return (
        f'<li class="{rung.verdict}"><span>{esc(changes(rung.changes, stage, lang))}</span>'
        f"<b>{size(rung.total)}</b><em>{esc(t(VERDICTS[rung.verdict], lang))}</em>"
        f'<button type="button" data-changes="{packed}" title="{esc(why)}">{esc(t(button, lang))}</button></li>'
    )


def changes(changed: Mapping[str, Any], stage: str, lang: str) -> str:
    """`Batch size 1, Accumulation 8`."""
    return ", ".join(f"{label(stage, key, lang)} {_value(key, value, lang)}" for key, value in changed.items())


def _value(key: str, value: Any, lang: str) -> str:
    if isinstance(value, bool):
        return t("form.yes" if value else "form.no", lang)
    return choice_label(key, str(value), lang)
