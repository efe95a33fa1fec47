"""The Chat tab: one question, answered by up to four models and runs side by side, with the same seed and settings.

A client of the workspace's chat servers (`core.serving`), one for each base, which are started with the first question.
The conversation (`core.talks`) is kept by the browser; what was answered stays when the page is reloaded, also when
that happened in the middle of an answer. The same page stands alone in `webui.alone`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from core.data.encode.named import NAMED
from core.errors import GalenError
from core.serving.options import ARTICLE_QUESTIONS, SAMPLINGS
from core.serving.session import running_servers, stop_server
from core.talks import new_talk, read_talk
from webui import views, views_chat, views_contest
from webui.answers import SAMPLING
from webui.chat_parts import SavedPart, WinsPart
from webui.chat_work import FORM, Alone, Asking, ChatWork
from webui.contestants import Contestants
from webui.figures import esc
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.text import t
from webui.text_chat import QUESTIONS

HERE = Path(__file__).parents[1]
TURNS_JS = (HERE / "chat.js").read_text(encoding="utf-8")
HEADS_JS = (HERE / "chat_heads.js").read_text(encoding="utf-8")
FOOT_JS = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-try], [data-drawer]'); if (!button) return;
  if (button.dataset.try) { trigger('pick', {try: button.dataset.try}); return; }
  const ask = element.closest('.ask'), { drawer } = button.dataset;
  ask.dataset.drawer = ask.dataset.drawer === drawer ? '' : drawer;
  show(); });
const show = () => { for (const one of element.querySelectorAll('[data-drawer]'))
  one.ariaExpanded = one.dataset.drawer === element.closest('.ask').dataset.drawer; };
watch('value', show);"""
CHAT_KEPT = "{talk: galen.kept('chat', null), form: galen.kept('chat.form', null)}"  # what the browser has of it


