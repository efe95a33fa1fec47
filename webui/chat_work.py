"""What the Chat tab does: has panes answer, asks again, scores, votes, and draws what comes of it. `webui.pages.chat`
builds the tab and connects it to this.

A handler takes the conversation as the browser has kept it, and gives it back changed. Only one question of a session
is under way at a time (`Asking`); meanwhile nothing else changes the conversation.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from core import talks
from core.errors import GalenError
from core.talks import Talk, Turn, begin_turn, new_id, new_talk, read_talk
from core.votes import append, vote_on
from core.workspace import Workspace
from webui import views, views_chat, views_contest
from webui.answers import SAMPLING, Answers, Judging, read_sampling
from webui.contestants import Contestants
from webui.messages import error_text
from webui.text import t

FORM = ("blind", "device", "reward", "template", "system", *SAMPLING)  # the settings, in the order of their components
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
        return read_talk(known.model_dump()) if known is not None and known.changed > talk.changed else talk


class ChatWork:
    """What shows a conversation are three components: heads, past, now. Updates of them stand in this order, below."""

    def __init__(self, workspace: Workspace, contestants: Contestants, alone: Alone | None) -> None:
        self.workspace, self.contestants, self.alone = workspace, contestants, alone
        self.recent = Recent()

    # -- drawing ------------------------------------------------------------------------------------------------------
    def shown(self, talk: Talk, lang: str, at: int | None = None) -> list[str]:
        """Updates of (heads, past, now). `at`: the first turn that is still moving; the last one where none is."""
        first = max(0, len(talk.turns) - 1) if at is None else at
        heads = views_contest.heads(talk, self.contestants, lang)
        return [heads, views_chat.turns(talk, 0, first, lang), self.now(talk, first, lang)]

    def reopened(self, talk: Talk, lang: str) -> list[str]:
        """A saved conversation is what it was, whatever has become of it here since."""
        self.recent.put(talk)
        return self.shown(talk, lang)

    @staticmethod
    def now(talk: Talk, first: int, lang: str) -> str:
        return views_chat.turns(talk, first, len(talk.turns), lang) or views_chat.nothing_yet(talk, lang)

    # -- panes --------------------------------------------------------------------------------------------------------
    def changed_panes(self, event: gr.EventData, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """Another model in a pane, other weights, one pane more or fewer."""
        talk, data = read_talk(kept), event._data or {}
        pane = talk.pane(str(data.get("pane") or ""))
        if (asking is not None and asking.under_way) or talk.hidden:
            return [gr.skip(), *self.shown(talk, lang)]
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
        return [talk.model_dump(mode="json"), *self.shown(talk, lang)]

    # -- asking -------------------------------------------------------------------------------------------------------
    def ask(self, question: str, kept: Any, asking: Asking | None, lang: str, *form: Any) -> Iterator[list[Any]]:
        """A new question, and the answers as they arrive. Leaving the generator in any way hangs up on the servers."""
        talk, asking = read_talk(kept), asking or Asking()
        settings = dict(zip(FORM, form, strict=True))
        if asking.under_way:  # an earlier turn is being asked anew
            yield [gr.skip()] * 8
            return
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
                yield [*self.shown(talk, lang, at), "", "", gr.update(interactive=True), now, asking]
                for _ in answers.follow():
                    if not forgotten.is_set():
                        yield [skip, skip, self.now(talk, at, lang), skip, skip, skip, skip, skip]
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
        yield [*self.shown(talk, lang), complaint, skip, gr.update(interactive=False), kept, asking]

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
                yield [*self.shown(talk, lang), skip, skip, gr.update(interactive=True), skip, asking]
        finally:
            asking.cancel.set()
            asking.under_way = False
            talk.changed += 1
        if not asking.forgotten.is_set():
            kept = talk.model_dump(mode="json")
            yield [*self.shown(talk, lang), skip, skip, gr.update(interactive=False), kept, asking]

    # -- voting -------------------------------------------------------------------------------------------------------
    def vote(self, event: gr.EventData, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """Updates of (kept, heads, past, now, status). The first vote of a blind conversation reveals it."""
        talk, data, skip = read_talk(kept), event._data or {}, gr.skip()
        at = talk.place(str(data.get("turn") or ""))
        choice = str(data.get("choice") or "")
        vote = (
            None if at is None or (asking is not None and asking.under_way) else vote_on(talk, talk.turns[at], choice)
        )
        if at is None or vote is None:
            return [skip] * 5
        try:
            append(self.workspace, vote)
        except GalenError as error:
            return [skip, skip, skip, skip, views.say(*error_text(error, lang))]
        talk.turns[at].vote = choice
        talk.revealed, talk.changed = True, talk.changed + 1
        return [talk.model_dump(mode="json"), *self.shown(talk, lang), skip]

    def forget(self, kept: Any, asking: Asking | None, lang: str) -> list[Any]:
        """A new conversation with the same panes: updates of (kept, heads, past, now)."""
        if asking is not None:
            asking.forgotten.set()
            asking.cancel.set()
        fresh = new_talk([pane.model for pane in read_talk(kept).panes])
        return [fresh.model_dump(mode="json"), *self.shown(fresh, lang)]

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
        return [talk.model_dump(mode="json"), *self.shown(talk, lang)]


def _refused(asking: Asking, complaint: str) -> list[Any]:
    asking.refused = True
    return [*[gr.skip()] * 3, views.say(complaint), *[gr.skip()] * 3, asking]
