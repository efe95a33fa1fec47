"""The Data tab's part "Annotate": the chosen dataset put before an endpoint, a model or a person.

    part = AnnotatePart(page); part.build()        inside the tab
    part.wire(chosen)                              chosen: a component that holds name@version

A run of the stage `annotate` is followed here as a small one is (`webui.side_run`). Where it waits for a person, the
rating pane stands above the form (`webui.rating`). The few settings that have no field here are a terminal's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from core.annotating.people import waits_for_person
from core.annotating.prompts import shipped
from core.configs.annotate import Task
from core.configs.annotate_prompts import Of
from core.configs.files import resolve
from core.configs.stages import StageConfig
from core.errors import ConfigError, GalenError, Problem
from core.jobs import store
from core.jobs.store import RunSummary
from core.records import Produced
from core.rundir import RunDir, State, read_record
from webui import views, views_rows
from webui.catalog import Catalog
from webui.confine import confine
from webui.figures import esc
from webui.forms import Form
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.parents import MODEL, choices
from webui.rating import STAGE, RatingPane
from webui.run_panel import WAITS
from webui.side_run import SideRun
from webui.text import t
from webui.views_annotate import so_far

ROWS = "data.rows"
FIRST = (
    "task.kind", "annotator.kind", "annotator.base", "annotator.url", "annotator.model", "answers.base", "task.makes",
    "data.max_rows", "new.rows", "data.output",
)  # fmt: skip
WIDER = ("data.max_rows", "data.output")  # than in other forms
REST = (
    "task.ranks", "answers.count", "answers.own", "new.threshold", "annotator.max_new_tokens", "annotator.temperature",
    "annotator.price_in", "annotator.price_out", "annotator.at_once", "annotator.timeout", "run.seed", "task.prompt_en",
    "task.prompt_zh",
)  # fmt: skip
PROMPTS = ("task.prompt_en", "task.prompt_zh")
ASKS = ("task.kind", "task.ranks")  # what decides which prompt ships
MODELS = ("annotator.base", "answers.base")
WRITERS = ("ppo", "dpo", "sft", "pretrain", "merge", MODEL)  # in this order in the pickers
EMPTY = {*WAITS, "annotate.no_url", "annotate.no_model", "annotate.no_base"}  # said at Start, not while somebody types


class AnnotatePart:
    """`build` in its place, `wire` when everything is built."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.form = Form(STAGE, page.labels)
        self.side = SideRun(page, STAGE, "annotate", lambda _, run: produced(run))
        self.rating = RatingPane(page)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["annotate-part"]):
            with gr.Column(elem_classes=["card", "rate-card"]):
                self.rating.build()
            with gr.Column(elem_classes=["card"], elem_id="annotate"):
                self.head = gr.HTML("", elem_id="annotate-head", elem_classes=["bare"])
                with gr.Column(elem_classes=["fields"]):
                    for key in FIRST:
                        self.form.place(key, *(["half"] if key in WIDER else []))
                with (
                    labels.accordion("annotate.rest", open=False, elem_id="annotate-rest", elem_classes=["section"]),
                    gr.Column(elem_classes=["fields"]),
                ):
                    for key in REST:
                        self.form.place(key)
                with gr.Row(elem_classes=["actions"]):
                    self.start = labels.button("annotate.start", variant="primary", elem_id="annotate-start")
                self.note = labels.passing("annotate-note")
                self.progress = self.side.build()
                self.command = gr.HTML("", elem_id="annotate-command", elem_classes=["bare"])
        self.awaited = gr.Textbox("", visible=False)  # the run whose dataset this browser wants to see
        self.marked = gr.State([])
        self.kept = gr.JSON({}, visible=False)

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: Any) -> None:
        page, lang, form = self.page, self.page.lang, self.form
        told = [self.rating.pane, self.progress, self.awaited, chosen]
        self.rating.wire()
        page.on_catalog(self.news, [self.awaited], [*told, *(form.component(key) for key in MODELS)])
        page.keep("annotate.awaited", self.awaited)
        page.kept[f"form.{STAGE}"] = self.kept
        self.kept.change(form.restore, self.kept, form.components, **QUIET)
        look: dict[str, Any] = {
            "fn": self.look, "inputs": [chosen, lang, *(form.component(key) for key in ASKS)],
            "outputs": [self.head, *(form.component(key) for key in PROMPTS)], **QUIET,
        }  # fmt: skip
        gr.on([chosen.change, lang.change, *(form.component(key).change for key in ASKS)], **look)
        check: dict[str, Any] = {
            "fn": self.check, "inputs": [chosen, lang, self.marked, *form.components],
            "outputs": [self.command, self.marked, *form.components], "trigger_mode": "always_last", **QUIET,
        }  # fmt: skip
        gr.on([chosen.change, *(component.change for component in form.components)], **check)
        keep: dict[str, Any] = {"fn": None, "inputs": form.components, "outputs": None, "js": form.keep_js()}
        gr.on([component.change for component in form.components], **keep)
        inputs, outputs = [chosen, lang, *form.components], [self.note, self.marked, *told, *form.components]
        self.start.click(self.launch, inputs, outputs, **QUIET)
        self.progress.act(self.acted, lang, [self.note, *told], **EACH)
        self.rating.pane.make(self.make, lang, [self.note, *told], **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, awaited: str) -> list[Any]:
        """Updates of (rating, progress, awaited, chosen, pickers) after a change of the workspace."""
        offers = choices(self.page.parents.offers(catalog, STAGE, WRITERS), catalog, lang)
        return [*self._told(catalog, lang, awaited), *(gr.update(choices=offers) for _ in MODELS)]

    def _told(self, catalog: Catalog, lang: str, awaited: str) -> list[Any]:
        run = self._shown(catalog)
        brought = self._brought(catalog, awaited)
        return [
            self.rating.frame(catalog, lang),
            self._progress(run, lang) if run is not None else self._last(catalog, lang),
            "" if brought else gr.skip(),
            gr.update(value=brought) if brought else gr.skip(),
        ]

    def _shown(self, catalog: Catalog) -> RunSummary | None:
        """The run whose progress is shown; one that waits for a person has the rating pane."""
        run = self.side.newest(catalog)
        waits = run is not None and not run.state.live and waits_for_person(self.page.workspace.run(run.id))
        return None if waits else run

    def _progress(self, run: RunSummary, lang: str) -> str:
        return self.side.pane(run, lang) + so_far(self.page.workspace.run(run.id), lang)

    def _last(self, catalog: Catalog, lang: str) -> str:
        """What the newest run has made, and what it took; "" unless it has succeeded."""
        newest = next((run for run in catalog.runs if run.stage == STAGE), None)
        if newest is None or newest.state is not State.SUCCEEDED:
            return ""
        run = self.page.workspace.run(newest.id)
        said = t("annotate.made", lang, name=newest.name, ref=produced(run))
        return f'<p class="quiet">{esc(said)}</p>{so_far(run, lang)}'

    def _brought(self, catalog: Catalog, awaited: str) -> str:
        """What the awaited run has made, also where rows of it still wait for a person."""
        run = next((run for run in catalog.runs if run.id == awaited), None)
        return "" if run is None or run.state.live else produced(self.page.workspace.run(run.id))

    def look(self, ref: str | None, lang: str, kind: str, ranks: str) -> list[Any]:
        """Whose rows they are, and in the empty fields of the prompts the ones that ship."""
        dataset = self.page.dataset(ref)
        about = t("annotate.about", lang, ref=dataset.ref) if dataset is not None else t("annotate.no_dataset", lang)
        asks = Task.model_validate({"kind": kind, "ranks": ranks}).asks
        of: Of = "documents" if dataset is not None and dataset.card.kind == "text" else "rows"
        texts = [shipped(asks, of, language) for language in ("en", "zh")]
        prompts = [gr.update(placeholder=t("annotate.shipped", lang, prompt=text)) for text in texts]
        return [views.title(t("annotate.title", lang), about), *prompts]

    # -- the form -----------------------------------------------------------------------------------------------------
    def _config(self, ref: str | None, values: Sequence[Any]) -> StageConfig:
        """Raises ConfigError with every wrong field."""
        read = {ROWS: ref, **self.form.read(values)}
        problems = confine(read, self.page.workspace)
        try:
            config = resolve(STAGE, values=read, workspace=self.page.workspace)
        except ConfigError as error:
            raise ConfigError([*error.problems, *problems]) from error
        if problems:
            raise ConfigError(problems)
        return config

    def check(self, ref: str | None, lang: str, marked: list[str], *values: Any) -> list[Any]:
        """While the form is edited: the command line, and messages beside fields; empty ones wait for Start."""
        problems: list[Problem] = []
        try:
            self._config(ref, values)
        except ConfigError as error:
            problems = [problem for problem in error.problems if problem.code not in EMPTY]
        words = f"{self.form.command(values, None, self.page.workspace)} {ROWS}={ref or '…'}"
        keys = self.form.marked(problems)
        return [views.command(words, lang), keys, *self.form.mark(problems, lang, marked)]

    def launch(self, ref: str | None, lang: str, *values: Any) -> list[Any]:
        """Start: submit the form as a run, or say what is wrong with it."""
        skips = [gr.skip()] * 4
        try:
            if not ref:
                return [views.say(t("annotate.no_dataset", lang)), [], *skips, *[gr.skip()] * len(self.form.keys)]
            run = store.submit(self.page.workspace, STAGE, self._config(ref, values))
        except GalenError as error:
            keys = self.form.marked(error.problems)
            said = self._complaint(error, keys, lang)
            return [said, keys, *skips, *self.form.mark(error.problems, lang)]
        return ["", [], *self._after(run.id, lang), *self.form.mark([], lang)]

    def _complaint(self, error: GalenError, keys: list[str], lang: str) -> str:
        """What stands beside no field: rows that cannot be used, and settings without a field here."""
        others = [problem for problem in error.problems if problem.key not in keys]
        if keys and not others:
            return views.say(t("form.wrong", lang, count=len(keys)))
        return views.say(*error_text(error, lang)) + views_rows.problem_list(others, lang)

    # -- acting -------------------------------------------------------------------------------------------------------
    def make(self, event: gr.EventData, lang: str) -> list[Any]:
        """The rows that are judged become a dataset: the run goes on. The rows that are chosen stay chosen."""
        return self._acted(lang, lambda: store.resume(self.page.workspace, str(event._data["run"])) and "")

    def acted(self, event: gr.EventData, lang: str) -> list[Any]:
        """A button of the progress pane: stop, go on, or show it no more."""
        return self._acted(lang, lambda: self.side.act(event))

    def _acted(self, lang: str, action: Any) -> list[Any]:
        try:
            return ["", *self._after(action(), lang)]
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * 4]

    def _after(self, run_id: Any, lang: str) -> list[Any]:
        updates = self._told(self.page.catalog.read(fresh=True), lang, "")
        updates[2] = run_id
        return updates


def produced(run: RunDir) -> str:
    """The dataset that a run has made; "" where it has made none yet."""
    made = read_record(run.produced_file, Produced)
    return made.datasets[0] if made and made.datasets else ""
