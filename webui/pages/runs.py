"""The Runs tab: every run of the workspace, filtered; one of them in short; open, stop, resume, delete."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import gradio as gr

from core.errors import GalenError
from core.jobs import store
from core.jobs.store import RunSummary
from core.rundir import RunDir, State
from core.system import folder_size
from webui import views, views_lists
from webui.catalog import Catalog
from webui.disk_card import DiskCard
from webui.figures import size
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.text import t

FILTERS = ("all", "live", "finished", "unfinished")
PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-run]'); if (row) trigger('pick', {run: row.dataset.run}); });"""


class RunsPage:
    def __init__(self, page: Page, stages: Container[str]) -> None:
        """`stages`: those that have a page, where their runs can be opened."""
        self.page = page
        self.stages = stages
        self.disk = DiskCard(page)

    def build(self) -> None:
        labels = self.page.labels
        with gr.Row(elem_classes=["stage", "runs"]):
            with gr.Column(elem_classes=["card", "list"]):
                with gr.Row(elem_classes=["filters"]):
                    self.search = labels.field(
                        gr.Textbox, "runs.search", placeholder="runs.search_hint", lines=1, max_lines=1,
                        interactive=True, container=False, elem_id="runs-search",
                    )  # fmt: skip
                    self.filter = labels.add(
                        gr.Radio(
                            [(t(f"runs.{name}", labels.lang), name) for name in FILTERS], value="all", container=False,
                            show_label=False, interactive=True, elem_classes=["segments"],
                        ),
                        choices=lambda lang: [(t(f"runs.{name}", lang), name) for name in FILTERS],
                    )  # fmt: skip
                self.table = gr.HTML("", js_on_load=PICK, elem_id="runs-table", elem_classes=["bare"])
                self.disk.build()
            with gr.Column(elem_classes=["card", "detail"]):
                self.note = gr.HTML("", elem_classes=["bare"])
                self.detail = gr.HTML("", elem_id="runs-detail", elem_classes=["bare"])
                with gr.Row(elem_classes=["actions"], visible=False) as self.actions:
                    self.open = labels.button("runs.open", variant="primary", elem_id="runs-open")
                    self.stop = labels.button("run.stop", elem_id="runs-stop")
                    self.resume = labels.button("run.resume", elem_id="runs-resume")
                    self.delete = labels.button("runs.delete", elem_id="runs-delete")
                with gr.Column(elem_classes=["confirm"], visible=False) as self.confirm:
                    self.question = gr.HTML("", elem_classes=["bare"])
                    with gr.Row(elem_classes=["actions"]):
                        self.yes = labels.button("runs.delete_yes", variant="stop", elem_id="runs-delete-yes")
                        self.no = labels.button("runs.delete_no", elem_id="runs-delete-no")
                self.more = gr.HTML("", elem_classes=["bare"])
        self.chosen = gr.Textbox(visible=False)

    def wire(self) -> None:
        self.disk.wire()
        page, lang = self.page, self.page.lang
        view = [self.table, self.detail, self.more, self.actions, self.open, self.stop, self.resume, self.delete]
        inputs = [self.search, self.filter, self.chosen]
        page.on_catalog(self.news, inputs, view)
        gr.on(
            [self.search.input, self.filter.input, self.chosen.change], self.show, [lang, *inputs], view,
            trigger_mode="always_last", **QUIET,
        )  # fmt: skip
        self.table.pick(self.pick, None, [self.chosen, self.note, self.confirm], **EACH)
        self.delete.click(self.ask, [self.chosen, lang], [self.question, self.confirm], **QUIET)
        self.no.click(lambda: gr.update(visible=False), None, self.confirm, **QUIET)
        removed = self.yes.click(self.remove, [self.chosen, lang], [self.note, self.confirm, self.chosen], **QUIET)
        removed.then(self.show, [lang, *inputs], view, **QUIET)
        for button, action in ((self.stop, store.stop), (self.resume, self._resume)):
            acted = button.click(self._actor(action), [self.chosen, lang], self.note, **QUIET)
            acted.then(self.show, [lang, *inputs], view, **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def show(self, lang: str, search: str, state: str, chosen: str | None) -> list[Any]:
        return self.news(self.page.catalog.read(), lang, search, state, chosen)

    def news(self, catalog: Catalog, lang: str, search: str, state: str, chosen: str | None) -> list[Any]:
        runs = matching(catalog, search or "", state)
        table = views_lists.run_table(runs, len(catalog.runs), chosen, lang)
        run = self._run(chosen)
        if run is None:
            hint = views.empty(t("runs.choose", lang)) if catalog.runs else ""
            return [table, hint, "", gr.update(visible=False), *[gr.skip()] * 4]
        shot = views.snapshot(run)
        detail = views.title(shot.name) + views.head(shot, lang) + views.progress(shot, lang, store.stop_deadline(run))
        more = views.result(shot, lang) + views.settings(shot, lang)
        live = shot.state.live
        stop, resume = live and shot.state is not State.STOPPING, store.resumable(run, shot.state)
        buttons = [gr.update(visible=shown) for shown in (True, shot.stage in self.stages, stop, resume, not live)]
        return [table, detail, more, *buttons]

    def _run(self, run_id: str | None) -> RunDir | None:
        try:
            return self.page.workspace.run(run_id) if run_id else None
        except GalenError:
            return None

    # -- acting -------------------------------------------------------------------------------------------------------
    def pick(self, event: gr.EventData) -> list[Any]:
        return [str(event._data["run"]), "", gr.update(visible=False)]

    def ask(self, chosen: str | None, lang: str) -> list[Any]:
        run = self._run(chosen)
        if run is None:
            return ["", gr.update(visible=False)]
        name = views.snapshot(run).name
        asked = t("runs.delete_ask", lang, name=name, size=size(folder_size(run.path)))
        return [views.say(asked), gr.update(visible=True)]

    def remove(self, chosen: str | None, lang: str) -> list[Any]:
        run = self._run(chosen)
        if run is None:
            return [views.say(t("run.gone", lang)), gr.update(visible=False), ""]
        name = views.snapshot(run).name
        try:
            store.delete(self.page.workspace, run)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), gr.update(visible=False), chosen]
        self.page.catalog.read(fresh=True)
        return [views.say(t("runs.deleted", lang, name=name), tone="calm"), gr.update(visible=False), ""]

    def _resume(self, run: RunDir) -> None:
        store.resume(self.page.workspace, run.id)

    def _actor(self, action: Callable[[RunDir], Any]) -> Callable[[str | None, str], str]:
        """A handler that does `action` to the chosen run and says what was wrong with that."""

        def act(chosen: str | None, lang: str) -> str:
            run = self._run(chosen)
            try:
                if run is not None:
                    action(run)
            except GalenError as error:
                return views.say(*error_text(error, lang))
            self.page.catalog.read(fresh=True)
            return ""

        return act


def matching(catalog: Catalog, search: str, state: str) -> list[RunSummary]:
    """The runs whose name, id, stage, model or data have every word of `search`, in the chosen kind of state."""
    words = search.lower().split()

    def fits(run: RunSummary) -> bool:
        kind = "live" if run.state.live else "finished" if run.state.value == "succeeded" else "unfinished"
        text = f"{run.name} {run.id} {run.stage} {catalog.made_of.get(run.id, '')}".lower()
        return state in ("all", kind) and all(word in text for word in words)

    return [run for run in catalog.runs if fits(run)]
