"""Look, the part of the Data tab that shows a dataset: the table, its figures, and one row in three ways.

Whatever takes longer than a moment (a first look, a new sort or search, tokens, saving) is work of `webui.look_work`,
which a timer follows while it lasts; a page that is already known is answered at once. The row's own pane is
`webui.look_row`.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import gradio as gr

from core.data.check.verdicts import STAGES
from core.data.look.tokens import SHOWN_FOR
from core.data.look.view import PAGE_ROWS, Query, View
from core.data.store import edits
from core.data.store.dataset import Dataset
from webui import views
from webui.catalog import Catalog
from webui.figures import count
from webui.look_row import BODY, RowPane
from webui.look_state import FIGURES, PANES, LookState, whole
from webui.look_table import SAVE, TABLE, TablePane
from webui.look_tokens import Options
from webui.look_work import Desk
from webui.page import EACH, QUIET, Page
from webui.text import stage_name, t

PICK = """
element.addEventListener('click', (e) => {
  const b = e.target.closest('[data-act], [data-page], [data-sort], [data-row]');
  if (!b || b.disabled) return;
  const { act, page, sort, row } = b.dataset;
  if (row !== undefined) element.querySelectorAll('tr.chosen').forEach((x) => x.classList.remove('chosen'));
  if (b.matches('tr')) b.classList.add('chosen');
  const texts = act === 'change' ? [...element.querySelectorAll('textarea')].map((x) => x.value) : undefined;
  trigger('pick', { act, page, sort, row, texts });
});
element.addEventListener('keydown', (e) => {
  if (e.key !== 'Enter') return;
  if (e.target.matches('.to-page')) trigger('pick', { page: e.target.value });
  else if (e.target.matches('tr[data-row]')) e.target.click();
});
let key = '', top = 0;
element.addEventListener('scroll', (e) => { if (e.target.matches?.('.look-scroll')) top = e.target.scrollTop; }, true);
new MutationObserver(() => {
  const list = element.querySelector('.look-scroll');  // a list that is drawn anew keeps its place
  if (list && list.dataset.key !== key) { key = list.dataset.key; top = 0; }
  if (list && list.scrollTop !== top) list.scrollTop = top;
  for (const field of element.querySelectorAll('textarea, .to-page')) {  // one that is used again shows what was sent
    const sent = `${field.dataset.key} ${field.defaultValue}`;
    if (field.sent !== sent) { field.sent = sent; field.value = field.defaultValue; }
  }
}).observe(element, { childList: true, subtree: true, characterData: true, attributes: true });
"""
TICK_SECONDS = 0.4
NUMBERS = ("look.max_length", "look.batch", "look.accumulation", "look.seed")
USUAL = (Options.max_length, Options.batch, Options.accumulation, Options.seed)


class LookPart:
    """`build` inside the sub-tab, then `wire` with the component that holds the chosen dataset."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.desk = Desk()
        self.row = RowPane(page.workspace, self.desk)
        self.list = TablePane(page.workspace, self.desk)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["look"]):
            with gr.Row(elem_classes=["look-bar"]):
                self.search = labels.field(
                    gr.Textbox, "look.search", placeholder="look.search_hint", lines=1, max_lines=1, interactive=True,
                    container=False, elem_id="look-search",
                )  # fmt: skip
                self.language = self._picker("look-language", [""])
                self.source = self._picker("look-source", [""])
                self.duplicates = labels.field(
                    gr.Checkbox, "look.duplicates", interactive=True, container=False, elem_id="look-duplicates",
                    elem_classes=["toggle"],
                )  # fmt: skip
                self.show = self._segments("look-show", ("rows", FIGURES), "look.show_", "rows")
            self.bar = gr.HTML("", js_on_load=PICK, elem_id="look-progress", elem_classes=["bare"])
            nothing = views.empty(t("look.no_dataset", labels.lang))
            self.table = gr.HTML(nothing, js_on_load=PICK, elem_id="look-table", elem_classes=["bare"])
            with gr.Column(visible=False, elem_classes=["card", "row-card"]) as self.card:
                self.head = gr.HTML("", js_on_load=PICK, elem_id="look-row-head", elem_classes=["bare"])
                self.pane = self._segments("look-pane", PANES, "look.as_", "bubbles")
                with gr.Row(visible=False, elem_classes=["token-bar"]) as self.token_bar:
                    self._token_options()
                self.body = gr.HTML("", js_on_load=PICK, elem_id="look-body", elem_classes=["bare"])
        self.state = gr.State(LookState())
        self.told = gr.State(())  # the token options that the row was last drawn with
        self.timer = gr.Timer(TICK_SECONDS, active=False)

    def _picker(self, ident: str, values: list[str]) -> gr.Dropdown:
        return gr.Dropdown(
            [(value, value) for value in values], value=values[0], filterable=False, container=False, interactive=True,
            elem_id=ident, elem_classes=["field"],
        )  # fmt: skip

    def _segments(self, ident: str, names: tuple[str, ...], prefix: str, value: str) -> Any:
        labels = self.page.labels

        def choices(lang: str) -> list[tuple[str, str]]:
            return [(t(prefix + name, lang), name) for name in names]

        radio = gr.Radio(
            choices(labels.lang), value=value, container=False, show_label=False, interactive=True, elem_id=ident,
            elem_classes=["segments"],
        )  # fmt: skip
        return labels.add(radio, choices=choices)

    def _token_options(self) -> None:
        labels = self.page.labels
        field: dict[str, Any] = {"interactive": True, "elem_classes": ["field"]}
        self.model = labels.field(
            gr.Dropdown, "look.model", choices=[], filterable=False, elem_id="look-model", **field
        )
        self.stage = labels.field(
            gr.Dropdown, "look.stage", choices=[], filterable=False, elem_id="look-stage", **field
        )
        numbers = dict(zip(NUMBERS, map(str, USUAL), strict=True))
        self.numbers = [
            labels.field(gr.Textbox, key, value=value, lines=1, max_lines=1, elem_id=key.replace(".", "-"), **field)
            for key, value in numbers.items()
        ]

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, chosen: gr.Textbox) -> None:
        """`chosen`: where the reference of the dataset stands; a version that was saved here is put into it."""
        page, lang, state = self.page, self.page.lang, self.state
        self.options = [self.model, self.stage, *self.numbers]
        shown = [state, self.bar, self.table, self.card, self.head, self.pane, self.token_bar, self.body, self.timer]
        pickers = [self.search, self.language, self.source, self.duplicates, self.stage]
        base = [state, lang, *self.options]
        chosen.change(self.open, [chosen, *base], [*shown, *pickers], **QUIET)
        lang.change(self.relabelled, base, [*shown, *pickers], **QUIET)
        asked = [self.search, self.language, self.source, self.duplicates]
        gr.on(
            [self.search.submit, self.language.input, self.source.input, self.duplicates.input],
            self.ask, [*base, *asked], shown, **QUIET,
        )  # fmt: skip
        self.search.blur(self.left, [*base, *asked], shown, **EACH)
        self.show.input(self.switch, [self.show, *base], shown, **QUIET)
        self.pane.input(self.turn, [self.pane, *base], shown, **QUIET)
        for pane in (self.table, self.head, self.body):
            pane.pick(self.clicked, base, shown, **EACH)
        self.bar.pick(self.acted, base, shown, **QUIET)
        again: list[Any] = [self.model.input, self.stage.input, *(number.submit for number in self.numbers)]
        gr.on(again, self.refresh, base, [*shown, self.told], **QUIET)
        # Leaving a field whose value is shown already draws nothing: that would undo what the click that left it shows.
        gr.on(
            [number.blur for number in self.numbers], self.left_number, [self.told, *base], [*shown, self.told], **QUIET
        )
        self.timer.tick(self.tick, base, [*shown, chosen], **QUIET)
        page.on_catalog(self.news, [self.model], [self.model])

    def news(self, catalog: Catalog, lang: str, model: str | None) -> list[Any]:
        names = [card.name for card in catalog.models]
        value = model if model in names else names[0] if names else None
        return [gr.update(choices=[(name, name) for name in names], value=value)]

    # -- events -------------------------------------------------------------------------------------------------------
    def open(self, request: gr.Request, ref: str, state: LookState, lang: str, *options: Any) -> list[Any]:
        """Another dataset was chosen."""
        if ref == state.ref:
            return [gr.skip()] * 14
        now = state.opened(ref or "")
        for sort in (TABLE, BODY):
            self.desk.forget(_session(request), sort)
        return [*self._render(now, lang, options, request), *self._pickers(now, lang)]

    def relabelled(self, request: gr.Request, state: LookState, lang: str, *options: Any) -> list[Any]:
        return [*self._render(state, lang, options, request), *self._pickers(state, lang)]

    def _pickers(self, state: LookState, lang: str) -> list[Any]:
        """Updates of (search, language, source, duplicates, stage) for the dataset."""
        dataset, query = self.page.dataset(state.ref), state.query
        card = dataset.card if dataset is not None else None
        languages = [(t("look.any_language", lang), "")]
        languages += [(t(f"language.{name}", lang), name) for name in (card.languages if card else {})]
        sources = [(t("look.any_source", lang), ""), *((name, name) for name in (card.sources if card else {}))]
        stages = SHOWN_FOR[card.kind] if card else STAGES
        return [
            query.search,
            gr.update(choices=languages, value=query.language, visible=len(languages) > 2),
            gr.update(choices=sources, value=query.source, visible=len(sources) > 2),
            query.duplicates,
            gr.update(choices=[(stage_name(name, lang), name) for name in stages], value=stages[0]),
        ]

    def ask(self, request: gr.Request, state: LookState, lang: str, *values: Any) -> list[Any]:
        """Search or filters were used; asking for the same again begins work anew that was stopped."""
        *options, search, language, source, duplicates = values
        query = _asked(state, search, language, source, duplicates)
        asked = self.desk.known(_session(request), TABLE, (state.ref, query))
        if asked is not None and not asked.alive:
            self.desk.forget(_session(request), TABLE)
        return self._render(state.asking(query), lang, options, request)

    def left(self, request: gr.Request, state: LookState, lang: str, *values: Any) -> list[Any] | Any:
        """The search was left, by a click perhaps that does something itself: only another text is asked for."""
        return gr.skip() if _asked(state, *values[-4:]) == state.query else self.ask(request, state, lang, *values)

    def switch(self, request: gr.Request, what: str, state: LookState, lang: str, *options: Any) -> list[Any]:
        return self._render(replace(state, figures=what == FIGURES), lang, options, request)

    def turn(self, request: gr.Request, pane: str, state: LookState, lang: str, *options: Any) -> list[Any]:
        return self._render(replace(state.quiet(), pane=pane), lang, options, request, table=False)

    def refresh(self, request: gr.Request, state: LookState, lang: str, *options: Any) -> list[Any]:
        """Shows the row anew. The state stays what a click in the meantime has made it."""
        return [gr.skip(), *self._render(state, lang, options, request, table=False)[1:], options]

    def left_number(
        self, request: gr.Request, told: Any, state: LookState, lang: str, *options: Any
    ) -> list[Any] | Any:
        return gr.skip() if told == options else self.refresh(request, state, lang, *options)

    def clicked(
        self, request: gr.Request, event: gr.EventData, state: LookState, lang: str, *options: Any
    ) -> list[Any]:
        """Something in the table, the row's head or its body."""
        data = event._data
        if data.get("act") == "stop":
            self.desk.stop(_session(request), BODY)
        if data.get("act") == "close":
            return self._render(replace(state.quiet(), row=-1), lang, options, request)
        dataset = self.page.dataset(state.ref)
        if dataset is None:
            return self._render(state, lang, options, request)
        if data.get("act") in ("before", "after"):
            now = self._neighbour(state, dataset, 1 if data["act"] == "after" else -1)
            return self._render(now, lang, options, request)
        if data.get("act") in ("drop", "keep", "change"):
            now = self.row.act(state, dataset, str(data["act"]), data.get("texts") or [])
            return self._render(now, lang, options, request)
        now = state.clicked(data)
        only_row = now.query == state.query and now.page == state.page
        return self._render(now, lang, options, request, table=not only_row)

    def _neighbour(self, state: LookState, dataset: Dataset, by: int) -> LookState:
        """The row before or after the shown one in the table's order, on whatever page it is."""
        view = View(self.page.workspace, dataset)
        rows = view.known(state.query)
        at = -1 if rows is None else view.place_of(rows, state.row)
        if rows is None or at < 0 or not 0 <= at + by < len(rows):
            return state
        return replace(state.at_row(int(rows[at + by])), page=(at + by) // PAGE_ROWS + 1)

    def acted(self, request: gr.Request, event: gr.EventData, state: LookState, lang: str, *options: Any) -> list[Any]:
        """A button in the bar above the table: stop what is under way, save or forget the changes."""
        act, dataset = event._data.get("act"), self.page.dataset(state.ref)
        if act == "stop":
            self.desk.stop(_session(request), SAVE if state.saving else TABLE)
        elif act == "discard" and dataset is not None:
            edits.discard(self.page.workspace, dataset)
        elif act == "save" and dataset is not None:
            self.desk.forget(_session(request), SAVE)
            state = replace(state, saving=time.monotonic_ns())
        return self._render(state, lang, options, request)

    def tick(self, request: gr.Request, state: LookState, lang: str, *options: Any) -> list[Any]:
        """While work is under way: what it has come to, and the new version in the picker once it is saved."""
        ref: Any = gr.skip()
        if state.saving:
            made = self.list.saved(state, _session(request))
            if made is not None:
                self.page.catalog.read(fresh=True)
                self.desk.forget(_session(request), SAVE)
                done = views.say(t("look.saved", lang, ref=made.ref, rows=count(len(made))), tone="good")
                now = state.opened(made.ref)
                updates = self._render(now, lang, options, request)
                updates[1] = done
                return [*updates, made.ref]
        shown = self._render(state, lang, options, request, ticking=True)
        return [gr.skip(), *shown[1:], ref]  # the state stays what a click in the meantime has made it

    # -- showing ------------------------------------------------------------------------------------------------------
    def _render(
        self,
        state: LookState,
        lang: str,
        options: Any,
        request: gr.Request,
        *,
        table: bool = True,
        ticking: bool = False,
    ) -> list[Any]:
        """Updates of all that is shown: (state, bar, table, card, head, pane, token bar, body, timer)."""
        dataset = self.page.dataset(state.ref)
        if dataset is None:
            nothing = views.empty(t("look.no_dataset", lang))
            hidden = gr.update(visible=False)
            return [state, "", nothing, hidden, "", gr.skip(), hidden, "", gr.Timer(active=False)]
        session = _session(request)
        pending = edits.pending(self.page.workspace, dataset)
        bar, listed, busy = self.list.draw(state, dataset, pending, lang, session)
        if not table and not busy:
            listed = gr.skip()
        seen = _options(options)
        if state.figures:
            body, working = self.list.figures(dataset, seen, lang, session)
            listed = ""
        else:
            body, working = self.row.show(state, dataset, pending, seen, lang, session)
        row = not state.figures and state.row >= 0
        head = self.row.head(state, dataset, pending, lang) if row else ""
        tokens = state.figures or (row and state.pane == "tokens")
        if ticking and not working and state.pane == "edit":
            body = gr.skip()  # nobody's half-written text is taken away
        return [
            state,
            bar,
            listed,
            gr.update(visible=row or state.figures),
            head,
            gr.update(value=state.pane, visible=row),
            gr.update(visible=bool(tokens)),
            body,
            gr.Timer(active=busy or working or bool(state.saving)),
        ]


def _asked(state: LookState, search: str | None, language: str | None, source: str | None, duplicates: Any) -> Query:
    """What search and filters ask for, in the order that the table has."""
    return replace(
        state.query, search=(search or "").strip(), language=language or "", source=source or "",
        duplicates=bool(duplicates),
    )  # fmt: skip


def _options(values: Any) -> Options:
    """What the token fields say; what is no number there is taken for the default."""
    model, stage, *numbers = values
    typed = [max(low, whole(value, other)) for value, other, low in zip(numbers, USUAL, (8, 1, 1, 0), strict=True)]
    return Options(model or "", stage or "", *typed)


def _session(request: gr.Request) -> str:
    return str(request.session_hash or "")
