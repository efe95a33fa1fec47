"""One step of a recipe as HTML: what it is, its settings in a line, what it would do, its form, examples. No gradio.

Values stand in `data-value`; `recipe.js` puts them into the fields. Everything that somebody wrote goes through `esc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from core.configs.sections import inner, is_advanced
from core.configs.steps import STEPS
from core.errors import Problem
from webui.figures import esc
from webui.messages import problem_text
from webui.recipe_draft import Complaints, DraftStep, default_text, fields_of_step
from webui.text import t
from webui.text_steps import choice_name, group_of, step_help, step_label
from webui.views_effect import Effect, effect_cell, examples

LONG = {"system.text"}  # texts of several lines
SETTINGS_SHOWN = 3
GROUP_TITLES = {"clean": "recipe.group_clean", "shape": "recipe.group_shape"}
NUMERIC = {int: "numeric", float: "decimal"}


def step_item(step: DraftStep, at: int, last: bool, told: Complaints, effect: Effect | None, lang: str) -> str:
    """One `<li>`. Its parts are always there, so that an answer of the server never moves a field under a cursor."""
    wrong = any(owner == step.id for owner, _ in told.steps)
    own = told.steps.get((step.id, ""))
    stale = effect is not None and effect.stale
    classes = " ".join(["rec-step", group_of(step.do), *(["wrong"] if wrong else []), *(["stale"] if stale else [])])
    return (
        f'<li class="{classes}" data-step="{step.id}"><div class="rec-row"><span class="rec-number">{at + 1}</span>'
        f'<button type="button" class="rec-what" data-act="open"><b>{esc(step_label(step.do, lang))}</b>'
        f'<span class="rec-set">{esc(settings_line(step, lang))}</span></button>'
        f'<div class="rec-effect">{effect_cell(effect, lang)}</div>{_tools(at, last, lang)}</div>'
        f'<p class="rec-wrong">{_said(own, lang)}</p>'
        f'<div class="rec-open"><p class="hint">{esc(step_help(step.do, lang))}</p>{step_form(step, told, lang)}'
        f'<div class="rec-examples">{examples(effect, lang)}</div></div></li>'
    )


def _tools(at: int, last: bool, lang: str) -> str:
    tools = (
        ("up", "recipe.up", "↑", at == 0),
        ("down", "recipe.down", "↓", last),
        ("open", "recipe.open", "✎", False),
        ("remove", "recipe.remove", "✕", False),
    )
    buttons = "".join(
        f'<button type="button" data-act="{act}" title="{esc(t(key, lang))}" aria-label="{esc(t(key, lang))}"'
        f"{' disabled' if off else ''}>{sign}</button>"
        for act, key, sign, off in tools
    )
    return f'<div class="rec-tools">{buttons}</div>'


def settings_line(step: DraftStep, lang: str) -> str:
    """The settings in one line: every changed one, and the first ones of those that stand at their default."""
    known = fields_of_step(step.do)
    typed = [name for name in known if name in step.values and step.values[name] != default_text(known[name])]
    basic = [name for name in known if not is_advanced(known[name]) and default_text(known[name]) not in ("", False)]
    shown = typed + [name for name in basic if name not in typed][: max(0, SETTINGS_SHOWN - len(typed))]
    parts = [_setting(step, name, lang) for name in known if name in shown]
    return " · ".join(part for part in parts if part)


def _setting(step: DraftStep, name: str, lang: str) -> str:
    info = fields_of_step(step.do)[name]
    value = step.values.get(name, default_text(info))
    label = step_label(step.do, lang, name)
    if value is True:
        return label
    if value is False or value == "":
        return f"{label}: {t('form.no' if value is False else 'form.empty', lang)}"
    words = [choice_name(name, word, lang) for word in str(value).split(", ")]
    text = ", ".join(words) if choices_of(info) else str(value)
    colon = "" if inner(info.annotation)[0] in NUMERIC else ":"
    return f"{label}{colon} {text if len(text) <= 40 else text[:39] + '…'}"


def choices_of(info: FieldInfo) -> tuple[str, ...]:
    """The values of a setting that has only a few, or of whose list each entry is one of a few."""
    kind, _ = inner(info.annotation)
    kind = get_args(kind)[0] if get_origin(kind) is list else kind
    return get_args(kind) if get_origin(kind) is Literal else ()


# -- the form ---------------------------------------------------------------------------------------------------------
def step_form(step: DraftStep, told: Complaints, lang: str) -> str:
    """Every setting as a field; the advanced ones behind a button, shown where one of them was changed or is wrong."""
    known = fields_of_step(step.do)
    plain = [name for name in known if not is_advanced(known[name])]
    more = [name for name in known if is_advanced(known[name])]
    used = any(name in step.values or (step.id, name) in told.steps for name in more)
    fields = "".join(step_field(step, name, told, lang) for name in plain)
    folded = "".join(step_field(step, name, told, lang) for name in more)
    button = f'<button type="button" class="rec-more" data-act="more">{esc(t("recipe.more", lang))}</button>'
    return (
        f'<div class="rec-fields">{fields}</div>{"" if used else button}'
        f'<div class="rec-fields rec-folded{" used" if used else ""}">{folded}</div>'
    )


def step_field(step: DraftStep, name: str, told: Complaints, lang: str) -> str:
    info = fields_of_step(step.do)[name]
    value = step.values.get(name, default_text(info))
    problem = told.steps.get((step.id, name))
    kind, _ = inner(info.annotation)
    return labelled(
        step_label(step.do, lang, name),
        step_control(step, name, info, value, lang),
        step_help(step.do, lang, name),
        problem,
        lang,
        tick=kind is bool,
        wide=f"{step.do}.{name}" in LONG or (get_origin(kind) is list and bool(choices_of(info))),
    )


def labelled(
    label: str, control_html: str, help_text: str, problem: Problem | None, lang: str, *,
    tick: bool = False, wide: bool = False,
) -> str:  # fmt: skip
    """A field with its label, its help, and what is wrong with it."""
    marks = {"tick": tick, "wide": wide, "has-error": problem is not None}
    classes = " ".join(["rec-field", *(mark for mark, on in marks.items() if on)])
    tag = 'div role="group"' if "rec-chips" in control_html else "label"
    name = f"<span>{esc(label)}</span>"
    inside = f"{control_html}{name}" if tick else f"{name}{control_html}"
    return (
        f'<{tag} class="{classes}">{inside}<small class="rec-help">{esc(help_text)}</small>'
        f'<small class="rec-error">{_said(problem, lang)}</small></{tag.split()[0]}>'
    )


def step_control(step: DraftStep, name: str, info: FieldInfo, value: str | bool, lang: str) -> str:
    """The widget of a step's setting, by its type alone."""
    kind, _ = inner(info.annotation)
    held = _held(f"steps.{step.id}.{name}", value)
    choices = choices_of(info)
    if kind is bool:
        return f'<input type="checkbox" {held}>'
    if choices and get_origin(kind) is list:
        picked = str(value).split(", ")
        chips = "".join(
            f'<button type="button" data-chip="{esc(word)}" aria-pressed="{str(word in picked).lower()}">'
            f"{esc(choice_name(name, word, lang))}</button>"
            for word in choices
        )
        return f'<span class="rec-chips" data-path="{esc(f"steps.{step.id}.{name}")}">{chips}</span>'
    if choices:
        options = "".join(
            f'<option value="{esc(word)}">{esc(choice_name(name, word, lang))}</option>' for word in choices
        )
        return f"<select {held}>{options}</select>"
    if f"{step.do}.{name}" in LONG:
        return f'<textarea rows="3" {held}></textarea>'
    listed = "recipe-datasets" if name in STEPS[step.do].datasets else ""
    hint = t("recipe.list_hint", lang) if get_origin(kind) is list else ""
    return text_control(f"steps.{step.id}.{name}", value, NUMERIC.get(kind, ""), hint, listed)


def text_control(path: str, value: str | bool, mode: str = "", hint: str = "", listed: str = "") -> str:
    """A field for text or a number. `listed`: the id of a list of suggestions."""
    more = (f' inputmode="{mode}"' if mode else "") + (f' list="{listed}"' if listed else "")
    held = _held(path, value)
    return f'<input type="text" spellcheck="false" autocomplete="off"{more} placeholder="{esc(hint)}" {held}>'


def _held(path: str, value: str | bool) -> str:
    return f'data-path="{esc(path)}" data-value="{esc(str(value).lower() if isinstance(value, bool) else value)}"'


def _said(problem: Problem | None, lang: str) -> str:
    return esc(problem_text(problem, lang)) if problem is not None else ""


def step_menu(dos: Sequence[str], group: str, lang: str) -> str:
    """The steps of a group, to be added by a click."""
    buttons = "".join(
        f'<button type="button" data-act="add" data-do="{esc(do)}"><b>{esc(step_label(do, lang))}</b>'
        f"<span>{esc(step_help(do, lang))}</span></button>"
        for do in dos
    )
    return f'<section class="{group}"><h4>{esc(t(GROUP_TITLES[group], lang))}</h4>{buttons}</section>'
