"""The Runs tab: every run of the workspace, searched; one of them in short, or several beside each other on the board.

The list stands left; right of it the chosen run (open, clone, stop, resume, export, delete; star, tags, a note) or one
of the board's other views (`webui.runs_board`): curves, settings, lineage, disk.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

import gradio as gr

from core.errors import GalenError
from core.jobs import store
from core.jobs.store import RunSummary
from core.models.library import based_on
from core.notes import change, read_notes
from core.rundir import RunDir, State
from core.runs.search import fits
from core.system import folder_size
from webui import views, views_lists
from webui.archive_work import ArchiveWork
from webui.catalog import Catalog
from webui.disk_card import DiskCard
from webui.figures import size
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.runs_board import Asked, Board
from webui.text import t
from webui.views_board import BOARD_JS, few
from webui.views_notes import NOTES_JS, notes

FILTERS = ("all", "starred", "live", "finished", "unfinished")
# A click alone ticks nothing: the tick is drawn when the server holds it. Gradio changes the boxes that are there, and
# one that was clicked keeps its tick whatever is sent: it is set anew.
PICK = """element.addEventListener('click', (e) => {
  const mark = e.target.closest('[data-tick], [data-star]'), row = e.target.closest('[data-run]');
  if (mark?.dataset.tick) e.preventDefault();
  if (mark) trigger('pick', {...mark.dataset});
  else if (row && !e.target.closest('.marks')) trigger('pick', {run: row.dataset.run}); });
