"""The recipe pane as HTML: inputs, steps, the menu of steps, the name of the result. No gradio.

`recipe.js` works on it: `data-act` says what a click does, `data-path` which value of the draft a field holds. The
pane's token changes where the server's draft is to replace the browser's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.configs.files import Preset
from core.configs.steps import STEPS
from core.data.store.library import Dataset
from core.errors import GalenError, Problem
from webui import views
from webui.figures import count, esc
from webui.messages import error_text, problem_text
from webui.recipe_draft import Complaints, Draft, steps_from
from webui.text import t
from webui.text_steps import GROUPS, group_of, step_label
from webui.views_data import named
from webui.views_effect import Effect
from webui.views_step import labelled, step_item, step_menu, text_control

OFFERED = 6  # presets that an empty recipe offers


@dataclass(frozen=True)
class Surroundings:
    """What the pane shows beside the draft. `dataset` is the draft's own."""

    dataset: Dataset
    others: Sequence[Dataset]
    presets: Sequence[Preset]
    effects: Mapping[int, Effect] = field(default_factory=dict)  # by a step's id


def pane(draft: Draft, token: str, told: Complaints, about: Surroundings, lang: str) -> str:
    """The whole pane; the same structure for every draft, so that an answer moves no field under a cursor."""
    steps = "".join(
        step_item(step, at, at == len(draft.steps) - 1, told, about.effects.get(step.id), lang)
        for at, step in enumerate(draft.steps)
    )
    teach = "" if draft.steps else _empty(about.presets, lang)
    refs = "".join(f'<option value="{esc(dataset.ref)}">' for dataset in (about.dataset, *about.others))
    return (
        f'<div class="recipe" data-token="{esc(token)}" data-draft="{esc(draft.to_json())}">'
        f'<div class="rec-other">{_others(told.other, lang)}</div>{_inputs(draft, told, about, lang)}'
        f'<ol class="rec-steps">{steps}</ol><div class="rec-teach">{teach}</div>{_menu(lang)}'
        f'{_result_fields(draft, told, about.dataset, lang)}<datalist id="recipe-datasets">{refs}</datalist></div>'
    )


def no_dataset(lang: str) -> str:
    return views.empty(t("recipe.no_dataset", lang))


def _others(problems: Sequence[Problem], lang: str) -> str:
    return "".join(views.say(f"{p.key}: {problem_text(p, lang)}" if p.key else problem_text(p, lang)) for p in problems)


# -- what goes in -----------------------------------------------------------------------------------------------------
def _inputs(draft: Draft, told: Complaints, about: Surroundings, lang: str) -> str:
    rows = [_input(draft.ref, about.dataset, "weight", draft.weight, None, told.inputs.get(0), lang)]
    known = {dataset.ref: dataset for dataset in about.others}
    for at, mixed in enumerate(draft.mixed):
        path = f"mixed.{at}.weight"
        problem = told.inputs.get(at + 1)
        rows.append(_input(mixed.dataset, known.get(mixed.dataset), path, mixed.weight, at, problem, lang))
    return f'<ul class="rec-inputs">{"".join(rows)}</ul>{_mixer(draft, about, lang)}'


def _input(
    ref: str, dataset: Dataset | None, path: str, weight: str, at: int | None, problem: Problem | None, lang: str
) -> str:
    rows = t("data.row_count", lang, rows=count(len(dataset))) if dataset is not None else ""
    away = (
        f'<button type="button" data-act="unmix" data-at="{at}" title="{esc(t("recipe.unmix", lang))}" '
        f'aria-label="{esc(t("recipe.unmix", lang))}">✕</button>'
        if at is not None
        else ""
    )
    said = esc(problem_text(problem, lang)) if problem else ""
    name, _, version = ref.partition("@")
    return (
        f'<li class="{"has-error" if problem else ""}"><b>{esc(name)}</b><code>{esc(version)}</code>'
        f'<span class="quiet">{esc(rows)}</span><label title="{esc(t("recipe.weight_help", lang))}">×'
        f'<input type="text" inputmode="decimal" spellcheck="false" autocomplete="off" '
        f'aria-label="{esc(t("recipe.weight", lang))}" data-path="{path}" data-value="{esc(weight)}"></label>'
        f'{away}<small class="rec-error">{said}</small></li>'
    )


