"""The Data tab: upload, check, name, keep; the datasets of the workspace and their rows.

A file is checked whole before anything is stored. Cleaning, mixing and statistics are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.doctor import CheckReport, check_file
from core.data.library import Dataset, delete_dataset, import_file, name_from, open_dataset
from core.errors import GalenError
from webui import views, views_lists, views_rows
from webui.catalog import Catalog
from webui.figures import count, esc
from webui.messages import code_text, error_text
from webui.page import Page
from webui.text import t

ROWS_SHOWN = 5
PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-ref]'); if (row) trigger('pick', {ref: row.dataset.ref}); });"""
QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}


class DataPage:
    def __init__(self, page: Page) -> None:
        self.page = page

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Row(elem_classes=["stage", "data"]):
            with gr.Column(elem_classes=["setup"]):
                with gr.Column(elem_classes=["card"]):
                    labels.html(lambda lang: views.title(t("data.upload", lang)), elem_classes=["bare"])
                    with gr.Column(elem_classes=["drop-zone"]):
                        self.file = gr.File(
                            show_label=False, height=84, elem_id="upload", elem_classes=["drop"], interactive=True
                        )
                        # Gradio's own words there follow the browser, not the page's switch.
                        labels.html(drop_text, elem_classes=["bare"])
                    labels.html(
                        lambda lang: f'<p class="hint">{esc(t("data.upload_help", lang))}</p>', elem_classes=["bare"]
                    )
                    with gr.Row(elem_classes=["path-row"]):
                        self.path = labels.field(
                            gr.Textbox, "data.path", lines=1, max_lines=1, interactive=True, elem_classes=["field"]
                        )
                        self.check_path = labels.button("data.path_check", elem_classes=["slim"])
                with gr.Column(elem_classes=["card"], visible=False) as self.result:
                    self.report = gr.HTML("", elem_id="data-report", elem_classes=["bare"])
                    with gr.Column(visible=False) as self.keep:
                        self.name = labels.field(
                            gr.Textbox, "data.name", lines=1, max_lines=1, interactive=True, elem_id="data-name",
                            elem_classes=["field"],
                        )  # fmt: skip
                        with gr.Row(elem_classes=["actions"]):
                            self.add = labels.button("data.import", variant="primary", elem_id="data-import")
                            self.drop = labels.button("data.import_drop", elem_id="data-import-drop")
                            self.discard = labels.button("data.discard", elem_id="data-discard")
                self.note = gr.HTML("", elem_id="data-note", elem_classes=["bare"])
            with gr.Column(elem_classes=["work"]):
                self._library()
        self.pending = gr.State("")
        self.chosen = gr.Textbox(visible=False)
        self.first = gr.State(0)

    def _library(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card"]):
            labels.html(lambda lang: views.title(t("data.list", lang)), elem_classes=["bare"])
            self.list = gr.HTML("", js_on_load=PICK, elem_id="datasets", elem_classes=["bare"])
        with gr.Column(elem_classes=["card"], visible=False) as self.reader:
            with gr.Row(elem_classes=["actions"]):
                self.use = labels.button("data.use", variant="primary", elem_id="data-use")
                self.previous = labels.button("data.previous")
                self.next = labels.button("data.next")
                self.delete = labels.button("data.delete", elem_id="data-delete")
            with gr.Column(elem_classes=["confirm"], visible=False) as self.confirm:
                self.question = gr.HTML("", elem_classes=["bare"])
                with gr.Row(elem_classes=["actions"]):
                    self.yes = labels.button("runs.delete_yes", variant="stop", elem_id="data-delete-yes")
                    self.no = labels.button("runs.delete_no")
            self.rows = gr.HTML("", elem_id="data-rows", elem_classes=["bare"])

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        page, lang = self.page, self.page.lang
        checked = [
            self.report,
            self.result,
            self.keep,
            self.add,
            self.drop,
            self.name,
            self.pending,
            self.note,
            self.file,
        ]
        self.file.upload(self.check_upload, [self.file, lang], checked, **QUIET)
        self.check_path.click(self.check_typed, [self.path, lang], checked, **QUIET)
        kept = [self.note, self.result, self.pending, self.chosen]
        for button, bad_rows in ((self.add, "stop"), (self.drop, "drop")):
            button.click(self._keeper(bad_rows), [self.pending, self.name, lang], kept, **QUIET)
        self.discard.click(self.forget, self.pending, [self.result, self.pending], **QUIET)
        page.on_catalog(self.news, [self.chosen], [self.list, self.chosen])
        view = [self.list, self.reader, self.rows, self.first, self.confirm]
        self.list.pick(picked, None, self.chosen, **QUIET)
        self.chosen.change(lambda ref, lang: self.show(ref, 0, lang), [self.chosen, lang], view, **QUIET)
        for button, by in ((self.previous, -ROWS_SHOWN), (self.next, ROWS_SHOWN)):
            button.click(self._turner(by), [self.chosen, self.first, lang], view, **QUIET)
        self.delete.click(self.ask, [self.chosen, lang], [self.question, self.confirm], **QUIET)
        self.no.click(lambda: gr.update(visible=False), None, self.confirm, **QUIET)
        self.yes.click(self.remove, [self.chosen, lang], [self.note, self.chosen, self.confirm], **QUIET)

    # -- checking -----------------------------------------------------------------------------------------------------
    def check_upload(self, path: str | None, lang: str) -> Iterator[list[Any]]:
        if path:
            yield from self._check(Path(path), lang)

    def check_typed(self, text: str, lang: str) -> Iterator[list[Any]]:
        try:
            path = self.page.workspace.allowed((text or "").strip() or ".")
            yield from self._check(path, lang)
        except GalenError as error:
            yield [*[gr.skip()] * 7, views.say(*error_text(error, lang)), gr.skip()]

    def _check(self, path: Path, lang: str) -> Iterator[list[Any]]:
        """First that the rows are being read, then what was found."""
        skip = gr.skip()
        busy = f'<div class="checking">{esc(t("data.checking", lang))}<div class="bar moving"><i></i></div></div>'
        yield [busy, gr.update(visible=True), gr.update(visible=False), skip, skip, skip, "", "", skip]
        try:
            report = check_file(path)
        except GalenError as error:
            yield [
                skip,
                gr.update(visible=False),
                skip,
                skip,
                skip,
                skip,
                "",
                views.say(*error_text(error, lang)),
                None,
            ]
            return
        usable = report.usable > 0
        yield [
            views_lists.check_report(report, lang),
            gr.update(visible=True),
            gr.update(visible=usable),
            gr.update(visible=usable and report.ok),
            gr.update(visible=usable and not report.ok),
            name_from(path.name),
            str(path) if usable else "",
            self._notes(report, lang),
            None,
        ]

    def _notes(self, report: CheckReport, lang: str) -> str:
        return "".join(views.say(*code_text(note.code, note.params, lang), tone="calm") for note in report.notes)

    # -- keeping ------------------------------------------------------------------------------------------------------
    def _keeper(self, bad_rows: Any) -> Any:
        return lambda pending, name, lang: self.add_dataset(pending, name, bad_rows, lang)

    def add_dataset(self, pending: str, name: str, bad_rows: Any, lang: str) -> list[Any]:
        try:
            path = self.page.workspace.allowed(pending)
            dataset = import_file(self.page.workspace, path, (name or "").strip() or None, bad_rows=bad_rows)
        except GalenError as error:
            note = views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang)
            return [note, gr.skip(), gr.skip(), gr.skip()]
        self.page.catalog.read(fresh=True)
        key = "data.imported_dropped" if dataset.card.dropped else "data.imported"
        said = t(key, lang, ref=dataset.ref, rows=count(len(dataset)), dropped=count(dataset.card.dropped))
        self._remove_upload(path)
        return [views.say(said, tone="good"), gr.update(visible=False), "", dataset.ref]

    def forget(self, pending: str) -> list[Any]:
        if pending:
            self._remove_upload(Path(pending))
        return [gr.update(visible=False), ""]

    def _remove_upload(self, path: Path) -> None:
        """An uploaded copy is not needed any more; a file that was named by its path is the user's own and stays."""
        if path.is_relative_to(uploads(self.page)):
            path.unlink(missing_ok=True)

    # -- reading ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, chosen: str | None) -> list[Any]:
        shown = chosen or (catalog.datasets[0].ref if catalog.datasets else "")
        return [views_lists.dataset_list(catalog.datasets, shown, lang), gr.skip() if shown == chosen else shown]

    def _turner(self, by: int) -> Any:
        return lambda ref, first, lang: self.show(ref, first + by, lang)

    def show(self, ref: str | None, first: int, lang: str) -> list[Any]:
        """The list with `ref` marked, and its rows from `first` on, within what there is."""
        listed = views_lists.dataset_list(self.page.catalog.read().datasets, ref, lang)
        dataset = self._open(ref)
        if dataset is None:
            return [listed, gr.update(visible=False), "", 0, gr.update(visible=False)]
        last_page = (max(0, len(dataset) - 1) // ROWS_SHOWN) * ROWS_SHOWN
        first = min(max(0, first), last_page)
        rows = views_lists.data_rows(dataset.rows(first, ROWS_SHOWN), first, len(dataset), lang)
        return [listed, gr.update(visible=True), rows, first, gr.update(visible=False)]

    def _open(self, ref: str | None) -> Dataset | None:
        try:
            return open_dataset(self.page.workspace, ref) if ref else None
        except GalenError:
            return None

    def ask(self, ref: str, lang: str) -> list[Any]:
        return [views.say(t("data.delete_ask", lang, ref=ref)), gr.update(visible=True)]

    def remove(self, ref: str, lang: str) -> list[Any]:
        try:
            delete_dataset(self.page.workspace, ref)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), gr.skip(), gr.update(visible=False)]
        self.page.catalog.read(fresh=True)
        return [views.say(t("data.deleted", lang, ref=ref), tone="calm"), "", gr.update(visible=False)]


def drop_text(lang: str) -> str:
    here, note = esc(t("data.drop_here", lang)), esc(t("data.drop_note", lang))
    return f'<div class="drop-text"><b>{here}</b><span>{note}</span></div>'


def picked(event: gr.EventData) -> str:
    """The dataset whose entry was clicked."""
    return str(event._data["ref"])


def uploads(page: Page) -> Path:
    """Where Gradio puts what a browser sends: inside the workspace, so that large files stay on its disk."""
    return page.workspace.cache_dir / "uploads"
