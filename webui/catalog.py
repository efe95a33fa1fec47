"""What the workspace holds (runs, models, datasets), read once for all sessions of the page and at most twice a second.

`mark` changes with the content, so that an idle tick of a session is one comparison.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.data.store.library import Dataset, list_datasets
from core.jobs.store import RunSummary, summary
from core.models.library import ModelCard, list_models
from core.rundir import RunDir, State
from core.workspace import Workspace
from webui.figures import clock
from webui.states import state_text
from webui.text import t
from webui.views import stamp as run_stamp

FRESH_SECONDS = 0.5
Choice = tuple[str, str]


@dataclass(frozen=True)
class Catalog:
    runs: list[RunSummary] = field(default_factory=list)
    models: list[ModelCard] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)
    mark: int = 0

    @property
    def live(self) -> list[RunSummary]:
        return [run for run in self.runs if run.state.live]

    def name_of(self, run_id: str) -> str:
        return next((run.name for run in self.runs if run.id == run_id), run_id)

    def run_choices(self, lang: str, stage: str) -> list[Choice]:
        """The runs of a stage for a selector, newest first: name, time, and the state where it is not finished."""
        chosen = [run for run in self.runs if run.stage == stage]
        return [(t("run.none_chosen", lang), ""), *((self.choice(run, lang), run.id) for run in chosen)]

    @staticmethod
    def choice(run: RunSummary, lang: str) -> str:
        state = "" if run.state is State.SUCCEEDED else f" · {state_text(run.state, run.held, lang)}"
        return f"{run.name} · {clock(run.created)}{state}"


class Reader:
    """The one reader of a workspace's catalog."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._signature: object = None
        self._catalog = Catalog()
        self._known: dict[str, tuple[object, RunSummary]] = {}

    def read(self, *, fresh: bool = False) -> Catalog:
        """The catalog, at most `FRESH_SECONDS` old; `fresh` reads again after the page itself changed something."""
        with self._lock:
            now = time.monotonic()
            if fresh or now - self._read_at >= FRESH_SECONDS:
                self._refresh()
                self._read_at = now
            return self._catalog

    def _refresh(self) -> None:
        runs = [self._summary(run) for run in self.workspace.runs()]
        self._known = {run.id: self._known[run.id] for run in runs}
        shelf = (_shelf(self.workspace.models_dir), _shelf(self.workspace.datasets_dir))
        before = self._catalog
        same_shelf = self._signature == shelf and before.mark
        models = before.models if same_shelf else list_models(self.workspace)
        datasets = before.datasets if same_shelf else list_datasets(self.workspace)
        if same_shelf and runs == before.runs:
            return
        self._signature = shelf
        self._catalog = Catalog(runs, models, datasets, before.mark + 1)

    def _summary(self, run: RunDir) -> RunSummary:
        """The line of one run, read again only when one of its files has changed."""
        stamp = run_stamp(run)
        known = self._known.get(run.id)
        if known is None or known[0] != stamp:
            known = self._known[run.id] = (stamp, summary(run))
        return known[1]


def _shelf(folder: Path) -> tuple[tuple[str, int], ...]:
    """Names and times of change of a folder and what lies in it, two levels deep."""

    def entries(path: str) -> Iterable[tuple[str, int]]:
        try:
            found = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in found:
            try:
                yield entry.path, entry.stat().st_mtime_ns
            except OSError:
                continue

    top = list(entries(str(folder)))
    return tuple(top + [below for path, _ in top for below in entries(path)])


def newest(runs: Sequence[RunSummary], stage: str) -> str | None:
    """The first run of a stage among `runs`, which stand newest first: what is shown when nobody chose one."""
    return next((run.id for run in runs if run.stage == stage), None)


def can_chat(run: RunDir, state: State) -> bool:
    """Whether a run has weights to talk to: delivered ones, or a checkpoint. A reward model only scores."""
    manifest = run.manifest() if state is State.SUCCEEDED else None
    if manifest is not None:
        return manifest.kind != "reward" and bool(manifest.adapter_root or manifest.model_folder)
    return run.stage != "reward" and bool(run.complete_checkpoints())
