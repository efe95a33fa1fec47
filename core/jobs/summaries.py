"""One line per run, for lists: read from the run's files, and cheap enough for 200 runs at every tick of a page."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from core.configs.starts import named_starts
from core.errors import Problem
from core.imported import is_imported
from core.jobs.failures import explain
from core.jobs.waiting import held
from core.notes import read_notes
from core.records import Progress, Result, Status
from core.rundir import RUN_ID, WHEN, RunDir, State, state_of
from core.workspace import Workspace

TAIL_BYTES = 16384  # enough of metrics.jsonl for its last row with a loss


@dataclass(frozen=True)
class RunSummary:
    """What a list shows; times and durations in seconds. `why` explains a run that did not succeed. `ended`: when the
    last attempt of a run that is over did, where its supervisor lived to tell.

    `step` of `total`, in `unit`, is how far the run is: its training, however much is evaluated or saved in between.
    `star`, `tags` and `note` are what people noted of it. imported: it came from elsewhere, as an archive.

    `phase_step` of `phase_total` is the position in a phase between two steps of it; None in any other. `loss`, or for
    PPO the `reward`, is that of the last step. `parents` are the runs that its config names as starts, or waits for;
    `held` says why a waiting one will not start by itself; `rehearsal` is the one that it belongs to. `made_of` are the
    names of its model and data, for searching.
    """

    id: str
    name: str
    stage: str
    state: State
    devices: list[str]
    waiting_for: list[str]
    phase: str
    step: int
    total: int | None
    unit: str
    phase_step: int | None
    phase_total: int | None
    eta: float | None
    created: float
    duration: float | None
    loss: float | None
    attempt: int
    why: Result | None
    reward: float | None = None
    parents: tuple[str, ...] = ()
    held: Problem | None = None
    rehearsal: str = ""
    made_of: str = ""
    star: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""
    imported: bool = False
    ended: float | None = None

    @property
    def reason(self) -> str:
        return self.why.reason if self.why is not None else ""

    def as_dict(self) -> dict[str, Any]:
        why = self.why.model_dump() if self.why is not None else None
        held = self.held.as_dict() if self.held is not None else None
        return {**self.__dict__, "state": str(self.state), "reason": self.reason, "why": why, "held": held}


def summaries(
    workspace: Workspace, *, states: Iterable[State] | None = None, stage: str | None = None
) -> list[RunSummary]:
    """Every run of the workspace, newest first, or those in one of `states` and of `stage`."""
    wanted = set(states) if states is not None else None
    found = []
    for run in workspace.runs():
        if stage is None or run.stage == stage:
            state = state_of(run)
            if wanted is None or state in wanted:
                found.append(summary(run, state))
    return found


def summary(run: RunDir, state: State | None = None) -> RunSummary:
    """The line of one run."""
    state = state or state_of(run)
    config, status = run.config(), run.status()
    progress = run.progress() or Progress(phase="", updated_at=0.0)
    step, total, unit = progress.overall
    rows, notes = tail_rows(run.metrics_file), read_notes(run)
    own = config.get("run") or {}
    return RunSummary(
        id=run.id,
        name=own.get("name", "") or run.id,
        stage=run.stage,
        state=state,
        devices=status.devices if status is not None else config.get("devices", {}).get("use", []),
        waiting_for=status.waiting_for if status is not None and state is State.QUEUED else [],
        phase=progress.phase,
        step=step,
        total=total,
        unit=unit,
        phase_step=progress.step if progress.between_steps else None,
        phase_total=progress.total if progress.between_steps else None,
        eta=progress.eta_seconds if state is State.RUNNING else None,
        created=created(run),
        duration=duration(status, progress, state),
        loss=_last(rows, "loss"),
        attempt=status.attempt if status is not None else 1,
        why=explain(run, state),
        reward=_last(rows, "reward"),
        parents=_parents(config),
        held=held(run) if state is State.QUEUED and own.get("after") else None,
        rehearsal=str(own.get("rehearsal") or ""),
        made_of=_made_of(config),
        star=notes.star,
        tags=tuple(notes.tags),
        note=notes.note,
        imported=is_imported(run),
        ended=status.ended_at if status is not None and not state.live else None,
    )


def _made_of(config: Mapping[str, Any]) -> str:
    model, data = config.get("model") or {}, config.get("data") or {}
    named = (model.get("base"), model.get("source"), data.get("train"), data.get("validation"))
    return " ".join(str(name) for name in named if name)


def _parents(config: Mapping[str, Any]) -> tuple[str, ...]:
    after = (config.get("run") or {}).get("after") or ()
    named = (text.partition(":")[0] for text in (*named_starts(config), *after))
    return tuple(dict.fromkeys(text for text in named if RUN_ID.fullmatch(text)))


def created(run: RunDir) -> float:
    """When the run was submitted, as its name says; a folder copied from elsewhere keeps it."""
    try:
        return datetime.strptime(run.when, WHEN).timestamp()
    except ValueError:
        return run.config_json.stat().st_mtime


def duration(status: Status | None, progress: Progress, state: State) -> float | None:
    """Seconds from the start of this attempt to its end, or until now; None while it waits."""
    if status is None or status.started_at is None:
        return None
    end = time.time() if state.live else status.ended_at or progress.updated_at
    return max(0.0, end - status.started_at)


def _last(rows: list[dict[str, Any]], key: str) -> float | None:
    return next((float(row[key]) for row in reversed(rows) if isinstance(row.get(key), int | float)), None)


def tail_rows(file: Path, size: int = TAIL_BYTES) -> list[dict[str, Any]]:
    """The whole rows among the last `size` bytes."""
    try:
        with open(file, "rb") as opened:
            end = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, end - size))
            lines = opened.read().split(b"\n")
    except FileNotFoundError:
        return []
    rows = []
    for line in lines[1 if end > size else 0 : -1]:
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows
