"""The SFT tab: start from a model, a dataset and a preset; the settings; the run panel."""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.configs.files import find_preset, list_presets, save_preset
from core.errors import GalenError
from webui import views
from webui.catalog import Catalog
from webui.figures import count, size
from webui.forms import Form, flat
from webui.messages import error_text
from webui.model_shelf import ModelShelf
from webui.page import Page
from webui.run_panel import RunPanel
from webui.text import t

STAGE = "sft"
OWN_WORDS = ("model.base", "data.train", "data.validation", "run.name")  # a preset that leaves them open keeps them


class SFTPage:
    """Holds the tab's components; `build` inside the tab, `wire` after every tab is built."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.form = Form(STAGE, page.labels)
        self.panel = RunPanel(page, self.form)
        self.shelf = ModelShelf(page)

    # -- building -----------------------------------------------------------------------------------------------------
    def build(self) -> None:
        with gr.Row(elem_classes=["stage"]):
            with gr.Column(elem_classes=["setup"]):
                self._start_from()
                self._settings()
            with gr.Column(elem_classes=["work"]):
                self.panel.build()
        self.kept = gr.JSON({}, visible=False)

    def _start_from(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card"]):
            labels.html(lambda lang: views.title(t("form.setup", lang)), elem_classes=["bare"])
            with gr.Column(elem_classes=["fields"]):
                self.form.place("model.base")
            self.shelf.build()
            with gr.Column(elem_classes=["fields"]):
                self.form.place("data.train")
            self.data_note = gr.HTML("", elem_classes=["bare"])
            self.to_data = labels.button("form.to_data", visible=False, elem_id="to-data")
            with gr.Column(elem_classes=["fields"]):
                self.preset = labels.field(
                    gr.Dropdown, "form.preset", info="form.preset_help", choices=[], value="",
                    allow_custom_value=True, interactive=True, elem_id="preset", elem_classes=["field", "wide"],
                )  # fmt: skip

    def _settings(self) -> None:
        labels = self.page.labels
        with gr.Column(elem_classes=["card", "settings"], elem_id="sft-settings"):
            with gr.Row(elem_classes=["settings-bar"]):
                labels.html(lambda lang: views.title(t("form.settings", lang)), elem_classes=["bare"])
                self.advanced = labels.field(
                    gr.Checkbox,
                    "form.advanced",
                    value=False,
                    container=False,
                    interactive=True,
                    elem_classes=["toggle"],
                )
            self.form.sections(skip=("run",))
            self.form.section("run")
            with gr.Row(elem_classes=["preset-save"]):
                self.preset_name = labels.field(
                    gr.Textbox, "form.preset_name", lines=1, max_lines=1, interactive=True, elem_classes=["field"]
                )
                self.preset_save = labels.button("form.preset_save", elem_classes=["slim"], elem_id="preset-save")
            self.preset_note = gr.HTML("", elem_classes=["bare"])

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        page, form = self.page, self.form
        self.panel.wire(self.preset)
        keep: dict[str, Any] = {"fn": None, "inputs": form.components, "outputs": None, "js": form.keep_js()}
        gr.on([component.change for component in form.components], **keep)
        loaded = self.preset.input(self.load_preset, [self.preset, page.lang], [self.preset_note, *form.components])
        loaded.then(**keep)
        self.preset_save.click(
            self.save_preset,
            [self.preset_name, page.lang, *form.components],
            [self.preset_note, self.preset, self.panel.marked, *form.components],
            show_progress="hidden",
        )
        self.advanced.change(None, self.advanced, None, js="(on) => galen.advanced('sft-settings', on)")
        page.on_catalog(
            self.news,
            [form.component("model.base"), form.component("data.train"), self.panel.select],
            [form.component("model.base"), form.component("data.train"), form.component("data.validation"), self.preset,
             self.panel.select, self.data_note, self.to_data],
        )  # fmt: skip
        self.shelf.wire(form.component("model.base"))

    def news(self, catalog: Catalog, lang: str, base: str | None, train: str | None, run: str | None) -> list[Any]:
        """Choices of every picker, and what is missing before a first run."""
        models = [(t("form.model_choice", lang, name=m.name, size=size(m.size)), m.name) for m in catalog.models]
        datasets = [
            (t("form.dataset_choice", lang, ref=d.ref, rows=count(len(d))), d.ref)
            for d in catalog.datasets
            if STAGE in d.card.stages
        ]
        return [
            gr.update(choices=models) if base or not models else gr.update(choices=models, value=models[0][1]),
            gr.update(choices=datasets) if train or not datasets else gr.update(choices=datasets, value=datasets[0][1]),
            gr.update(choices=datasets),
            gr.update(choices=self._preset_choices(lang)),
            self.panel.catalog_updates(lang, run),
            "" if datasets else views.say(t("form.no_dataset", lang), tone="calm"),
            gr.update(visible=not datasets),
        ]

    def _preset_choices(self, lang: str) -> list[tuple[str, str]]:
        presets = list_presets(STAGE, self.page.workspace)
        named = [(t("form.preset_own", lang, name=p.name) if p.own else p.name, p.name) for p in presets]
        return [(t("form.preset_none", lang), ""), *named]

    # -- acting -------------------------------------------------------------------------------------------------------
    def load_preset(self, name: str | None, lang: str) -> list[Any]:
        """The preset's values into the form; model, data and name stay unless the preset sets them."""
        try:
            values = flat(find_preset(STAGE, name, self.page.workspace).read()) if name else {}
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * len(self.form.keys)]
        # A preset names the starter by its source; the picker knows it by its name.
        starter = next((m.name for m in self.page.catalog.read().models if m.kind == "starter"), None)
        if values.get("model.base") == "starter" and starter:
            values["model.base"] = starter
        return ["", *self.form.fill(values, keep=OWN_WORDS)]

    def save_preset(self, name: str, lang: str, *values: Any) -> list[Any]:
        read = {key: value for key, value in self.form.read(values).items() if key != "run.name"}
        try:
            preset = save_preset(STAGE, (name or "").strip(), read, self.page.workspace)
        except GalenError as error:
            keys = self.form.marked(error.problems)
            note = views.say(*error_text(error, lang))
            return [note, gr.skip(), keys, *self.form.mark(error.problems, lang)]
        note = views.say(t("form.preset_saved", lang, name=preset.name), tone="good")
        choices = gr.update(choices=self._preset_choices(lang), value=preset.name)
        return [note, choices, [], *self.form.mark([], lang)]
