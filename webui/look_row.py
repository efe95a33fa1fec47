"""The pane of one row in the Look part: as a conversation, as the model sees it, as fields to edit. No gradio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from core.data.look.view import View
from core.data.store import edits
from core.data.store.dataset import Dataset
from core.errors import GalenError, StopRequested
from core.workspace import Workspace
from webui import views, views_look, views_tokens
from webui.inline_work import InlineWork, Tell
from webui.look_state import LookState
from webui.look_tokens import Options, Seen, see_row
from webui.look_work import Desk
from webui.messages import code_text, error_text
from webui.text import t

BODY = "body"  # the sort of work that fills the pane


class RowPane:
    def __init__(self, workspace: Workspace, desk: Desk) -> None:
        self.workspace = workspace
        self.desk = desk

    def head(self, state: LookState, dataset: Dataset, pending: edits.Edits, lang: str) -> str:
        """Number, marks and neighbours of the shown row; "" until its figures are known."""
        view = View(self.workspace, dataset)
        if not view.columns.ready or not 0 <= state.row < len(dataset):
            return ""
        rows = view.known(state.query)
        at = -1 if rows is None else view.place_of(rows, state.row)
        [row] = view.table_rows(np.array([state.row], dtype=np.int32))
        last = rows is None or at < 0 or at == len(rows) - 1
        [category] = dataset.categories([state.row])
        return views_look.row_head(row, category, pending, at <= 0, last, lang)

    def show(
        self, state: LookState, dataset: Dataset, pending: edits.Edits, options: Options, lang: str, session: str
    ) -> tuple[str, bool]:
        """(the pane's HTML, whether work is under way)."""
        if not 0 <= state.row < len(dataset):
            return "", False
        kind = dataset.card.kind
        changed = pending.changed.get(state.row)
        if state.pane == "tokens":
            return self._tokens(state, pending, options, lang, session)
        row = dataset.take([state.row])[0] if changed is None else changed
        if state.pane == "edit":
            if state.tried:
                row = edits.with_texts(kind, row, state.tried)
            key = f"{state.ref}.{state.row}"
            return views_look.editor(kind, row, key, _said(state, lang), changed is not None, lang), False
        return views_look.bubbles(kind, row, state.query.search, lang), False

    def _tokens(
        self, state: LookState, pending: edits.Edits, options: Options, lang: str, session: str
    ) -> tuple[str, bool]:
        if not options.model:
            return views.empty(t("look.no_model", lang)), False
        changed = pending.changed.get(state.row)

        def work(tell: Tell, check: Callable[[], None]) -> Seen:
            tell("reading_tokens", 0, 0)
            return see_row(self.workspace, state.ref, state.row, pending, options, check)

        key = ("tokens", state.ref, state.row, options, repr(changed))
        asked = self.desk.ask(session, BODY, key, work)

        def html(seen: Seen) -> str:
            listed = views_tokens.readings(seen.readings, options.stage, options.max_length, lang)
            return listed + (views_tokens.pack(seen.shared, state.row, lang) if seen.packed else "")

        return answer_of(asked, lang, html)

    def act(self, state: LookState, dataset: Dataset, act: str, texts: list[str]) -> LookState:
        """Drop, keep or rewrite the shown row; the state says what came of it."""
        state = state.quiet()
        try:
            if act == "drop":
                edits.drop(self.workspace, dataset, [state.row])
            elif act == "keep":
                edits.keep(self.workspace, dataset, [state.row])
            else:
                return self._change(state, dataset, texts)
        except GalenError as error:
            return replace(state, problem=(error.code, error.params))
        return state

    def _change(self, state: LookState, dataset: Dataset, texts: list[str]) -> LookState:
        kind = dataset.card.kind
        pending = edits.pending(self.workspace, dataset)
        old = pending.changed.get(state.row) or dataset.take([state.row])[0]
        if len(texts) != len(edits.texts_of_row(kind, old)):  # another row than the one that was shown
            return state
        try:
            found = edits.change(self.workspace, dataset, state.row, edits.with_texts(kind, old, texts))
        except GalenError as error:
            return replace(state, problem=(error.code, error.params), tried=tuple(texts))
        return replace(state, note="look.noted" if state.row in found.changed else "look.unchanged")


def _said(state: LookState, lang: str) -> str:
    if state.problem is not None:
        return views.say(*code_text(*state.problem, lang))
    return views.say(t(state.note, lang), tone="good") if state.note else ""


def answer_of(asked: InlineWork[Any], lang: str, html: Callable[[Any], str]) -> tuple[str, bool]:
    """(`html` of the result, or how far the work is, or why there is none; whether it is under way)."""
    if asked.alive:
        what, done, total = asked.at[:3] or ("reading_tokens", 0, 0)
        return views_look.working(t(f"look.at_{what}", lang), done, total, None, lang), True
    try:
        return html(asked.result()), False
    except StopRequested:
        return views.say(t("look.work_stopped", lang), tone="calm"), False
    except (GalenError, OSError) as error:
        return views.say(*error_text(error, lang)), False
