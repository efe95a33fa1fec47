"""The tab of a stage that trains nothing: its few pickers first, other settings folded beneath, and the run panel.

Merge and Evaluate are this frame with another declaration (`webui.pages.merge`, `webui.pages.evaluate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gradio as gr

from webui import views
from webui.catalog import Catalog, Choice
from webui.forms import Form
from webui.page import Page
from webui.run_panel import Part, Render, RunPanel
from webui.text import t

Choices = Callable[[Page, Catalog, str], dict[str, list[Choice]]]


class Card(Protocol):
    """A part of the tab that stands beneath its form, and is wired with it."""

    def build(self) -> None: ...
    def wire(self) -> None: ...


@dataclass(frozen=True)
class PlainTab:
    """What such a tab has of its own.

    intro: text key of what stands first. first: keys of the settings that are always open, pickers among them. choices:
    `choices(page, catalog, lang)` gives the entries of the pickers. views, render, parts, nothing: of the run panel.
    cards_first: the cards stand above the other settings, not beneath them.
    """

    stage: str
    intro: str
    first: tuple[str, ...]
    choices: Choices
    views: tuple[str, ...]
    nothing: str
    render: Mapping[str, Render] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    classes: Sequence[str] = ()
    cards_first: bool = False


class PlainStage:
    """Holds the tab's components; `build` inside the tab, `wire` after every tab is built."""

    def __init__(self, page: Page, tab: PlainTab, *cards: Card) -> None:
        self.page = page
        self.tab = tab
        self.cards = cards
        self.stage = tab.stage
        self.form = Form(tab.stage, page.labels)
        self.panel = RunPanel(page, self.form, tab.views, tab.render, nothing=tab.nothing, parts=tab.parts)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        with gr.Row(elem_classes=["stage", "plain", *self.tab.classes]):
            with gr.Column(elem_classes=["setup"]):
                self._first()
                if not self.tab.cards_first:
                    self._settings()
                for card in self.cards:
                    card.build()
                if self.tab.cards_first:
                    self._settings()
            with gr.Column(elem_classes=["work"]):
                self.panel.build()
        self.kept = gr.JSON({}, visible=False)
        self.preset = gr.Textbox("", visible=False)  # these stages have none; the panel asks for it

    def _first(self) -> None:
        labels, tab = self.page.labels, self.tab
        with gr.Column(elem_classes=["card"]):
            labels.html(lambda lang: views.title(t("form.setup", lang)), elem_classes=["bare"])
            labels.html(lambda lang: views.intro(t(tab.intro, lang)), elem_classes=["bare"])
            with gr.Column(elem_classes=["fields"]):
                for key in tab.first:
                    self.form.place(key)

    def _settings(self) -> None:
        labels, name = self.page.labels, f"{self.stage}-settings"
        with gr.Column(elem_classes=["card", "settings"], elem_id=name):
            with gr.Row(elem_classes=["settings-bar"]):
                labels.html(lambda lang: views.title(t("form.settings", lang)), elem_classes=["bare"])
                self.advanced = labels.field(
                    gr.Checkbox, "form.advanced", value=False, container=False, interactive=True,
                    elem_classes=["toggle"],
                )  # fmt: skip
            self.form.sections(skip=("run",))
            self.form.section("run")
        self.advanced.change(None, self.advanced, None, js=f"(on) => galen.advanced('{name}', on)")

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        page, form = self.page, self.form
        self.panel.wire(self.preset)
        for card in self.cards:
            card.wire()
        keep: dict[str, Any] = {"fn": None, "inputs": form.components, "outputs": None, "js": form.keep_js()}
        gr.on([component.change for component in form.components], **keep)
        self.pickers = list(self.tab.choices(page, Catalog(), page.labels.lang))
        page.on_catalog(
            self.news, [self.panel.select], [*(form.component(key) for key in self.pickers), self.panel.select]
        )

    def news(self, catalog: Catalog, lang: str, run: str | None) -> list[Any]:
        """The entries of every picker, and of the run selector."""
        choices = self.tab.choices(self.page, catalog, lang)
        return [*(gr.update(choices=choices[key]) for key in self.pickers), self.panel.catalog_updates(lang, run)]