class ChatPage:
    def __init__(self, page: Page, alone: Alone | None = None) -> None:
        self.page, self.alone = page, alone
        only, panes = (alone.only, alone.panes) if alone is not None else ((), ())
        self.contestants = Contestants(page.workspace, page.catalog, only, panes)
        self.saved = SavedPart(page, keeps=alone is None)
        self.wins = WinsPart(page, keeps=alone is None)
        self.work = ChatWork(page.workspace, self.contestants, alone)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["chat", *(["alone"] if self.alone else [])]):
            with gr.Row(elem_classes=["chat-bar"]):
                self.heads = gr.HTML(
                    "", js_on_load=HEADS_JS, apply_default_css=False, elem_id="chat-heads", elem_classes=["bare"]
                )
                self.blind = labels.field(
                    gr.Checkbox, "chat.blind", info="chat.blind_help", value=False, container=False, interactive=True,
                    elem_id="chat-blind", elem_classes=["toggle", "field"],
                )  # fmt: skip
                self.clear = labels.button("chat.clear", elem_id="chat-clear", elem_classes=["slim"])
            with gr.Column(elem_classes=["card", "chat-scroll"]):
                self.past, self.now = (
                    gr.HTML("", js_on_load=TURNS_JS, apply_default_css=False, elem_id=name, elem_classes=["bare"])
                    for name in ("chat-past", "chat-now")
                )
            with gr.Column(elem_classes=["card", "ask"]):
                self._ask_row()
                drawers = ["settings", "saved"] if self.alone else ["settings", "saved", "wins"]
                self.foot = labels.html(
                    lambda lang: views_chat.foot(lang, drawers), elem_id="chat-tries", js_on_load=FOOT_JS,
                    apply_default_css=False, elem_classes=["bare"],
                )  # fmt: skip
                with gr.Column(elem_classes=["drawer", "settings-drawer", "fields"]):
                    self._settings()
                with gr.Column(elem_classes=["drawer", "saved-drawer"]):
                    self.saved.build()
                with gr.Column(elem_classes=["drawer", "wins-drawer"]):
                    self.wins.build()
        self.asking = gr.State(None)
        self.mark = gr.Textbox("", visible=False)  # changes with the workspace and the language
        self.kept = gr.JSON({}, visible=False)
        self.keep: dict[str, Any] = {  # an event that has the browser remember the conversation
            "fn": None, "inputs": self.kept, "outputs": None, "js": "(talk) => galen.keep('chat', talk)",
        }  # fmt: skip
        self.timer = gr.Timer(5, active=False)

    def _ask_row(self) -> None:
        labels = self.page.labels
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
        with gr.Row(elem_classes=["status-row"]):
            self.status = gr.HTML("", elem_id="chat-status", elem_classes=["bare"])
            self.free = labels.button("chat.free", visible=False, elem_id="chat-free", elem_classes=["slim"])

    def _settings(self) -> None:
        labels = self.page.labels
        picker: dict[str, Any] = {"allow_custom_value": True, "interactive": True, "elem_classes": ["field"]}
        numbers = [
            labels.field(
                gr.Textbox, f"chat.{name}", value=f"{default:g}", lines=1, max_lines=1, interactive=True,
                elem_id=f"chat-{name}", elem_classes=["field", "sixth"],
            )
            for name, default in SAMPLING.items()
        ]  # fmt: skip
        self.template = labels.field(
            gr.Dropdown, "chat.template", choices=_templates(labels.lang), value="", elem_id="chat-template", **picker
        )
        self.reward = labels.field(
            gr.Dropdown, "chat.reward", choices=[], value="", elem_id="chat-reward", visible=not self.alone, **picker
        )
        self.device = labels.field(
            gr.Dropdown, "chat.device", choices=["auto"], value="auto", elem_id="chat-device", visible=not self.alone,
            **picker,
        )  # fmt: skip
        self.system = labels.field(
            gr.Textbox, "chat.system", lines=1, max_lines=4, interactive=True, elem_id="chat-system",
            elem_classes=["field", "wide"],
        )  # fmt: skip
        self.form = [self.blind, self.device, self.reward, self.template, self.system, *numbers]
        self.sampling = numbers

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        lang, kept, asking, work = self.page.lang, self.kept, self.asking, self.work
        self.turns = [self.heads, self.past, self.now]  # what shows a conversation
        mine, shown = [kept, asking, lang], [kept, *self.turns]
        answering = [*self.turns, self.status, self.question, self.stop, kept, asking]
        state = [kept, asking, lang, *self.form]
        look: dict[str, Any] = {"fn": self.look, "inputs": [lang, asking], "outputs": [self.status, self.free], **QUIET}
        asked = [
            gr.on([self.send.click, self.question.submit], work.ask, [self.question, *state], answering, **QUIET),
            *(pane.again(work.again, state, answering, **QUIET) for pane in (self.past, self.now)),
            self.reward.select(work.judge, state, answering, **QUIET),
        ]
        for event in asked:
            event.then(**look)
        changed = [
            *(pane.vote(work.vote, mine, [*shown, self.status], **EACH) for pane in (self.past, self.now)),
            self.heads.pane(work.changed_panes, mine, shown, **EACH),
            self.clear.click(work.forget, mine, shown, **QUIET),
        ]
        for event in changed[:2]:
            event.then(self.wins.draw, lang, self.wins.pane, **QUIET)
        for event in (*asked, *changed):
            event.then(**self.keep)
        self.foot.pick(suggested, None, [self.question, *self.sampling], **EACH)
        self.stop.click(self.halt, asking, None, **QUIET)
        if not self.alone:  # a guest ends no server of others
            self.free.click(self.release, lang, [self.status, self.free], **QUIET)
        names = ", ".join(FORM)
        gr.on(
            [component.change for component in self.form], None, self.form, None,
            js=f"({names}) => galen.keep('chat.form', {{{names}}})",
        )  # fmt: skip
        self.timer.tick(**look)
        self.saved.wire(kept, asking, self.turns, work.reopened, self.keep)
        self.wins.wire()
        # A conversation may be long: it is sent where something has changed, and not with every tick of the frame.
        self.page.on_catalog(lambda catalog, lang: [f"{catalog.mark} {lang}"], [], [self.mark])
        chosen = [*shown, self.template, self.reward, self.device]
        self.mark.change(self.refresh, mine, chosen, **QUIET)
        self.fresh: dict[str, Any] = {  # an event that draws everything: at load, and in the other language
            "fn": self.redraw, "inputs": mine, "outputs": [*chosen, self.saved.pane, self.wins.pane],
            **QUIET,
        }  # fmt: skip

    # -- showing ------------------------------------------------------------------------------------------------------
    def refresh(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """After a change of the workspace: what can be chosen, and the panes of a conversation that has none yet. Its
        turns are left alone: what the browser sends of them may be older than what it shows by now."""
        skip, talk = gr.skip(), read_talk(kept)
        named = [] if self.alone else self.page.device_ids()  # a guest need not know what this machine has
        devices = [(t("run.device_auto", lang), "auto"), *((name, name) for name in named)]
        choices = [
            gr.update(choices=_templates(lang)),
            gr.update(choices=self.contestants.rewards(lang)),
            gr.update(choices=devices),
        ]
        if asking is not None and asking.under_way:
            return [skip, skip, skip, skip, *choices]
        if talk.turns or any(pane.model for pane in talk.panes):
            return [skip, views_contest.heads(talk, self.contestants, lang), skip, skip, *choices]
        fresh = new_talk(self.contestants.first())
        return [fresh.model_dump(mode="json"), *self.work.shown(fresh, lang), *choices]

    def redraw(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """The same, the turns, and the drawers, whose notes stay until then."""
        talk, updates = read_talk(kept), self.refresh(kept, asking, lang)
        if not (asking is not None and asking.under_way) and any(pane.model for pane in talk.panes):
            updates[1:4] = self.work.shown(talk, lang)
        return [*updates, self.saved.draw(talk, lang), self.wins.draw(lang)]

    def opened(self, stored: Any, asked: Sequence[str] = ()) -> list[Any]:
        """At load, updates of (kept, the settings) from what the browser kept: {"talk", "form"}.

        asked: the models that an address names; a kept conversation with others gives way to a new one.
        """
        stored = stored if isinstance(stored, dict) else {}
        talk = self.work.recent.newer(read_talk(stored.get("talk")))
        if asked and [pane.model for pane in talk.panes] != list(asked):
            talk = new_talk(asked)
        form = stored.get("form") if isinstance(stored.get("form"), dict) else {}
        devices = {"auto", *self.page.device_ids()}
        updates: list[Any] = []
        for name in FORM:
            value = form.get(name)
            good = isinstance(value, bool if name == "blind" else str) and (name != "device" or value in devices)
            updates.append(value if good else gr.skip())
        return [talk.model_dump(mode="json"), *updates]

    # -- stopping -----------------------------------------------------------------------------------------------------
    def halt(self, asking: Asking | None) -> None:
        if asking is not None:
            asking.cancel.set()

    def look(self, lang: str, asking: Asking | None) -> list[Any]:
        """Whether a server holds memory now, and where; silent while an answer is under way, or after a refusal."""
        if self.alone or (asking is not None and (asking.refused or asking.under_way)):
            return [gr.skip(), gr.skip()]
        servers = running_servers(self.page.workspace)
        devices = ", ".join(dict.fromkeys(server.device for server in servers))
        said = t("chat.ready", lang, device=devices) if servers else t("chat.asleep", lang)
        return [f'<div class="chat-state">{esc(said)}</div>', gr.update(visible=bool(servers))]

    def release(self, lang: str) -> list[Any]:
        try:
            stop_server(self.page.workspace)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), gr.skip()]
        return [f'<div class="chat-state">{esc(t("chat.asleep", lang))}</div>', gr.update(visible=False)]


def _templates(lang: str) -> list[tuple[str, str]]:
    return [(t("chat.template_own", lang), ""), *((name, name) for name in NAMED)]


def suggested(event: gr.EventData) -> list[Any]:
    """Updates of (question, the sampling fields) for the suggestion that was clicked."""
    wanted = str((event._data or {}).get("try", ""))
    if wanted in {*ARTICLE_QUESTIONS, *(text for texts in QUESTIONS.values() for text in texts)}:
        return [wanted, *[gr.skip()] * len(SAMPLING)]
    values = SAMPLINGS.get(wanted)
    return [gr.skip(), *(f"{values[name]:g}" if values else gr.skip() for name in SAMPLING)]
