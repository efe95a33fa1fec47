"""The entries of a stage's "start from" picker: runs and models that it may start from, then those that it may not.

The impossible ones are listed with the reason, greyed and without effect under the pointer (`style_stages.css` knows
them by their mark); whoever types one all the same is told beside the field, and refused at Start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from core.configs.sections import weighted
from core.configs.stages import PPOConfig, StageConfig
from core.errors import GalenError, Problem
from core.models import tiny
from core.models.awaited import Awaited, check_start
from core.models.library import find_base
from core.models.parents import Offer, offers
from core.models.runs import BRINGS_IN
from core.rundir import state_of
from core.workspace import Workspace
from webui.catalog import Catalog, Choice
from webui.figures import clock, size
from webui.messages import code_text
from webui.text import stage_name, t

BARRED = "⊘ "  # how the entry of an impossible choice begins
MODEL = ""  # stands for the models in a list of stages


class Parents:
    """What each stage may start from, read once for each state of the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._read: dict[str, tuple[int, list[Offer]]] = {}

    def offers(self, catalog: Catalog, stage: str, preferred: Sequence[str], *, waits: bool = False) -> list[Offer]:
        """Legal ones first, in the order of `preferred` (stages of runs; `MODEL`), newest runs before older ones.

        waits: runs at work may be chosen, too; they keep `reason`, and stand behind those that are there. Runs of
        rehearsals, and the tiny model of theirs, are left out: they are nothing to go on with.
        """
        mark, found = self._read.get(stage, (-1, []))
        if mark != catalog.mark:
            rehearsed = {tiny.NAME, *(run.id for run in catalog.runs if run.rehearsal)}
            found = [offer for offer in offers(self.workspace, stage) if offer.value not in rehearsed]
            self._read[stage] = (catalog.mark, found)
        if waits:
            found = [self._waited_for(offer, stage) for offer in found]
        last = len(preferred)

        def rank(offer: Offer) -> tuple[bool, bool, int]:
            place = preferred.index(offer.stage) if offer.stage in preferred else last
            return not offer.legal, offer.reason is not None, place

        return sorted(found, key=rank)

    def _waited_for(self, offer: Offer, stage: str) -> Offer:
        """The offer as a legal one, where all that is wrong with it is that its run has not finished."""
        unfinished = offer.reason is not None and offer.reason.code == "parent.unfinished"
        return replace(offer, legal=True) if unfinished and self.problem(stage, offer.value) is None else offer

    def illegal(self, stage: str, config: StageConfig) -> list[Problem]:
        """What Start would say of the models and runs that a config chooses."""
        found = []
        if isinstance(config, PPOConfig):
            names = [weighted(line)[0] for line in config.rewards.models]
            found += [self.problem("score", name, key="rewards.models") for name in names]
        base = getattr(getattr(config, "model", None), "base", None)
        if isinstance(base, str) and base:
            go_on = getattr(getattr(config, "lora", None), "start", "new") == "continue"
            found.append(self.problem(stage, base, go_on=go_on))
        return [problem for problem in found if problem is not None]

    def problem(self, stage: str, text: str, *, go_on: bool = False, key: str = "model.base") -> Problem | None:
        """Why `stage` cannot start from what `text` names, as far as it can be told without reading weights.

        A run at work is no problem: it is waited for. `key`: the setting that names it.
        """
        try:
            check_start(self.workspace, self._at_work(text), stage, text, go_on=go_on)
        except GalenError as error:
            return Problem(error.code, error.params, key=key)
        return None

    def _at_work(self, text: str) -> dict[str, Awaited]:
        ref = find_base(self.workspace, text)
        run = self.workspace.run(ref.run) if ref is not None and ref.which == "output" else None
        return {run.id: Awaited(run.stage, run.config())} if run is not None and state_of(run).live else {}

    def lasting(self, text: str) -> str:
        """How a run's config names what `text` names now; `text` itself where that is nothing."""
        try:
            return check_start(self.workspace, {}, "perplexity", text)
        except GalenError:
            return text


def choices(found: Sequence[Offer], catalog: Catalog, lang: str) -> list[Choice]:
    """The picker's entries in the reader's language."""
    sizes = {card.name: size(card.size) for card in catalog.models}
    times = {run.id: clock(run.created) for run in catalog.runs}
    said = []
    for offer in found:
        if offer.kind == "model":
            label = t("form.model_choice", lang, name=offer.name, size=sizes.get(offer.value, ""))
        else:
            made = "adapter" if offer.stage == BRINGS_IN else offer.stage
            stage, when = stage_name(made, lang), times.get(offer.value, "")
            label = t("form.run_choice", lang, name=offer.name, stage=stage, when=when)
        if offer.reason is not None and offer.legal:
            label = t("form.starts_after", lang, label=label)
        elif offer.reason is not None:
            it = t("form.this_model" if offer.kind == "model" else "form.this_run", lang)  # its name stands before
            reason = code_text(offer.reason.code, {**offer.reason.params, "run": it}, lang)[0]
            label = f"{BARRED}{label} — {reason}"
        said.append((label, offer.value))
    return said
