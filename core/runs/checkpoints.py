"""What runs take on the disk, checkpoint by checkpoint, and how checkpoints go away. Torch-free.

    found = checkpoints(workspace, run)             each with its size and what it is good for
    remove(workspace, run, ["step-20"])             those of a run that is over

A checkpoint is what a run resumes from, and weights that chat, evaluation and other runs may name (`RUN:step-20`).
What was delivered is a copy in `output/`: it stays, whatever becomes of the checkpoints.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError, RunError
from core.jobs import store
from core.jobs.trash import throw_away
from core.rundir import Checkpoint, RunDir, State, best_checkpoint, state_of
from core.runs.curves import name_of
from core.system import folder_size
from core.workspace import Workspace


@dataclass(frozen=True)
class Kept:
    """One folder of `checkpoints/`. size: bytes. whole: it has COMPLETE; without, nothing can be done with it.

    resumes: the run, which is over and not finished, would go on from it. best: by its run's evaluation. delivered: the
    run has finished, and its result is a copy of its own. used_by: ids of runs that name it as what they start from.
    """

    name: str
    size: int
    step: int = 0
    saved_at: float | None = None
    eval_loss: float | None = None
    whole: bool = True
    resumes: bool = False
    best: bool = False
    delivered: bool = False
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taken:
    """What a run takes, in bytes: all of it, its checkpoints, what it delivered."""

    run: str
    name: str
    state: State
    total: int
    checkpoints: int
    count: int
    output: int


def taken(workspace: Workspace) -> list[Taken]:
    """Every run, the largest first. Hard links to a model of the workspace are counted as its run's, too."""
    found = [measured(run) for run in workspace.runs()]
    return sorted(found, key=lambda each: -each.total)


def measured(run: RunDir) -> Taken:
    """What one run takes; its files are looked at one by one."""
    folders = _folders(run)
    return Taken(
        run.id, name_of(run), state_of(run), folder_size(run.path), folder_size(run.checkpoints), len(folders),
        folder_size(run.output),
    )  # fmt: skip


def checkpoints(workspace: Workspace, run: RunDir) -> list[Kept]:
    """The folders of a run's checkpoints, the newest last, torn ones before them."""
    state, whole = state_of(run), {each.path.name: each for each in run.complete_checkpoints()}
    users = _users(workspace, run, list(whole.values()))
    best = best_checkpoint(list(whole.values()))
    last = max(whole.values(), key=lambda each: each.step, default=None)
    found = [Kept(path.name, folder_size(path), whole=False) for path in _folders(run) if path.name not in whole]
    for name, each in whole.items():
        found.append(
            Kept(
                name=name,
                size=folder_size(each.path),
                step=each.step,
                saved_at=each.saved_at,
                eval_loss=each.eval_loss,
                resumes=each is last and not state.live and store.resumable(run, state),
                best=best is not None and each.step == best.step,
                delivered=state is State.SUCCEEDED,
                used_by=tuple(users.get(name, ())),
            )
        )
    return found


def _folders(run: RunDir) -> list[Path]:
    """Also those that a run which was killed left half written."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(run.checkpoints) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _users(workspace: Workspace, run: RunDir, whole: Sequence[Checkpoint]) -> dict[str, list[str]]:
    """Checkpoint → the runs whose config names it: as `RUN:step-20`, `RUN:last` or `RUN:best`."""
    names = {each.path.name: each.path.name for each in whole}
    if whole:
        names["last"] = max(whole, key=lambda each: each.step).path.name
    best = best_checkpoint(list(whole))
    if best is not None:
        names["best"] = best.path.name
    found: dict[str, list[str]] = {}
    for other in workspace.runs():
        for which in sorted({names[text] for text in _named(other, run.id) if text in names}):
            found.setdefault(which, []).append(other.id)
    return found


def _named(other: RunDir, run: str) -> Iterator[str]:
    """What stands behind the colon wherever the config of `other` names a checkpoint of `run`."""
    for values in other.config().values():
        for value in values.values() if isinstance(values, dict) else ():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and text.startswith(f"{run}:"):
                    yield text.removeprefix(f"{run}:").partition(":")[0].strip()


def remove(workspace: Workspace, run: RunDir, names: Sequence[str]) -> int:
    """Remove these checkpoints of a run that is over; the bytes that this gave back.

    All or none: raises RunError `run.live` for a run that is not over, or `run.needed` while a live one starts from one
    of them; InputError `runs.no_checkpoint` for a name that is none of its checkpoints.
    """
    lock = store.own(run)
    try:
        known = {each.name: each for each in checkpoints(workspace, run)}
        strange = [name for name in names if name not in known]
        if strange:
            raise InputError("runs.no_checkpoint", run=run.id, name=strange[0], known=", ".join(known) or "–")
        users = {user for name in names for user in known[name].used_by}
        live = sorted(user for user in users if state_of(workspace.run(user)).live)
        if live:
            raise RunError("run.needed", run=run.id, runs=", ".join(live))
        for name in dict.fromkeys(names):
            throw_away(workspace, run.checkpoints / name)
        return sum(known[name].size for name in set(names))
    except OSError as error:
        raise store.unwritable(error) from error
    finally:
        os.close(lock)
