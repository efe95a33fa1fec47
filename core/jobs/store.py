"""Runs, as a page or the command line handles them: submit, resume, replace, release, stop, kill, delete.

Whoever submits or resumes takes the run's lock and hands its descriptor to the supervisor, so there is no moment in
which two could start the same run, or in which a run that is being started looks interrupted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from core.configs.changes import refused
from core.configs.files import resolve, stage_of
from core.configs.stages import StageConfig
from core.configs.starts import renamed
from core.errors import ConfigError, GalenError, Problem, RunError
from core.imported import is_imported
from core.jobs import hosts, processes, waiting
from core.jobs.attempts import keep_config, set_aside
from core.jobs.failures import RESERVE_BYTES, classify, first_problem
from core.jobs.handing_over import write_config
from core.jobs.locks import take_run
from core.jobs.pinning import pin, waiting_for_live
from core.jobs.retrying import worth_resuming
from core.jobs.stopping import kill, stop, stop_deadline, sweep
from core.jobs.summaries import RunSummary, summaries, summary
from core.jobs.trash import throw_away
from core.models.library import check_not_pointed_at, children
from core.records_predict import answers_begun
from core.rundir import RunDir, State, beats, state_of
from core.system import last_line, python_command, python_environment
from core.workspace import Workspace

__all__ = [
    "RunSummary",
    "delete",
    "kill",
    "own",
    "releasable",
    "release",
    "replace",
    "resumable",
    "resume",
    "stop",
    "stop_deadline",
    "submit",
    "summaries",
    "summary",
    "waiting_for_live",
]

START_PATIENCE = 60.0  # seconds; a supervisor needs half a second on an idle machine


def submit(workspace: Workspace, stage: str, config: StageConfig, *, wait: bool = False) -> RunDir:
    """Pin the inputs, make the run's folder, start its supervisor, and return once that has reported.

    wait: it is to wait for the runs at work that it starts from, as if `run.after` named them.

    Raises ConfigError before anything is created; RunError where the disk is full or the supervisor does not start.
    """
    known = stage_of(stage)
    config = waiting_for_live(workspace, config) if wait else config
    data = pin(workspace, known, config).model_dump(mode="json")
    try:
        run = RunDir.create(workspace.runs_dir, known.name)
    except OSError as error:
        raise unwritable(error) from error
    lock = own(run)
    try:
        write_config(run, data)
    except OSError as error:
        os.close(lock)
        shutil.rmtree(run.path, ignore_errors=True)
        raise unwritable(error) from error
    try:
        _begin(run, lock)
    except RunError as error:
        if error.code == "run.disk_full":
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def resume(workspace: Workspace, run_id: str, changes: Sequence[str] = ()) -> RunDir:
    """Go on with a run that is over but not finished: from its last whole checkpoint, or from the start.

    Its config stays but for `changes`, `key=value` words; the config that it had is kept with the earlier attempt. Runs
    that waited for it, and have lost their supervisors as it has, wait again.
    Raises InputError `run.not_found`, RunError `run.live`, `run.finished` or `run.imported`, or what kept its files
    from being set aside (a full disk); ConfigError where an input is gone, or a setting must stay because the
    checkpoints were made with it (`core.configs.changes`).
    """
    run = workspace.run(run_id)
    state = state_of(run)
    if state.live:
        raise RunError("run.live", run=run.id, state=str(state))
    if is_imported(run):
        raise RunError("run.imported", run=run.id)
    changed = _changed(workspace, run, changes)
    lock = own(run)
    try:
        result = run.result()
        if run.manifest_file.exists() or (result is not None and result.outcome == "succeeded"):
            raise RunError("run.finished", run=run.id)
        sweep(run)
        set_aside(run)
        if changed is not None:
            if changed["run"]["after"] != run.config()["run"]["after"]:
                waiting.hold_again(run)
            keep_config(run)
            write_config(run, changed)
    except OSError as error:
        os.close(lock)
        raise unwritable(error) from error
    except BaseException:
        os.close(lock)
        raise
    _begin(run, lock)
    for follower in waiting.followers(workspace, run):
        try:
            resume(workspace, follower.id)
        except GalenError:  # it stays interrupted, and can be resumed by itself, which says why not
            continue
    return run


def replace(workspace: Workspace, run: RunDir, config: StageConfig) -> RunDir:
    """Submit `config` in the place of `run`, which is over: what still waits for that one waits for, and starts from,
    the new one. Raises as `submit`; RunError `run.imported` for a run whose settings somebody else has written."""
    if is_imported(run):
        raise RunError("run.imported", run=run.id)
    new = submit(workspace, run.stage, config)
    if not state_of(run).live:
        for follower in waiting.held_by(workspace, run):
            data = renamed(follower.config(), lambda text: text.replace(run.id, new.id))
            data["run"]["after"] = [new.id if name == run.id else name for name in data["run"]["after"]]
            try:
                # Its supervisor holds its lock, but writes the config only once it waits for nobody any longer.
                write_config(follower, data)
            except OSError as error:
                raise unwritable(error) from error
    return new


def release(workspace: Workspace, run: RunDir) -> None:
    """Have a run that waits for others start without them. Raises RunError `run.not_waiting`; ConfigError where it
    cannot do without what they would have made."""
    if state_of(run) is not State.QUEUED or not waiting.waits_for(run):
        raise RunError("run.not_waiting", run=run.id, state=str(state_of(run)))
    _check_alone(workspace, run)
    waiting.let_go(run)


def releasable(workspace: Workspace, run: RunDir) -> bool:
    """Whether `release` would let a waiting run go: it can do without what the others would have made."""
    try:
        _check_alone(workspace, run)
    except (GalenError, ValidationError):
        return False
    return True


def _check_alone(workspace: Workspace, run: RunDir) -> None:
    """Raise ConfigError where the run needs more than what is there already."""
    stage = stage_of(run.stage)
    pin(workspace, stage, stage.config.model_validate(run.config()), {})


def _changed(workspace: Workspace, run: RunDir, words: Sequence[str]) -> dict[str, Any] | None:
    """The run's config with the settings of `words`; None without any. Everything it is pinned to is still there."""
    stage, before = stage_of(run.stage), run.config()
    try:
        config = stage.config.model_validate(before)
    except ValidationError as error:
        raise RunError("run.bad_config", detail=first_problem(error)) from error
    if not words:
        pin(workspace, stage, config)
        return None
    values = {f"{section}.{name}": value for section, each in before.items() for name, value in each.items()}
    now = pin(workspace, stage, resolve(run.stage, values=values, overrides=words)).model_dump(mode="json")
    problems = refused(before, now, run.id) if run.complete_checkpoints() or answers_begun(run.path) else []
    if waiting.led_back(workspace, run, now["run"]["after"]):
        problems.append(Problem("run.after_itself", {"run": run.id}, key="run.after"))
    if problems:
        raise ConfigError(problems)
    return now


