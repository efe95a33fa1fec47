"""A small run beside a page's main work: one that brings a model, makes a dataset, extends a vocabulary, measures.

    side = SideRun(page, "fetch", "fetch", brought=…)         no components of its own: what a run of a stage is
    updates = side.follow(catalog, lang, awaited)             shown as, and `side.act` what is done to it
    card = SideCard(side, …); card.build(); card.wire(…)      a start button with progress and a result

Such a run is a run like any other: it is read from its files and goes on without the page. Its pane is one piece of
HTML: what it says, and the buttons that act on the very run that it names, change together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.errors import GalenError, InputError, Problem
from core.jobs import store
from core.jobs.store import RunSummary
from core.rundir import RunDir, State
from webui import views
from webui.catalog import Catalog
from webui.confine import confine
from webui.figures import clock, esc
from webui.messages import error_text, problem_text
from webui.page import EACH, QUIET, Page
from webui.text import t
from webui.text_fields import label

Brought = Callable[[Catalog, RunDir], str]
FOLLOWED = 3  # updates of `SideRun.follow`
PANE_JS = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-act]'); if (button) trigger('act', {...button.dataset}); });"""
# What a click may find that is so already: the pane, drawn anew, says it.
SO_ALREADY = ("run.not_live", "run.live", "run.finished")


class SideRun:
    """The runs of one stage as something small: the newest that is not finished, and what an awaited one brings."""

    def __init__(self, page: Page, stage: str, ids: str, brought: Brought) -> None:
        """`ids`: what the ids of its buttons begin with. `brought`: what a finished run has put where it can be chosen;
        "" for nothing."""
        self.page = page
        self.stage = stage
        self.ids = ids
        self.brought = brought

    def build(self) -> gr.HTML:
        """The pane that `follow` fills. Its event `act` tells of a click on a button: `{"act", "run"}`."""
        return gr.HTML("", js_on_load=PANE_JS, elem_id=f"{self.ids}-progress", elem_classes=["bare"])

    def newest(self, catalog: Catalog, *, kept: bool = False) -> RunSummary | None:
        """The run worth showing: the newest of the stage, while it lives, or unfinished and nothing was started since,
        until it is dismissed.

        `kept`: an unfinished one is worth showing whatever was started since.
        """
        run = next((run for run in catalog.runs if run.stage == self.stage), None)
        if run is None or run.state is State.SUCCEEDED or (run.id in self.page.dismissed and not run.state.live):
            return None
        return run if run.state.live or run is catalog.runs[0] or kept else None

    def follow(self, catalog: Catalog, lang: str, awaited: str, *, kept: bool = False) -> list[Any]:
        """Updates of (pane, awaited, picker) after a change of the workspace.

        `awaited` is the run whose result this session wants in its picker; it is forgotten when that has come.
        """
        run = self.newest(catalog, kept=kept)
        brought = self.arrived(catalog, awaited)
        return [
            self.pane(run, lang) if run is not None else "",
            "" if brought else gr.skip(),
            gr.update(value=brought) if brought else gr.skip(),
        ]

    def pane(self, summary: RunSummary, lang: str) -> str:
        """The run's name, how far it is, and what can be done with it."""
        try:
            run = self.page.workspace.run(summary.id)
        except GalenError:  # deleted since the catalog was read
            return ""
        shot = views.snapshot(run)
        live = shot.state.live
        acts = [("stop", "run.stop")] if live and shot.state is not State.STOPPING else []
        acts += [("resume", "run.resume")] if store.resumable(run, shot.state) else []
        acts += [] if live else [("dismiss", "bring.dismiss")]
        buttons = "".join(
            f'<button type="button" class="act" id="{self.ids}-{act}" data-act="{act}" data-run="{esc(run.id)}">'
            f"{esc(t(key, lang))}</button>"
            for act, key in acts
        )
        name = f"{summary.name} · {clock(summary.created)}"
        return (
            f'<article class="import beside"><div class="import-head"><b title="{esc(run.id)}">'
            f'{esc(name)}</b><span class="acts">{buttons}</span></div>'
            f"{views.progress(shot, lang, store.stop_deadline(run))}</article>"
        )

    def arrived(self, catalog: Catalog, awaited: str) -> str:
        """What the awaited run has brought; empty until then."""
        run = next((run for run in catalog.runs if run.id == awaited), None)
        if run is None or run.state is not State.SUCCEEDED:
            return ""
        return self.brought(catalog, self.page.workspace.run(run.id))

    def act(self, event: gr.EventData) -> Any:
        """Stop the run that was clicked, go on with it, or show it no more.

        Returns an update of `awaited`. Raises GalenError.
        """
        data = event._data or {}
        run = self.page.workspace.run(str(data.get("run")))
        if run.stage != self.stage:
            raise InputError("run.not_found", run=run.id)
        try:
            if data.get("act") == "stop":
                store.stop(run)
            elif data.get("act") == "resume":
                store.resume(self.page.workspace, run.id)
                self.page.dismissed.discard(run.id)
                return run.id
            elif data.get("act") == "dismiss":
                self.page.dismissed.add(run.id)
        except GalenError as error:
            if error.code not in SO_ALREADY:
                raise
        return gr.skip()


class SideCard:
    """A button that starts such a run with what the page holds, and beneath it how far it is and what came of it.

    values: the settings of the run by dotted key, made from the values of `inputs` (given to `wire`). shows: whether a
    finished run's result is still what these values ask for; the newest such one is shown by `result`. picks: what a
    run has brought goes into a picker.
    """

    def __init__(
        self,
        side: SideRun,
        start: str,
        values: Callable[[Sequence[Any]], Mapping[str, Any]],
        shows: Callable[[RunDir, Mapping[str, Any]], bool],
        result: Callable[[RunDir, str], str],
        *,
        picks: bool = False,
    ) -> None:
        self.side = side
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
        ids = self.side.ids
        with gr.Row(elem_classes=["actions"]):
            self.start = self.page.labels.button(self.start_text, elem_id=f"{ids}-start", elem_classes=["slim"])
        self.note = self.page.labels.passing(f"{ids}-note")
        self.pane = self.side.build()
        self.shown = gr.HTML("", elem_id=f"{ids}-result", elem_classes=["bare"])
        self.awaited = gr.State("")

    def wire(self, inputs: Sequence[Any], shows_by: Sequence[Any], *pickers: Any) -> None:
        """`shows_by`: the inputs whose change asks for another result. The picker, if any, gets what a run brought."""
        lang, inputs = self.page.lang, list(inputs)
        told = [self.note, self.pane, self.awaited, *pickers, self.shown]
        self.start.click(self.begin, [lang, *inputs], told, **QUIET)
        self.pane.act(self.acted, [lang, *inputs], told, **EACH)
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

    def _after(self, awaited: Any, lang: str, values: Sequence[Any]) -> list[Any]:
        updates = self.news(self.page.catalog.read(fresh=True), lang, "", *values)
        updates[1] = awaited
        return updates

    def acted(self, event: gr.EventData, lang: str, *values: Any) -> list[Any]:
        try:
            awaited, note = self.side.act(event), ""
        except GalenError as error:
            awaited, note = gr.skip(), views.say(*error_text(error, lang))
        return [note, *self._after(awaited, lang, values)]
