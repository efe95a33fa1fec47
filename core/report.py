"""The pen of rank 0: everything a run says about itself while it works. Torch-free, so it writes from the first second.

Other ranks hold a `Report`, too, and write nothing with it: recipes need no `if rank == 0`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from core.configs.stages import StageConfig
from core.errors import StopRequested
from core.messages import sentence
from core.records import TRAINING, Progress, Unit
from core.rundir import RunDir, append_jsonl, write_text
from core.workspace import Workspace

PROGRESS_INTERVAL = 0.5  # seconds between two writes of progress.json within a phase
KEPT_BETWEEN_PHASES = {"tokens", "step_seconds", "save_seconds", "trained", "train_total"}


class Report:
    """Writes progress, metrics and samples of one run; silent on every rank but 0."""

    def __init__(self, run: RunDir, rank: int = 0) -> None:
        self.run = run
        self.writes = rank == 0
        self._written = 0.0
        self._progress = Progress(phase="importing", updated_at=0.0)
        self.ended_early: tuple[str, dict[str, Any]] | None = None

    @property
    def current_phase(self) -> str:
        return self._progress.phase

    def phase(self, name: str, *, total: int | None = None, unit: Unit = "step", **fields: Any) -> None:
        """Enter a phase: importing, loading, tokenising, training, saving, downloading, … Always written at once."""
        kept = self._progress.model_dump(include=KEPT_BETWEEN_PHASES)
        now = {"phase": name, "phase_began": time.time(), "total": total, "unit": unit, "updated_at": 0.0}
        self._progress = Progress.model_validate({**kept, **now, **fields})
        self._note_training()
        self._write()

    def progress(self, step: int, **fields: Any) -> None:
        """Move within the phase. Written at most every `PROGRESS_INTERVAL`, and always for the last step."""
        self._progress = self._progress.model_copy(update={"step": step, **fields})
        self._note_training()
        if step == self._progress.total or time.monotonic() - self._written >= PROGRESS_INTERVAL:
            self._write()

    def flush(self) -> None:
        """Write what `progress` has held back; the worker does it when the recipe ends."""
        self._write()

    def metrics(self, step: int, epoch: float, **figures: float) -> None:
        """Append one line to metrics.jsonl; a figure that is infinite or no number becomes null."""
        if self.writes:
            append_jsonl(self.run.metrics_file, {"step": step, "epoch": epoch, "time": time.time(), **figures})

    def sample(self, step: int, prompt: str, answer: str) -> None:
        """Append one answered prompt to samples.jsonl."""
        if self.writes:
            append_jsonl(self.run.samples_file, {"step": step, "prompt": prompt, "answer": answer})

    def end_early(self, code: str, **params: Any) -> None:
        """Say why the run ends before its last step though nothing is wrong: into the log, and its result.json."""
        self.ended_early = code, params
        print(sentence(code, params)[0])

    def stop_requested(self) -> bool:
        """Whether somebody asked this run to stop. Ranks must agree on the answer before they act on it."""
        return self.run.stop_file.exists()

    def check_stop(self) -> None:
        """Raise StopRequested where nothing needs saving (downloading, loading, tokenising)."""
        if self.stop_requested():
            raise StopRequested

    def _note_training(self) -> None:
        now = self._progress
        if now.phase == TRAINING:
            now.trained, now.train_total = now.step, now.total

    def _write(self) -> None:
        self._written = time.monotonic()
        self._progress.updated_at = time.time()
        if self.writes:
            write_text(self.run.progress_file, self._progress.model_dump_json() + "\n", durable=False)


@dataclass(frozen=True)
class RunContext:
    """What a recipe is called with, once on every rank. `device` is a torch device string (`cpu`, `cuda:0`)."""

    run: RunDir
    workspace: Workspace
    config: StageConfig
    report: Report
    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
