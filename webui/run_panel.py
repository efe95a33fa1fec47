"""The run side of a stage page, the same on every stage: launch, watch, stop, resume, read.

The panel owns no state of a run. What it shows is the run in its selector, read from that run's files; the timer's
ticks compare file times first and answer `gr.skip()` when nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr

from core.errors import ConfigError, GalenError, Problem
from core.imported import is_imported
from core.jobs import store
from core.pipeline import again
from core.rundir import RunDir, State
from core.runs.clone import values_of
from core.tails import tail
from webui import charts, views, views_chain, views_hosts, views_reward, views_rows
from webui.catalog import can_chat, newest
from webui.field_shapes import DEVICES, NAME
from webui.figures import esc
from webui.fit_pane import FitPane
from webui.forms import Form
from webui.in_place import NONE, InPlace
from webui.messages import error_text
from webui.page import IDLE_SECONDS, LIVE_SECONDS, QUIET, Page
from webui.text import t
from webui.views_chain import CHAIN_JS
from webui.views_fit import FIT_JS

FIRST = ("head", "progress", "curves")  # above the inner tabs
VIEWS = ("samples", "log", "settings", "result")  # the inner tabs of most stages
Render = Callable[[views.Snapshot, str], str]

RENDER: dict[str, Render] = {
    "head": views.head,
    "progress": lambda shot, lang: (
        views.progress(shot, lang, store.stop_deadline(shot.run)) + views_hosts.waiting(shot, lang)
    ),
    "curves": lambda shot, lang: curves(shot.run, lang),
    "samples": lambda shot, lang: views.samples(shot.run, lang),
    "pairs": views_reward.pairs,
    "log": lambda shot, lang: views.log(shot.run, lang),
    "settings": views.settings,
    "result": views.result,
}
BAR = ("stop", "kill", "resume", "chat")
DROP = "drop_rows"
# What is not there yet is told at Start, not while the form is filled.
WAITS = (
    "config.missing", "ppo.no_reward", "evaluate.nobody", "evaluate.no_endpoint", "evaluate.no_judge",
    "predict.no_model",
)  # fmt: skip
BUTTONS = (*BAR, DROP, "reuse")


def curves(run: RunDir, lang: str) -> str:
    return charts.drawn(tail(run.metrics_file), run.stage, lang)


def legal(shot: views.Snapshot) -> dict[str, bool]:
    """Which buttons make sense in the run's state."""
    state = shot.state
    return {
        "stop": state.live and state is not State.STOPPING,
        "kill": state is State.STOPPING,
        "resume": store.resumable(shot.run, state),
        "reuse": True,
        DROP: views.can_drop_rows(shot) and not is_imported(shot.run),
        "chat": can_chat(shot.run, state),
    }


@dataclass
class Memo:
    """What one session has on its screen, so that a tick sends only what changed."""

    stamp: Any = None
    sent: dict[str, Any] | None = None


class Part(Protocol):
    """An inner tab that is asked for things: `asked` is what a session wants to see, `js` sends what is clicked there.

    wire: gives the event after which the pane has to be drawn anew.
    """

    js: str
    asked: gr.State

    def build(self) -> None: ...
    def wire(self, pane: gr.HTML, select: gr.Dropdown) -> Any: ...
    def draw(self, shot: views.Snapshot, asked: Any, lang: str) -> str: ...


class StageLike(Protocol):
    """A tab with a form and a run panel, as the frame needs it. `kept`: what the browser kept of the form."""

    form: Form
    panel: RunPanel
    kept: gr.JSON

    def build(self) -> None: ...
    def wire(self) -> None: ...


