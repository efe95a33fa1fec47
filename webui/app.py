"""The page as a value: `build_app(workspace)` gives the Blocks, `launch_options` what they must be launched with.

    build_app(Workspace("workspace")).launch(**launch_options(workspace))

Order of events at load: language and address first, then what the workspace holds, then the shown run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: it reports its import otherwise

import gradio as gr

from core.data.bring.export import export_folder
from core.errors import GalenError
from core.hardware import devices
from core.jobs.queue import holders
from core.workspace import Workspace
from webui import views_lists
from webui.catalog import Reader, newest
from webui.chain_part import ChainPart
from webui.figures import esc
from webui.labels import Labels
from webui.page import EACH, IDLE_SECONDS, LIVE_SECONDS, QUIET, TRAINING, Page
from webui.pages.chat import CHAT_KEPT, ChatPage
from webui.pages.data import DataPage
from webui.pages.evaluate import evaluate_page
from webui.pages.merge import merge_page
from webui.pages.predict import predict_page
from webui.pages.runs import RunsPage
from webui.pages.stage import STAGE_TABS, TRAIN, StagePage
from webui.run_panel import StageLike
from webui.seen import Seen, note_writers
from webui.sparing import spare_the_browser, spare_the_server
from webui.talks import TALKS, Talks
from webui.text import LANGUAGES, t

HERE = Path(__file__).parent
ORDER = ("data", "pretrain", "sft", "reward", "ppo", "merge", "chat", "evaluate", "runs")  # of the tabs
METHODS = ("ppo", "dpo")  # the stages that share the tab `ppo`: ways to learn from what is preferred
NOTHING: Mapping[str, str] = {}
STYLES = (  # each over those before it
    "", "_data", "_look", "_recipe", "_stages", "_judge", "_report", "_ppo", "_chat", "_annotate", "_predict", "_chain",
    "_runs",
)  # fmt: skip
NAMES = json.dumps(METHODS)
STAGE_ADDRESS = (
    f"(stage, ...runs) => galen.address({{tab: stage, run: runs[{NAMES}.indexOf(stage)], dataset: '', part: ''}})"
)
METHOD_IN_FRONT = f"(_, stage, ...runs) => [galen.method({NAMES}, stage, runs), stage, ...runs]"
IN_FRONT = "() => new URL(location.href).searchParams.get('tab') || 'sft'"
PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-run]'); if (row) trigger('pick', {run: row.dataset.run}); });"""


