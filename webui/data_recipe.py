"""The Data tab's part "Clean & shape": a recipe for the chosen dataset, its preview, its run, and what came of it.

    part = RecipePart(page); part.build()          inside the tab
    part.wire(chosen)                              chosen: a component that holds name@version

The recipe is one pane of our own HTML (`views_recipe`, `recipe.js`); the browser owns and keeps the draft and sends it
with every event. Short work is done here in a thread, long work is a run of the stage `prepare`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from core.configs.files import find_preset, list_presets, save_preset
from core.configs.stages import PrepareConfig
from core.data.store.library import Dataset
from core.errors import GalenError
from webui import views
from webui.catalog import Catalog
from webui.data_export import ExportPart
from webui.figures import esc
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.recipe_draft import STAGE, Complaints, Draft, check_draft, read_draft, recipe_yaml, steps_from
from webui.recipe_preview import Previewed, look, summary
from webui.recipe_run import RecipeRun
from webui.text import t
from webui.views_effect import Effect
from webui.views_made import MADE_JS, dropped_page, made_pane
from webui.views_recipe import Surroundings, complaint, no_dataset, pane

RECIPE_JS = (Path(__file__).parent / "recipe.js").read_text(encoding="utf-8")
TOP: tuple[int, int | None] = (0, None)  # the first page of the dropped rows, of all steps
KEPT = "JSON.stringify(galen.kept('recipes', {})[ref] ?? null)"


class RecipePart:
    """`build` in its place, `wire` when everything is built."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.run = RecipeRun(page)
        self.export = ExportPart(page)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        with gr.Column(elem_classes=["recipe-part"]):
            with gr.Column(elem_classes=["card"], visible=False) as self.made_card:
                self.made = gr.HTML("", js_on_load=MADE_JS, apply_default_css=False, elem_id="recipe-made")
            with gr.Column(elem_classes=["card"]):
                self._recipe()
            self.export.build()
        self.draft = gr.State(None)
        self.previewed = gr.State(None)
        self.turned_to = gr.State(TOP)  # the first dropped row that is shown, and the step that dropped it
        self.sent = gr.Textbox(visible=False)  # filled by the browser when a button is clicked

    def _recipe(self) -> None:
        labels = self.page.labels
        with gr.Row(elem_classes=["rec-head"]):
            labels.html(
                lambda lang: views.title(t("recipe.title", lang), t("recipe.title_note", lang)), elem_classes=["bare"]
            )
            self.preset = labels.field(
                gr.Dropdown, "form.preset", choices=[], value="", allow_custom_value=True, interactive=True,
                container=False, elem_id="recipe-preset", elem_classes=["rec-preset"],
            )  # fmt: skip
        self.list = gr.HTML("", js_on_load=RECIPE_JS, apply_default_css=False, elem_id="recipe")
        with gr.Column(visible=False, elem_classes=["rec-acting"]) as self.acting:
            with gr.Column(elem_classes=["rec-bottom"]):
                with gr.Row(elem_classes=["actions"]):
                    self.look = labels.button("recipe.preview", elem_id="recipe-preview")
                    self.start = labels.button("recipe.start", variant="primary", elem_id="recipe-start")
                    self.run.build_buttons()
                self.note = labels.passing("recipe-note")
                self.run.build_progress()
            with labels.accordion(
                "recipe.terminal", open=False, elem_id="recipe-terminal", elem_classes=["section", "other"]
            ):
                self.command = gr.HTML("", elem_id="recipe-command", elem_classes=["bare"])
                with gr.Row(elem_classes=["preset-save"]):
                    self.preset_name = labels.field(
                        gr.Textbox, "recipe.preset_name", lines=1, max_lines=1, interactive=True,
                        elem_id="recipe-preset-name", elem_classes=["field"],
                    )  # fmt: skip
                    self.preset_save = labels.button("form.preset_save", elem_classes=["slim"], elem_id="recipe-save")

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: Any) -> None:
        page, lang = self.page, self.page.lang
        shown = [self.draft, self.list, self.command]
        # The three events of the browser's own pane. The last change wins: the draft is fetched when the event is sent,
        # because one that had to wait would come with the data of the one before it.
        self.list.draft(
            self.edited, [self.sent, chosen, self.previewed, lang], [*shown, self.note], trigger_mode="always_last",
            js="(sent, ref, seen, lang) => [galen.draft?.() ?? '', ref, seen, lang]", **QUIET,
        )  # fmt: skip
        self.list.preset(self.preset_picked, [chosen, lang], [*shown, self.previewed, self.note, self.preset], **QUIET)
        self.preset.select(  # not `input`, which leaving the field gives off, too
            self.preset_chosen, [self.sent, chosen, lang],
            [*shown, self.previewed, self.note, self.preset],
            js="(sent, ref, lang) => [galen.draft?.() ?? '', ref, lang]", **EACH,
        )  # fmt: skip
        sent = [self.sent, chosen, self.previewed, lang]
        with_draft = "(sent, ref, seen, lang) => [galen.recipe?.() ?? '', ref, seen, lang]"
        redraw: dict[str, Any] = {
            "fn": self.redraw, "inputs": [self.draft, self.previewed, lang], "outputs": [self.list], **QUIET,
        }  # fmt: skip
        looked = self.look.click(self.tried, sent, [*shown, self.note], js=with_draft, **QUIET)
        looked.then(self.preview, [self.draft, lang], [self.previewed, self.note], **QUIET).then(**redraw)
        begun = self.start.click(self.tried, sent, [*shown, self.note], js=with_draft, **QUIET)
        self.run.wire(begun, self.draft, self.note, chosen)
        self.preset_save.click(
            self.save_preset, [self.preset_name, self.sent, chosen, self.previewed, lang],
            [*shown, self.note, self.preset],
            js="(name, sent, ref, seen, lang) => [name, galen.recipe?.() ?? '', ref, seen, lang]", **QUIET,
        )  # fmt: skip
        made = [self.made, self.turned_to]
        opened = [*shown, self.previewed, self.note, self.acting, *made, self.made_card, self.preset]
        chosen.change(
            self.opened, [chosen, self.sent, lang], opened, js=f"(ref, sent, lang) => [ref, {KEPT}, lang]", **QUIET
        )
        self.made.pick(picked, None, chosen, **EACH)
        self.made.turn(self.turned, [chosen, lang], made, **EACH)
        page.on_catalog(
            self.news, [chosen, self.draft, self.previewed, self.turned_to], [self.list, self.made, self.preset]
        )
        # Not `change`, which the page's opening gives off, too: its answer may come after somebody's first click.
        lang.input(self.retold, [self.previewed, lang], self.note, **QUIET)
        self.export.wire(chosen)

    # -- drawing ------------------------------------------------------------------------------------------------------
    def shown(self, draft: Draft, seen: Previewed | None, lang: str) -> tuple[list[Any], str]:
        """Updates of (draft, pane, command), and what to say beside the buttons where the draft is wrong."""
        config, told, error = check_draft(draft, self.page.workspace)
        effects = seen.effects(draft) if seen else {}
        said = complaint(error, told, lang) if error is not None else ""
        return [draft, self._pane(draft, told, effects, lang), command(config, lang)], said

    def _pane(self, draft: Draft, told: Complaints, effects: dict[int, Effect], lang: str) -> str:
        dataset = self.page.dataset(draft.ref)
        if dataset is None:
            return no_dataset(lang)
        others = [each for each in self.page.catalog.read().datasets if each.ref != draft.ref]
        presets = list_presets(STAGE, self.page.workspace)
        return pane(draft, draft.token, told, Surroundings(dataset, others, presets, effects), lang)

    def redraw(self, draft: Draft | None, seen: Previewed | None, lang: str) -> Any:
        """The pane of the draft as it is now, which may be newer than the event that asked for it."""
        return self.shown(draft, seen, lang)[0][1] if draft is not None else gr.skip()

    def news(self, catalog: Catalog, lang: str, ref: str | None, draft: Draft | None, seen: Any, at: Any) -> list[Any]:
        """Updates of (pane, made, presets) after a change of the workspace or of the language."""
        drawn = self.redraw(draft, seen, lang) if draft is not None else no_dataset(lang)
        dataset = self.page.dataset(ref)
        made = self._made(dataset, at, lang) if dataset is not None else ""
        return [drawn, made, gr.update(choices=self._preset_choices(lang))]

    def _preset_choices(self, lang: str) -> list[tuple[str, str]]:
        presets = list_presets(STAGE, self.page.workspace)
        named = [(t("form.preset_own", lang, name=p.name) if p.own else p.name, p.name) for p in presets]
        return [(t("recipe.preset_none", lang), ""), *named]

    # -- events of the pane -------------------------------------------------------------------------------------------
    def opened(self, ref: str | None, kept: str, lang: str) -> list[Any]:
        """Another dataset was chosen: its draft as the browser kept it, and how it was made."""
        dataset = self.page.dataset(ref)
        if dataset is None:
            hidden = gr.update(visible=False)
            return [None, no_dataset(lang), "", None, "", hidden, "", TOP, hidden, ""]
        draft = read_draft(kept, dataset.ref)
        draft.token = secrets.token_hex(4)
        made = self._made(dataset, TOP, lang)
        shown, _ = self.shown(draft, None, lang)
        return [*shown, None, "", gr.update(visible=True), made, TOP, gr.update(visible=bool(made)), ""]

    def edited(self, sent: str, ref: str | None, seen: Previewed | None, lang: str) -> list[Any]:
        draft = read_draft(sent, ref or "")
        if not draft.token:  # of a dataset that was in front a moment ago
            return [gr.skip()] * 4
        return [*self.shown(draft, seen, lang)[0], ""]

    def tried(self, sent: str, ref: str | None, seen: Previewed | None, lang: str) -> list[Any]:
        """A button was clicked: the draft as it stands, with everything told that is wrong with it."""
        draft = read_draft(sent, ref or "")
        if not draft.token:
            return [gr.skip()] * 4
        shown, said = self.shown(draft, seen, lang)
        return [*shown, said]

    def retold(self, seen: Previewed | None, lang: str) -> str:
        """The note in the other language: the preview's, the only one that lasts."""
        return summary(seen.found, lang) if seen is not None else ""

    # -- presets ------------------------------------------------------------------------------------------------------
    def preset_picked(self, event: gr.EventData, ref: str | None, lang: str) -> list[Any]:
        return self._take_preset(str(event._data["name"]), read_draft(event._data["draft"], ref or ""), lang)

    def preset_chosen(self, event: gr.SelectData, sent: str, ref: str | None, lang: str) -> list[Any]:
        if not event.value or not sent:
            return [gr.skip()] * 6
        return self._take_preset(str(event.value), read_draft(sent, ref or ""), lang)

    def _take_preset(self, name: str, draft: Draft, lang: str) -> list[Any]:
        """The preset's steps in place of the draft's; inputs and the result's name stay."""
        try:
            recipe = find_preset(STAGE, name, self.page.workspace).read().get("recipe")
        except GalenError as error:
            return [*[gr.skip()] * 4, views.say(*error_text(error, lang)), gr.skip()]
        held = recipe if isinstance(recipe, dict) else {}
        draft.steps = steps_from(held.get("steps"))
        draft.seed = str(held.get("seed", draft.seed))
        draft.token = secrets.token_hex(4)
        return [*self.shown(draft, None, lang)[0], None, "", name]

    def save_preset(self, name: str, sent: str, ref: str | None, seen: Previewed | None, lang: str) -> list[Any]:
        draft = read_draft(sent, ref or "")
        if not draft.token:
            return [gr.skip()] * 5
        shown, said = self.shown(draft, seen, lang)
        if said:
            return [*shown, said, gr.skip()]
        values = draft.config_values()
        try:
            kept = {key: values[key] for key in ("recipe.steps", "recipe.seed")}
            preset = save_preset(STAGE, (name or "").strip(), kept, self.page.workspace)
        except GalenError as error:
            return [*shown, views.say(*error_text(error, lang)), gr.skip()]
        note = views.say(t("form.preset_saved", lang, name=preset.name), tone="good")
        return [*shown, note, gr.update(choices=self._preset_choices(lang), value=preset.name)]

    # -- preview ------------------------------------------------------------------------------------------------------
    def preview(self, draft: Draft | None, lang: str) -> Iterator[list[Any]]:
        """What every step would do: first that it is being looked at, then what was found."""
        config = check_draft(draft, self.page.workspace)[0] if draft is not None else None
        if draft is None or config is None or not draft.steps:
            said = views.say(t("recipe.no_steps", lang), tone="calm") if config is not None else gr.skip()
            yield [gr.skip(), said]
            return
        yield [gr.skip(), busy(t("recipe.previewing", lang))]
        try:
            seen = look(self.page.workspace, draft, config.recipe)
        except GalenError as error:
            yield [None, views.say(*error_text(error, lang))]
            return
        yield [seen, summary(seen.found, lang)]

    # -- what was made ------------------------------------------------------------------------------------------------
    def _made(self, dataset: Dataset, at: tuple[int, int | None], lang: str) -> str:
        present = {each.ref for each in self.page.catalog.read().datasets}
        return made_pane(dataset, dropped_page(dataset.folder, *at), present, lang)

    def turned(self, event: gr.EventData, ref: str | None, lang: str) -> list[Any]:
        """Another page of the dropped rows, or those of one step."""
        dataset = self.page.dataset(ref)
        if dataset is None:
            return [gr.skip(), gr.skip()]
        step = str(event._data.get("step") or "")
        at = int(event._data.get("first") or 0), int(step) if step.isdigit() else None
        return [self._made(dataset, at, lang), at]


def picked(event: gr.EventData) -> str:
    """The dataset whose name was clicked."""
    return str(event._data["ref"])


def busy(text: str) -> str:
    return f'<div class="checking" role="status">{esc(text)}<div class="bar moving"><i></i></div></div>'


def command(config: PrepareConfig | None, lang: str) -> str:
    """The same from a terminal: the recipe as a file, and the line that runs it."""
    if config is None:
        return views.empty(t("recipe.not_yet", lang))
    text = recipe_yaml(config.recipe)
    button = (
        f'<button type="button" data-copy="{esc(text)}" data-done="{esc(t("run.copied", lang))}">'
        f"{esc(t('run.copy', lang))}</button>"
    )
    return (
        f'<div class="rec-yaml"><span class="log-name">recipe.yaml</span>{button}'
        f'<pre class="log">{esc(text)}</pre></div>'
        f"{views.command('python -m core prepare --config recipe.yaml', lang)}"
    )
