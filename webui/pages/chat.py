"""The Chat tab: one question, answered by the base and by a run side by side, with the same seed and settings.

A client of the workspace's chat server (`core.serving`), which is started with the first question and loads the base
once. The conversation is kept by the browser; what was answered stays when the page is reloaded.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from core.errors import GalenError
from core.jobs.store import RunSummary
from core.models.library import bottom_of
from core.rundir import State, best_checkpoint
from core.serving.client import ServerHandle, stream_chat
from core.serving.options import ARTICLE_QUESTIONS, SAMPLINGS
from core.serving.session import ensure_server, running_servers, stop_server
from webui import views, views_chat
from webui.answers import SAMPLING, follow, messages, read_sampling
from webui.catalog import Catalog, can_chat
from webui.confine import check_base, check_run
from webui.figures import duration, esc
from webui.messages import error_text, join
from webui.page import EACH, QUIET, Page
from webui.text import t

TRY = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-try]'); if (button) trigger('pick', {try: button.dataset.try}); });"""
SIDES = ("base", "run")
STICK = """const box = element.closest('.chat-pane'); let stick = true;
box?.addEventListener('scroll', () => { stick = box.scrollHeight - box.scrollTop - box.clientHeight < 60; });
new MutationObserver(() => { if (box && stick) box.scrollTop = box.scrollHeight; })
  .observe(element, {childList: true, subtree: true, characterData: true});"""


@dataclass
class Talk:
    """The question that one session has under way; Stop and New conversation reach its answers through it."""

    cancel: threading.Event = field(default_factory=threading.Event)
    forgotten: threading.Event = field(default_factory=threading.Event)  # nobody wants the turn any more
    refused: bool = False  # the last question was not asked: what the status line says of it stays until the next


