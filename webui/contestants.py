"""Who can be asked in the Chat tab: models, runs by which of their weights, and where each is served. No gradio.

A contestant is named by a text, as `python -m core chat` names it: a model of the workspace or a folder, a run (`RUN`,
`RUN:best`, `RUN:step-40`), or the folder of an adapter. Adapters of one base are served by one server.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import GalenError, InputError, ModelError
from core.models.library import bottom_of, find_base, resolve_base
from core.models.lineage import lora_weights, run_weights
from core.models.runs import weights_folder
from core.models.weights import ADAPTER_CONFIG
from core.references import RunRef
from core.rundir import RunDir, State, best_checkpoint, state_of
from core.workspace import Workspace
from webui.catalog import Catalog, Choice, Reader, can_chat
from webui.confine import check_base
from webui.parents import Parents, choices
from webui.text import stage_name, t

BASE = "base"  # how requests call a server's own base


@dataclass(frozen=True)
class Seat:
    """Where a contestant answers: on the server of `base`, under the name `model`."""

    base: str
    model: str


class Contestants:
    """The contestants of a workspace; with `only`, no others, and `panes` of them at first (`webui.alone`)."""

    def __init__(
        self, workspace: Workspace, reader: Reader, only: Sequence[str] = (), panes: Sequence[str] = ()
    ) -> None:
        self.workspace, self.reader = workspace, reader
        self.only, self.panes = list(only), list(panes)
        self._parents = Parents(workspace)
        self._runs: tuple[int, list[RunRef]] = (-1, [])

    # -- what there is to choose from ---------------------------------------------------------------------------------
    def groups(self, lang: str) -> list[tuple[str, list[Choice]]]:
        """(heading, [(label, value)]): the models, then the runs that have weights, newest first."""
        if self.only:
            return [(t("chat.group_here", lang), [(self.name(text, lang), text) for text in self.only])]
        catalog = self.reader.read()
        models = [(model.name, model.name) for model in catalog.models]
        by_id = {run.id: run for run in catalog.runs}
        runs = [
            (f"{catalog.choice(found, lang)} · {stage_name(found.stage, lang)}", found.id)
            for ref in self._talking(catalog)
            if (found := by_id.get(ref.run)) is not None
        ]
        return [(t("chat.group_models", lang), models), (t("chat.group_runs", lang), runs)]

    def _talking(self, catalog: Catalog) -> list[RunRef]:
        """The runs that have weights to talk to, with those that are to be taken first; read anew when one changes."""
        if self._runs[0] != catalog.mark:
            found = [self._first(self.workspace.runs_dir / run.id, run.state) for run in catalog.runs]
            self._runs = (catalog.mark, [ref for ref in found if ref is not None])
        return self._runs[1]

    @staticmethod
    def _first(path: Path, state: State) -> RunRef | None:
        run = RunDir(path)
        if not run.exists() or not can_chat(run, state):
            return None
        return RunRef(run=run.id, which=_weights(run, state)[0])

    def weights(self, text: str, lang: str) -> list[Choice]:
        """What can be talked to of the run that `text` names: delivered, best, last, and each step that was saved."""
        ref = self._ref(text)
        if ref is None or self.only:
            return []
        run = self.workspace.run(ref.run)
        return [(self._which(name, lang), name) for name in _weights(run, state_of(run))]

    @staticmethod
    def _which(name: str, lang: str) -> str:
        step = name.removeprefix("step-")
        return t("chat.which_step", lang, step=step) if step != name else t(f"chat.which_{name}", lang)

    def rewards(self, lang: str) -> list[Choice]:
        """The finished reward runs, newest first."""
        if self.only:
            return []
        catalog = self.reader.read()
        found = [offer for offer in self._parents.offers(catalog, "score", ()) if offer.kind == "run" and offer.legal]
        return [(t("chat.no_reward", lang), ""), *choices(found, catalog, lang)]

    # -- one contestant -----------------------------------------------------------------------------------------------
    def name(self, text: str, lang: str) -> str:
        """How it is called on the page. Never a path: whoever is shown a model need not know where it lies."""
        ref = self._ref(text)
        if ref is None:
            named = (card.name for card in self.reader.read().models if text in (card.source, card.origin))
            return next(named, Path(text).name if "/" in text and os.path.exists(text) else text)
        config = self.workspace.run(ref.run).config()
        name = str((config.get("run") or {}).get("name") or ref.run)
        return name if ref.which == "output" else f"{name} · {self._which(ref.which, lang)}"

    def about(self, text: str, lang: str) -> str:
        """What it is, beneath its name: the base beneath a run, or that it is one."""
        if not text:
            return ""
        if self._ref(text) is None:
            return t("run.gone" if self._gone(text) else "chat.is_base", lang)
        base = self.beneath(text)
        return t("chat.on_base", lang, base=self.name(base, lang)) if base else t("chat.is_whole", lang)

    def beneath(self, text: str) -> str:
        """The base at the bottom of the run `text`, by its name in the workspace where it has one; "" for a whole
        model."""
        ref = self._ref(text)
        try:
            if ref is None or not (weights_folder(self.workspace.run(ref.run), ref.which) / ADAPTER_CONFIG).is_file():
                return ""
            manifest = self.workspace.run(ref.run).manifest()
            source = manifest.root_base.source if manifest is not None else bottom_of(self.workspace, ref.run)
            folder = manifest.root_base.path if manifest is not None else source
        except GalenError:
            return ""
        for card in self.reader.read().models:
            if source in (card.name, card.source, card.origin) or str(card.folder(self.workspace)) == folder:
                return card.name
        return source

    def chosen(self, text: str, which: str = "") -> str:
        """What a pane holds for a choice of the list: a run with `which` of its weights, the first it has where it has
        none of these. What names no run stays as it is: `seat` says what is wrong with it."""
        if self.only and text not in self.only:
            return ""
        ref = self._ref(text)
        if ref is None or self.only:
            return text
        run = self.workspace.run(ref.run)
        known = _weights(run, state_of(run))
        wanted = which or ref.which
        return str(RunRef(run=ref.run, which=wanted if wanted in known or not known else known[0]))

    def _ref(self, text: str) -> RunRef | None:
        """The run that `text` names; None for a model, a folder, a run that is gone, and what nobody here is shown."""
        if self.only and text not in self.only:
            return None
        try:
            ref = find_base(self.workspace, text) if text else None
            return ref if ref is not None and self.workspace.run(ref.run).exists() else None
        except GalenError:
            return None

    def _gone(self, text: str) -> bool:
        """Whether `text` names a run that was deleted."""
        return bool(RunDir(text.partition(":")[0]).stage) and self._ref(text) is None

    # -- where it is served -------------------------------------------------------------------------------------------
    def seat(self, text: str, *, checked: bool = True) -> Seat:
        """Raises InputError `path.outside`, `chat.not_here`; ModelError where it cannot be talked to.

        checked: it comes from the page, which may name nothing outside the workspace and its roots.
        """
        if self.only and text not in self.only:
            raise InputError("chat.not_here", model=text, known=", ".join(self.name(each, "en") for each in self.only))
        ref = find_base(self.workspace, text)
        if ref is not None:
            return self._seat_of_run(ref)
        if self._gone(text):
            raise InputError("run.not_found", run=text)
        if checked and not self.only:
            check_base(text, self.workspace)
        folder = Path(text).expanduser()
        if (folder / ADAPTER_CONFIG).is_file():
            return Seat(str(lora_weights(self.workspace, text).base), text)
        resolve_base(self.workspace, text)
        return Seat(text, BASE)

    def _seat_of_run(self, ref: RunRef) -> Seat:
        run = self.workspace.run(ref.run)
        manifest = run.manifest()
        if run.stage == "reward" or (manifest is not None and manifest.kind == "reward"):
            raise ModelError("parent.scores_only", run=str(ref))
        weights = run_weights(self.workspace, ref)
        return Seat(str(weights.base), str(ref)) if weights.adapter is not None else Seat(str(ref), BASE)

    def judge(self, text: str, beside: Sequence[str]) -> Seat:
        """Where the reward run `text` scores: on the server of its base; a whole model beside any of those bases that
        are served already. Raises ModelError `reward.unknown`, or as `run_weights`."""
        ref = find_base(self.workspace, text)
        if ref is None:
            raise ModelError("reward.unknown", run=text)
        weights = run_weights(self.workspace, ref)
        return Seat(str(weights.base) if weights.adapter is not None else beside[0], str(ref))

    def bases(self, texts: Sequence[str]) -> list[str]:
        """The bases of those that can be served at all."""
        found = []
        for text in texts:
            try:
                found.append(self.seat(text).base)
            except GalenError:
                continue
        return list(dict.fromkeys(found))

    # -- which are shown first ----------------------------------------------------------------------------------------
    def first(self) -> list[str]:
        """The panes of a page that nobody has chosen any for: the newest run beside its base."""
        if self.only:
            return self.panes
        catalog = self.reader.read()
        rehearsed = {run.id for run in catalog.runs if run.rehearsal}
        talking = [ref for ref in self._talking(catalog) if ref.run not in rehearsed]
        if talking:
            return self.beside_base(str(talking[0]))
        return [catalog.models[0].name if catalog.models else "", ""]

    def beside_base(self, text: str) -> list[str]:
        """The run `text` and the base beneath it, as two panes."""
        run = self.chosen(text)
        return [self.beneath(run), run]


def _weights(run: RunDir, state: State) -> list[str]:
    points = run.complete_checkpoints()
    names = ["output"] if state is State.SUCCEEDED else []
    names += ["best"] if best_checkpoint(points) else []
    names += ["last"] if points else []
    return names + [f"step-{point.step}" for point in points]