def resumable(run: RunDir, state: State | None = None) -> bool:
    """Whether `resume` would go on with it, and not only meet the same bad input again."""
    return worth_resuming(run, state or state_of(run))


def delete(workspace: Workspace, run: RunDir) -> None:
    """Remove a run that is over, with all its files. Raises RunError `run.live`, or `run.needed` by a live one, or what
    keeps it from being removed; ModelError `model.pointed_at`."""
    check_not_pointed_at(workspace, run.path)
    needed_by = children(workspace, run.id)
    if needed_by:
        raise RunError("run.needed", run=run.id, runs=", ".join(needed_by))
    lock = own(run)
    try:
        sweep(run)
        throw_away(workspace, run.path)
    except OSError as error:
        raise unwritable(error) from error
    finally:
        os.close(lock)


def unwritable(error: OSError) -> RunError:
    """What to raise where the files of a run cannot be written: a full disk, no permission."""
    code, params = classify(error)
    return RunError(code, **params)


def own(run: RunDir) -> int:
    """The lock of a run that is over, for whoever changes its files. Raises RunError `run.live`."""
    lock = take_run(run)
    if lock is None or beats(run):
        if lock is not None:
            os.close(lock)
        raise RunError("run.live", run=run.id, state=str(state_of(run)))
    return lock


# -- starting ---------------------------------------------------------------------------------------------------------
def _begin(run: RunDir, lock: int) -> None:
    """Start the run here; one on several hosts waits for what its owner types there (`hosts.commands`)."""
    if hosts.several(run.config()):
        hosts.prepare(run)
        os.close(lock)
    else:
        _launch(run, lock)


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
            if shutil.disk_usage(folder).free < RESERVE_BYTES:  # it had no room to say so itself
                raise RunError("run.disk_full", path=str(folder))
            raise RunError("run.no_supervisor", run=run.id, detail=last_line(run.supervisor_log))
        if time.monotonic() > deadline:
            child.kill()  # what nobody knows of must not begin later
            raise RunError("run.no_supervisor", run=run.id, detail=f"process {child.pid} does not answer")
        time.sleep(0.02)


def _reported(run: RunDir, pid: int) -> bool:
    status = run.status()
    return status is not None and status.supervisor_pid == pid
