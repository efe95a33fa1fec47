"""The Data tab: the library of the workspace on the left, and what can be done with data on the right.

Its parts are modules of their own: bringing in (`webui.data_bring`), looking (`webui.data_look`), cleaning and shaping
(`webui.data_recipe`), annotating (`webui.data_annotate`). Here is the frame: which dataset is chosen, its address, its
facts, deleting it, the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from core.data.bring.samples import all_there, bring_sample, sample_files
from core.data.store.library import delete_dataset
from core.errors import GalenError
from webui import views, views_data
from webui.catalog import Catalog
from webui.data_annotate import AnnotatePart
from webui.data_bring import BringPart
from webui.data_look import LookPart
from webui.data_recipe import RecipePart
from webui.figures import esc
from webui.inline_work import InlineWork
from webui.messages import error_text
from webui.page import EACH, QUIET, TRAINING, Page
from webui.text import t

PICK = """element.addEventListener('click', (e) => {
  const row = e.target.closest('[data-ref]'); if (row) trigger('pick', {ref: row.dataset.ref}); });"""
BRING, LOOK, SHAPE, ANNOTATE = "bring", "look", "shape", "annotate"


class DataPage:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.bring = BringPart(page)
        self.look = LookPart(page)
        self.recipe = RecipePart(page)
        self.annotate = AnnotatePart(page)
        self.tabs: dict[str, gr.Tab] = {}

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        labels = self.page.labels
        self.chosen = gr.Textbox(visible=False, elem_id="data-chosen")
        with gr.Row(elem_classes=["stage", "data"]):
            with gr.Column(elem_classes=["setup", "library"]):
                self._library()
            with (
                gr.Column(elem_classes=["work", "data-work"]),
                gr.Tabs(selected=BRING, elem_classes=["inner-tabs", "data-tabs"]) as self.parts,
            ):
                parts: list[tuple[str, Any]] = [(BRING, self.bring), (LOOK, self.look), (SHAPE, self.recipe)]
                for name, part in [*parts, (ANNOTATE, self.annotate)]:
                    with labels.tab(f"data.tab_{name}", id=name, elem_id=f"data-tab-{name}") as tab:
                        part.build()
                    self.tabs[name] = tab

    def _library(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "shelf"]):
            labels.html(lambda lang: views.title(t("data.list", lang)), elem_classes=["bare"])
            self.list = gr.HTML("", js_on_load=PICK, elem_id="datasets", elem_classes=["bare"])
            with gr.Column(visible=False, elem_classes=["samples"]) as self.samples:
                labels.html(lambda lang: f'<p class="hint">{esc(t("samples.help", lang))}</p>', elem_classes=["bare"])
                self.use_samples = labels.button("samples.use", elem_id="use-samples")
            self.note = labels.passing("library-note")
        with gr.Column(elem_classes=["card", "details"], visible=False) as self.reader:
            self.facts = gr.HTML("", js_on_load=PICK, elem_id="dataset-facts", elem_classes=["bare"])
            with gr.Row(elem_classes=["actions"]):
                self.use = labels.button("data.use", variant="primary", elem_id="data-use")
                self.delete = labels.button("data.delete", elem_id="data-delete")
            with gr.Column(elem_classes=["confirm"], visible=False) as self.confirm:
                self.question = gr.HTML("", elem_classes=["bare"])
                with gr.Row(elem_classes=["actions"]):
                    self.yes = labels.button("runs.delete_yes", variant="stop", elem_id="data-delete-yes")
                    self.no = labels.button("runs.delete_no")
            labels.add(self.confirm, visible=lambda lang: False)  # what it asked was in the other language

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        page, lang, chosen = self.page, self.page.lang, self.chosen
        page.on_catalog(self.news, [chosen], [self.list, chosen, self.samples])
        for pane in (self.list, self.facts):
            pane.pick(picked, None, chosen, **EACH)
        view = [self.list, self.reader, self.facts, self.use, self.confirm]
        chosen.change(self.show, [chosen, lang], view, **QUIET)
        chosen.change(None, chosen, None, js="(dataset) => galen.data({dataset})")
        for name, tab in self.tabs.items():
            tab.select(None, js=f"() => galen.data({{part: '{name}'}})")
        lang.change(self.show, [chosen, lang], view, **QUIET)
        self.delete.click(self.ask, [chosen, lang], [self.question, self.confirm], **QUIET)
        self.no.click(lambda: gr.update(visible=False), None, self.confirm, **QUIET)
        self.yes.click(self.remove, [chosen, lang], [self.note, chosen, self.confirm], **QUIET)
        self.use_samples.click(self.bring_samples, lang, [self.note, chosen], **QUIET)
        self.bring.wire(chosen)
        self.bring.file.buttons["look"].click(lambda: gr.Tabs(selected=LOOK), None, self.parts, **QUIET)
        self.look.wire(chosen)
        self.recipe.wire(chosen)
        self.annotate.wire(chosen)

    # -- the chosen dataset -------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, chosen: str | None) -> list[Any]:
        """Updates of (list, chosen, samples) after a change of the workspace; the newest is chosen where none is."""
        shown = chosen or (catalog.datasets[0].ref if catalog.datasets else "")
        offer = not all_there(one.name for one in catalog.datasets)
        listed = views_data.library(catalog.datasets, shown, lang)
        return [listed, gr.skip() if shown == chosen else shown, gr.update(visible=offer)]

    def show(self, ref: str | None, lang: str) -> list[Any]:
        """The list with `ref` marked, and what its card says."""
        listed = views_data.library(self.page.catalog.read().datasets, ref, lang)
        dataset = self.page.dataset(ref)
        facts = views_data.details(dataset, lang) if dataset is not None else ""
        shown = gr.update(visible=dataset is not None)
        trains = gr.update(visible=dataset is not None and bool(set(TRAINING) & set(dataset.card.stages)))
        return [listed, shown, facts, trains, gr.update(visible=False)]

    def opened(self, ref: str, part: str) -> list[Any]:
        """Updates of (chosen, sub-tab) for what an address names: a dataset, to look at where no part is named."""
        dataset = self.page.dataset(ref)
        front = part if part in self.tabs else LOOK if dataset is not None else ""
        return [dataset.ref if dataset is not None else gr.skip(), gr.Tabs(selected=front) if front else gr.skip()]

    def ask(self, ref: str, lang: str) -> list[Any]:
        return [views.say(t("data.delete_ask", lang, ref=ref)), gr.update(visible=True)]

    def remove(self, ref: str, lang: str) -> list[Any]:
        try:
            delete_dataset(self.page.workspace, ref)
        except GalenError as error:
            return [views.say(*error_text(error, lang)), gr.skip(), gr.update(visible=False)]
        self.page.catalog.read(fresh=True)
        return [views.say(t("data.deleted", lang, ref=ref), tone="calm"), "", gr.update(visible=False)]

    # -- samples ------------------------------------------------------------------------------------------------------
    def bring_samples(self, lang: str) -> Iterator[list[Any]]:
        """Import every sample that ships; none is large enough for a run of its own."""
        # The newest stands first in the library and is chosen where nothing is: dialogues in the reader's language.
        files = [*reversed(sample_files())]
        files.sort(key=lambda path: (path.parent.name, path.stem) == ("sft", lang))

        def work(tell: Any, check_stop: Any) -> list[str]:
            made = []
            for at, path in enumerate(files):
                tell(at, len(files))
                made.append(bring_sample(self.page.workspace, path, check_stop).ref)
            return made

        job = InlineWork(work)
        for at in job.follow():
            done = at or (0, len(files))
            yield [views.say(t("samples.at", lang, done=done[0], total=done[1]), tone="calm"), gr.skip()]
        try:
            made = job.result() or []
        except GalenError as error:
            yield [views.say(*error_text(error, lang)), gr.skip()]
            return
        self.page.catalog.read(fresh=True)
        yield [views.say(t("samples.done", lang, count=len(made)), tone="good"), made[-1] if made else gr.skip()]


def picked(event: gr.EventData) -> str:
    """The dataset whose entry was clicked."""
    return str(event._data["ref"])
