"""What a PPO run learns from, on its page: the reward models and the rules, each as lines that lists help to write.

The lists are ours (HTML with buttons): a click adds a line to its field, and takes a reward model's away again. Weights
and settings are edited in the line itself.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

from core.configs.sections import lines_of, weighted
from core.errors import GalenError
from core.records_reward import PairReport
from core.rules import RULES
from core.rundir import read_record
from webui.catalog import Catalog
from webui.figures import clock
from webui.forms import Form
from webui.page import QUIET, Page
from webui.views_ppo import PICK, RewardRun, reward_runs, rule_line, rule_list

MODELS, RULE_LINES = "rewards.models", "rewards.rules"


class RewardsCard:
    """A card of the stage page: `build` beneath the data picker, `wire` once everything is built."""

    def __init__(self, page: Page, form: Form) -> None:
        self.page = page
        self.form = form

    def build(self) -> None:
        labels = self.page.labels
        clicks = {"js_on_load": PICK, "elem_classes": ["bare"]}
        with gr.Column(elem_classes=["fields", "rewards"]):
            self.form.place(MODELS, placeholder="rewards.models_hint")
            self.runs = gr.HTML("", elem_id="reward-runs", **clicks)
            self.form.place(RULE_LINES, placeholder="rewards.rules_hint")
            self.rules = labels.html(rule_list, elem_id="reward-rules", **clicks)

    def wire(self) -> None:
        page, models, rules = self.page, self.form.component(MODELS), self.form.component(RULE_LINES)
        page.on_catalog(self.news, [models], [self.runs])
        models.change(self.look, [models, page.lang], self.runs, **QUIET)
        self.runs.pick(self.toggled, models, models, **QUIET)
        self.rules.pick(self.added, rules, rules, **QUIET)

    # -- showing ------------------------------------------------------------------------------------------------------
    def news(self, catalog: Catalog, lang: str, models: str | None) -> list[Any]:
        return [reward_runs(self._offered(catalog), listed(models), lang)]

    def look(self, models: str | None, lang: str) -> str:
        return reward_runs(self._offered(self.page.catalog.read()), listed(models), lang)

    def _offered(self, catalog: Catalog) -> list[RewardRun]:
        """The finished reward runs, newest first, and models of the workspace that give one score."""
        times = {run.id: clock(run.created) for run in catalog.runs}
        legal = [offer for offer in self.page.parents.offers(catalog, "score", ("reward",), waits=True) if offer.legal]
        return [
            RewardRun(offer.value, offer.name, times.get(offer.value, ""), self._report(offer.value)) for offer in legal
        ]

    def _report(self, run_id: str) -> PairReport | None:
        try:
            return read_record(self.page.workspace.run(run_id).pairs_file, PairReport)
        except GalenError:  # a model of the workspace, no run
            return None

    # -- acting -------------------------------------------------------------------------------------------------------
    def toggled(self, event: gr.EventData, models: str | None) -> str:
        """The lines with the reward model that was clicked, or without it."""
        name = str(event._data.get("name", "")).strip()
        lines = lines_of(models or "")
        if name in listed(models):
            return "\n".join(line for line in lines if name_of(line) != name)
        return "\n".join([*lines, f"{name}: 1"]) if name else "\n".join(lines)

    def added(self, event: gr.EventData, rules: str | None) -> str:
        """The lines with one more: the rule that was clicked, with its settings as they are by default."""
        found = RULES.get(str(event._data.get("name", "")))
        return "\n".join([*lines_of(rules or ""), *([rule_line(found)] if found is not None else [])])


def name_of(line: str) -> str:
    """What a line names; one whose weight is no weight names all that stands before it."""
    try:
        return weighted(line)[0]
    except ValueError:
        return line.rpartition(":")[0].strip()


def listed(models: str | None) -> set[str]:
    return {name_of(line) for line in lines_of(models or "")}
