"""Which folder a reference to a run means: `RUN`, `RUN:best`, `RUN:last`, `RUN:step-40`. Torch-free.

RUN is a run's id, or the name that its user gave it (the newest so called). What lies in the folder, and whether it
may be used, is said by `library` (whole models as a base) and `parents` (adapters on theirs).
"""

from __future__ import annotations

from pathlib import Path

from core.errors import ModelError
from core.records import Manifest
from core.references import RunRef
from core.rundir import RunDir, best_checkpoint
from core.workspace import Workspace

BRINGS_IN = "fetch"  # the stage that brings in models, and adapters, which become its runs' output


def brought_in(run: RunDir) -> Manifest | None:
    """What is said of the adapter that this run has brought in; None for every other run."""
    return run.manifest() if run.stage == BRINGS_IN else None


def find_run(workspace: Workspace, text: str) -> RunRef | None:
    """The run's id and which of its weights `text` means; None where no run is called so.

    Raises InputError `run.bad_reference` where the run exists and what follows the colon names no weights.
    """
    run = _called(workspace, text)
    if run is not None:
        return RunRef(run=run.id)
    name, _, which = text.rpartition(":")
    run = _called(workspace, name) if name else None
    return None if run is None else RunRef.parse(f"{run.id}:{which}")


def _called(workspace: Workspace, name: str) -> RunDir | None:
    """By id first, then by the shown name, the newest first."""
    if not name:
        return None
    run = RunDir(workspace.runs_dir / name)
    if Path(name).name == name and run.exists():
        return run
    return next((run for run in workspace.runs() if (run.config().get("run") or {}).get("name") == name), None)


def weights_folder(run: RunDir, which: str) -> Path:
    """Where the weights lie: what the run delivered (`output`), or one of its checkpoints.

    Raises ModelError `model.run_no_weights` or `model.no_checkpoint`.
    """
    if which != "output":
        return _checkpoint(run, which)
    manifest = run.manifest()
    if manifest is None:
        raise ModelError("model.run_no_weights", run=run.id, detail="it has not delivered anything")
    relative = manifest.adapter_root or manifest.model_folder
    if relative is None:
        raise ModelError("model.run_no_weights", run=run.id, detail=f"it is a run of the kind {manifest.kind}")
    return run.output / relative


def _checkpoint(run: RunDir, which: str) -> Path:
    checkpoints = run.complete_checkpoints()
    named = {f"step-{checkpoint.step}": checkpoint for checkpoint in checkpoints}
    if checkpoints:
        named["last"] = checkpoints[-1]
    best = best_checkpoint(checkpoints)
    if best is not None:
        named["best"] = best
    if which not in named:
        raise ModelError("model.no_checkpoint", run=run.id, which=which, known=", ".join(named) or "none")
    return named[which].path
