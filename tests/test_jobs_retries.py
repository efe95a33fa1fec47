"""`run.retries`: a crashed run starts again by itself, from its last checkpoint, where that may help."""

from __future__ import annotations

import signal

import pytest

from core.jobs import retrying, store
from core.jobs.retrying import MENDED_OUTSIDE
from core.messages import MESSAGES
from core.records import RankEnd, Status
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import (
    drills,
    eventually,
    expected,
    finished_whole,
    in_phase,
    kill9,
    logs,
    metrics,
    orphans,
    rank_pids,
    reaches,
)

__all__ = ["drills"]


def submit(workspace: Workspace, retries: int, use: str = "cpu:0", **settings: object) -> RunDir:
    config = DrillConfig.model_validate(
        {"devices": {"use": use}, "run": {"retries": retries}, "drill": Drill.model_validate(settings)}
    )
    return store.submit(workspace, "drill", config)


@pytest.mark.parametrize("use", ["cpu:0", "cpu:0,cpu:1"])
def test_a_run_whose_rank_is_killed_goes_on_from_its_checkpoint(workspace: Workspace, use: str) -> None:
    run = submit(workspace, 2, use, pause_in="training", children=True)
    in_phase(run, "training")
    first = rank_pids(run)
    (run.path / "paused-training").unlink()
    kill9(first[0])
    in_phase(run, "training")  # of the second attempt
    status = run.status()
    assert status is not None
    assert status.attempt == 2
    assert not set(status.rank_pids) & set(first)
    assert metrics(run) == expected()[:7]  # each row once, although steps 6 and 7 were computed twice
    assert state_of(run).live
    (run.path / "go").touch()
    finished_whole(run)
    left = run.attempts / "1"
    assert (left / "status.json").is_file()
    assert "from step 5" in run.supervisor_log.read_text()
    assert "the run broke off" in (left / "log" / "supervisor.log").read_text()


def test_the_attempts_are_counted_and_the_last_failure_stays(workspace: Workspace) -> None:
    run = submit(workspace, 1, fails="crash")
    assert reaches(run) is State.FAILED
    result, status = run.result(), run.status()
    assert result is not None
    assert result.code == "run.crashed"
    assert status is not None
    assert status.attempt == 2
    assert sorted(entry.name for entry in run.attempts.iterdir()) == ["1"]
    assert orphans(run) == []


@pytest.mark.parametrize("fails", ["bad data", "nan", "memory", "missing"])
def test_what_would_only_happen_again_is_not_tried_again(workspace: Workspace, fails: str) -> None:
    run = submit(workspace, 3, fails=fails)
    assert reaches(run) is State.FAILED
    status = run.status()
    assert status is not None
    assert status.attempt == 1, logs(run)


def test_a_stopped_or_killed_run_stays_so(workspace: Workspace) -> None:
    run = submit(workspace, 3, pause_in="training")
    in_phase(run, "training")
    store.stop(run)
    assert reaches(run) is State.STOPPED
    killed = submit(workspace, 3, pause_in="training", deaf=True)
    in_phase(killed, "training")
    store.kill(killed)
    assert not state_of(killed).live
    assert not (killed.attempts / "1").exists()


def test_a_stop_request_ends_the_wait_for_the_next_attempt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(workspace, 3, fails="segfault")
    assert eventually(lambda: bool(run.status() and run.status().ranks_ended), 60.0)  # type: ignore[union-attr]
    run.stop_file.touch()
    reaches(run)
    assert run.attempts.exists()
    assert sum(1 for _ in run.attempts.iterdir()) <= 1


def ended(*ends: RankEnd, killed: bool = False) -> Status:
    return Status(supervisor_pid=1, supervisor_started=0, submitted_at=0, ranks_ended=list(ends), killed=killed)


def test_the_first_bad_end_is_the_cause(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "drill")
    told = RankEnd(rank=1, signal=signal.SIGTERM)
    assert retrying.broke_off(run, ended(RankEnd(rank=0, code=1), told))
    assert retrying.broke_off(run, ended(RankEnd(rank=0, signal=signal.SIGKILL)))
    assert not retrying.broke_off(run, ended(RankEnd(rank=0, code=2), told))
    assert not retrying.broke_off(run, ended(RankEnd(rank=0, code=130), RankEnd(rank=1, code=0)))
    assert not retrying.broke_off(run, ended(RankEnd(rank=0, signal=signal.SIGKILL), killed=True))
    assert not retrying.broke_off(run, ended())


def test_waits_grow_and_are_bounded() -> None:
    waits = [retrying.wait_before(number) for number in range(1, 40)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (retrying.SHORTEST_WAIT, retrying.LONGEST_WAIT)


def test_what_is_mended_outside_is_what_the_remedies_say_resume_to() -> None:
    assert set(MESSAGES) >= MENDED_OUTSIDE
    told = {code for code, (_, remedy) in MESSAGES.items() if "then resume" in remedy or "and resume" in remedy}
    assert {code for code in told if not code.startswith("run.")} <= MENDED_OUTSIDE
