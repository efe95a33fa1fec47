"""A small run beside a page's main work: one that brings a model, makes a dataset, extends a vocabulary, measures.

    side = SideRun(page, "fetch", brought=…)                  no components of its own: what a run of a stage is
    updates = side.follow(catalog, lang, awaited)             shown as, stopped and resumed by
    card = SideCard(side, …); card.build(); card.wire(…)      a start button with progress, Stop, Resume and a result

Such a run is a run like any other: it is read from its files and goes on without the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.errors import GalenError, Problem
from core.jobs import store
from core.jobs.store import RunSummary
from core.rundir import RunDir, State
from webui import views
from webui.catalog import Catalog
from webui.confine import confine
from webui.figures import esc
from webui.messages import error_text, problem_text
from webui.page import QUIET, Page
from webui.text_fields import label

Brought = Callable[[Catalog, RunDir], str]
FOLLOWED = 5  # updates of `SideRun.follow`


class SideRun:
    """The runs of one stage as something small: the newest that is not finished, and what an awaited one brings."""

    def __init__(self, page: Page, stage: str, brought: Brought, *, named: bool = False) -> None:
        """`brought`: what a finished run has put where it can be chosen; "" for nothing. `named`: show its name."""
        self.page = page
        self.stage = stage
        self.brought = brought
        self.named = named

    def newest(self, catalog: Catalog, *, kept: bool = False) -> RunSummary | None:
        """The run worth showing: the newest of the stage, while it lives, or unfinished and nothing was started since.

        `kept`: an unfinished one is worth showing whatever was started since.
        """
        run = next((run for run in catalog.runs if run.stage == self.stage), None)
        if run is None or run.state is State.SUCCEEDED:
            return None
        return run if run.state.live or run is catalog.runs[0] or kept else None

    def follow(self, catalog: Catalog, lang: str, awaited: str, *, kept: bool = False) -> list[Any]:
        """Updates of (progress, awaited, stop, resume, picker) after a change of the workspace.

        `awaited` is the run whose result this session wants in its picker; it is forgotten when that has come.
        """
        run = self.newest(catalog, kept=kept)
        live = run is not None and run.state.live
        brought = self.arrived(catalog, awaited)
        return [
            self.progress(run, lang) if run is not None else "",
            "" if brought else gr.skip(),
            gr.update(visible=live and run is not None and run.state is not State.STOPPING),
            gr.update(visible=run is not None and not live),
            gr.update(value=brought) if brought else gr.skip(),
        ]

    def progress(self, run: RunSummary, lang: str) -> str:
        try:
            shot = views.snapshot(self.page.workspace.run(run.id))
        except GalenError:  # deleted since the catalog was read
            return ""
        name = f'<p class="quiet">{esc(run.name)}</p>' if self.named else ""
        return name + views.progress(shot, lang)

    def arrived(self, catalog: Catalog, awaited: str) -> str:
        """What the awaited run has brought; empty until then."""
        run = next((run for run in catalog.runs if run.id == awaited), None)
        if run is None or run.state is not State.SUCCEEDED:
            return ""
        return self.brought(catalog, self.page.workspace.run(run.id))

    def act(self, *, stop: bool, kept: bool = False) -> str | None:
        """Stop the run that is shown, or go on with it; its id, or None where there is none. Raises GalenError."""
        run = self.newest(self.page.catalog.read(fresh=True), kept=kept)
        if run is not None and stop:
            store.stop(self.page.workspace.run(run.id))
        elif run is not None:
            store.resume(self.page.workspace, run.id)
        return run.id if run is not None else None


class SideCard:
    """A button that starts such a run with what the page holds, and beneath it how far it is and what came of it.

    values: the settings of the run by dotted key, made from the values of `inputs` (given to `wire`). shows: whether a
    finished run's result is still what these values ask for; the newest such one is shown by `result`. picks: what a
    run has brought goes into a picker.
    """

    def __init__(
        self,
        side: SideRun,
        ids: str,
        start: str,
        values: Callable[[Sequence[Any]], Mapping[str, Any]],
        shows: Callable[[RunDir, Mapping[str, Any]], bool],
        result: Callable[[RunDir, str], str],
        *,
        picks: bool = False,
    ) -> None:
        self.side = side
        self.ids = ids
        self.start_text = start
        self.values = values
        self.shows = shows
        self.result = result
        self.followed = FOLLOWED if picks else FOLLOWED - 1

    @property
    def page(self) -> Page:
        return self.side.page

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Row(elem_classes=["actions"]):
            self.start = labels.button(self.start_text, elem_id=f"{self.ids}-start", elem_classes=["slim"])
            self.stop = labels.button("run.stop", visible=False, elem_id=f"{self.ids}-stop", elem_classes=["slim"])
            self.resume = labels.button(
                "run.resume", visible=False, elem_id=f"{self.ids}-resume", elem_classes=["slim"]
            )
        self.note = gr.HTML("", elem_id=f"{self.ids}-note", elem_classes=["bare"])
        self.progress = gr.HTML("", elem_id=f"{self.ids}-progress", elem_classes=["bare"])
        self.shown = gr.HTML("", elem_id=f"{self.ids}-result", elem_classes=["bare"])
        self.awaited = gr.State("")

    def wire(self, inputs: Sequence[Any], shows_by: Sequence[Any], *pickers: Any) -> None:
        """`shows_by`: the inputs whose change asks for another result. The picker, if any, gets what a run brought."""
        lang, inputs = self.page.lang, list(inputs)
        told = [self.note, self.progress, self.awaited, self.stop, self.resume, *pickers, self.shown]
        self.start.click(self.begin, [lang, *inputs], told, **QUIET)
        for button, stops in ((self.stop, True), (self.resume, False)):
            button.click(self._acting(stops), [lang, *inputs], told, **QUIET)
        self.page.on_catalog(self.news, [self.awaited, *inputs], told[1:])
        changed = [component.change for component in shows_by]
        gr.on(changed, self.look, [lang, *inputs], self.shown, trigger_mode="multiple", **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, awaited: str, *values: Any) -> list[Any]:
        return [*self.side.follow(catalog, lang, awaited)[: self.followed], self._result(catalog, values, lang)]

    def look(self, lang: str, *values: Any) -> str:
        return self._result(self.page.catalog.read(), values, lang)

    def _result(self, catalog: Catalog, values: Sequence[Any], lang: str) -> str:
        wanted = self.values(values)
        for summary in catalog.runs:
            if summary.stage == self.side.stage and summary.state is State.SUCCEEDED:
                run = self.page.workspace.run(summary.id)
                if self.shows(run, wanted):
                    return self.result(run, lang)
        return ""

    # -- acting -------------------------------------------------------------------------------------------------------
    def begin(self, lang: str, *values: Any) -> list[Any]:
        """Submit the run, or say why it cannot be."""
        try:
            config, problems = self._config(values)
        except GalenError as error:
            problems, config = [*error.problems] or [Problem(error.code, error.params)], None
        if config is None or problems:
            said = " ".join(self._said(problem, lang) for problem in problems)
            return [views.say(said), *[gr.skip()] * (self.followed + 1)]
        try:
            run = store.submit(self.page.workspace, self.side.stage, config)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * (self.followed + 1)]
        return ["", *self._after(run.id, lang, values)]

    def _said(self, problem: Problem, lang: str) -> str:
        """The problem with the name of its field: there is one place for all of them."""
        where = f"{label(self.side.stage, problem.key, lang)}: " if problem.key else ""
        return where + problem_text(problem, lang)

    def _config(self, values: Sequence[Any]) -> tuple[StageConfig | None, list[Problem]]:
        wanted = {key: value for key, value in self.values(values).items() if value not in (None, "")}
        problems = confine(wanted, self.page.workspace)
        return resolve(self.side.stage, values=wanted, workspace=self.page.workspace), problems

    def _after(self, run_id: str | None, lang: str, values: Sequence[Any]) -> list[Any]:
        updates = self.news(self.page.catalog.read(fresh=True), lang, "", *values)
        updates[1] = run_id or gr.skip()
        return updates

    def _acting(self, stop: bool) -> Callable[..., list[Any]]:
        def act(lang: str, *values: Any) -> list[Any]:
            try:
                return ["", *self._after(self.side.act(stop=stop), lang, values)]
            except GalenError as error:
                return [views.say(*error_text(error, lang)), *[gr.skip()] * (self.followed + 1)]

        return act
