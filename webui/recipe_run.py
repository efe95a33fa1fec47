"""Making what a recipe says: short work here, in a thread; long work as a run of the stage `prepare`, which is shown
from its files and goes on without the page.

A run is followed by whoever looks at the page: after a reload it is there again, with its Stop or its Resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from core.configs.data import Recipe
from core.configs.stages import PrepareConfig
from core.data.recipe.prepare import INLINE_ROWS, prepare
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.errors import GalenError, StopRequested
from core.jobs import store
from core.records import Produced
from core.rundir import RunDir, read_record
from webui import views
from webui.catalog import Catalog
from webui.figures import count, esc
from webui.inline_work import Bench, Tell
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.recipe_draft import STAGE, Draft, check_draft
from webui.side_run import FOLLOWED, SideRun
from webui.text import t
from webui.text_steps import step_label


class RecipeRun:
    """The buttons and the progress of a recipe's run. `wire` connects them to whatever starts one."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.bench = Bench()
        self.side = SideRun(page, STAGE, "recipe", produced)

    # -- building -----------------------------------------------------------------------------------------------------
    def build_buttons(self) -> None:
        self.halt = self.page.labels.button("run.stop", visible=False, elem_id="recipe-halt")

    def build_progress(self) -> None:
        self.pane = self.side.build()
        self.awaited = gr.Textbox("", visible=False)  # the run whose datasets this browser wants to see

    def wire(self, begun: Any, draft: Any, note: Any, chosen: Any) -> None:
        """`begun`: the event after which `draft` is to be made."""
        lang = self.page.lang
        told = [self.pane, self.awaited, chosen]
        begun.then(self.launch, [draft, lang], [note, self.halt, *told], **QUIET)
        self.halt.click(self.halted, None, self.halt, **QUIET)
        self.pane.act(self.acted, lang, [note, *told], **EACH)
        self.page.on_catalog(self.news, [self.awaited], told)
        # The browser keeps it, so that a reloaded page still opens what the run makes.
        self.awaited.change(None, self.awaited, None, js="(id) => galen.keep('awaited', id)")
        once = "(now) => galen.awaiting ? now : (galen.awaiting = true, galen.kept('awaited', ''))"
        again = chosen.change(None, self.awaited, self.awaited, js=once)
        again.then(self.look_again, [self.awaited, lang], told, **QUIET)

    # -- starting -----------------------------------------------------------------------------------------------------
    def launch(self, draft: Draft | None, lang: str, request: gr.Request) -> Iterator[list[Any]]:
        """Updates of (note, halt, pane, awaited, chosen) while the recipe is made, or submitted."""
        config = check_draft(draft, self.page.workspace)[0] if draft is not None else None
        if config is None:  # what is wrong stands beside the fields already
            yield [gr.skip()] * (2 + FOLLOWED)  # of a generator that yields nothing Gradio empties all outputs
        elif does_nothing(config.recipe):
            yield [views.say(t("recipe.does_nothing", lang), tone="calm"), *[gr.skip()] * (1 + FOLLOWED)]
        elif rows_of(self.page, config.recipe) > INLINE_ROWS:
            yield self._submit(config, lang)
        else:
            yield from self._inline(config, session(request), lang)

    def _submit(self, config: PrepareConfig, lang: str) -> list[Any]:
        try:
            run = store.submit(self.page.workspace, STAGE, config)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * (1 + FOLLOWED)]
        return ["", gr.skip(), *self._after(run.id, lang)]

    def _inline(self, config: PrepareConfig, who: str, lang: str) -> Iterator[list[Any]]:
        skips = [gr.skip()] * FOLLOWED

        def make(tell: Tell, check_stop: Any) -> list[Dataset]:
            return prepare(self.page.workspace, config.recipe, on_progress=tell, check_stop=check_stop)

        work = self.bench.begin(who, make)
        if work is None:
            yield [views.say(t("recipe.busy", lang), tone="calm"), gr.skip(), *skips]
            return
        for at in work.follow():
            yield [making(at, len(config.recipe.steps), lang), gr.update(visible=not work.stopping), *skips]
        hidden = gr.update(visible=False)
        try:
            made = work.result() or []
        except StopRequested:
            yield [views.say(t("recipe.stopped", lang), tone="calm"), hidden, *skips]
        except Exception as error:
            yield [views.say(*error_text(error, lang)), hidden, *skips]
        else:
            self.page.catalog.read(fresh=True)
            yield ["", hidden, *skips[1:], made[0].ref]

    def halted(self, request: gr.Request) -> Any:
        self.bench.stop(session(request))
        return gr.update(visible=False)

    # -- following a run ----------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, awaited: str) -> list[Any]:
        """Updates of (pane, awaited, chosen) after a change of the workspace."""
        return self.side.follow(catalog, lang, awaited)

    def look_again(self, awaited: str, lang: str) -> list[Any]:
        return self.news(self.page.catalog.read(), lang, awaited) if awaited else [gr.skip()] * FOLLOWED

    def _after(self, awaited: Any, lang: str) -> list[Any]:
        updates = self.news(self.page.catalog.read(fresh=True), lang, "")
        updates[1] = awaited
        return updates

    def acted(self, event: gr.EventData, lang: str) -> list[Any]:
        try:
            awaited, note = self.side.act(event), ""
        except GalenError as error:
            awaited, note = gr.skip(), views.say(*error_text(error, lang))
        return [note, *self._after(awaited, lang)]


def produced(_: Catalog, run: RunDir) -> str:
    """The first dataset that a run has made."""
    made = read_record(run.produced_file, Produced)
    return made.datasets[0] if made and made.datasets else ""


def session(request: gr.Request | None) -> str:
    return str(request.session_hash) if request is not None else ""


def does_nothing(recipe: Recipe) -> bool:
    """Whether the result would be the first input as it is."""
    return not recipe.steps and len(recipe.inputs) == 1 and recipe.inputs[0].weight == 1


def rows_of(page: Page, recipe: Recipe) -> float:
    """Rows that the recipe reads, by its inputs and their weights."""
    return sum(len(open_dataset(page.workspace, entry.dataset)) * entry.weight for entry in recipe.inputs)


def making(at: tuple[Any, ...], steps: int, lang: str) -> str:
    """A bar for what `prepare` told: step (from 1), its name, rows done and in all."""
    said, right, width = t("recipe.making", lang), "", 0.0
    if at:
        step, name, done, total = at
        share = min(1.0, done / total) if total else 0.0
        width = (step - 1 + share) / (steps + 1) * 100
        label = t("recipe.writing", lang) if step > steps else f"{step}/{steps} · {step_label(name, lang)}"
        said, right = label, f"{count(done)} / {count(total)}"
    moving = "" if at else " moving"
    return (
        f'<div class="progress running" role="status"><div class="line"><b>{esc(said)}</b>'
        f'<span class="end">{esc(right)}</span></div>'
        f'<div class="bar{moving}"><i style="width:{width:.1f}%"></i></div></div>'
    )