class ChatPage:
    def __init__(self, page: Page) -> None:
        self.page = page

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        picker: dict[str, Any] = {"allow_custom_value": True, "interactive": True, "choices": [], "value": None}
        with gr.Column(elem_classes=["chat"]):
            with gr.Row(elem_classes=["card", "chat-bar"]), gr.Column(elem_classes=["fields", "four"]):
                self.base = labels.field(
                    gr.Dropdown, "chat.base", elem_id="chat-base", elem_classes=["field"], **picker
                )
                self.run = labels.field(gr.Dropdown, "chat.run", elem_id="chat-run", elem_classes=["field"], **picker)
                self.which = labels.field(
                    gr.Dropdown, "chat.which", elem_id="chat-which", elem_classes=["field"], **picker
                )
                self.device = labels.field(
                    gr.Dropdown, "chat.device", elem_id="chat-device", elem_classes=["field"],
                    **{**picker, "choices": ["auto"], "value": "auto"},
                )  # fmt: skip
            with gr.Row(elem_classes=["panes"]):
                self.panes = [self._pane(side) for side in SIDES]
            with gr.Column(elem_classes=["card", "ask"]):
                with gr.Row(elem_classes=["status-row"]):
                    self.status = gr.HTML("", elem_id="chat-status", elem_classes=["bare"])
                    self.free = labels.button("chat.free", visible=False, elem_id="chat-free", elem_classes=["slim"])
                    self.clear = labels.button("chat.clear", elem_id="chat-clear", elem_classes=["slim"])
                with gr.Row(elem_classes=["ask-row"]):
                    self.question = labels.add(
                        gr.Textbox(
                            placeholder=t("chat.placeholder", labels.lang), show_label=False, container=False, lines=2,
                            max_lines=6, interactive=True, elem_id="chat-question", submit_btn=False,
                        ),
                        placeholder=lambda lang: t("chat.placeholder", lang),
                    )  # fmt: skip
                    self.send = labels.button("chat.send", variant="primary", elem_id="chat-send")
                    self.stop = labels.button("chat.stop", elem_id="chat-stop", interactive=False)
                self.tries = labels.html(
                    views_chat.suggestions, elem_id="chat-tries", js_on_load=TRY, elem_classes=["bare"]
                )
                with labels.accordion("chat.sampling", open=False, elem_classes=["section"]):
                    self._sampling()
        self.talk = gr.State(None)
        self.kept = gr.JSON([], visible=False)
        self.timer = gr.Timer(5, active=False)

    def _pane(self, side: str) -> gr.HTML:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "chat-pane", side]):
            labels.html(lambda lang: views.title(t(f"chat.pane_{side}", lang)), elem_classes=["bare"])
            return gr.HTML("", js_on_load=STICK, elem_id=f"chat-{side}-pane", elem_classes=["bare"])

    def _sampling(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["fields"]):
            self.sampling = [
                labels.field(
                    gr.Textbox, f"chat.{name}", value=f"{default:g}", lines=1, max_lines=1, interactive=True,
                    elem_id=f"chat-{name}", elem_classes=["field", "sixth"],
                )
                for name, default in SAMPLING.items()
            ]  # fmt: skip
            self.system = labels.field(
                gr.Textbox, "chat.system", lines=1, max_lines=4, interactive=True, elem_id="chat-system",
                elem_classes=["field", "wide"],
            )  # fmt: skip

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        lang = self.page.lang
        asked = gr.on(
            [self.send.click, self.question.submit],
            self.ask,
            [self.question, self.base, self.run, self.which, self.device, self.system, self.kept, self.talk, lang,
             *self.sampling],
            [*self.panes, self.status, self.question, self.stop, self.kept, self.talk],
            **QUIET,
        )  # fmt: skip
        look: dict[str, Any] = {
            "fn": self.look,
            "inputs": [lang, self.talk],
            "outputs": [self.status, self.free],
            **QUIET,
        }
        asked.then(**look)
        keep: dict[str, Any] = {
            "fn": None,
            "inputs": self.kept,
            "outputs": None,
            "js": "(turns) => galen.keep('chat', turns)",
        }
        asked.then(**keep)
        self.tries.pick(suggested, None, [self.question, *self.sampling], **EACH)
        self.stop.click(self.halt, self.talk, None, **QUIET)
        self.free.click(self.release, lang, [self.status, self.free], **QUIET)
        cleared = self.clear.click(self.forget, [self.talk, self.run, lang], [*self.panes, self.kept], **QUIET)
        cleared.then(**keep)
        self.run.change(self.choose, [self.run, lang], [self.which, self.base], **QUIET)
        self.timer.tick(**look)
        self.page.on_catalog(
            self.news, [self.base, self.run, self.which], [self.base, self.run, self.which, self.device]
        )

    def news(self, catalog: Catalog, lang: str, base: str | None, run: str | None, which: str | None) -> list[Any]:
        """Choices: models, the runs that have weights to talk to, and which weights the chosen one has by now."""
        models = [(model.name, model.name) for model in catalog.models]
        runs = [(catalog.choice(found, lang), found.id) for found in catalog.runs if self._has_weights(found)]
        first = {"value": runs[0][1]} if runs and not run else {}
        alone = {"value": models[0][1]} if models and not base else {}
        devices = [(t("run.device_auto", lang), "auto"), *[(name, name) for name in self.page.device_ids()]]
        weights = self.weights(run, lang)
        gone = {"value": weights[0][1]} if weights and which not in {name for _, name in weights} else {}
        return [
            gr.update(choices=models, **alone),
            gr.update(choices=runs, **first),
            gr.update(choices=weights, **gone),
            gr.update(choices=devices),
        ]

    def _has_weights(self, found: RunSummary) -> bool:
        try:
            return can_chat(self.page.workspace.run(found.id), found.state)
        except GalenError:  # deleted since the catalog was read
            return False

    # -- choosing -----------------------------------------------------------------------------------------------------
    def weights(self, run_id: str | None, lang: str) -> list[tuple[str, str]]:
        """What can be talked to of a run: delivered, best, last, and each step that was saved."""
        try:
            shot = views.snapshot(self.page.workspace.run(run_id or ""))
        except GalenError:
            return []
        points = shot.run.complete_checkpoints()
        names = ["output"] if shot.state is State.SUCCEEDED else []
        names += ["best"] if best_checkpoint(points) else []
        names += ["last"] if points else []
        choices = [(t(f"chat.which_{name}", lang), name) for name in names]
        return choices + [(t("chat.which_step", lang, step=point.step), f"step-{point.step}") for point in points]

    def choose(self, run_id: str | None, lang: str) -> list[Any]:
        """After another run was chosen: its weights, and the base at the bottom of its chain."""
        choices = self.weights(run_id, lang)
        base = ""
        try:
            manifest = self.page.workspace.run(run_id or "").manifest()
            base = manifest.root_base.source if manifest else bottom_of(self.page.workspace, run_id or "")
        except GalenError:
            choices = []
        if not choices:
            return [gr.update(choices=[], value=None), gr.skip()]
        return [gr.update(choices=choices, value=choices[0][1]), base or gr.skip()]

    # -- asking -------------------------------------------------------------------------------------------------------
    def ask(
        self, question: str, base: str | None, run: str | None, which: str | None, device: str, system: str,
        kept: Any, talk: Talk | None, lang: str, *sampling: str,
    ) -> Iterator[list[Any]]:  # fmt: skip
        """Both answers as they arrive. Leaving the generator in any way hangs up on the server."""
        skip, talk = gr.skip(), talk or Talk()
        question, turns = (question or "").strip(), list(kept or [])
        settings, complaint = read_sampling(sampling, lang)
        if not complaint and not question:
            complaint = t("chat.no_question", lang)
        if not complaint and not base:
            complaint = t("chat.choose_base", lang)
        models = {"base": "base"}
        if not complaint and base:
            try:
                check_base(base, self.page.workspace)
                models |= {"run": check_run(run, which or "output", self.page.workspace)} if run else {}
            except GalenError as error:
                complaint = join(*error_text(error, lang))
        if complaint or base is None:
            talk.refused = True
            yield [skip, skip, views.say(complaint), skip, skip, skip, talk]
            return
        talk.refused = False
        talk.cancel, talk.forgotten = cancel, forgotten = threading.Event(), threading.Event()
        turn: dict[str, Any] = {"question": question, **{side: {"text": "", "live": True} for side in models}}
        turns.append(turn)

        def frame(status: Any) -> list[Any]:
            return [*(self._pane_html(turns, side, run, lang) for side in SIDES), status, skip, skip, skip, talk]

        try:
            yield [*frame(self._loading(0, lang))[:3], "", gr.update(interactive=True), skip, talk]
            handle: ServerHandle | None = None
            for update in self._server(
                base, [m for m in models.values() if m != "base"], device or "auto", cancel, lang
            ):
                if not isinstance(update, str):
                    handle = update
                elif not forgotten.is_set():
                    yield frame(update)
            if handle is not None:
                streams = {
                    side: lambda side=side, model=model: stream_chat(
                        handle, model, messages(turns, side, system), cancel=cancel, **settings
                    )
                    for side, model in models.items()
                }
                for _ in follow(streams, turn, cancel, lang):
                    if not forgotten.is_set():
                        yield frame(skip)
        except Exception as error:  # whatever it is belongs into the panes; error_text logs what is not ours
            said = join(*error_text(error, lang))
            for side in models:
                turn[side] = {"error": said}
        finally:
            cancel.set()
        if forgotten.is_set():  # the panes are empty by now, and stay so
            yield [skip, skip, skip, skip, gr.update(interactive=False), skip, talk]
            return
        for side in models:
            turn[side].pop("live", None)
        final = frame("")
        yield [*final[:3], skip, gr.update(interactive=False), turns, talk]

    def _server(
        self, base: str, runs: list[str], device: str, cancel: threading.Event, lang: str
    ) -> Iterator[str | ServerHandle]:
        """Status lines while the server starts and loads, then its handle; nothing more once `cancel` is set."""
        answers: queue.Queue[Any] = queue.Queue()

        def start() -> None:
            try:
                answers.put(ensure_server(self.page.workspace, base, runs, device=device))
            except BaseException as error:
                answers.put(error)

        threading.Thread(target=start, daemon=True, name="start chat server").start()
        since = time.monotonic()
        while not cancel.is_set():
            try:
                found = answers.get(timeout=0.5)
            except queue.Empty:
                yield self._loading(time.monotonic() - since, lang)
                continue
            if isinstance(found, BaseException):
                raise found
            yield found
            return

    def _loading(self, seconds: float, lang: str) -> str:
        said = t("chat.loading_for", lang, time=duration(seconds, lang)) if seconds > 1 else t("chat.loading", lang)
        return f'<div class="chat-state busy"><div class="bar moving"><i></i></div>{esc(said)}</div>'

    def _pane_html(self, turns: list[dict[str, Any]], side: str, run: str | None, lang: str) -> str:
        hint = t("chat.empty", lang) if side == "base" else "" if run else t("chat.no_runs", lang)
        return views_chat.pane(turns, side, lang, hint=hint)

    def restored(self, kept: Any, run: str | None, lang: str) -> list[Any]:
        """Both panes from what the browser kept."""
        turns = kept if isinstance(kept, list) else []
        return [self._pane_html(turns, side, run, lang) for side in SIDES]

    # -- stopping -----------------------------------------------------------------------------------------------------
    def halt(self, talk: Talk | None) -> None:
        if talk is not None:
            talk.cancel.set()

    def forget(self, talk: Talk | None, run: str | None, lang: str) -> list[Any]:
        if talk is not None:
            talk.forgotten.set()
        self.halt(talk)
        return [*self.restored([], run, lang), []]

    def look(self, lang: str, talk: Talk | None) -> list[Any]:
        """Whether a server holds memory now, and where; silent while an answer is under way, or after a refusal."""
        if talk is not None and (talk.refused or not talk.cancel.is_set()):
            return [gr.skip(), gr.skip()]
        servers = running_servers(self.page.workspace)
        said = t("chat.ready", lang, device=", ".join(s.device for s in servers)) if servers else t("chat.asleep", lang)
        return [f'<div class="chat-state">{esc(said)}</div>', gr.update(visible=bool(servers))]

    def release(self, lang: str) -> list[Any]:
        try:
            stop_server(self.page.workspace)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), gr.skip()]
        return [f'<div class="chat-state">{esc(t("chat.asleep", lang))}</div>', gr.update(visible=False)]


def suggested(event: gr.EventData) -> list[Any]:
    """Updates of (question, the sampling fields) for the suggestion that was clicked."""
    wanted = str((event._data or {}).get("try", ""))
    if wanted in ARTICLE_QUESTIONS:
        return [wanted, *[gr.skip()] * len(SAMPLING)]
    values = SAMPLINGS.get(wanted)
    return [gr.skip(), *(f"{values[name]:g}" if values else gr.skip() for name in SAMPLING)]
