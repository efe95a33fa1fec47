"""Training arguments as somebody printed them, pasted into a stage's settings: what became of each is told.

The reading and the table of names are `core.configs.article`.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.configs.article import Mapped, from_arguments
from core.errors import GalenError
from webui import views
from webui.figures import count, esc
from webui.forms import Form
from webui.messages import error_text, problem_text
from webui.page import QUIET, Page
from webui.text import t
from webui.text_fields import label


class ArgumentsBox:
    """A text field in a fold, a button, and the list of what was taken."""

    def __init__(self, page: Page, form: Form) -> None:
        self.page = page
        self.form = form

    def build(self) -> None:
        labels, stage = self.page.labels, self.form.stage
        with labels.accordion(
            "arguments.title", open=False, elem_id=f"{stage}-arguments", elem_classes=["section", "other"]
        ):
            self.text = labels.field(
                gr.Textbox, "arguments.text", placeholder="arguments.hint", lines=4, max_lines=12, interactive=True,
                container=False, show_label=False, elem_classes=["field", "wide", "arguments"],
            )  # fmt: skip
            self.take = labels.button("arguments.take", elem_id=f"{stage}-arguments-take", elem_classes=["slim"])
            self.note = labels.passing(f"{stage}-arguments-note")

    def wire(self) -> None:
        told = [self.note, *self.form.components]
        self.take.click(self.taken, [self.text, self.page.lang], told, **QUIET)

    def taken(self, text: str | None, lang: str) -> list[Any]:
        """The settings that the text stands for, into the form; every other setting stays as it is."""
        try:
            found = from_arguments(self.form.stage, text or "")
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * len(self.form.keys)]
        return [summary(found, self.form.stage, lang), *self.form.fill(found.values, keep=self.form.keys)]


def summary(found: Mapped, stage: str, lang: str) -> str:
    """How many became a setting; which, which not and why, and which nobody knows."""
    said = t(
        "arguments.done", lang, mapped=count(len(found.mapped)), dropped=count(len(found.dropped)),
        unknown=count(len(found.unknown)),
    )  # fmt: skip
    taken = [
        (name, f"{label(stage, key, lang)} = {views.shown(key, value, lang)}") for name, key, value in found.mapped
    ]
    left = [(f"{name} = {value}", problem_text(why, lang)) for name, value, why in found.dropped]
    unknown = [(name, "") for name in found.unknown]
    parts = (("arguments.mapped", taken), ("arguments.dropped", left), ("arguments.unknown", unknown))
    listed = "".join(_list(t(key, lang), rows, key == "arguments.unknown") for key, rows in parts if rows)
    tone = "good" if found.mapped and not found.unknown else "calm"
    return f'<div class="notice {tone}" role="status"><b>{esc(said)}</b>{listed}</div>'


def _list(title: str, rows: list[tuple[str, str]], opened: bool) -> str:
    """What nobody knows is open: a misspelt argument must be seen."""
    items = "".join(f"<li><code>{esc(name)}</code> {esc(what)}</li>" for name, what in rows)
    head = f"<summary>{esc(title)} ({count(len(rows))})</summary>"
    return f'<details class="arguments-list"{" open" if opened else ""}>{head}<ul>{items}</ul></details>'