class RunPanel:
    """Build it inside the page's right column with `build`, then `wire` it once every field of the form is placed."""

    def __init__(
        self,
        page: Page,
        form: Form,
        inner: Sequence[str] = VIEWS,
        render: Mapping[str, Render] | None = None,
        fit: FitPane | None = None,
        nothing: str = "run.none",
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        """`inner`: what the inner tabs show, in order. `render`: how the stage shows something that others do, too.

        `fit`: what the form asks of the devices is shown beneath the command. `nothing`: text key of what is said where
        no run is shown. `parts`: the inner tabs that are asked for things.
        """
        self.page = page
        self.form = form
        self.stage = form.stage
        self.inner = tuple(inner)
        self.shown = (*FIRST, *self.inner)
        self.render = {**RENDER, **(render or {})}
        self.fit = fit
        self.nothing = nothing
        self.parts = dict(parts or {})
        self.place = InPlace(page, form)
        self.panes: dict[str, gr.HTML] = {}
        self.buttons: dict[str, gr.Button] = {}

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "launch"]):
            with gr.Row(elem_classes=["launch-row"]):
                self.form.place(NAME, "inline", placeholder="run.name_hint")
                self.start = labels.button("run.start", variant="primary", elem_id=f"{self.stage}-start")
            with gr.Column(elem_classes=["device-picker"]):
                # Every device is a choice from the start: Gradio refuses values that were not there when it was built.
                self.form.place(DEVICES, choices=self.page.device_choices(labels.lang))
            self.place.build()
            self.command = gr.HTML("", elem_classes=["bare"])
            if self.fit is not None:
                self.fit.build()
            self.note = labels.passing(f"{self.stage}-note")
        with gr.Column(elem_classes=["card", "shown"]):
            with gr.Row(elem_classes=["shown-bar"]):
                self.select = labels.field(
                    gr.Dropdown, "run.shown", choices=[(t("run.none_chosen", labels.lang), "")], value="",
                    allow_custom_value=True, interactive=True, container=False, elem_id=f"{self.stage}-run",
                    elem_classes=["run-select"],
                )  # fmt: skip
                for name in BAR:
                    self._button(name, *(["danger"] if name == "kill" else []))
            self._pane("head")
            self._pane("progress")
            self._button(DROP)
            self._pane("curves")
            with gr.Tabs(elem_classes=["inner-tabs"]):
                for name in self.inner:
                    with labels.tab(f"run.{name}", elem_id=f"{self.stage}-tab-{name}"):
                        if name == "settings":
                            self._button("reuse")
                        self._pane(name)
        for part in self.parts.values():
            part.build()
        self.memo = gr.State(None)
        self.marked = gr.State([])
        self.timer = gr.Timer(LIVE_SECONDS)
        self.front = gr.Textbox("", visible=False)  # changes whenever the panel comes to the front
        self.cloned = gr.Textbox("", visible=False)  # the run whose settings the form is to have, and how often

    def _button(self, name: str, *classes: str) -> None:
        self.buttons[name] = self.page.labels.button(
            f"run.{name}", visible=False, elem_id=f"{self.stage}-{name}", elem_classes=["slim", *classes]
        )

    def _pane(self, name: str) -> None:
        clicks = {"js_on_load": FIT_JS} if name == "progress" and self.fit is not None else {}
        clicks |= {"js_on_load": self.parts[name].js} if name in self.parts else {}
        clicks |= {"js_on_load": CHAIN_JS} if name == "head" else {}
        self.panes[name] = gr.HTML("", elem_id=f"{self.stage}-{name}", elem_classes=["bare", f"pane-{name}"], **clicks)

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self, preset: gr.Dropdown) -> None:
        lang, form = self.page.lang, self.form
        placed = self.place.inputs(self.select)
        watch: dict[str, Any] = {
            "fn": self.refresh, "inputs": [self.select, lang, self.memo, *(part.asked for part in self.parts.values())],
            "outputs": self.outputs, **QUIET,
        }  # fmt: skip
        check: dict[str, Any] = {
            "fn": self.check,
            "inputs": [lang, preset, self.marked, *placed],
            "outputs": [self.note, self.command, self.marked, *form.components], "trigger_mode": "always_last",
            **QUIET,
        }  # fmt: skip
        self.timer.tick(**watch)
        self.select.change(**watch)
        self.select.change(None, self.select, None, js=f"(run) => galen.shown('{self.stage}', run)")
        self.front.change(
            **watch, trigger_mode="once"
        )  # two "always_last" of one trigger would start each other for ever
        edits = [preset, self.place.tick, *form.components]
        edited = gr.on([self.front.change, *(each.change for each in edits)], **check)
        if self.fit is not None:
            self.fit.wire(edited)
            again = self.panes["progress"].apply(self.again, [self.select, lang], [self.note, self.select], **QUIET)
            again.then(**watch)
        outputs = [self.note, self.marked, self.select, *form.folds.values(), *form.components]
        self.start.click(self.launch, [lang, *placed], outputs, **QUIET).then(**watch)
        for name in ("stop", "kill", "resume"):
            event = self.buttons[name].click(getattr(self, name), [self.select, lang], [self.note], **QUIET)
            event.then(**watch)
        released = self.panes["head"].release(self.release, lang, self.note, **QUIET)
        released.then(**watch)
        again = self.buttons[DROP].click(self.drop_rows, [self.select, lang], [self.note, self.select], **QUIET)
        again.then(**watch)
        reused = [self.place.filled, preset, *form.components]
        self.buttons["reuse"].click(self.reuse, [self.select, lang], reused, **QUIET)
        self.cloned.change(self.reuse, [self.cloned, lang], reused, **QUIET)
        for name, part in self.parts.items():
            part.wire(self.panes[name], self.select).then(**watch)
        devices = form.component(DEVICES)
        devices.input(None, devices, devices, js="galen.devices")

    @property
    def outputs(self) -> list[Any]:
        shown = [*self.panes.values(), *self.buttons.values(), self.place.tick]
        return [self.memo, *shown, self.timer, self.form.component(DEVICES)]

    # -- watching -----------------------------------------------------------------------------------------------------
    def refresh(self, run_id: str | None, lang: str, memo: Memo | None, *asked: Any) -> list[Any] | Any:
        """Updates for `outputs`, each only where it differs from what this session was sent."""
        memo = memo or Memo()
        run = self._run(run_id)
        devices = self.page.device_choices(lang)
        catalog = self.page.catalog.read()
        strip = views_chain.strip(catalog.runs, run_id, self.stage, lang)
        place = self.place.said(catalog, run, lang)
        stamp = (run_id, lang, devices, asked, strip, place, run and views.stamp(run))
        if stamp == memo.stamp:
            return gr.skip()
        if run is None:
            wanted = {**dict.fromkeys(self.shown, ""), "head": strip}
            key = "run.gone" if run_id else self.nothing
            wanted["curves"] = f'<div class="chart-empty tall">{esc(t(key, lang))}</div>'
            shows = dict.fromkeys(BUTTONS, False)
            interval = IDLE_SECONDS
        else:
            shot = views.snapshot(run)
            wants = dict(zip(self.parts, asked, strict=True))
            wanted = {
                name: self.parts[name].draw(shot, wants[name], lang) if name in wants else self.render[name](shot, lang)
                for name in self.shown
            }
            wanted["head"] = strip + wanted["head"] + views_chain.held_notice(shot, lang)
            wanted["progress"] += self.fit.after_failure(shot, lang) if self.fit is not None else ""
            shows = legal(shot)
            interval = LIVE_SECONDS if shot.state.live else IDLE_SECONDS
        sent = memo.sent or {}
        updates = [wanted[name] if sent.get(name) != wanted[name] else gr.skip() for name in self.shown]
        updates += [gr.update(visible=shows[name]) if sent.get(name) != shows[name] else gr.skip() for name in BUTTONS]
        updates.append(self.place.update(place) if sent.get("place", NONE) != place else gr.skip())
        updates.append(gr.update(value=interval) if sent.get("interval") != interval else gr.skip())
        updates.append(gr.update(choices=devices) if sent.get("devices") != devices else gr.skip())
        now = {**wanted, **shows, "place": place, "interval": interval, "devices": devices}
        return [Memo(stamp, now), *updates]

    def _run(self, run_id: str | None) -> RunDir | None:
        try:
            return self.page.workspace.run(run_id) if run_id else None
        except GalenError:
            return None

    def catalog_updates(self, lang: str, current: str | None) -> Any:
        """The selector's choices; a run of this stage that lives is shown when nothing else is."""
        catalog = self.page.catalog.read()
        choices = catalog.run_choices(lang, self.stage)
        if current:
            return gr.update(choices=choices)
        # No value where there is none to show: the address may have named a run since this was asked.
        live = newest(catalog.live, self.stage)
        return gr.update(choices=choices, value=live) if live else gr.update(choices=choices)

    # -- acting -------------------------------------------------------------------------------------------------------
    def check(self, lang: str, preset: str | None, marked: list[str], *inputs: Any) -> list[Any]:
        """While the form is edited: the command line, and messages beside fields; empty ones wait for Start."""
        problems: list[Problem] = []
        waits, config, (place, values) = "", None, self.place.read(inputs)
        try:
            config = self.place.config(values, place)
            problems = self.page.parents.illegal(self.stage, config)
            after = store.waiting_for_live(self.page.workspace, config).run.after
            waits = f" run.after={','.join(after)}" if after else ""
        except ConfigError as error:
            problems = [problem for problem in error.problems if problem.code not in WAITS]
        words = self.form.command(values, preset, self.page.workspace) + waits
        words = self.place.command(place, config) if place is not None else words
        keys = self.form.marked(problems)
        mended = marked and not keys  # what Start complained of is mended: it is not said any longer
        note = "" if mended else gr.skip()
        return [note, views.command(words, lang), keys, *self.form.mark(problems, lang, marked)]

    def launch(self, lang: str, *inputs: Any) -> list[Any]:
        """Start: submit the form as a run, or say beside the fields what is wrong with them."""
        folds = [gr.skip()] * len(self.form.folds)
        place, values = self.place.read(inputs)
        try:
            run = self.place.submit(self.place.config(values, place), place)
        except GalenError as error:
            keys = self.form.marked(error.problems)
            sections = {key.split(".")[0] for key in keys}
            folds = [gr.update(open=True) if name in sections else gr.skip() for name in self.form.folds]
            return [self._complaint(error, keys, lang), keys, gr.skip(), *folds, *self.form.mark(error.problems, lang)]
        note, select = self._started(run, lang)
        return [note, [], select, *folds, *self.form.mark([], lang)]

    def _started(self, run: RunDir, lang: str) -> tuple[str, Any]:
        """Updates of (note, selector) for a run that was just submitted."""
        catalog = self.page.catalog.read(fresh=True)
        select = gr.update(choices=catalog.run_choices(lang, self.stage), value=run.id)
        return views.say(t("run.started", lang, name=catalog.name_of(run.id)), tone="good"), select

    def _complaint(self, error: GalenError, keys: list[str], lang: str) -> str:
        if keys and all(problem.key in keys for problem in error.problems):
            rows = [problem for problem in error.problems if problem.line is not None]
            return views.say(t("form.wrong", lang, count=len(keys))) + views_rows.problem_list(rows, lang)
        return views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang)

    def stop(self, run_id: str | None, lang: str) -> str:
        return self._act(run_id, lang, store.stop)

    def kill(self, run_id: str | None, lang: str) -> str:
        return self._act(run_id, lang, store.kill)

    def resume(self, run_id: str | None, lang: str) -> str:
        return self._act(run_id, lang, lambda run: store.resume(self.page.workspace, run.id))

    def release(self, event: gr.EventData, lang: str) -> str:
        """Have the waiting run whose button was clicked start without waiting."""
        run_id = str((event._data or {}).get("run", ""))
        return self._act(run_id, lang, lambda run: store.release(self.page.workspace, run))

    def _act(self, run_id: str | None, lang: str, action: Callable[[RunDir], Any]) -> str:
        run = self._run(run_id)
        if run is None:
            return views.say(t("run.gone", lang))
        try:
            action(run)
        except GalenError as error:
            return views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang)
        return ""

    def drop_rows(self, run_id: str | None, lang: str) -> tuple[str, Any]:
        """The shown run once more, without the rows that it failed for."""
        return self._once_more(run_id, {"data.bad_rows": "drop"}, lang)

    def again(self, event: gr.EventData, run_id: str | None, lang: str) -> tuple[str, Any]:
        """The shown run once more, with what its ladder offers against too little memory."""
        return self._once_more(run_id, self.fit.changed(event) if self.fit is not None else {}, lang)

    def _once_more(self, run_id: str | None, changes: Mapping[str, Any], lang: str) -> tuple[str, Any]:
        run = self._run(run_id)
        if run is None:
            return views.say(t("run.gone", lang)), gr.skip()
        try:
            return self._started(again.once_more(self.page.workspace, run, changes), lang)
        except GalenError as error:
            return views.say(*error_text(error, lang)) + views_rows.problem_list(error.problems, lang), gr.skip()

    def reuse(self, run_id: str | None, lang: str) -> list[Any]:
        """The run's config into the form, under no preset and without its name. A second word of `run_id` is no id."""
        run = self._run((run_id or "").partition(" ")[0])
        if run is None:
            return [gr.skip()] * (2 + len(self.form.keys))
        values = {**values_of(run), NAME: ""}
        return [run.id, "", *self.form.fill(values)]