def _mixer(draft: Draft, about: Surroundings, lang: str) -> str:
    """A picker of further inputs. Those of another kind of row are there, too, and say why they cannot be chosen."""
    taken = {draft.ref, *(mixed.dataset for mixed in draft.mixed)}
    options = []
    for dataset in about.others:
        if dataset.ref in taken:
            continue
        fits = dataset.card.kind == about.dataset.card.kind
        rows = t("data.row_count", lang, rows=count(len(dataset)))
        note = rows if fits else t("recipe.other_kind", lang, kind=named("kind", dataset.card.kind, lang))
        options.append((not fits, f"{dataset.ref} · {note}", dataset.ref))
    listed = "".join(
        f'<option value="{esc(ref)}"{" disabled" if off else ""}>{esc(label)}</option>'
        for off, label, ref in sorted(options, key=lambda option: option[0])
    )
    hidden = "" if listed else " hidden"
    return (
        f'<select class="rec-mixer" data-mix data-value="" aria-label="{esc(t("recipe.mix", lang))}"{hidden}>'
        f'<option value="">{esc(t("recipe.mix", lang))}</option>{listed}</select>'
    )


# -- what may be added ------------------------------------------------------------------------------------------------
def _menu(lang: str) -> str:
    groups = "".join(step_menu([do for do in STEPS if group_of(do) == group], group, lang) for group in GROUPS)
    return (
        f'<div class="rec-add"><button type="button" class="rec-button" data-act="menu" aria-haspopup="true">'
        f'{esc(t("recipe.add", lang))}</button><div class="rec-menu">{groups}</div></div>'
    )


def _empty(presets: Sequence[Preset], lang: str) -> str:
    """What a recipe is, and ready ones to start from."""
    offers = "".join(
        f'<button type="button" class="rec-offer" data-act="preset" data-name="{esc(preset.name)}">'
        f"<b>{esc(preset.name)}</b><span>{esc(about_preset(preset, lang))}</span></button>"
        for preset in presets[:OFFERED]
    )
    listed = f'<div class="rec-offers">{offers}</div>' if offers else ""
    return f'<div class="empty">{esc(t("recipe.empty", lang))}</div>{listed}'


def about_preset(preset: Preset, lang: str) -> str:
    """The steps of a preset, in a line."""
    try:
        recipe = preset.read().get("recipe")
    except GalenError:
        return ""
    steps = steps_from(recipe.get("steps") if isinstance(recipe, dict) else None)
    return " · ".join(step_label(step.do, lang) for step in steps)


# -- what comes out ---------------------------------------------------------------------------------------------------
def _result_fields(draft: Draft, told: Complaints, dataset: Dataset, lang: str) -> str:
    hint = t("recipe.output_hint", lang, name=dataset.name)
    output = text_control("output", draft.output, hint=hint)
    seed = text_control("seed", draft.seed, "numeric")
    fields = labelled(
        t("recipe.output", lang), output, t("recipe.output_help", lang), told.own.get("output"), lang
    ) + labelled(t("recipe.seed", lang), seed, t("recipe.seed_help", lang), told.own.get("seed"), lang)
    return f'<div class="rec-fields rec-result">{fields}</div>'


def complaint(error: BaseException, told: Complaints, lang: str) -> str:
    """For beside the buttons: how much is wrong where it is told elsewhere, or what went wrong."""
    placed = told.count - len(told.other)
    return views.say(t("recipe.wrong", lang, count=placed)) if placed else views.say(*error_text(error, lang))