class App:
    """Builds the frame round the tabs and connects them. Used once, by `build_app`."""

    def __init__(self, workspace: Workspace, lang: str) -> None:
        self.workspace = workspace
        self.auto = lang == "auto"
        self.labels = Labels("en" if self.auto else lang)
        self.reader = Reader(workspace)

    def build(self) -> gr.Blocks:
        with gr.Blocks(
            title="Galen", analytics_enabled=False, fill_width=True, delete_cache=(3600, 24 * 3600)
        ) as blocks:
            with gr.Row(elem_classes=["frame"]):
                with gr.Column(elem_classes=["side"]):
                    self._sidebar()
                with gr.Column(elem_classes=["desk"]):
                    self._tabs()
            self.kept_lang = gr.Textbox("", visible=False)
            self.front = gr.Textbox("", visible=False)  # the browser fills it with the tab in front
            self.seen = gr.State(Seen())
            # Begun by the first pulse, once the kept forms are restored: before that every picker looks empty, and a
            # tick would fill in what nobody chose.
            self.timer = gr.Timer(LIVE_SECONDS, active=False)
            self._wire(blocks)
        spare_the_browser(blocks)
        spare_the_server()
        return blocks

    # -- building -----------------------------------------------------------------------------------------------------
    def _sidebar(self) -> None:
        lang = self.labels.lang
        self.labels.html(views_lists.brand, elem_classes=["bare"])
        self.gauges = gr.HTML("", elem_id="devices", elem_classes=["bare"])
        self.side_runs = gr.HTML("", js_on_load=PICK, elem_id="side-runs", elem_classes=["bare"])
        self.chain_place = gr.Column()
        with gr.Column(elem_classes=["side-bottom"]):
            path = f'<div class="workspace-path" title="{esc(self.workspace.path)}">{esc(self.workspace.path)}</div>'
            gr.HTML(path, elem_classes=["bare"])
            self.lang = language_switch(lang)
        self.page = Page(self.workspace, self.labels, self.reader, self.lang)
        self.chain = ChainPart(self.page)
        with self.chain_place:
            self.chain.build()

    def _tabs(self) -> None:
        self.data, self.chat = DataPage(self.page), ChatPage(self.page)
        # Every tab with a form and a run panel; those of `TRAINING` take a dataset from the Data tab.
        self.stages: dict[str, StageLike] = {tab.stage: StagePage(self.page, tab) for tab in STAGE_TABS}
        self.stages |= {"merge": merge_page(self.page), "evaluate": evaluate_page(self.page)}
        self.stages["predict"] = predict_page(self.page)
        self.runs = RunsPage(self.page, self.stages)
        self.talks = Talks(self.labels, {"chat": self.chat, "predict": self.stages["predict"]})
        parts: dict[str, Any] = {"data": self.data, "chat": self.talks, "runs": self.runs, **self.stages}
        self.tab_items: dict[str, gr.Tab] = {}
        with gr.Tabs(selected="sft", elem_classes=["main-tabs"]) as self.tabs:
            for name in (name for name in ORDER if name in parts):
                with self.labels.tab(f"tab.{name}", id=name, elem_id=f"tab-{name}") as tab:
                    if name in METHODS:
                        self._methods()
                    else:
                        parts[name].build()
                self.tab_items[name] = tab

    def _methods(self) -> None:
        self.method = self.labels.add(
            gr.Radio(self._method_choices(self.labels.lang), value=METHODS[0], show_label=False, container=False,
                     interactive=True, elem_id="method", elem_classes=["segments"]),
            choices=self._method_choices,
        )  # fmt: skip
        self.columns: list[gr.Column] = []
        for stage in METHODS:
            with gr.Column(visible=stage == METHODS[0]) as column:
                self.stages[stage].build()
            self.columns.append(column)

    def _method_choices(self, lang: str) -> list[tuple[str, str]]:
        return [(t(f"ppo.method_{stage}", lang), stage) for stage in METHODS]

    # -- wiring -------------------------------------------------------------------------------------------------------
    def _wire(self, blocks: gr.Blocks) -> None:
        parts: list[Any] = [self.data, *self.stages.values(), self.chat, self.runs]
        for part in parts:
            part.wire()
        self.chain.wire(self.stages)
        tick: dict[str, Any] = {
            "fn": self.pulse, "inputs": [self.lang, self.seen, *self._news_inputs()],
            "outputs": self._pulse_outputs(), **QUIET,
        }  # fmt: skip
        self.timer.tick(**tick)
        fronts = [page.panel.front for page in self.stages.values()]
        address = [
            self.tabs,
            self.method,
            *self.columns,
            *(page.panel.select for page in self.stages.values()),
            self.runs.chosen,
            *self.talks.outputs,
        ]
        forms = [component for page in self.stages.values() for component in page.form.components]
        kept = ", ".join(f"galen.kept('form.{name}', {{}})" for name in self.stages)
        dataset = [self.data.chosen, self.data.parts]
        restored = ", ".join(f"galen.kept('{name}', '')" for name in self.page.kept)
        blocks.load(None, None, list(self.page.kept.values()), js=f"() => [{restored}]")
        loaded = blocks.load(
            self.opened, [self.kept_lang, self.chat.kept, *(page.kept for page in self.stages.values())],
            [self.lang, self.chat.kept, *self.chat.form, *address, *dataset, *self._turn_outputs(), *forms,
             *self.labels.components],
            **QUIET, js=f"() => [galen.kept('language', ''), {CHAT_KEPT}, {kept}]",
        )  # fmt: skip
        shown = loaded.then(**tick).then(**self.chat.fresh)
        shown.then(**self.chat.keep).then(None, js="() => galen.begin()")
        switched = self.lang.input(self.labels.updates, self.lang, self.labels.components, **QUIET)
        self.lang.input(None, self.lang, None, js="(lang) => galen.keep('language', lang)")
        switched.then(**tick)
        switched.then(**self.chat.fresh)
        switched.then(self._woken, self.front, fronts, **QUIET, js=IN_FRONT)
        for event in (shown, switched):
            event.then(self.chat.look, [self.lang, self.chat.asking], [self.chat.status, self.chat.free], **QUIET)
        self._wire_tabs(address)
        note_writers(blocks, self.seen, self._told(), self.pulse)

    def _wire_tabs(self, address: list[Any]) -> None:
        showing = {name: page.panel.select for name, page in self.stages.items()} | {"runs": self.runs.chosen}
        methods = [self.method, *(self.stages[stage].panel.select for stage in METHODS)]
        for name, tab in self.tab_items.items():
            if name in METHODS:
                tab.select(self._turn, self.method, self._turn_outputs(), **QUIET)
                tab.select(None, methods, None, js=STAGE_ADDRESS)
                continue
            if name in TALKS:
                self.talks.wire(tab, showing[TALKS[1]], self._turn, self._turn_outputs())
                continue
            tab.select(partial(self._turn, name), None, self._turn_outputs(), **QUIET)
            if name in showing:
                with_run = f"(run) => galen.address({{tab: '{name}', run, dataset: '', part: ''}})"
                tab.select(None, showing[name], None, js=with_run)
            elif name == "data":
                with_dataset = "(dataset) => galen.address({tab: 'data', dataset, part: galen.part})"
                tab.select(None, self.data.chosen, None, js=with_dataset)
            else:
                tab.select(None, js=f"() => galen.address({{tab: '{name}', run: '', dataset: '', part: ''}})")

        self.method.input(None, methods, None, js=STAGE_ADDRESS)
        self.method.input(self._show_method, self.method, [*self.columns, *self._turn_outputs()], **QUIET)

        def opened(event: gr.EventData) -> list[Any]:
            return self.address_of(str(event._data["run"]))

        for picked in (
            self.side_runs.pick(opened, None, address, **EACH),
            self.chain.state.pick(opened, None, address, **EACH),
            *(page.panel.panes["head"].pick(opened, None, address, **EACH) for page in self.stages.values()),
            self.runs.open.click(self.address_of, self.runs.chosen, address, **QUIET),
            self.runs.clone.click(self.address_of, self.runs.chosen, address, **QUIET),
        ):  # where the tab stays the same and its method does not, no tab tells of it
            picked.then(self._turn_method, [self.front, *methods], self._turn_outputs(), **QUIET, js=METHOD_IN_FRONT)
        cloned = [page.panel.cloned for page in self.stages.values()]
        self.runs.clone.click(self._cloned, self.runs.chosen, cloned, **QUIET)
        trains = [self.stages[stage].form.component(TRAIN) for stage in TRAINING]
        self.data.use.click(self.train_on, self.data.chosen, [self.tabs, self.method, *self.columns, *trains], **QUIET)
        for page in self.stages.values():
            if isinstance(page, StagePage):
                page.to_data.click(lambda: gr.Tabs(selected="data"), None, self.tabs, **QUIET)
            select = page.panel.select
            to_chat = page.panel.buttons["chat"].click(lambda: gr.Tabs(selected="chat"), None, self.tabs, **QUIET)
            to_chat.then(
                self.chat.work.take, [select, self.chat.kept, self.chat.asking, self.lang],
                [self.chat.kept, *self.chat.turns], **QUIET,
            ).then(**self.chat.keep)  # fmt: skip
            to_chat.then(partial(self.talks.bring, TALKS[0]), None, self.talks.outputs, **QUIET)

    def _turn_outputs(self) -> list[Any]:
        panels = [page.panel for page in self.stages.values()]
        timers = [*(panel.timer for panel in panels), self.chat.timer, self.data.bring.timer]
        return [*timers, *(panel.front for panel in panels)]

    def _turn(self, front: str) -> list[Any]:
        """Only the panel in front looks at its run's files and its form; it does so when it comes there. `front`: a
        tab, or the stage that is shown of a tab with several."""
        return [*(gr.Timer(active=front == name) for name in (*self.stages, "chat", "data")), *self._woken(front)]

    def _show_method(self, method: str) -> list[Any]:
        return [*self._columns_of(method), *self._turn(method)]

    def _columns_of(self, method: str) -> list[Any]:
        return [gr.update(visible=method == stage) for stage in METHODS]

    def _turn_method(self, front: str, *runs: str) -> Any:
        """`front`: the method in front; empty where another tab is."""
        return self._turn(front) if front else gr.skip()

    def _woken(self, front: str) -> list[Any]:
        return [uuid4().hex if front == name else gr.skip() for name in self.stages]

    def _news_inputs(self) -> list[Any]:
        return [component for listener in self.page.listeners for component in listener.inputs]

    def _told(self) -> list[Any]:
        heard = [component for listener in self.page.listeners for component in listener.outputs]
        return [self.timer, self.gauges, self.side_runs, *heard]

    def _pulse_outputs(self) -> list[Any]:
        return [self.seen, *self._told()]

    # -- events -------------------------------------------------------------------------------------------------------
    def opened(self, request: gr.Request, kept: Any, chat: Any, *stored: Any) -> list[Any]:
        """At load: the language the browser kept (or asks for), the run of the address, the chat, the unsent forms."""
        query = request.query_params if request else {}
        lang = language_of(request, kept, self.labels.lang, auto=self.auto)
        named = query.get("dataset", "")
        dataset = self.data.opened(named, query.get("part", ""))
        run, tab = query.get("run", ""), query.get("tab", "") or ("data" if named else "")
        address, front = self.address_of(run, tab, self._newest()), self._front(run, tab) or "sft"
        relabel = self.labels.updates(lang) if lang != self.labels.lang else [gr.skip()] * len(self.labels.components)
        pages = zip(self.stages.values(), stored, strict=True)
        restored = [update for page, form in pages for update in page.form.restore(form)]
        asked = [unquote(name) for name in query.get("panes", "").split(",") if name]
        return [lang, *self.chat.opened(chat, asked), *address, *dataset, *self._turn(front), *restored, *relabel]

    def _newest(self) -> dict[str, str]:
        """The newest run of each stage that has one."""
        runs = self.reader.read().runs
        found = {stage: newest(runs, stage) for stage in self.stages}
        return {stage: run for stage, run in found.items() if run is not None}

    def address_of(self, run_id: str, tab: str = "", others: Mapping[str, str] = NOTHING) -> list[Any]:
        """Updates of (tabs, method and its columns, each stage's selector, chosen run of the Runs tab, part of the Chat
        tab) that show a run, or a tab.

        `others`: the runs that the other stages show; without, they stay as they are.
        """
        front, stage = self._front(run_id, tab), self._stage_of(run_id)
        owner = stage or (front if run_id else "")  # the address of a run that is gone: its tab says so
        held = METHODS[0] if front in METHODS else TALKS[0] if front in TALKS else front
        tabs = gr.Tabs(selected=held) if held else gr.skip()
        selectors = [run_id if name == owner else others.get(name, gr.skip()) for name in self.stages]
        return [tabs, *self._method_of(front), *selectors, run_id if stage else gr.skip(), *self.talks.bring(front)]

    def _method_of(self, front: str) -> list[Any]:
        """Updates of (method, its columns) that bring a stage to the front of their tab; none for another one."""
        return [front, *self._columns_of(front)] if front in METHODS else [gr.skip()] * (1 + len(METHODS))

    def _front(self, run_id: str, tab: str) -> str:
        """The tab, or the stage of a tab with several, that an address asks for; empty: none."""
        if tab in self.tab_items or tab in METHODS or tab in TALKS:
            return tab
        stage = self._stage_of(run_id)
        return stage if stage in self.stages or not stage else "runs"

    def _cloned(self, run_id: str) -> list[Any]:
        """For each stage: whose settings its form is to have now."""
        stage = self._stage_of(run_id)
        return [f"{run_id} {uuid4().hex}" if name == stage else gr.skip() for name in self.stages]

    def _stage_of(self, run_id: str) -> str:
        try:
            return self.workspace.run(run_id).stage if run_id else ""
        except GalenError:
            return ""

    def train_on(self, ref: str) -> list[Any]:
        """Updates of (tabs, method and its columns, each stage's training data): the dataset goes to the first stage
        that it is for."""
        dataset = self.page.dataset(ref)
        stage = next((name for name in (dataset.card.stages if dataset else ()) if name in TRAINING), "")
        trains = [ref if name == stage else gr.skip() for name in TRAINING]
        tab = gr.Tabs(selected=METHODS[0] if stage in METHODS else stage) if stage else gr.skip()
        return [tab, *self._method_of(stage), *trains]

    def pulse(self, lang: str, seen: Seen | None, *values: Any) -> list[Any] | Any:
        """The tick of the frame: gauges, runs, and every picker, as far as they are new to this session."""
        seen = seen or Seen()
        stale = seen.take()
        catalog = self.reader.read()
        found = devices()
        names = {run.id: run.name for run in catalog.live}
        held = holders(found, str(self.workspace.path))
        gauges = views_lists.device_list(found, held, names, lang)
        side = views_lists.side_runs(catalog.runs, lang)
        mark = (catalog.mark, lang)
        news = self.page.tell_all(catalog, lang, values) if stale or mark != seen.mark else seen.sent[3:]
        interval = LIVE_SECONDS if catalog.live else IDLE_SECONDS
        wanted = [gr.update(value=interval, active=True), gauges, side, *news]
        if wanted == seen.sent and not stale:
            return gr.skip()
        return [seen, *seen.tell(mark, wanted, stale)]


