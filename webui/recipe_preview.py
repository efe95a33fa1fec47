"""A preview of a recipe as a session holds it: what each step would do, and whether that still holds. No gradio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.configs.data import Recipe
from core.data.recipe.preview import StepPreview, preview
from core.workspace import Workspace
from webui import views
from webui.figures import count
from webui.recipe_draft import Draft, read_values
from webui.text import t
from webui.views_effect import Effect


@dataclass(frozen=True)
class Previewed:
    """The preview that a session has on its screen, and the draft as it was then: a step's number in the list, its
    id and its settings."""

    inputs: Any
    steps: list[tuple[int, Any]]
    found: list[StepPreview]

    def effects(self, draft: Draft) -> dict[int, Effect]:
        """By a step's id: what was found, stale from the first step on that differs from then.

        What was typed is compared, so that a setting that is wrong now does not make the steps before it stale.
        """
        now = steps_of(draft)
        same = 0
        if self.inputs == inputs_of(draft):
            pairs = enumerate(zip(self.steps, now, strict=False))
            same = next((at for at, (old, new) in pairs if old != new), min(len(self.steps), len(now)))
        found = {number: seen for (number, _), seen in zip(self.steps, self.found, strict=True)}
        return {
            number: Effect(found[number], stale=at >= same) for at, (number, _) in enumerate(now) if number in found
        }


def inputs_of(draft: Draft) -> Any:
    """What the first step depends on."""
    return draft.ref, draft.weight, [(mixed.dataset, mixed.weight) for mixed in draft.mixed], draft.seed


def steps_of(draft: Draft) -> list[tuple[int, Any]]:
    return [(step.id, (step.do, read_values(step))) for step in draft.steps]


def look(workspace: Workspace, draft: Draft, recipe: Recipe) -> Previewed:
    """Preview `recipe`, which is what `draft` means. Raises what `core.data.recipe.preview.preview` raises."""
    return Previewed(inputs_of(draft), steps_of(draft), preview(workspace, recipe))


def summary(found: list[StepPreview], lang: str) -> str:
    """How much was looked at, and what would be left of it."""
    first, last = found[0], found[-1]
    key = "recipe.sampled" if first.sampled else "recipe.whole"
    return views.say(t(key, lang, before=count(first.before), after=count(last.after)), tone="calm")
