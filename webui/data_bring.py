""" "Bring in", the first part of the Data tab: uploads, a path, a hub's dataset, the catalogue; and imports under way.

Every way ends in one of two places: a file waits in the intake and is checked before anything is stored, or an import
run fetches a hub's set. Both are shown from where they are kept, so a reload loses neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from core.configs.data import ImportRows, ImportSource
from core.configs.files import flat, resolve
from core.configs.stages import ImportConfig
from core.data.bring.catalogue import entries, entry_named
from core.data.check.verdicts import STAGES
from core.data.store.library import Dataset
from core.errors import DataError, GalenError
from core.jobs import store
from core.models.library import looks_like_hub_id
from core.rundir import State
from webui import views, views_data, views_rows
from webui.catalog import Catalog
from webui.data_file import FilePart, Sent
from webui.figures import esc
from webui.intake import STAGE, Intake, produced, submit
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.text import stage_name, t

PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-key]'); if (row) trigger('pick', {key: row.dataset.key}); });"""
ACT = """element.addEventListener('click', (e) => {
  const b = e.target.closest('[data-act]'); if (!b) return;
  if (b.dataset.act === 'look') document.querySelector('#data-tab-look-button').click();
  trigger('pick', {act: b.dataset.act, run: b.dataset.run}); });"""
SET = """element.addEventListener('click', (e) => {
  const b = e.target.closest('[data-set]'); if (!b) return;
  b.disabled = true; setTimeout(() => { b.disabled = false; }, 3000); trigger('pick', {set: b.dataset.set}); });"""
# Gradio loses an update that makes a column visible when its tab is only being built: the page tells what it has.
THERE = "(shown, lang, sent) => [shown, lang, sent, galen.missing('#upload', '.file-card')]"
REVEAL = "() => galen.reveal('#waiting')"  # the list of what came, and beneath it the first
LANGUAGES = ("zh", "en")
BUSY_SECONDS, IDLE_SECONDS = 0.7, 4.0  # between two looks at the intake
ENDED_SECONDS = 24 * 3600.0  # how long an import that is over is shown
FIRST_LOOK = 1.5  # seconds that an upload waits for its check, so that a small file's report comes at once


