"""Runs that are killed: the recipe, the supervisor, all of it, in every phase; and what is true afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import GalenError, RunError
from core.jobs import processes, store
from core.jobs.failures import explain
from core.rundir import RunDir, State, append_jsonl, lock_held, state_of
from core.workspace import Workspace
from tests.drill import PHASES
from tests.jobs_tools import (
    drill_helpers,
    drills,
    eventually,
    finished_whole,
    go,
    in_phase,
    kill9,
    logs,
    metrics,
    orphans,
    rank_pids,
    reaches,
    submit,
    supervisor_pid,
)

__all__ = ["drills"]


def test_a_run_from_submission_to_its_end(workspace: Workspace) -> None:
    run = submit(workspace)
    finished_whole(run)
    status, result = run.status(), run.result()
    assert status is not None
    assert result is not None
    assert (status.attempt, status.devices, status.ranks_ended[0].code) == (1, ["cpu:0"], 0)
    assert status.ended_at is not None
    assert result.outcome == "succeeded"
    assert run.config_yaml.read_text().startswith("# ")
    assert explain(run) is None
    assert not (run.path / ".reserve").exists()
    assert eventually(lambda: not Path(f"/proc/{status.supervisor_pid}").exists()), "the supervisor stays as a zombie"


@pytest.mark.parametrize("phase", PHASES)
def test_the_recipe_is_killed(workspace: Workspace, phase: str) -> None:
    run = submit(workspace, pause_in=phase)
    in_phase(run, phase)
    kill9(*rank_pids(run))
    assert reaches(run, seconds=5) is State.INTERRUPTED
    why = explain(run)
    assert why is not None
    assert why.code == "run.killed_memory"
    _resumes(workspace, run)


@pytest.mark.parametrize("phase", PHASES)
def test_everything_is_killed(workspace: Workspace, phase: str) -> None:
    run = submit(workspace, pause_in=phase)
    in_phase(run, phase)
    kill9(supervisor_pid(run), *rank_pids(run))
    assert reaches(run, seconds=5) is State.INTERRUPTED
    why = explain(run)
    assert why is not None
    assert why.code == "run.vanished"
    _resumes(workspace, run)


@pytest.mark.parametrize("phase", PHASES)
def test_the_supervisor_is_killed_and_the_recipe_goes_on(workspace: Workspace, phase: str) -> None:
    run = submit(workspace, pause_in=phase)
    in_phase(run, phase)
    kill9(supervisor_pid(run))
    assert eventually(lambda: processes.supervisor(run) is None)
    assert state_of(run) in (State.STARTING, State.RUNNING)
    with pytest.raises(RunError, match="still"):
        store.resume(workspace, run.id)
    go(run)
    finished_whole(run)


def _resumes(workspace: Workspace, run: RunDir) -> None:
    go(run)
    assert orphans(run) == []
    assert store.resume(workspace, run.id).id == run.id
    finished_whole(run)
    status = run.status()
    assert status is not None
    assert status.attempt == 2
    assert (run.attempts / "1" / "status.json").exists()


def test_a_stop_saves_and_a_resume_goes_on(workspace: Workspace) -> None:
    run = submit(workspace, pause_in="training", children=True)
    in_phase(run, "training")
    helpers = drill_helpers()
    assert len(helpers) == 1
    store.stop(run)
    store.stop(run)
    assert state_of(run) is State.STOPPING
    assert store.stop_deadline(run) is not None
    assert reaches(run) is State.STOPPED
    assert orphans(run) == []
    assert not set(helpers) & set(drill_helpers())
    assert [checkpoint.step for checkpoint in run.complete_checkpoints()] == [5, 8]
    result = run.result()
    assert result is not None
    assert result.code == "run.stopped"
    _resumes(workspace, run)


def test_a_stop_that_takes_too_long_becomes_a_kill(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALEN_STOP_SECONDS", "0.5")
    run = submit(workspace, pause_in="training", deaf=True, children=True)
    in_phase(run, "training")
    store.stop(run)
    assert reaches(run) is State.STOPPED
    status = run.status()
    assert status is not None
    assert status.killed
    assert status.ranks_ended[0].signal == signal.SIGKILL
    why = explain(run)
    assert why is not None
    assert why.code == "run.stopped_unsaved"
    assert orphans(run) == []


def test_a_stop_without_a_supervisor(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A janitor enforces the deadline in its place."""
    monkeypatch.setenv("GALEN_STOP_SECONDS", "0.5")
    run = submit(workspace, pause_in="training", deaf=True, children=True)
    in_phase(run, "training")
    kill9(supervisor_pid(run))
    assert eventually(lambda: processes.supervisor(run) is None)
    store.stop(run)
    assert reaches(run) is State.STOPPED
    assert eventually(lambda: orphans(run) == [])
    for pid in drill_helpers():  # with an environment of its own and no supervisor, nothing ties it to the run
        os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("supervised", [True, False])
