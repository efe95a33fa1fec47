"""Beneath the form of a prediction: a file of prompts to upload, and how answers are drawn, at one click.

An uploaded file stays in the workspace, in `prompts/`, since the run that reads it may be resumed or started again.
"""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Any

import gradio as gr

from core.configs.predict import Sampled
from core.data.files.reader import open_source
from core.errors import GalenError
from core.serving.options import ARTICLE
from webui import views
from webui.figures import esc
from webui.forms import Form
from webui.messages import error_text
from webui.page import EACH, QUIET, Page
from webui.text import t

FILE = "data.file"
WAYS: dict[str, dict[str, Any]] = {"greedy": Sampled().model_dump(), "article": Sampled(**ARTICLE).model_dump()}
PICK = """element.addEventListener('click', (e) => {
  const button = e.target.closest('[data-way]'); if (button) trigger('pick', {way: button.dataset.way}); });"""


class PromptCard:
    """`form` is that of the stage predict."""

    def __init__(self, page: Page, form: Form) -> None:
        self.page, self.form = page, form
        self.drawn = [f"generation.{name}" for name in Sampled.model_fields]

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card"], elem_id="prompt-card"):
            labels.html(lambda lang: views.title(t("predict.upload", lang)), elem_classes=["bare"])
            with gr.Column(elem_classes=["drop-zone"]):
                self.upload = gr.File(
                    show_label=False, height=84, elem_id="prompt-upload", elem_classes=["drop"], interactive=True
                )
                labels.html(drop_text, elem_classes=["bare"])
            self.note = labels.passing("prompt-note")
            self.ways = labels.html(ways, elem_id="prompt-ways", js_on_load=PICK, elem_classes=["bare"])

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        form, lang = self.form, self.page.lang
        self.upload.upload(self.take, [self.upload, lang], [self.upload, form.component(FILE), self.note], **QUIET)
        self.ways.pick(self.draw, None, [form.component(key) for key in self.drawn], **EACH)

    def take(self, path: str | None, lang: str) -> list[Any]:
        """What the browser sent goes into the workspace and into the form, or away with the reason."""
        if not path:
            return [None, gr.skip(), ""]
        workspace = self.page.workspace
        sent = workspace.allowed(path)
        target = workspace.path / "prompts" / secrets.token_hex(4) / Path(path).name
        try:
            open_source(sent, otherwise="txt")
            target.parent.mkdir(parents=True)
            shutil.move(sent, target)
        except GalenError as error:
            sent.unlink(missing_ok=True)
            return [None, gr.skip(), views.say(*error_text(error, lang))]
        told = t("predict.took", lang, name=target.name, path=str(target.relative_to(workspace.path)))
        return [None, str(target), views.say(told, tone="good")]

    def draw(self, event: gr.EventData) -> list[Any]:
        """The sampling values of the chosen way."""
        values = WAYS[str(event._data["way"])]
        return [self.form.show_one(key, values[key.partition(".")[2]]) for key in self.drawn]


def drop_text(lang: str) -> str:
    here, note = esc(t("data.drop_here", lang)), esc(t("predict.drop_note", lang))
    return f'<div class="drop-text"><b>{here}</b><span>{note}</span></div>'


def ways(lang: str) -> str:
    buttons = "".join(
        f'<button type="button" class="chip" data-way="{way}">{esc(t(f"predict.way_{way}", lang))}</button>'
        for way in WAYS
    )
    return f'<div class="tries ways"><span>{esc(t("predict.sampling", lang))}</span>{buttons}</div>'
