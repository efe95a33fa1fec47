"""Runs that wait for others to succeed (`run.after`): whom they still wait for, and what holds them.

Nothing is stored: it is derived from the config of the run, and from the states of those that it names. So it stays
true after a reboot, and a run that failed lets the others go once it has been resumed to its end.

    go_ahead    in a run's folder, made by anybody (`store.release`): do not wait any longer
"""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import Problem
from core.jobs.failures import explain
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace

GO_AHEAD = "go_ahead"


def parents(run: RunDir) -> list[RunDir]:
    """The runs that `run` names in `run.after`, whether they exist or not."""
    named = (run.config().get("run") or {}).get("after") or ()
    return [RunDir(run.path.parent / name) for name in named if Path(name).name == name]


def waits_for(run: RunDir) -> list[RunDir]:
    """Those of them that have not succeeded; none where the run was told not to wait."""
    if (run.path / GO_AHEAD).exists():
        return []
    return [parent for parent in parents(run) if state_of(parent) is not State.SUCCEEDED]


def let_go(run: RunDir) -> None:
    os.close(os.open(run.path / GO_AHEAD, os.O_CREAT | os.O_WRONLY, 0o644))


def hold_again(run: RunDir) -> None:
    """It is to wait for other runs than those that it was let go from."""
    (run.path / GO_AHEAD).unlink(missing_ok=True)


def held(run: RunDir, seen: frozenset[str] = frozenset()) -> Problem | None:
    """Why a waiting run will not start by itself; None where it will, when those before it have ended.

    `parent` of the problem is the run at fault, however far above; `why` is what that one says of its end.
    """
    if run.id in seen:
        return None
    for parent in waits_for(run):
        state = state_of(parent)
        if not parent.exists():
            return Problem("run.held_gone", {"run": run.id, "parent": parent.id})
        if state is State.QUEUED:
            above = held(parent, seen | {run.id})
            if above is not None:
                return Problem(above.code, {**above.params, "run": run.id})
        elif not state.live:
            why = explain(parent, state)
            params = {"run": run.id, "parent": parent.id, "why": why.reason if why is not None else ""}
            return Problem(f"run.held_{state.value}", params)
    return None


def held_by(workspace: Workspace, run: RunDir) -> list[RunDir]:
    """The queued runs that wait for `run` itself, which has not succeeded."""
    queued = (each for each in workspace.runs() if state_of(each) is State.QUEUED)
    return [each for each in queued if any(parent.id == run.id for parent in waits_for(each))]


def led_back(workspace: Workspace, run: RunDir, after: list[str]) -> bool:
    """Whether `run` would wait for itself if it waited for `after`."""
    seen: set[str] = set()
    left = list(after)
    while left:
        name = left.pop()
        if name == run.id:
            return True
        if name not in seen:
            seen.add(name)
            left += [parent.id for parent in parents(RunDir(workspace.runs_dir / name))]
    return False


def followers(workspace: Workspace, run: RunDir) -> list[RunDir]:
    """The runs that were waiting for `run` when their supervisors went (a reboot): they have not begun."""
    found = []
    for each in workspace.runs():
        if any(parent.id == run.id for parent in parents(each)) and state_of(each) is State.INTERRUPTED:
            status = each.status()
            if status is None or status.started_at is None:
                found.append(each)
    return found