def test_kill_now(workspace: Workspace, supervised: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALEN_STOP_SECONDS", "0.5")
    run = submit(workspace, pause_in="loading", deaf=True)
    in_phase(run, "loading")
    if not supervised:
        kill9(supervisor_pid(run))
    store.kill(run)
    assert not lock_held(run.lock_file)
    assert state_of(run) is State.STOPPED
    assert orphans(run) == []
    with pytest.raises(RunError, match="not running"):
        store.kill(run)


def test_helpers_that_outlive_everybody_are_swept(workspace: Workspace) -> None:
    """Supervisor and recipe killed at once: the helper holds no lock. Whoever handles the run next ends it."""
    run = submit(workspace, pause_in="training", children=True)
    in_phase(run, "training")
    kill9(supervisor_pid(run), *rank_pids(run))
    reaches(run, State.INTERRUPTED)
    assert len(orphans(run)) == 1
    store.stop(run)
    assert orphans(run) == []
    for pid in drill_helpers():
        os.kill(int(pid), signal.SIGKILL)


def test_marks_are_compared_whole(workspace: Workspace, tmp_path: Path) -> None:
    """A process of a run of the same name in another workspace is not ours to end."""
    run = submit(workspace)
    reaches(run)
    stranger = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        env={processes.RUN_ID: run.id, processes.RUN_FOLDER: str(tmp_path / "elsewhere" / run.id)},
    )
    try:
        assert processes.carriers(run) == []
    finally:
        stranger.kill()
        stranger.wait()


def test_the_submitter_is_killed(workspace: Workspace) -> None:
    """Whoever submitted, a page or a terminal, may die with its whole process group: the run does not notice."""
    script = (
        "import os, signal, sys\n"
        "from core.workspace import Workspace\n"
        "from tests.jobs_tools import submit\n"
        "from core.configs.stages import STAGES\n"
        "print(submit(Workspace(sys.argv[1]), pause_in='training').id, flush=True)\n"
        "os.killpg(0, signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", script, str(workspace.path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, start_new_session=True, cwd=Path(__file__).parents[1]
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run = workspace.run(ended.stdout.strip())
    in_phase(run, "training")
    assert processes.supervisor(run) is not None
    go(run)
    finished_whole(run)


def test_two_resumes_at_once_start_one(workspace: Workspace) -> None:
    run = submit(workspace, fails="crash")
    assert reaches(run) is State.FAILED
    (run.path / "repaired").touch()
    outcomes: list[str] = []

    def resume() -> None:
        try:
            store.resume(workspace, run.id)
            outcomes.append("resumed")
        except RunError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("resumed") == 1
    assert set(outcomes) <= {"resumed", "run.live", "run.finished"}
    finished_whole(run)
    status = run.status()
    assert status is not None
    assert status.attempt == 2
    with pytest.raises(RunError, match="finished"):
        store.resume(workspace, run.id)


def test_a_resume_cuts_rows_after_the_checkpoint_and_keeps_them(workspace: Workspace) -> None:
    run = submit(workspace, pause_in="training")
    in_phase(run, "training")
    kill9(supervisor_pid(run), *rank_pids(run))
    reaches(run, State.INTERRUPTED)
    assert [step for step, _ in metrics(run)] == [1, 2, 3, 4, 5, 6, 7]
    append_jsonl(run.samples_file, {"step": 5, "prompt": "p", "answer": "kept"})
    append_jsonl(run.samples_file, {"step": 7, "prompt": "p", "answer": "cut"})
    with open(run.metrics_file, "ab") as file:
        file.write(b'{"step": 8, "lo')
    torn = run.checkpoints / "tmp-step-10"
    torn.mkdir()
    inode = run.metrics_file.stat().st_ino
    _resumes(workspace, run)
    kept = (run.attempts / "1" / "metrics.jsonl").read_bytes()
    assert kept.count(b"\n") == 2
    assert kept.endswith(b'{"step": 8, "lo')
    assert "kept" in run.samples_file.read_text()
    assert "cut" in (run.attempts / "1" / "samples.jsonl").read_text()
    assert not torn.exists()
    assert run.metrics_file.stat().st_ino != inode


def test_delete_refuses_live_runs(workspace: Workspace) -> None:
    run = submit(workspace, pause_in="loading")
    in_phase(run, "loading")
    with pytest.raises(RunError, match="still"):
        store.delete(workspace, run)
    store.stop(run)
    reaches(run)
    store.delete(workspace, run)
    assert not run.path.exists()
    assert workspace.runs() == []
    with pytest.raises(GalenError, match="no run"):
        store.resume(workspace, run.id)


def test_two_ranks_share_the_machine_and_the_rendezvous(workspace: Workspace) -> None:
    run = submit(workspace, use="cpu,cpu", pause_in="training")
    in_phase(run, "training")
    environments = [Path(f"/proc/{pid}/environ").read_text().split("\0") for pid in rank_pids(run)]
    for rank, environment in enumerate(environments):
        assert f"RANK={rank}" in environment
        assert "WORLD_SIZE=2" in environment
        assert "CUDA_VISIBLE_DEVICES=" in environment
    go(run)
    finished_whole(run)
    assert run.log_file(1).exists()


def test_a_single_rank_has_no_rendezvous(workspace: Workspace) -> None:
    """With LOCAL_RANK set, Accelerate would set up a process group for one process."""
    run = submit(workspace, pause_in="training")
    in_phase(run, "training")
    environment = Path(f"/proc/{rank_pids(run)[0]}/environ").read_text()
    assert "RANK=" not in environment
    assert "WORLD_SIZE=" not in environment
    go(run)
    finished_whole(run)


@pytest.mark.parametrize(("fails", "code"), [("crash", "run.crashed"), ("killed", "run.killed_memory")])
def test_a_dead_rank_takes_the_others_with_it(workspace: Workspace, fails: str, code: str) -> None:
    """Rank 0 would run for two minutes; its reason is the other's, not its own death."""
    run = submit(workspace, use="cpu,cpu", steps=12000, step_seconds=0.01, fails=fails, failing_rank=1)
    assert reaches(run) is State.FAILED
    why = explain(run)
    assert why is not None
    assert why.code == code, logs(run)
    assert orphans(run) == []