new MutationObserver(() => {
  for (const box of element.querySelectorAll('[data-tick]')) box.checked = box.defaultChecked;
}).observe(element, { childList: true, subtree: true, attributeFilter: ['checked', 'data-tick'] });"""


class RunsPage:
    def __init__(self, page: Page, stages: Container[str]) -> None:
        """`stages`: those that have a page, where their runs can be opened."""
        self.page = page
        self.stages = stages
        self.disk = DiskCard(page)
        self.board_of = Board(page.workspace, stages)
        self.archives = ArchiveWork(page, self.board_of)

    # -- building -----------------------------------------------------------------------------------------------------
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
                self.bar = gr.HTML("", js_on_load=BOARD_JS, elem_id="runs-bar", elem_classes=["bare"])
                self.note = labels.passing("runs-note")
                self._run_view()
                self.board = gr.HTML("", js_on_load=BOARD_JS, elem_id="runs-board", elem_classes=["bare"])
        self.chosen = gr.Textbox(visible=False)
        self.asked = gr.Textbox("", visible=False)
        self.saved = gr.JSON(None, visible=False)  # a file that is handed to the browser
        self.page.keep("runs", self.asked)

    def _run_view(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["run-view"]):
            self.detail = gr.HTML("", elem_id="runs-detail", elem_classes=["bare"])
            with gr.Row(elem_classes=["actions"], visible=False) as self.actions:
                self.open = labels.button("runs.open", variant="primary", elem_id="runs-open")
                self.clone = labels.button("runs.clone", elem_id="runs-clone")
                self.stop = labels.button("run.stop", elem_id="runs-stop")
                self.resume = labels.button("run.resume", elem_id="runs-resume")
                self.export = labels.button("runs.export", elem_id="runs-export")
                self.delete = labels.button("runs.delete", elem_id="runs-delete")
            with gr.Column(elem_classes=["confirm"], visible=False) as self.confirm:
                self.question = gr.HTML("", elem_classes=["bare"])
                with gr.Row(elem_classes=["actions"]):
                    self.yes = labels.button("runs.delete_yes", variant="stop", elem_id="runs-delete-yes")
                    self.no = labels.button("runs.delete_no", elem_id="runs-delete-no")
            labels.add(self.confirm, visible=lambda lang: False)  # what it asked was in the other language
            self.noted = gr.HTML("", js_on_load=NOTES_JS, elem_id="runs-notes", elem_classes=["bare"])
            self.more = gr.HTML("", elem_classes=["bare"])

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        self.disk.wire()
        page, lang = self.page, self.page.lang
        buttons = [self.open, self.clone, self.stop, self.resume, self.export, self.delete]
        view = [self.table, self.detail, self.more, self.bar, self.board, self.actions, *buttons]
        inputs = [self.search, self.filter, self.chosen, self.asked]
        page.on_catalog(self.news, inputs, view)
        shown: dict[str, Any] = {
            "fn": self.show, "inputs": [lang, *inputs], "outputs": [*view, self.noted], "trigger_mode": "always_last",
            **QUIET,
        }  # fmt: skip
        # The search by `change`: Gradio tells `input` of typed letters alone, of nothing that is deleted or pasted.
        changed = [self.search.change, self.filter.input, self.chosen.change, self.asked.change, lang.input]
        # The sign that the list lags stands first: Gradio waits for one listener's answer before it calls the next.
        self.search.change(None, js="() => galen.busy('#runs-table', true)")
        gr.on(changed, **shown).then(None, js="() => galen.busy('#runs-table', false)")
        self.chosen.change(None, self.chosen, None, js="(run) => galen.shown('runs', run)")
        turned = [self.chosen, self.asked, self.note, self.confirm, self.saved]
        for pane, handler in ((self.table, self.pick), (self.bar, self.turn), (self.board, self.turn)):
            event = pane.pick(handler, [self.chosen, self.asked, lang], turned, **EACH)
            event.then(None, self.saved, None, js="galen.fetch")
        self.noted.pick(self.jot, [self.asked, lang], [self.asked, self.note], **EACH)
        self.delete.click(self.ask, [self.chosen, lang], [self.question, self.confirm], **QUIET)
        self.no.click(lambda: gr.update(visible=False), None, self.confirm, **QUIET)
        removed = self.yes.click(self.remove, [self.chosen, lang], [self.note, self.confirm, self.chosen], **QUIET)
        removed.then(**shown)
        for button, action in ((self.stop, store.stop), (self.resume, self._resume)):
            button.click(self._actor(action), [self.chosen, lang], self.note, **QUIET).then(**shown)
        self.export.click(self.archives.export, [self.chosen, lang], self.note, **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def show(self, lang: str, search: str, state: str, chosen: str | None, asked: str | None) -> list[Any]:
        """Updates of the view, and of what was noted: that is not sent at a tick, which would take it from the one who
        is writing it."""
        run = self._run(chosen)
        noted = notes(run.id, read_notes(run), lang) if run is not None else ""
        return [*self.news(self.page.catalog.read(), lang, search, state, chosen, asked), noted]

    def news(
        self, catalog: Catalog, lang: str, search: str, state: str, chosen: str | None, asked: str | None
    ) -> list[Any]:
        wanted = Asked.of(asked)
        runs = matching(catalog, search or "", state)
        table = views_lists.run_table(runs, len(catalog.runs), chosen, lang, ticked=wanted.ticked)
        board = self.board_of.draw(catalog, wanted, chosen, lang)
        run = self._run(chosen)
        if run is None:
            hint = views.empty(t("runs.choose", lang)) if catalog.runs else ""
            return [table, hint, "", *board, gr.update(visible=False), *[gr.skip()] * 6]
        shot = views.snapshot(run)
        detail = views.title(shot.name) + views.head(shot, lang) + views.progress(shot, lang, store.stop_deadline(run))
        more = views.result(shot, lang) + views.settings(shot, lang)
        live, paged = shot.state.live, shot.stage in self.stages
        stop, resume = live and shot.state is not State.STOPPING, store.resumable(run, shot.state)
        buttons = [gr.update(visible=shown) for shown in (True, paged, paged, stop, resume, not live, not live)]
        return [table, detail, more, *board, *buttons]

    def _run(self, run_id: str | None) -> RunDir | None:
        try:
            return self.page.workspace.run(run_id) if run_id else None
        except GalenError:
            return None

    # -- clicks -------------------------------------------------------------------------------------------------------
    def pick(self, event: gr.EventData, chosen: str | None, asked: str | None, lang: str) -> list[Any]:
        """In the list: a row, its tick, its star. Updates of (chosen, asked, note, confirm, saved)."""
        data, wanted = event._data or {}, Asked.of(asked)
        closed = gr.update(visible=False)
        try:
            if "tick" in data:
                view = "curves" if wanted.view in ("run", "disk", "lineage") and wanted.ticked else wanted.view
                return [gr.skip(), wanted.tick(str(data["tick"])).seen_as(view).text(), "", gr.skip(), None]
            if "star" in data:
                return [gr.skip(), self._starred(str(data["star"]), wanted), "", gr.skip(), None]
        except (GalenError, OSError) as error:
            return [gr.skip(), gr.skip(), self._why(error, lang), gr.skip(), None]
        back = wanted.seen_as("run").text() if wanted.view in ("curves", "settings") else gr.skip()
        return [str(data.get("run") or ""), back, "", closed, None]

    def _starred(self, run_id: str, wanted: Asked) -> str:
        run = self.page.workspace.run(run_id)
        change(run, star=not read_notes(run).star)
        self.page.catalog.read(fresh=True)
        return wanted.changed().text()

    def turn(self, event: gr.EventData, chosen: str | None, asked: str | None, lang: str) -> Iterator[list[Any]]:
        """On the board. Updates as of `pick`; an archive that was sent is unpacked with its progress shown."""
        data, wanted = event._data or {}, Asked.of(asked)
        calm: list[Any] = [gr.skip(), gr.skip(), "", gr.skip(), None]
        try:
            if "run" in data:
                yield [str(data["run"]), *calm[1:]]
            elif "import" in data:
                for note, run in self.archives.bring_in(data["import"], lang):
                    yield [run or gr.skip(), wanted.seen_as("run").text() if run else gr.skip(), note, gr.skip(), None]
            elif "save" in data:
                path = self.board_of.save(wanted, chosen, data["save"], lang)
                yield [*calm[:4], {"path": str(path), "name": path.name}]
            elif "clean" in data:
                freed = self.board_of.clean(chosen, data["clean"])
                said = views.say(t("kept.removed", lang, size=size(freed)), tone="good")
                self.page.catalog.read(fresh=True)
                yield [gr.skip(), wanted.changed().text(), said, gr.skip(), None]
            else:
                yield [gr.skip(), wanted.clicked(data).text(), "", gr.skip(), None]
        except (GalenError, OSError) as error:
            yield [gr.skip(), gr.skip(), self._why(error, lang), gr.skip(), None]

    def jot(self, event: gr.EventData, asked: str | None, lang: str) -> list[Any]:
        """What somebody notes of the run that the event names. Updates of (asked, note)."""
        data = event._data or {}
        run = self._run(str(data.get("run") or ""))
        if run is None:
            return [gr.skip(), views.say(t("run.gone", lang))]
        try:
            if "star" in data:
                change(run, star=not read_notes(run).star)
            elif "untag" in data:
                change(run, remove=[str(data["untag"])])
            elif data.get("tag"):
                change(run, add=[str(data["tag"])])
            elif "note" in data:
                change(run, note=str(data["note"]))
        except (GalenError, OSError) as error:
            return [gr.skip(), self._why(error, lang)]
        self.page.catalog.read(fresh=True)
        return [Asked.of(asked).changed().text(), ""]

    # -- acting -------------------------------------------------------------------------------------------------------
    def ask(self, chosen: str | None, lang: str) -> list[Any]:
        run = self._run(chosen)
        if run is None:
            return ["", gr.update(visible=False)]
        name, runs = views.snapshot(run).name, self.page.catalog.read().runs
        asked = t("runs.delete_ask", lang, name=name, size=size(folder_size(run.path)))
        lost = based_on(self.page.workspace, run.id)
        users = [each for each in runs if run.id in each.parents and each.id not in lost]
        more = [t("disk.breaks", lang, runs=few([each.name for each in runs if each.id in lost]))] if lost else []
        more += [t("runs.delete_users", lang, runs=few([each.name for each in users]))] if users else []
        return [views.say(asked, " ".join(more)), gr.update(visible=True)]

    def remove(self, chosen: str | None, lang: str) -> list[Any]:
        run = self._run(chosen)
        if run is None:
            return [views.say(t("run.gone", lang)), gr.update(visible=False), ""]
        name = views.snapshot(run).name
        try:
            store.delete(self.page.workspace, run)
        except (GalenError, OSError) as error:
            return [self._why(error, lang), gr.update(visible=False), chosen]
        self.page.catalog.read(fresh=True)
        return [views.say(t("runs.deleted", lang, name=name), tone="calm"), gr.update(visible=False), ""]

    def _why(self, error: BaseException, lang: str) -> str:
        return views.say(*(views.by_name(part, self.page.workspace.runs_dir) for part in error_text(error, lang)))

    def _resume(self, run: RunDir) -> None:
        store.resume(self.page.workspace, run.id)

    def _actor(self, action: Callable[[RunDir], Any]) -> Callable[[str | None, str], str]:
        """A handler that does `action` to the chosen run and says what was wrong with that."""

        def act(chosen: str | None, lang: str) -> str:
            run = self._run(chosen)
            try:
                if run is not None:
                    action(run)
            except (GalenError, OSError) as error:
                return self._why(error, lang)
            self.page.catalog.read(fresh=True)
            return ""

        return act


def matching(catalog: Catalog, search: str, state: str) -> list[RunSummary]:
    """The runs that `search` means (`core.runs.search`; also by model and data), in the chosen kind of state."""

    def of_kind(run: RunSummary) -> bool:
        kind = "live" if run.state.live else "finished" if run.state.value == "succeeded" else "unfinished"
        return state in ("all", kind) or (state == "starred" and run.star)

    return [run for run in catalog.runs if of_kind(run) and fits(run, search)]
