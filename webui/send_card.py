"""Sending what a run has made to a hub, beneath the Merge tab's form: which run, where to, and the card to be read.

The card is written when a run is chosen and belongs to whoever reads it then: what stands in the field is what is sent.
The browser keeps an edited one for each run, until it is written anew.
Sending is a `push` run like any other (`webui.side_run`): it goes on without the page, and can be stopped and resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from core.errors import GalenError
from core.models.card import model_card
from core.models.parents import check_start
from core.rundir import RunDir
from webui import views
from webui.catalog import Catalog
from webui.figures import esc
from webui.forms import Form
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.parents import choices
from webui.side_run import SideCard, SideRun
from webui.text import t
from webui.views_push import sent

STAGE, RUN, CARD = "push", "model.base", "model.card"
SENT = ("merge", "ppo", "dpo", "sft", "reward", "pretrain", "vocabulary")  # in this order in the picker


class SendCard:
    """Build it inside a tab's left column; `wire` after every tab is built."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.form = Form(STAGE, page.labels)
        side = SideRun(page, STAGE, STAGE, lambda catalog, run: "")
        self.side = SideCard(side, "push.start", self.form.read, self.shows, sent)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card"], elem_id="push"):
            labels.html(lambda lang: views.title(t("push.title", lang)), elem_classes=["bare"])
            labels.html(lambda lang: f'<p class="hint">{esc(t("push.intro", lang))}</p>', elem_classes=["bare"])
            with gr.Column(elem_classes=["fields"]):
                self.form.place(RUN)
                self.form.place("to.repo", "half", placeholder="push.repo_hint")
                self.form.place("to.private", "half")
                self.form.place(CARD, placeholder="push.card_hint")
            self.again = labels.button("push.again", elem_id="push-again", elem_classes=["slim"])
            self.side.build()

    def wire(self) -> None:
        run, card = self.form.component(RUN), self.form.component(CARD)
        self.side.wire(self.form.components, [run])
        lang, outputs = self.page.lang, [card, self.side.note]
        edited = "(run, _, lang) => [run, galen.kept('cards', {})[run] ?? '', lang]"
        run.change(self.chosen, [run, card, lang], outputs, js=edited, **EACH)
        # Not `input`, which the first change after an answer of the page does not give off.
        typed = "document.activeElement?.closest('#push .f-model-card') && galen.keepCard(run, card)"
        card.change(None, [run, card], None, js=f"(run, card) => {{ {typed}; }}")
        forgotten = "(run, lang) => (galen.keepCard(run, ''), [run, lang])"
        self.again.click(self.written, [run, lang], outputs, js=forgotten, **QUIET)
        self.page.on_catalog(self.news, [], [run])

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str) -> list[Any]:
        """The runs that have something to send, then those that have nothing, with the reason."""
        offers = self.page.parents.offers(catalog, STAGE, SENT)
        return [gr.update(choices=choices([offer for offer in offers if offer.kind == "run"], catalog, lang))]

    def chosen(self, run: str | None, edited: str, lang: str) -> list[Any]:
        """The card of the chosen run: as it was `edited` in this browser, or written."""
        return [edited, views.say(t("push.edited", lang), tone="calm")] if run and edited else self.written(run, lang)

    def written(self, run: str | None, lang: str) -> list[Any]:
        """The card of the chosen run, or why it has none."""
        if not run:
            return ["", ""]
        try:
            workspace = self.page.workspace
            return [model_card(workspace, workspace.run(check_start(workspace, STAGE, run))), ""]
        except GalenError as error:
            return ["", views.say(*error_text(error, lang))]

    @staticmethod
    def shows(run: RunDir, wanted: Mapping[str, Any]) -> bool:
        """Whether a finished push has sent the chosen run."""
        return bool(wanted.get(RUN)) and (run.config().get("model") or {}).get("base") == wanted[RUN]