class BringPart:
    """`build` inside the sub-tab, then `wire` with the component that holds the chosen dataset."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.intake = Intake(page.workspace)
        self.file = FilePart(page, self.intake)
        self.dismissed: set[str] = set()

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        with gr.Row(elem_classes=["sources"]):
            with gr.Column(elem_classes=["card"]):
                self._build_files()
            with gr.Column(elem_classes=["card"]):
                self._build_hub()
        self.note = self.page.labels.passing("bring-note")
        self.imports = gr.HTML("", js_on_load=ACT, elem_id="imports", elem_classes=["bare"])
        self.files = gr.HTML("", js_on_load=PICK, elem_id="waiting", elem_classes=["bare"])
        self.file.build()
        with gr.Column(elem_classes=["card", "catalogue"]):
            self._build_catalogue()
        self.there = gr.Checkbox(False, visible=False)
        self.timer = gr.Timer(BUSY_SECONDS)

    def _build_files(self) -> None:
        labels = self.page.labels
        labels.html(lambda lang: views.title(t("data.upload", lang)), elem_classes=["bare"])
        with gr.Column(elem_classes=["drop-zone"]):
            self.upload = gr.File(
                show_label=False, file_count="multiple", height=84, elem_id="upload", elem_classes=["drop"],
                interactive=True,
            )  # fmt: skip
            # Gradio's own words there follow the browser, not the page's switch.
            labels.html(drop_text, elem_classes=["bare"])
        labels.html(lambda lang: f'<p class="hint">{esc(t("data.upload_help", lang))}</p>', elem_classes=["bare"])
        with gr.Row(elem_classes=["path-row"]):
            self.path = labels.field(
                gr.Textbox, "data.path", lines=1, max_lines=1, interactive=True, elem_id="data-path",
                elem_classes=["field"],
            )  # fmt: skip
            self.check_path = labels.button("data.path_check", elem_id="data-path-check", elem_classes=["slim"])

    def _build_hub(self) -> None:
        labels = self.page.labels
        labels.html(lambda lang: views.title(t("hub.title", lang)), elem_classes=["bare"])
        self.repo = labels.field(
            gr.Textbox, "hub.repo", placeholder="hub.repo_hint", lines=1, max_lines=1, interactive=True,
            elem_id="hub-repo", elem_classes=["field"],
        )  # fmt: skip
        with gr.Row(elem_classes=["hub-row"]):
            self.patterns = labels.field(
                gr.Textbox, "hub.files", placeholder="hub.files_hint", lines=1, max_lines=1, interactive=True,
                elem_id="hub-files", elem_classes=["field"],
            )  # fmt: skip
            self.revision = labels.field(
                gr.Textbox, "hub.revision", value="main", lines=1, max_lines=1, interactive=True,
                elem_id="hub-revision", elem_classes=["field"],
            )  # fmt: skip
        with gr.Row(elem_classes=["path-row", "hub-go"]):
            self.hub = gr.Radio(
                [("Hugging Face", "huggingface"), ("ModelScope", "modelscope")], value="huggingface", show_label=False,
                container=False, elem_id="hub-which", elem_classes=["segments"],
            )  # fmt: skip
            self.get = labels.button("hub.import", elem_id="hub-import", elem_classes=["slim"])
        labels.html(lambda lang: f'<p class="hint">{esc(t("hub.help", lang))}</p>', elem_classes=["bare"])

    def _build_catalogue(self) -> None:
        labels = self.page.labels
        labels.html(
            lambda lang: views.title(t("catalogue.title", lang), t("catalogue.note", lang)), elem_classes=["bare"]
        )
        with gr.Row(elem_classes=["filters"]):
            self.search = labels.field(
                gr.Textbox, "catalogue.search", placeholder="catalogue.search_hint", lines=1, max_lines=1,
                interactive=True, container=False, elem_id="catalogue-search", elem_classes=["field"],
            )  # fmt: skip
            self.stage = self._filter("catalogue-stage", lambda lang: [
                (t("catalogue.any_stage", lang), ""), *((stage_name(name, lang), name) for name in STAGES),
            ])  # fmt: skip
            self.language = self._filter("catalogue-language", lambda lang: [
                (t("catalogue.any_language", lang), ""),
                *((views_data.named("language", name, lang), name) for name in LANGUAGES),
            ])  # fmt: skip
        self.sets = gr.HTML("", js_on_load=SET, elem_id="catalogue", elem_classes=["bare"])

    def _filter(self, ident: str, choices: Callable[[str], list[tuple[str, str]]]) -> gr.Dropdown:
        labels = self.page.labels
        picker = gr.Dropdown(
            choices(labels.lang), value="", filterable=False, container=False, interactive=True, elem_id=ident,
            elem_classes=["field"],
        )  # fmt: skip
        found: gr.Dropdown = labels.add(picker, choices=choices)
        return found

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: gr.Textbox) -> None:
        """`chosen`: where the reference of a dataset goes that was brought in."""
        page, lang, file = self.page, self.page.lang, self.file
        watch: dict[str, Any] = {
            "fn": self.refresh, "inputs": [file.shown, lang, file.sent, self.there],
            "outputs": [*self.outputs, chosen], "js": THERE, **QUIET,
        }  # fmt: skip
        self.timer.tick(**watch)
        uploaded = self.upload.upload(self.take, [self.upload, lang], [self.upload, file.shown, self.note], **QUIET)
        uploaded.then(**watch).then(None, js=REVEAL)
        named = gr.on(
            [self.check_path.click, self.path.submit], self.take_path, [self.path, lang], [file.shown, self.note],
            **QUIET,
        )  # fmt: skip
        named.then(**watch).then(None, js=REVEAL)
        self.files.pick(picked, None, file.shown, **EACH).then(**watch)
        file.wire(chosen, watch)
        hub = [self.repo, self.patterns, self.revision, self.hub, lang]
        gr.on([self.get.click, self.repo.submit], self.fetch, hub, [self.note, self.imports], **QUIET)
        self.imports.pick(self.act, lang, [self.note, self.imports, chosen], **QUIET)
        wishes = [self.search, self.stage, self.language]
        self.sets.pick(self.import_set, [lang, *wishes], [self.note, self.imports, self.sets], **QUIET)
        imports = [file.buttons[name].click for name in ("import", "repair", "import_drop")]
        gr.on(imports, lambda: "", None, self.note, **QUIET)  # what was wrong of something else is said no longer
        gr.on(
            [self.search.change, self.stage.input, self.language.input], self.find, [lang, *wishes], self.sets,
            trigger_mode="always_last", **QUIET,
        )  # fmt: skip
        page.on_catalog(self.news, wishes, [self.imports, self.sets])

    @property
    def outputs(self) -> list[Any]:
        return [*self.file.outputs, self.timer, self.files]

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, *wishes: Any) -> list[Any]:
        """Updates of (imports under way, catalogue) after a change of the workspace."""
        return [self.under_way(catalog, lang), self.find(lang, *wishes)]

    def under_way(self, catalog: Catalog, lang: str) -> str:
        """Import runs that live, and those of the last day, each until it is dismissed.

        A file's own run that got there is left out: the file's card tells what came of it.
        """
        shown: list[tuple[views.Snapshot, Dataset | None]] = []
        for run in catalog.runs:
            recent = run.state.live or time.time() - run.created < ENDED_SECONDS
            if run.stage == STAGE and run.id not in self.dismissed and recent:
                try:
                    shot = views.snapshot(self.page.workspace.run(run.id))
                except GalenError:  # deleted since the catalog was read
                    continue
                made = produced(self.page.workspace, shot) if shot.state is State.SUCCEEDED else None
                if shot.state is not State.SUCCEEDED or made is not None:
                    shown.append((shot, made))
        return views_data.imports(shown, lang)

    def find(self, lang: str, text: str | None, stage: str | None, language: str | None) -> str:
        present = {dataset.name: dataset for dataset in self.page.catalog.read().datasets}
        return views_data.catalogue(entries(text=text or "", stage=stage or "", language=language or ""), present, lang)

    def refresh(self, shown: str, lang: str, sent: Sent | None, missing: bool) -> list[Any]:
        """Updates for `outputs`: the files that wait, and the shown one. `missing`: the browser has no card for it."""
        if self.intake.settle():
            self.page.catalog.read(fresh=True)
        sent = Sent() if sent is None or (missing and sent.stamp and sent.stamp[0]) else sent
        items = self.intake.all()
        item = self.intake.get(shown) or next(iter(items), None)
        listed = views_data.waiting(items, item.key if item else "", lang)
        interval = BUSY_SECONDS if self.intake.busy else IDLE_SECONDS
        around = {"timer": {"value": interval}, "files": listed}
        was = sent.stamp[2] if sent.stamp and item is not None and sent.stamp[0] == item.key else None
        arrived = item is not None and item.phase == "imported" and was is not None and was[1] == "importing"
        updates = self.file.refresh(item, shown, lang, sent, around)
        return [*updates, item.dataset if item is not None and arrived else gr.skip()]

    # -- files --------------------------------------------------------------------------------------------------------
    def take(self, paths: list[str] | None, lang: str) -> list[Any]:
        """What the browser sent: each file waits, and the first of them is shown."""
        items = [self.intake.take(self.page.workspace.allowed(path), uploaded=True) for path in paths or []]
        for item in items[:1]:
            self._look_at(item.key)
        return [None, items[0].key if items else gr.skip(), ""]

    def take_path(self, text: str | None, lang: str) -> list[Any]:
        if not (text or "").strip():
            return [gr.skip(), ""]
        try:
            path = self.page.workspace.allowed((text or "").strip())
            if not path.is_file():
                raise DataError("data.no_file", file=str(path))
        except GalenError as error:
            return [gr.skip(), views.say(*error_text(error, lang))]
        item = self.intake.take(path, uploaded=path.is_relative_to(uploads(self.page)))
        self._look_at(item.key)
        return [item.key, ""]

    def _look_at(self, key: str) -> None:
        """Wait a moment for the check, so that what a small file holds is shown at once."""
        item = self.intake.get(key)
        until = time.monotonic() + FIRST_LOOK
        while item is not None and item.busy and time.monotonic() < until:
            time.sleep(0.05)

    # -- hubs ---------------------------------------------------------------------------------------------------------
    def fetch(self, repo: str, patterns: str, revision: str, hub: Any, lang: str) -> list[Any]:
        """An import run of what the fields name."""
        repo = (repo or "").strip()
        try:
            if not looks_like_hub_id(repo):
                raise DataError("data.not_hub_id", repo=repo)
            files = (patterns or "").replace(",", " ").split()
            source = ImportSource(repo=repo, hub=hub, revision=(revision or "").strip() or "main", files=files)
            return self._started(ImportConfig(source=source, rows=ImportRows(bad_rows="drop")), lang)
        except GalenError as error:
            return [self._complaint(error, lang), gr.skip()]

    def import_set(self, lang: str, text: str, stage: str, language: str, event: gr.EventData) -> list[Any]:
        """One click on a set of the catalogue."""
        entry = entry_named(str(event._data["set"]))
        if entry is None:
            return [gr.skip()] * 3
        config = entry.config()
        config = config.model_copy(update={"run": config.run.model_copy(update={"name": entry.title.text(lang)[:80]})})
        try:
            return [*self._started(config, lang), self.find(lang, text, stage, language)]
        except GalenError as error:
            return [self._complaint(error, lang), gr.skip(), gr.skip()]

    def _started(self, config: ImportConfig, lang: str) -> list[Any]:
        submit(self.page.workspace, config)
        catalog = self.page.catalog.read(fresh=True)
        return ["", self.under_way(catalog, lang)]

    def act(self, lang: str, event: gr.EventData) -> list[Any]:
        """A button beside an import run: stop it, go on, leave its bad rows out, look at what came of it, forget it."""
        act, run_id = str(event._data["act"]), str(event._data["run"])
        try:
            run = self.page.workspace.run(run_id)
            if act == "stop":
                store.stop(run)
            elif act == "resume":
                store.resume(self.page.workspace, run.id)
            elif act == "drop":
                values = {**flat(run.config()), "rows.bad_rows": "drop"}
                config = resolve(STAGE, values=values, workspace=self.page.workspace)
                assert isinstance(config, ImportConfig)
                self.dismissed.add(run.id)
                return [*self._started(config, lang), gr.skip()]
            elif act == "look":
                made = produced(self.page.workspace, views.snapshot(run))
                return ["", gr.skip(), made.ref if made is not None else gr.skip()]
            else:
                self.dismissed.add(run.id)
        except GalenError as error:
            return [self._complaint(error, lang), gr.skip(), gr.skip()]
        return ["", self.under_way(self.page.catalog.read(fresh=True), lang), gr.skip()]

    @staticmethod
    def _complaint(error: GalenError, lang: str) -> str:
        return views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang)


def picked(event: gr.EventData) -> str:
    """The key of the file whose entry was clicked."""
    return str(event._data["key"])


def drop_text(lang: str) -> str:
    here, note = esc(t("data.drop_here", lang)), esc(t("data.drop_note", lang))
    return f'<div class="drop-text"><b>{here}</b><span>{note}</span></div>'


def uploads(page: Page) -> Path:
    """Where Gradio puts what a browser sends: inside the workspace, so that large files stay on its disk."""
    return page.workspace.cache_dir / "uploads"
