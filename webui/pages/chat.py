"""The Chat tab: one question, answered by up to four models and runs side by side, with the same seed and settings.

A client of the workspace's chat servers (`core.serving`), one for each base, which are started with the first question.
The conversation (`core.talks`) is kept by the browser; what was answered stays when the page is reloaded, also when
that happened in the middle of an answer. The same page stands alone in `webui.alone`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from core import talks
from core.data.encode.named import NAMED
from core.errors import GalenError
from core.serving.options import ARTICLE_QUESTIONS, SAMPLINGS
from core.serving.session import running_servers, stop_server
from core.talks import Talk, Turn, begin_turn, new_id, new_talk, read_talk
from core.votes import append, vote_on
from webui import views, views_chat, views_contest
from webui.answers import SAMPLING, Answers, Judging, read_sampling
from webui.chat_parts import SavedPart, WinsPart
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
FORM = ("blind", "device", "reward", "template", "system", *SAMPLING)  # the settings, in the order of the components
RECENT = 64  # conversations that the page remembers by itself, for browsers that were reloaded in the middle of one


@dataclass
class Asking:
    """What one session has under way; Stop and New conversation reach it through this."""

    cancel: threading.Event = field(default_factory=threading.Event)
    forgotten: threading.Event = field(default_factory=threading.Event)  # nobody wants the turn any more
    refused: bool = False  # the last question was not asked: what the status line says of it stays until the next
    under_way: bool = False


@dataclass(frozen=True)
class Alone:
    """The page shows these models and nothing of the workspace: `only` may be asked, `panes` are there at first.

    serving: what `ensure_server` is told beyond the base.
    """

    only: tuple[str, ...]
    panes: tuple[str, ...]
    serving: dict[str, Any]


class Recent:
    """The newest state of the conversations that were answered lately, by their ids, which nobody can guess."""

    def __init__(self) -> None:
        self._talks: OrderedDict[str, Talk] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, talk: Talk) -> None:
        with self._lock:
            self._talks[talk.id] = talk
            self._talks.move_to_end(talk.id)
            while len(self._talks) > RECENT:
                self._talks.popitem(last=False)

    def newer(self, talk: Talk) -> Talk:
        """`talk`, or what it has become since the browser kept it."""
        with self._lock:
            known = self._talks.get(talk.id)
        return known.model_copy(deep=True) if known is not None and known.changed > talk.changed else talk


class ChatPage:
    def __init__(self, page: Page, alone: Alone | None = None) -> None:
        self.page, self.alone = page, alone
        only, panes = (alone.only, alone.panes) if alone is not None else ((), ())
        self.contestants = Contestants(page.workspace, page.catalog, only, panes)
        self.saved = SavedPart(page, keeps=alone is None)
        self.wins = WinsPart(page)
        self.recent = Recent()

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
        lang, kept, asking = self.page.lang, self.kept, self.asking
        self.turns = [self.heads, self.past, self.now]  # what shows a conversation
        answering = [*self.turns, self.status, self.question, self.stop, kept, asking]
        state = [kept, asking, lang, *self.form]
        look: dict[str, Any] = {"fn": self.look, "inputs": [lang, asking], "outputs": [self.status, self.free], **QUIET}
        voted = [kept, *self.turns, self.status, self.wins.pane]
        asked = [
            gr.on([self.send.click, self.question.submit], self.ask, [self.question, *state], answering, **QUIET),
            *(pane.again(self.again, state, answering, **QUIET) for pane in (self.past, self.now)),
            self.reward.select(self.judge, state, answering, **QUIET),
        ]
        for event in asked:
            event.then(**look)
        changed = [
            *(pane.vote(self.vote, [kept, asking, lang], voted, **EACH) for pane in (self.past, self.now)),
            self.heads.pane(self.changed_panes, [kept, asking, lang], [kept, *self.turns], **EACH),
            self.clear.click(self.forget, [kept, asking, lang], [kept, *self.turns, self.saved.pane], **QUIET),
        ]
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
        self.saved.wire(kept, asking, self.turns, self._reopened, self.keep)
        self.wins.wire()
        # A conversation may be long: it is sent where something has changed, and not with every tick of the frame.
        self.page.on_catalog(lambda catalog, lang: [f"{catalog.mark} {lang}"], [], [self.mark])
        shown = [kept, *self.turns, self.template, self.reward, self.device]
        self.mark.change(self.refresh, [kept, asking, lang], shown, **QUIET)
        self.fresh: dict[str, Any] = {  # an event that draws everything: at load, and in the other language
            "fn": self.redraw, "inputs": [kept, asking, lang], "outputs": [*shown, self.saved.pane, self.wins.pane],
            **QUIET,
        }  # fmt: skip

    # -- showing ------------------------------------------------------------------------------------------------------
    def _shown(self, talk: Talk, lang: str, at: int | None = None) -> list[str]:
        """Updates of (heads, past, now). `at`: the first turn that is still moving; the last one where none is."""
        first = max(0, len(talk.turns) - 1) if at is None else at
        heads = views_contest.heads(talk, self.contestants, lang)
        return [heads, views_chat.turns(talk, 0, first, lang), self._now(talk, first, lang)]

    def _reopened(self, talk: Talk, lang: str) -> list[str]:
        """A saved conversation is what it was, whatever has become of it here since."""
        self.recent.put(talk)
        return self._shown(talk, lang)

    @staticmethod
    def _now(talk: Talk, first: int, lang: str) -> str:
        return views_chat.turns(talk, first, len(talk.turns), lang) or views_chat.nothing_yet(talk, lang)

    def refresh(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """After a change of the workspace: what can be chosen, and the panes of a conversation that has none yet."""
        skip, talk = gr.skip(), read_talk(kept)
        devices = [(t("run.device_auto", lang), "auto"), *[(name, name) for name in self.page.device_ids()]]
        choices = [
            gr.update(choices=_templates(lang)),
            gr.update(choices=self.contestants.rewards(lang)),
            gr.update(choices=devices),
        ]
        if asking is not None and asking.under_way:
            return [skip, skip, skip, skip, *choices]
        if talk.turns or any(pane.model for pane in talk.panes):
            return [skip, *self._shown(talk, lang), *choices]
        fresh = new_talk(self.contestants.first())
        return [fresh.model_dump(mode="json"), *self._shown(fresh, lang), *choices]

    def redraw(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """The same and the drawers, whose notes stay until then."""
        saved = self.saved.draw(read_talk(kept), lang)
        return [*self.refresh(kept, asking, lang), saved, "" if self.alone else self.wins.draw(lang)]

    def opened(self, stored: Any) -> list[Any]:
        """At load, updates of (kept, the settings) from what the browser kept: {"talk", "form"}."""
        stored = stored if isinstance(stored, dict) else {}
        talk = self.recent.newer(read_talk(stored.get("talk")))
        form = stored.get("form") if isinstance(stored.get("form"), dict) else {}
        devices = {"auto", *self.page.device_ids()}
        updates: list[Any] = []
        for name in FORM:
            value = form.get(name)
            good = isinstance(value, bool if name == "blind" else str) and (name != "device" or value in devices)
            updates.append(value if good else gr.skip())
        return [talk.model_dump(mode="json"), *updates]

    def take(self, run: str | None, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """Updates of (kept, heads, past, now) that put a run beside its base, in the first two panes."""
        talk = read_talk(kept)
        if not run or (asking is not None and asking.under_way) or talk.hidden:
            return [gr.skip()] * 4
        wanted = self.contestants.beside_base(run)
        if wanted[1] not in [pane.model for pane in talk.panes]:
            while len(talk.panes) < len(wanted):
                talks.add_pane(talk)
            for pane, model in zip(talk.panes, wanted, strict=False):
                pane.model = model or pane.model
        return [talk.model_dump(mode="json"), *self._shown(talk, lang)]

    # -- panes --------------------------------------------------------------------------------------------------------
    def changed_panes(self, event: gr.EventData, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """Another model in a pane, other weights, one pane more or fewer."""
        talk, data = read_talk(kept), event._data or {}
        pane = talk.pane(str(data.get("pane") or ""))
        if (asking is not None and asking.under_way) or talk.hidden:
            return [gr.skip(), *self._shown(talk, lang)]
        if data.get("act") == "add":
            talks.add_pane(talk)
        elif pane is None:
            return [gr.skip()] * 4
        elif data.get("act") == "drop" and len(talk.panes) > 1:
            talk.panes.remove(pane)
        elif "model" in data:
            pane.model = self.contestants.chosen(str(data["model"]))
        elif "which" in data:
            pane.model = self.contestants.chosen(pane.model, str(data["which"]))
        return [talk.model_dump(mode="json"), *self._shown(talk, lang)]

    # -- asking -------------------------------------------------------------------------------------------------------
    def ask(self, question: str, kept: Any, asking: Asking | None, lang: str, *form: Any) -> Iterator[list[Any]]:
        """A new question, and the answers as they arrive. Leaving the generator in any way hangs up on the servers."""
        talk, asking = read_talk(kept), asking or Asking()
        settings = dict(zip(FORM, form, strict=True))
        turn, complaint = self._turn(question, settings, lang)
        if not complaint and not talk.shown():
            complaint = t("chat.choose", lang)
        if complaint or turn is None:
            yield _refused(asking, complaint)
            return
        if not talk.turns:
            talk.blind, talk.revealed = bool(settings["blind"]), False
        begin_turn(talk, turn)
        yield from self._answered(talk, len(talk.turns) - 1, asking, settings, lang)

    def again(
        self, event: gr.EventData, kept: Any, asking: Asking | None, lang: str, *form: Any
    ) -> Iterator[list[Any]]:
        """A turn anew, and every one behind it: with another question and the settings of now, or as it was with the
        next seed."""
        talk, asking, data = read_talk(kept), asking or Asking(), event._data or {}
        settings = dict(zip(FORM, form, strict=True))
        at = talk.place(str(data.get("turn") or ""))
        if at is None or asking.under_way:
            yield [gr.skip()] * 8
            return
        if "question" in data:
            turn, complaint = self._turn(str(data["question"]), settings, lang)
            if turn is None:
                yield _refused(asking, complaint)
                return
            talk.turns[at] = turn
        elif talk.turns[at].replies:
            talk.turns[at].sampling["seed"] = int(talk.turns[at].sampling.get("seed", 0)) + 1
        for turn in talk.turns[at:]:
            turn.id, turn.replies, turn.vote = new_id(), {}, ""
        yield from self._answered(talk, at, asking, settings, lang)

    def _turn(self, question: str, settings: dict[str, Any], lang: str) -> tuple[Turn | None, str]:
        """The turn that the form asks for, or what is wrong with it."""
        sampling, complaint = read_sampling([settings[name] for name in SAMPLING], lang)
        asked = (question or "").strip()
        if not complaint and not asked:
            complaint = t("chat.no_question", lang)
        if complaint:
            return None, complaint
        system, template = str(settings["system"] or "").strip(), str(settings["template"] or "").strip()
        return Turn(id=new_id(), question=asked, system=system, template=template, sampling=sampling), ""

    def _answered(
        self, talk: Talk, at: int, asking: Asking, settings: dict[str, Any], lang: str
    ) -> Iterator[list[Any]]:
        """The turns from `at` on, one after the other. Updates of (heads, past, now, status, question, stop, kept,
        asking)."""
        skip = gr.skip()
        asking.cancel, asking.forgotten = cancel, forgotten = threading.Event(), threading.Event()
        asking.refused, asking.under_way = False, True
        talk.changed += 1
        self.recent.put(talk)
        judge = "" if self.alone else str(settings["reward"] or "")
        complaint = ""
        try:
            for number in range(at, len(talk.turns)):
                answers = Answers(
                    self.contestants, talk, number, judge=judge, serving=self._serving(settings), cancel=cancel,
                    lang=lang,
                )  # fmt: skip
                now = talk.model_dump(mode="json")
                yield [*self._shown(talk, lang, at), "", "", gr.update(interactive=True), now, asking]
                for _ in answers.follow():
                    if not forgotten.is_set():
                        yield [skip, skip, self._now(talk, at, lang), skip, skip, skip, skip, skip]
                if cancel.is_set():
                    break
        except Exception as error:  # error_text logs what is not ours
            complaint = views.say(*error_text(error, lang))
        finally:
            cancel.set()
            asking.under_way = False
            talk.changed += 1
        if forgotten.is_set():  # the panes are empty by now, and stay so
            yield [skip, skip, skip, skip, skip, gr.update(interactive=False), skip, asking]
            return
        kept = talk.model_dump(mode="json")
        yield [*self._shown(talk, lang), complaint, skip, gr.update(interactive=False), kept, asking]

    def _serving(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What `ensure_server` is told beyond the base."""
        return self.alone.serving if self.alone else {"device": str(settings["device"] or "auto")}

    def judge(self, kept: Any, asking: Asking | None, lang: str, *form: Any) -> Iterator[list[Any]]:
        """Another reward run was chosen: it scores what was answered so far."""
        skip, talk, asking = gr.skip(), read_talk(kept), asking or Asking()
        settings = dict(zip(FORM, form, strict=True))
        if self.alone or asking.under_way or not settings["reward"] or not talk.turns:
            yield [skip] * 8
            return
        asking.cancel, asking.under_way = threading.Event(), True
        asking.forgotten = threading.Event()
        judging = Judging(
            self.contestants, talk, range(len(talk.turns)), str(settings["reward"]), cancel=asking.cancel, lang=lang,
            serving=self._serving(settings),
        )  # fmt: skip
        try:
            for _ in judging.follow():
                yield [*self._shown(talk, lang), skip, skip, gr.update(interactive=True), skip, asking]
        finally:
            asking.cancel.set()
            asking.under_way = False
            talk.changed += 1
        if not asking.forgotten.is_set():
            kept = talk.model_dump(mode="json")
            yield [*self._shown(talk, lang), skip, skip, gr.update(interactive=False), kept, asking]

    # -- voting -------------------------------------------------------------------------------------------------------
    def vote(self, event: gr.EventData, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """Updates of (kept, heads, past, now, status, win rates). The first vote of a blind conversation reveals it."""
        talk, data, skip = read_talk(kept), event._data or {}, gr.skip()
        at = talk.place(str(data.get("turn") or ""))
        choice = str(data.get("choice") or "")
        vote = (
            None if at is None or (asking is not None and asking.under_way) else vote_on(talk, talk.turns[at], choice)
        )
        if at is None or vote is None:
            return [skip] * 6
        try:
            append(self.page.workspace, vote)
        except GalenError as error:
            return [skip, skip, skip, skip, views.say(*error_text(error, lang)), skip]
        talk.turns[at].vote = choice
        talk.revealed, talk.changed = True, talk.changed + 1
        wins = skip if self.alone else self.wins.draw(lang)
        return [talk.model_dump(mode="json"), *self._shown(talk, lang), skip, wins]

    # -- stopping -----------------------------------------------------------------------------------------------------
    def halt(self, asking: Asking | None) -> None:
        if asking is not None:
            asking.cancel.set()

    def forget(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """A new conversation with the same panes: updates of (kept, heads, past, now, saved)."""
        if asking is not None:
            asking.forgotten.set()
        self.halt(asking)
        fresh = new_talk([pane.model for pane in read_talk(kept).panes])
        return [fresh.model_dump(mode="json"), *self._shown(fresh, lang), self.saved.draw(fresh, lang)]

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


def _refused(asking: Asking, complaint: str) -> list[Any]:
    asking.refused = True
    return [*[gr.skip()] * 3, views.say(complaint), *[gr.skip()] * 3, asking]


def suggested(event: gr.EventData) -> list[Any]:
    """Updates of (question, the sampling fields) for the suggestion that was clicked."""
    wanted = str((event._data or {}).get("try", ""))
    if wanted in {*ARTICLE_QUESTIONS, *(text for texts in QUESTIONS.values() for text in texts)}:
        return [wanted, *[gr.skip()] * len(SAMPLING)]
    values = SAMPLINGS.get(wanted)
    return [gr.skip(), *(f"{values[name]:g}" if values else gr.skip() for name in SAMPLING)]
