"""The entries of a stage's "start from" picker: runs and models that it may start from, then those that it may not.

The impossible ones are listed with the reason, greyed and without effect under the pointer (`style_stages.css` knows
them by their mark); whoever types one all the same is told beside the field, and refused at Start.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import GalenError, Problem
from core.models.parents import Offer, check_start, offers
from core.models.runs import BRINGS_IN
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

    def offers(self, catalog: Catalog, stage: str, preferred: Sequence[str]) -> list[Offer]:
        """Legal ones first, in the order of `preferred` (stages of runs; `MODEL`), newest runs before older ones."""
        mark, found = self._read.get(stage, (-1, []))
        if mark != catalog.mark:
            found = offers(self.workspace, stage)
            self._read[stage] = (catalog.mark, found)
        last = len(preferred)

        def rank(offer: Offer) -> tuple[bool, int]:
            return not offer.legal, preferred.index(offer.stage) if offer.stage in preferred else last

        return sorted(found, key=rank)

    def problem(self, stage: str, text: str, *, go_on: bool = False, key: str = "model.base") -> Problem | None:
        """Why `stage` cannot start from what `text` names, as far as it can be told without reading weights.

        `key`: the setting that names it.
        """
        try:
            check_start(self.workspace, stage, text, go_on=go_on)
        except GalenError as error:
            return Problem(error.code, error.params, key=key)
        return None

    def lasting(self, text: str) -> str:
        """How a run's config names what `text` names now; `text` itself where that is nothing."""
        try:
            return check_start(self.workspace, "perplexity", text)
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
        if offer.reason is not None:
            it = t("form.this_model" if offer.kind == "model" else "form.this_run", lang)  # its name stands before
            reason = code_text(offer.reason.code, {**offer.reason.params, "run": it}, lang)[0]
            label = f"{BARRED}{label} — {reason}"
        said.append((label, offer.value))
    return said
