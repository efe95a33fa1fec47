"""Bringing a model or an adapter in, beneath the picker it will appear in: the starter by one button, any other by its
source.

A download is a `fetch` run like any other: its bytes are shown from its own files, it can be stopped and resumed, and
it goes on without the page; the browser keeps which one this session waits for. What cannot be a source is told beside
the field, before there is a run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from core.configs.stages import FetchConfig
from core.errors import ConfigError, GalenError, ModelError, Problem
from core.jobs import store
from core.models.library import STARTER, read_card
from core.models.sources import Source, holds_adapter, understand
from core.models.starter import WHEEL_BYTES
from core.models.weights import bin_files, check_folder, weight_files
from core.rundir import RunDir
from webui import views
from webui.catalog import Catalog
from webui.figures import size
from webui.forms import Form
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.side_run import FOLLOWED, SideRun
from webui.text import t

STAGE, SOURCE, BASE = "fetch", "model.source", "model.base"
SHOWN = FOLLOWED + 1  # updates behind the note: those of the side run, with the starter's button among them


class ModelShelf:
    """Build it beneath a model picker; `wire` connects it, and puts a model that it brought in into the picker."""

    def __init__(self, page: Page, ids: str = "") -> None:
        """`ids`: what the ids of its elements begin with, where a page has several shelves."""
        self.page = page
        self.ids = ids
        self.form = Form(STAGE, page.labels)
        self.side = SideRun(page, STAGE, f"{ids}fetch", self._brought)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        self.note = labels.passing(f"{self.ids}starter-note")
        self.pane = self.side.build()
        with gr.Row(elem_classes=["actions", "fetch-actions"]):
            self.starter = labels.button("form.get_starter", visible=False, elem_id=f"{self.ids}get-starter")
        with labels.accordion(
            "form.other_model", open=False, elem_id=f"{self.ids}other-model", elem_classes=["section", "other"]
        ):
            with gr.Column(elem_classes=["fields"]):
                self.form.place(SOURCE, value="", placeholder="form.source_hint", more_help="form.token_help")
                self.form.place("model.hub", "half")
                self.form.place("model.folder", "half")
                self.form.place(BASE, "half")
                self.form.place("model.template", "half")
                self.form.place("model.difference", "half")
            self.get = labels.button("form.get_model", elem_id=f"{self.ids}get-model", elem_classes=["slim"])
        self.awaited = gr.Textbox("", visible=False)  # the fetch run whose model this session wants in its picker

    def wire(self, picker: Any) -> None:
        page, form = self.page, self.form
        told = [self.note, self.pane, self.awaited, self.starter, picker]
        self.starter.click(self.fetch_starter, page.lang, told, **QUIET)
        gr.on(
            [self.get.click, form.component(SOURCE).submit],
            self.fetch,
            [page.lang, *form.components],
            [*told, *form.components],
            **QUIET,
        )
        self.pane.act(self.acted, page.lang, told, **EACH)
        page.keep(f"{self.ids}awaited", self.awaited)
        page.on_catalog(self.news, [self.awaited], [*told, form.component(BASE)])

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, awaited: str) -> list[Any]:
        """Updates of (note, pane, awaited, starter, picker, base) after a change of the workspace."""
        models = [("", ""), *((model.name, model.name) for model in catalog.models)]
        came = self.side.arrived(catalog, awaited)
        note = views.say(t("form.model_came", lang, name=catalog.name_of(came)), tone="good") if came else gr.skip()
        return [note, *self._followed(catalog, lang, awaited), gr.update(choices=models)]

    def _followed(self, catalog: Catalog, lang: str, awaited: str) -> list[Any]:
        """The same without `note` and `base`."""
        kept = not catalog.models
        pane, forgotten, picker = self.side.follow(catalog, lang, awaited, kept=kept)
        run = self.side.newest(catalog, kept=kept)
        if run is None and not catalog.models:
            pane = views.say(t("form.no_model", lang, size=size(WHEEL_BYTES)), tone="calm")
        offer = not any(model.kind == STARTER for model in catalog.models)
        live = run is not None and run.state.live
        return [pane, forgotten, gr.update(visible=offer and not live), picker]

    @staticmethod
    def _brought(catalog: Catalog, run: RunDir) -> str:
        """The name of the model that a download has brought in; of an adapter, its run's id."""
        if run.manifest_file.exists():
            return run.id
        try:
            config = FetchConfig.model_validate(run.config())
            name = understand(config.model.source, config.model.folder).name
        except (GalenError, ValueError):
            return ""
        return name if any(model.name == name for model in catalog.models) else ""

    # -- acting -------------------------------------------------------------------------------------------------------
    def fetch_starter(self, lang: str) -> list[Any]:
        try:
            run = store.submit(self.page.workspace, STAGE, FetchConfig())
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * SHOWN]
        return ["", *self._after(run.id, lang)]

    def fetch(self, lang: str, *values: Any) -> list[Any]:
        """Submit what the fields name; what cannot be one is told beside its field. A model that is here is chosen."""
        try:
            config, source = self._understand(values)
            present = read_card(self.page.workspace, source.name)
            if present is not None and present.source == source.text:
                done = views.say(t("form.model_present", lang, name=present.name), tone="good")
                skips = [gr.skip()] * (SHOWN - 1)
                return [done, *skips, gr.update(value=present.name), *self.form.mark([], lang)]
            run = store.submit(self.page.workspace, STAGE, config)
        except GalenError as error:
            problems = error.problems or [Problem(error.code, error.params, key=SOURCE)]
            return ["", *[gr.skip()] * SHOWN, *self.form.mark(problems, lang)]
        return ["", *self._after(run.id, lang), *self.form.mark([], lang)]

    def _understand(self, values: tuple[Any, ...]) -> tuple[FetchConfig, Source]:
        """The config of a fetch run and its source, looked at as far as this machine can tell. Raises InputError."""
        if not str(values[self.form.keys.index(SOURCE)] or "").strip():
            raise ConfigError([Problem("config.missing", key=SOURCE)])
        config = self.form.resolve(values, self.page.workspace)
        assert isinstance(config, FetchConfig)
        source = understand(config.model.source, config.model.folder)
        adapter = source.kind == "folder" and holds_adapter(source.path)
        if source.kind == "folder" and not adapter:
            _check(source.path)
        present = read_card(self.page.workspace, source.name)
        if present is not None and present.source != source.text and not adapter:
            taken = {"name": source.name, "source": present.source}
            raise ConfigError([Problem("model.name_taken", taken, key="model.folder")])
        config.model.source = source.text  # a path that means the same wherever the run starts
        return config, source

    def _after(self, awaited: Any, lang: str) -> list[Any]:
        updates = self._followed(self.page.catalog.read(fresh=True), lang, "")
        updates[1] = awaited
        return updates

    def acted(self, event: gr.EventData, lang: str) -> list[Any]:
        try:
            return ["", *self._after(self.side.act(event), lang)]
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *self._after(gr.skip(), lang)]


def _check(folder: Path) -> None:
    """Say at once what can be seen of a folder that is no whole model. Raises ModelError as `check_folder`; what only a
    conversion can tell is told by the run."""
    if weight_files(folder) or not bin_files(folder):
        try:
            check_folder(folder)
        except ModelError as error:
            if error.code != "model.no_tokenizer_files":
                raise
