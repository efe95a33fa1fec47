"""The table of the Look part, the figures in its place, and what happens to pending changes. No gradio."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from core.data.look.statistics import row_figures
from core.data.look.view import PAGE_ROWS, Query, Rows, View
from core.data.store import edits
from core.data.store.dataset import Dataset
from core.data.store.text_search import Found
from core.errors import GalenError, StopRequested
from core.workspace import Workspace
from webui import views, views_figures, views_look
from webui.inline_work import Tell
from webui.look_row import BODY, answer_of
from webui.look_state import LookState
from webui.look_tokens import Options, count_tokens
from webui.look_work import Desk
from webui.messages import error_text
from webui.text import t

TABLE, SAVE = "table", "save"  # sorts of work
EARLY_ROWS = 200  # hits that are kept to be shown while a search goes on


class TablePane:
    def __init__(self, workspace: Workspace, desk: Desk) -> None:
        self.workspace = workspace
        self.desk = desk

    def draw(
        self, state: LookState, dataset: Dataset, pending: edits.Edits, lang: str, session: str
    ) -> tuple[str, Any, bool]:
        """(the bar, the table, whether work is under way)."""
        note = views_look.pending_bar(pending, lang)
        if state.saving:
            note = self._saving(state, dataset, lang, session)
        view = View(self.workspace, dataset)
        try:
            rows = view.known(state.query)
            if rows is None:
                asked = self.desk.ask(session, TABLE, (state.ref, state.query), _finder(view, state.query))
                if asked.alive:
                    early, bar = self._early(view, state, asked.at, lang)
                    return note + bar, early, True
                rows = asked.result()
            assert rows is not None  # the work gives rows or raises
            page = view.page(rows, state.page, PAGE_ROWS, search=state.query.search)
        except StopRequested:
            early, _ = self._early(view, state, asked.at, lang)
            return note + views.say(t("look.stopped", lang), tone="calm"), early, False
        except GalenError as error:
            return note + views.say(*error_text(error, lang)), "", False
        listed = views_look.table(page, state.query, dataset.card.kind, pending, state.row, lang)
        return note, listed + views_look.foot(page, state.query, PAGE_ROWS, lang), False

    def _early(self, view: View, state: LookState, at: tuple[Any, ...], lang: str) -> tuple[Any, str]:
        """(the rows or the first hits as a table where their order is the final one, the line of progress)."""
        what, done, total, found, rows = at or ("counting", 0, 0, None, None)
        query = state.query
        bar = views_look.working(t(f"look.at_{what}", lang), done, total, found, lang)
        page = None
        if query == Query():
            page = view.early(state.page, PAGE_ROWS)
        elif rows is not None and len(rows) and query == Query(search=query.search):
            page = view.page(rows, 1, PAGE_ROWS, search=query.search)
        if page is None:
            return "", bar
        pending = edits.pending(self.workspace, view.dataset)
        listed = views_look.table(page, query, view.dataset.card.kind, pending, state.row, lang)
        return listed + (views_look.foot(page, query, PAGE_ROWS, lang) if query == Query() else ""), bar

    # -- figures ------------------------------------------------------------------------------------------------------
    def figures(self, dataset: Dataset, options: Options, lang: str, session: str) -> tuple[str, bool]:
        """(figures of the rows, and of their tokens for the chosen model; whether work is under way)."""
        workspace = self.workspace

        def work(tell: Tell, check: Callable[[], None]) -> tuple[Any, Any]:
            view = View(workspace, dataset)
            view.build(partial(tell, "counting"), check)
            rows = row_figures(view)
            if not options.model:
                return rows, None
            tell("tokenising", 0, 0, rows)

            def told(done: int, total: int) -> None:
                tell("tokenising", done, total, rows)

            try:
                return rows, count_tokens(workspace, dataset.ref, options, told, check)
            except StopRequested:
                raise
            except GalenError as error:
                return rows, error

        asked = self.desk.ask(session, BODY, ("figures", dataset.ref, options), work)
        html, working = answer_of(asked, lang, lambda found: _figures_html(found, len(dataset), lang))
        if working and len(asked.at) > 3:  # the rows' figures are there before the tokens are counted
            html = views_figures.figures(asked.at[3], lang) + html
        return html, working

    # -- saving -------------------------------------------------------------------------------------------------------
    def _saving(self, state: LookState, dataset: Dataset, lang: str, session: str) -> str:
        """What has become of the new version; it is taken up at the next tick."""
        workspace = self.workspace

        def work(tell: Tell, check: Callable[[], None]) -> Dataset:
            return edits.save(workspace, dataset, on_progress=tell, check_stop=check)

        asked = self.desk.ask(session, SAVE, state.saving, work)
        if asked.alive:
            done, total = asked.at or (0, 0)
            return views_look.working(t("look.saving", lang), done, total, None, lang)
        try:
            asked.result()
        except StopRequested:
            return views.say(t("look.work_stopped", lang), tone="calm")
        except (GalenError, OSError) as error:
            return views.say(*error_text(error, lang))
        return ""

    def saved(self, state: LookState, session: str) -> Dataset | None:
        """The version that was saved, once it is."""
        asked = self.desk.known(session, SAVE, state.saving)
        if asked is None or asked.alive:
            return None
        try:
            made: Dataset | None = asked.result()
        except (GalenError, OSError):
            return None
        return made


def _finder(view: View, query: Query) -> Callable[[Tell, Callable[[], None]], Rows]:
    """The work that answers a query; tells (what, done, total, rows found, the first of them)."""

    def work(tell: Tell, check: Callable[[], None]) -> Rows:
        first: list[Rows] = []
        count_ = 0

        def found(part: Found) -> None:
            nonlocal count_
            count_ += len(part.rows)
            if sum(map(len, first)) < EARLY_ROWS:
                first.append(part.rows)
            tell("searching", part.done, part.total, count_, np.concatenate(first)[:EARLY_ROWS])

        view.build(lambda done, total: tell("counting", done, total, None, None), check)
        tell("searching" if query.search else "sorting", 0, 0, None, None)
        return view.positions(query, on_found=found, check_stop=check)

    return work


def _figures_html(found: tuple[Any, Any], total: int, lang: str) -> str:
    rows, tokens = found
    html = views_figures.figures(rows, lang)
    if tokens is None:
        return html + views.say(t("look.no_model", lang), tone="calm")
    if isinstance(tokens, GalenError):
        return html + views.say(*error_text(tokens, lang))
    return html + views_figures.token_figures(tokens, total, lang)
