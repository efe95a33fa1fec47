"""The drawers of the Chat tab: saved conversations, and the win rates of the votes with the dataset they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from core import talks
from core.errors import GalenError
from core.talks import Talk, read_talk
from core.votes import make_dataset, pairs, votes, win_rates
from webui import views, views_contest
from webui.messages import error_text
from webui.page import EACH, Page
from webui.text import t

DO = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-do]');
  if (!button || button.disabled) return;
  const { do: act, saved, sure } = button.dataset, name = element.querySelector('[data-name]')?.value;
  if (sure && button.textContent !== sure) { button.textContent = sure; return; }
  trigger('do', { do: act, saved, name });
});"""

Drawn = Callable[[Talk, str], list[Any]]  # what shows a conversation: updates for the outputs of `shown`


class SavedPart:
    """`keeps`: this page may write conversations into the workspace and list those that lie there."""

    def __init__(self, page: Page, *, keeps: bool) -> None:
        self.page, self.keeps = page, keeps

    def build(self) -> None:
        self.pane = gr.HTML("", js_on_load=DO, apply_default_css=False, elem_id="chat-saved", elem_classes=["bare"])
        self.outbox = gr.JSON({}, visible=False)  # a file on its way to the browser

    def wire(self, kept: gr.JSON, asking: gr.State, shown: Sequence[Any], drawn: Drawn, keep: dict[str, Any]) -> None:
        """`shown` stand for the conversation; `drawn` gives their updates; `keep` follows where it changes."""

        def act(event: gr.EventData, value: Any, busy: Any, lang: str) -> list[Any]:
            return self._act(dict(event._data or {}), value, busy, lang, drawn, len(shown))

        done = self.pane.do(act, [kept, asking, self.page.lang], [self.pane, self.outbox, kept, *shown], **EACH)
        done.then(None, self.outbox, None, js="(file) => galen.download(file)").then(**keep)

    def draw(self, talk: Talk, lang: str, note: str = "") -> str:
        found = talks.saved(self.page.workspace) if self.keeps else []
        name = talks.name_for(talk) if talk.turns else ""
        return views_contest.shelf(found, name, note, lang, keeps=self.keeps)

    def _act(self, data: dict[str, Any], value: Any, busy: Any, lang: str, drawn: Drawn, count: int) -> list[Any]:
        """Updates of (pane, outbox, kept, what shows the conversation)."""
        talk, skips = read_talk(value), [gr.skip()] * (1 + count)
        if data.get("do") == "download" and talk.turns:
            name = talks.name_for(talk)
            return [gr.skip(), {"name": f"{name}.md", "text": talks.markdown(talk), "key": talks.new_id()}, *skips]
        if not self.keeps:
            return [gr.skip(), {}, *skips]
        workspace, saved = self.page.workspace, str(data.get("saved") or "")
        try:
            if data.get("do") == "save":
                name = str(data.get("name") or "").strip() or talks.name_for(talk)
                talks.save(workspace, talk, name)
                note = views.say(t("chat.saved", lang, name=name), tone="good")
            elif data.get("do") == "delete":
                talks.forget(workspace, saved)
                note = views.say(t("chat.deleted", lang, name=saved), tone="calm")
            elif data.get("do") == "open" and not (busy is not None and busy.under_way):
                opened = talks.load(workspace, saved)
                return [self.draw(opened, lang), {}, opened.model_dump(mode="json"), *drawn(opened, lang)]
            else:
                return [gr.skip(), {}, *skips]
        except GalenError as error:
            note = views.say(*error_text(error, lang))
        return [self.draw(talk, lang, note), {}, *skips]


class WinsPart:
    """`keeps`: this page may show everybody's votes, and make a dataset of them."""

    def __init__(self, page: Page, *, keeps: bool) -> None:
        self.page, self.keeps = page, keeps

    def build(self) -> None:
        self.pane = gr.HTML("", js_on_load=DO, apply_default_css=False, elem_id="chat-wins", elem_classes=["bare"])

    def wire(self) -> None:
        self.pane.do(self._make, self.page.lang, self.pane, **EACH)

    def draw(self, lang: str, note: str = "") -> str:
        if not self.keeps:
            return ""
        found = votes(self.page.workspace)
        return views_contest.wins(win_rates(found), pairs(found), note, lang)

    def _make(self, lang: str) -> str:
        """Make the votes a dataset, or say why they are none."""
        if not self.keeps:
            return ""
        try:
            dataset, _ = make_dataset(self.page.workspace)
        except GalenError as error:
            return self.draw(lang, views.say(*error_text(error, lang)))
        self.page.catalog.read(fresh=True)
        return self.draw(lang, views_contest.made_note(dataset, lang))