def language_switch(lang: str) -> gr.Radio:
    return gr.Radio(
        [(name, code) for code, name in LANGUAGES.items()], value=lang, show_label=False, container=False,
        interactive=True, elem_id="language", elem_classes=["segments"],
    )  # fmt: skip


def language_of(request: gr.Request | None, kept: Any, otherwise: str, *, auto: bool) -> str:
    """The language that the browser kept; with `auto` the one that it asks for."""
    if isinstance(kept, str) and kept in LANGUAGES:
        return kept
    accepted = request.headers.get("accept-language", "") if request and auto else ""
    return "zh" if accepted.lower().startswith("zh") else otherwise


def build_app(workspace: Workspace, lang: str = "auto") -> gr.Blocks:
    """The page of a workspace. `lang`: "zh", "en", or "auto" for the browser's own; the page's switch overrules it."""
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.cache_dir / "uploads")
    return App(workspace, lang).build()


def launch_options(workspace: Workspace) -> dict[str, Any]:
    """What `launch` needs so that the page looks and behaves as built; nothing in it points outside this machine."""
    theme = gr.themes.Base(
        font=[gr.themes.LocalFont("IBM Plex Sans"), "Noto Sans CJK SC", "sans-serif"],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono"), "monospace"],
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    return {
        "theme": theme,
        "css_paths": [HERE / f"style{part}.css" for part in STYLES],
        "allowed_paths": [str(export_folder(workspace))],
        "head": f"<script>{script}</script>",
        "footer_links": [],
        "run_history": False,
        "_frontend": False,  # or it ends where the first answer takes 3 s, as on a busy machine
        "max_file_size": "4gb",
        "share": False,
        "enable_monitoring": False,
        "show_error": False,
        "ssr_mode": False,
        "favicon_path": HERE / "favicon.svg",
    }
