"""A training stage's tab: start from a model or a run, a dataset and a preset; the settings; the run panel.

Pretrain, SFT, Reward, PPO and DPO are this page with another declaration (`STAGE_TABS`): what they have beside it is
named there, and nothing else here knows one stage from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gradio as gr

from core.configs.files import find_preset, flat, list_presets, save_preset
from core.data.bring.samples import all_there, sample_uses
from core.errors import GalenError
from webui import views, views_ppo
from webui.arguments_box import ArgumentsBox
from webui.catalog import Catalog, Choice
from webui.figures import count
from webui.fit_pane import FitPane
from webui.forms import Form
from webui.messages import error_text
from webui.model_shelf import ModelShelf
from webui.page import Page
from webui.parents import MODEL, choices
from webui.ppo_rewards import RewardsCard
from webui.pretrain_cards import VocabularyCard, WorthCard
from webui.rollout_part import RolloutPart
from webui.run_panel import Part, Render, RunPanel
from webui.text import t

TRAIN = "data.train"
# A preset that leaves them open keeps them.
OWN_WORDS = ("model.base", "data.train", "data.mix", "data.validation", "data.general", "run.name", "rewards.models")
OWN_CHOICE = ("rewards.rules",)  # these a preset fills in where nothing is chosen, and leaves alone otherwise


class Card(Protocol):
    """A part of the page that is built beneath the data picker and wired with the rest."""

    def build(self) -> None: ...
    def wire(self) -> None: ...


@dataclass(frozen=True)
class StageTab:
    """What one stage's page has of its own.

    parents: what it usually starts from, first in the picker. intro: a text that stands first. shelf: models are
    brought in here. datasets: further pickers of the stage's data. cards: what else stands beneath them. views: the
    inner tabs of the run panel; render, parts, nothing: as `RunPanel` has them.
    """

    stage: str
    parents: tuple[str, ...]
    intro: str = ""
    shelf: bool = True
    datasets: tuple[str, ...] = ("data.validation",)
    cards: tuple[Callable[[Page, Form], Card], ...] = ()
    views: tuple[str, ...] = ("samples", "log", "settings", "result")
    render: Mapping[str, Render] = field(default_factory=dict)
    parts: Mapping[str, Callable[[], Part]] = field(default_factory=dict)
    nothing: str = "run.none"


STAGE_TABS = (
    StageTab(
        "pretrain",
        (MODEL, "vocabulary"),
        intro="pretrain.intro",
        datasets=("data.validation", "data.general"),
        cards=(WorthCard, VocabularyCard),
    ),
    StageTab("sft", ("pretrain", MODEL)),
    StageTab("reward", ("sft", MODEL), shelf=False, views=("pairs", "log", "settings", "result")),
    StageTab(
        "ppo",
        ("sft", "pretrain", MODEL),
        intro="ppo.intro",
        shelf=False,
        cards=(RewardsCard,),
        views=("rollouts", "log", "settings", "result"),
        render={"curves": views_ppo.curves},
        parts={"rollouts": RolloutPart},
        nothing="ppo.none_shown",
    ),
    StageTab("dpo", ("sft", "pretrain", MODEL), intro="dpo.intro", shelf=False),
)


class StagePage:
    """Holds the tab's components; `build` inside the tab, `wire` after every tab is built."""

    def __init__(self, page: Page, tab: StageTab) -> None:
        self.page = page
        self.tab = tab
        self.stage = tab.stage
        self.form = Form(tab.stage, page.labels)
        parts = {name: part() for name, part in tab.parts.items()}
        self.panel = RunPanel(
            page, self.form, tab.views, tab.render, fit=FitPane(page, self.form), nothing=tab.nothing, parts=parts
        )
        self.arguments = ArgumentsBox(page, self.form)
        self.cards = [card(page, self.form) for card in tab.cards]
        self.shelf = ModelShelf(page, "" if tab.stage == "sft" else f"{tab.stage}-") if tab.shelf else None

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
        labels, stage, intro = self.page.labels, self.stage, self.tab.intro
        with gr.Column(elem_classes=["card"]):
            labels.html(lambda lang: views.title(t("form.setup", lang)), elem_classes=["bare"])
            if intro:
                labels.html(lambda lang: views.intro(t(intro, lang)), elem_classes=["bare"])
            with gr.Column(elem_classes=["fields"]):
                self.form.place("model.base")
            if self.shelf is not None:
                self.shelf.build()
            with gr.Column(elem_classes=["fields"]):
                self.form.place(TRAIN)
            self.data_note = gr.HTML("", elem_classes=["bare"])
            self.to_data = labels.button("form.to_data", visible=False, elem_id=f"{stage}-to-data")
            for card in self.cards:
                card.build()
            with gr.Column(elem_classes=["fields"]):
                self.preset = labels.field(
                    gr.Dropdown, "form.preset", info="form.preset_help", choices=[], value="",
                    allow_custom_value=True, interactive=True, elem_id=f"{stage}-preset",
                    elem_classes=["field", "wide"],
                )  # fmt: skip

    def _settings(self) -> None:
        labels, stage = self.page.labels, self.stage
        with gr.Column(elem_classes=["card", "settings"], elem_id=f"{stage}-settings"):
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
            self.arguments.build()
            with gr.Row(elem_classes=["preset-save"]):
                self.preset_name = labels.field(
                    gr.Textbox, "form.preset_name", lines=1, max_lines=1, interactive=True, elem_classes=["field"]
                )
                self.preset_save = labels.button(
                    "form.preset_save", elem_classes=["slim"], elem_id=f"{stage}-preset-save"
                )
            self.preset_note = gr.HTML("", elem_classes=["bare"])

    # -- wiring -------------------------------------------------------------------------------------------------------
    def wire(self) -> None:
        page, form = self.page, self.form
        self.panel.wire(self.preset)
        page.keep(f"preset.{self.stage}", self.preset)
        keep: dict[str, Any] = {"fn": None, "inputs": form.components, "outputs": None, "js": form.keep_js()}
        gr.on([component.change for component in form.components], **keep)
        filled = [self.preset_note, *form.components]
        chosen = [form.component(key) for key in OWN_CHOICE if key in form.keys]
        loaded = self.preset.input(self.load_preset, [self.preset, page.lang, *chosen], filled, show_progress="hidden")
        loaded.then(**keep)
        self.preset_save.click(
            self.save_preset,
            [self.preset_name, page.lang, *form.components],
            [self.preset_note, self.preset, self.panel.marked, *form.components],
            show_progress="hidden",
        )
        self.advanced.change(None, self.advanced, None, js=f"(on) => galen.advanced('{self.stage}-settings', on)")
        base, train = form.component("model.base"), form.component(TRAIN)
        more = [form.component(key) for key in self.tab.datasets]
        page.on_catalog(
            self.news,
            [base, train, self.panel.select],
            [base, train, *more, self.preset, self.panel.select, self.data_note, self.to_data],
        )
        if self.shelf is not None:
            self.shelf.wire(base)
        for part in (self.arguments, *self.cards):
            part.wire()

    def news(self, catalog: Catalog, lang: str, base: str | None, train: str | None, run: str | None) -> list[Any]:
        """Choices of every picker, and what is missing before a first run."""
        offers = self.page.parents.offers(catalog, self.stage, self.tab.parents, waits=True)
        models = choices(offers, catalog, lang)
        first = next((offer.value for offer in offers if offer.legal), None)
        found = [d for d in catalog.datasets if self.stage in d.card.stages]
        datasets = [(t("form.dataset_choice", lang, ref=d.ref, rows=count(len(d))), d.ref) for d in found]
        usual = self._usual(catalog)
        return [
            gr.update(choices=models) if base or first is None else gr.update(choices=models, value=first),
            gr.update(choices=datasets) if train or usual is None else gr.update(choices=datasets, value=usual),
            *[gr.update(choices=datasets) for _ in self.tab.datasets],
            gr.update(choices=self._preset_choices(lang)),
            self.panel.catalog_updates(lang, run),
            self._missing(models, datasets, lang),
            gr.update(visible=not datasets),
        ]

    def _usual(self, catalog: Catalog) -> str | None:
        """The dataset that is chosen where nobody chose one: the newest of those that are for this stage before any
        other (a text, where conversations would do, too). Of the samples only this stage's, and only where somebody
        asked for the samples: a rehearsal leaves some, too."""
        found = [d for d in catalog.datasets if self.stage in d.card.stages]
        found.sort(key=lambda d: d.card.stages.index(self.stage))
        samples = sample_uses()
        own = [d.ref for d in found if d.name not in samples]
        if not own and all_there(d.name for d in catalog.datasets):
            own = [d.ref for d in found if samples[d.name] == self.stage]
        return own[0] if own else None

    def _missing(self, models: Sequence[Choice], datasets: Sequence[Choice], lang: str) -> str:
        """What a first run still needs, in place."""
        said = [] if datasets else [t("form.no_dataset", lang, what=t(f"form.learns_{self.stage}", lang))]
        if not models and self.shelf is None:
            said.insert(0, t("form.models_elsewhere", lang))
        return views.say(" ".join(said), tone="calm")

    def _preset_choices(self, lang: str) -> list[tuple[str, str]]:
        presets = list_presets(self.stage, self.page.workspace)
        named = [(t("form.preset_own", lang, name=p.name) if p.own else p.name, p.name) for p in presets]
        return [(t("form.preset_none", lang), ""), *named]

    # -- acting -------------------------------------------------------------------------------------------------------
    def load_preset(self, name: str | None, lang: str, *chosen: str | None) -> list[Any]:
        """The preset's values into the form; model, data, rewards and name stay unless the preset sets them.

        `chosen`: what the form has for `OWN_CHOICE`, which stays where there is something.
        """
        try:
            values = flat(find_preset(self.stage, name, self.page.workspace).read()) if name else {}
        except GalenError as error:
            return [views.say(*error_text(error, lang)), *[gr.skip()] * len(self.form.keys)]
        # A preset names the starter by its source; the picker knows it by its name.
        starter = next((m.name for m in self.page.catalog.read().models if m.kind == "starter"), None)
        if values.get("model.base") == "starter" and starter:
            values["model.base"] = starter
        own = [key for key, value in zip(OWN_CHOICE, chosen, strict=False) if value]
        values = {key: value for key, value in values.items() if key not in own}
        return ["", *self.form.fill(values, keep=[*OWN_WORDS, *own])]

    def save_preset(self, name: str, lang: str, *values: Any) -> list[Any]:
        read = {key: value for key, value in self.form.read(values).items() if key != "run.name"}
        try:
            preset = save_preset(self.stage, (name or "").strip(), read, self.page.workspace)
        except GalenError as error:
            keys = self.form.marked(error.problems)
            note = views.say(*error_text(error, lang))
            return [note, gr.skip(), keys, *self.form.mark(error.problems, lang)]
        note = views.say(t("form.preset_saved", lang, name=preset.name), tone="good")
        choices = gr.update(choices=self._preset_choices(lang), value=preset.name)
        return [note, choices, [], *self.form.mark([], lang)]
