"""Runs, as a page or the command line handles them: submit, resume, stop, kill, delete.

Whoever submits or resumes takes the run's lock and hands its descriptor to the supervisor, so there is no moment in
which two could start the same run, or in which a run that is being started looks interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time

import orjson
from pydantic import ValidationError

from core.configs.files import dump_yaml, stage_of
from core.configs.stages import StageConfig
from core.errors import RunError
from core.jobs import processes
from core.jobs.attempts import set_aside
from core.jobs.failures import classify, first_problem
from core.jobs.locks import take_run
from core.jobs.pinning import pin
from core.jobs.stopping import kill, stop, stop_deadline, sweep
from core.jobs.summaries import RunSummary, summaries, summary
from core.rundir import RunDir, State, state_of, write_text
from core.system import last_line, python_command, python_environment
from core.workspace import Workspace

__all__ = [
    "RunSummary",
    "delete",
    "kill",
    "resumable",
    "resume",
    "stop",
    "stop_deadline",
    "submit",
    "summaries",
    "summary",
]

START_PATIENCE = 60.0  # seconds; a supervisor needs half a second on an idle machine


def submit(workspace: Workspace, stage: str, config: StageConfig) -> RunDir:
    """Pin the inputs, make the run's folder, start its supervisor, and return once that has reported.

    Raises ConfigError before anything is created; RunError where the disk is full or the supervisor does not start.
    """
    known = stage_of(stage)
    data = pin(workspace, known, config).model_dump(mode="json")
    try:
        run = RunDir.create(workspace.runs_dir, known.name)
    except OSError as error:
        raise _unwritable(error) from error
    lock = _own(run)
    try:
        header = f"# Everything this run was started with. Again: python -m core {known.name} --config config.yaml\n"
        write_text(run.config_yaml, header + dump_yaml(data))
        write_text(run.config_json, orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    except OSError as error:
        os.close(lock)
        shutil.rmtree(run.path, ignore_errors=True)
        raise _unwritable(error) from error
    _launch(run, lock)
    return run


def resume(workspace: Workspace, run_id: str) -> RunDir:
    """Go on with a run that is over but not finished: from its last whole checkpoint, or from the start.

    Its config stays. Raises InputError `run.not_found`, RunError `run.live` or `run.finished`, ConfigError where an
    input is gone.
    """
    run = workspace.run(run_id)
    state = state_of(run)
    if state.live:
        raise RunError("run.live", run=run.id, state=str(state))
    _check_inputs(workspace, run)
    lock = _own(run)
    try:
        result = run.result()
        if run.manifest_file.exists() or (result is not None and result.outcome == "succeeded"):
            raise RunError("run.finished", run=run.id)
        sweep(run)
        set_aside(run)
    except BaseException:
        os.close(lock)
        raise
    _launch(run, lock)
    return run


def _check_inputs(workspace: Workspace, run: RunDir) -> None:
    """Whether everything the run was pinned to is still there."""
    stage = stage_of(run.stage)
    try:
        config = stage.config.model_validate(run.config())
    except ValidationError as error:
        raise RunError("run.bad_config", detail=first_problem(error)) from error
    pin(workspace, stage, config)


def resumable(run: RunDir, state: State | None = None) -> bool:
    """Whether `resume` would go on with it."""
    return (state or state_of(run)) in (State.FAILED, State.STOPPED, State.INTERRUPTED)


def delete(workspace: Workspace, run: RunDir) -> None:
    """Remove a run that is over, with all its files. Raises RunError `run.live`."""
    lock = _own(run)
    try:
        sweep(run)
        trash = workspace.path / ".trash"
        trash.mkdir(exist_ok=True)
        gone = trash / run.id
        os.rename(run.path, gone)  # out of every list at once, however long the removal takes
    finally:
        os.close(lock)
    shutil.rmtree(gone, ignore_errors=True)


def _unwritable(error: OSError) -> RunError:
    code, params = classify(error)
    return RunError(code, **params)


def _own(run: RunDir) -> int:
    """The run's lock. Raises RunError `run.live`."""
    lock = take_run(run)
    if lock is None:
        raise RunError("run.live", run=run.id, state=str(state_of(run)))
    return lock


# -- starting ---------------------------------------------------------------------------------------------------------
def _launch(run: RunDir, lock: int) -> None:
    """Start the supervisor with the lock `lock`, which is closed here, and wait until it has written status.json."""
    folder = run.path.resolve()
    try:
        with open(run.supervisor_log, "ab") as log:
            child = subprocess.Popen(
                python_command("core.jobs.supervisor", str(folder), str(lock)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock],
                start_new_session=True,
                env={**python_environment(processes.clean_environment()), processes.SUPERVISES: str(folder)},
            )
    finally:
        os.close(lock)
    # A long-lived caller is its parent: somebody has to collect it when it ends, whenever that is.
    threading.Thread(target=child.wait, name=f"reap {run.id}", daemon=True).start()
    deadline = time.monotonic() + START_PATIENCE
    while not _reported(run, child.pid):
        if child.poll() is not None and not _reported(run, child.pid):
            raise RunError("run.no_supervisor", run=run.id, detail=last_line(run.supervisor_log))
        if time.monotonic() > deadline:
            raise RunError("run.no_supervisor", run=run.id, detail=f"process {child.pid} does not answer")
        time.sleep(0.02)


def _reported(run: RunDir, pid: int) -> bool:
    status = run.status()
    return status is not None and status.supervisor_pid == pid
