"""What a run's files say of its phases and figures; folders that are no runs; inputs, the environment, the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.cli.follow import progress_line
from core.configs.stages import STAGES, SFTConfig
from core.data.store.library import list_datasets
from core.disk import flush_folder
from core.errors import ConfigError, InputError
from core.hardware import Device
from core.jobs import store
from core.jobs.attempts import cut_after, set_aside
from core.jobs.locks import take_run
from core.jobs.pinning import pin
from core.jobs.stopping import MOST_WRITING_SECONDS, Countdown, stop_deadline
from core.jobs.summaries import RunSummary, created, summary
from core.jobs.supervisor import CPU_ENVIRONMENT, rank_environment
from core.records import Manifest, Progress, RootBase, Status
from core.report import Report
from core.rundir import (
    RunDir,
    State,
    append_jsonl,
    best_checkpoint,
    read_jsonl,
    read_record,
    state_of,
    write_json,
    write_record,
)
from core.workspace import Workspace
from tests.jobs_tools import drills, go, in_phase, reaches, submit

__all__ = ["drills"]


@pytest.fixture
def live(workspace: Workspace) -> Iterator[Report]:
    """The pen of a run that has started; this process holds its lock."""
    run = RunDir.create(workspace.runs_dir, "sft")
    run.config_json.write_text("{}")
    lock = take_run(run)
    assert lock is not None
    now = time.time()
    write_record(run.status_file, Status(supervisor_pid=1, supervisor_started=now, submitted_at=now, started_at=now))
    yield Report(run)
    os.close(lock)


def at(live: Report) -> RunSummary:
    live.flush()
    return summary(live.run)


# -- phases -----------------------------------------------------------------------------------------------------------
def test_a_run_is_running_from_its_first_step_to_its_end(live: Report) -> None:
    for phase in ("importing", "loading"):
        live.phase(phase)
        assert at(live).state is State.STARTING
    live.phase("tokenising", total=9, unit="row")
    live.progress(4)
    assert (at(live).state, at(live).step, at(live).total, at(live).unit) == (State.STARTING, 4, 9, "row")
    live.phase("training", total=60, step=0)
    assert at(live).state is State.RUNNING
    live.progress(12)
    for phase, total in (("evaluating", 7), ("answering", 3), ("saving", None), ("delivering", None)):
        live.phase(phase, total=total)
        now = at(live)
        assert (now.state, now.phase, now.phase_step, now.phase_total) == (State.RUNNING, phase, 0, total)
        assert (now.step, now.total, now.unit) == (12, 60, "step")
    live.phase("evaluating", total=7)
    live.progress(5)
    assert progress_line(live.run, at(live)) == "evaluating 5/7  training 12/60 (20 %)"
    live.phase("saving")
    assert progress_line(live.run, at(live)) == "saving  training 12/60 (20 %)"
    live.phase("training", total=60, step=12)
    live.progress(13)
    assert (at(live).step, at(live).phase_step) == (13, None)
    assert progress_line(live.run, at(live)) == "training 13/60 (21 %)"


def test_a_download_is_running_at_once(live: Report) -> None:
    live.phase("downloading", total=4_000_000, unit="byte")
    assert at(live).state is State.RUNNING
    live.progress(1_000_000)
    assert progress_line(live.run, at(live)) == "downloading 1.0 MB/4.0 MB (25 %)"
    live.phase("converting")
    assert (at(live).state, at(live).total) == (State.RUNNING, None)


# -- folders that are no runs -----------------------------------------------------------------------------------------
def test_only_folders_named_like_runs_are_runs(workspace: Workspace) -> None:
    names = ["sft-20260101-120000-ab12", "my-stage-20260102-120000-ab12"]
    strange = ["backup", "sft-20260101-120000-ab12 (copy)", "sft-old-ab12", "20260101-120000-ab12", ".trash"]
    for name in [*names, *strange]:
        (workspace.runs_dir / name).mkdir()
        (workspace.runs_dir / name / "config.json").write_text("{}")
    assert [(run.id, run.stage) for run in workspace.runs()] == [(names[1], "my-stage"), (names[0], "sft")]
    assert [each.id for each in store.summaries(workspace)] == [names[1], names[0]]
    assert created(workspace.run(names[0])) == time.mktime((2026, 1, 1, 12, 0, 0, 0, 0, -1))
    for name in strange:
        assert RunDir(workspace.runs_dir / name).stage == ""
        with pytest.raises(InputError, match="no run"):
            workspace.run(name)


# -- figures that are no numbers --------------------------------------------------------------------------------------
def test_a_figure_that_is_no_number_costs_no_row(live: Report, tmp_path: Path) -> None:
    run = live.run
    live.metrics(1, 0.1, loss=2.0, grad_norm=float("inf"))
    live.metrics(2, 0.2, loss=float("nan"), grad_norm=1.0)
    rows, _ = read_jsonl(run.metrics_file)
    assert [(row["step"], row["loss"], row["grad_norm"]) for row in rows] == [(1, 2.0, None), (2, None, 1.0)]
    assert summary(run).loss == 2.0
    cut_after(run.metrics_file, 2, tmp_path / "cut")
    assert not (tmp_path / "cut").exists()


def test_records_with_figures_that_are_no_numbers(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "sft")
    for step, loss in ((5, 1.5), (10, float("nan"))):
        folder = run.checkpoints / f"step-{step}"
        folder.mkdir()
        write_json(folder / "COMPLETE", {"step": step, "saved_at": 1.0, "eval_loss": loss})
    checkpoints = run.complete_checkpoints()
    assert [(each.step, each.eval_loss) for each in checkpoints] == [(5, 1.5), (10, None)]
    best = best_checkpoint(checkpoints)
    assert best is not None
    assert best.step == 5
    run.output.mkdir()
    figures = {"loss": float("inf"), "eval_loss": 1.5}
    made = Manifest(
        run=run.id, name="n", stage="sft", kind="adapter", root_base=RootBase(source="s", path="p"),
        backbone_id="b", method="lora", dtype="float32", final_metrics=figures,
    )  # fmt: skip
    write_record(run.manifest_file, made)
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.final_metrics == {"eval_loss": 1.5}
    write_record(run.progress_file, Progress(phase="training", epoch=float("nan"), updated_at=1.0))
    progress = read_record(run.progress_file, Progress)
    assert progress is not None
    assert progress.epoch is None


# -- what a resume sets aside -----------------------------------------------------------------------------------------
def test_rollouts_after_the_checkpoint_are_set_aside_whole(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "ppo")
    run.rollouts.mkdir()
    names = [*(f"step-{step}.jsonl" for step in (1, 2, 9, 10, 11)), *(f"held-out-{step}.jsonl" for step in (0, 10, 15))]
    for name in (*names, "notes.jsonl", ".step-11.jsonl.7.tmp"):
        (run.rollouts / name).write_text(name)
    (run.path / "judge-0.jsonl").write_text("asked")
    for step in (0, 9, 10, 11):
        append_jsonl(run.metrics_file, {"step": step})
    folder = run.checkpoints / "step-10"
    folder.mkdir()
    write_json(folder / "COMPLETE", {"step": 10, "saved_at": 1.0})

    (run.path / ".progress.json.7.tmp").write_text('{"phase": "trai')
    assert set_aside(run) == 10
    assert not list(run.path.glob(".*.tmp"))
    kept = run.attempts / "1" / "rollouts"
    assert sorted(path.name for path in kept.iterdir()) == ["held-out-15.jsonl", "step-11.jsonl"]
    assert {path.name for path in run.rollouts.glob("*.jsonl")} == {*names, "notes.jsonl"} - {
        "held-out-15.jsonl", "step-11.jsonl",
    }  # fmt: skip
    assert [row["step"] for row in read_jsonl(run.metrics_file)[0]] == [0, 9, 10]
    assert (run.path / "judge-0.jsonl").exists()
    assert set_aside(run) == 10  # twice is once
    assert not (run.attempts / "2" / "rollouts").exists()


def test_without_a_checkpoint_everything_is_done_again(workspace: Workspace) -> None:
    run = RunDir.create(workspace.runs_dir, "ppo")
    run.rollouts.mkdir()
    for name in ("held-out-0.jsonl", "step-1.jsonl"):
        (run.rollouts / name).write_text(name)
    for step in (0, 1):
        append_jsonl(run.metrics_file, {"step": step, "reward": 0.5})
    assert (summary(run).reward, summary(run).loss) == (0.5, None)
    assert set_aside(run) == 0
    assert not list(run.rollouts.iterdir())
    assert (run.attempts / "1" / "rollouts" / "held-out-0.jsonl").read_text() == "held-out-0.jsonl"
    assert read_jsonl(run.metrics_file)[0] == []
    assert [row["step"] for row in read_jsonl(run.attempts / "1" / "metrics.jsonl")[0]] == [0, 1]


# -- stopping while it writes -----------------------------------------------------------------------------------------
def test_a_run_that_writes_has_more_time_but_not_for_ever(live: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALEN_STOP_SECONDS", "0")
    run, now = live.run, time.time()
    run.stop_file.touch()
    countdown = Countdown()
    live.phase("training", total=3)
    assert countdown.is_over(run.progress())
    assert stop_deadline(run) == pytest.approx(now, abs=5)
    live.phase("saving")
    assert not countdown.is_over(run.progress())
    assert stop_deadline(run) == pytest.approx(now + MOST_WRITING_SECONDS, abs=5)
    live.phase("saving", phase_began=now - MOST_WRITING_SECONDS)
    assert countdown.is_over(run.progress())
    assert stop_deadline(run) == pytest.approx(now, abs=5)


def test_a_first_save_longer_than_the_grace_is_not_killed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALEN_STOP_SECONDS", "0.3")
    run = submit(workspace, pause_in="saving")
    in_phase(run, "saving")
    store.stop(run)
    time.sleep(1.0)
    assert state_of(run) is State.STOPPING
    go(run)
    assert reaches(run) is State.SUCCEEDED


# -- inputs -----------------------------------------------------------------------------------------------------------
def test_nothing_is_imported_while_another_setting_is_wrong(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n')
    data = {"train": str(file), "validation": str(tmp_path / "gone.jsonl")}
    settings = {"model": {"base": "no such model"}, "data": data, "devices": {"use": ["cuda:9"]}}
    with pytest.raises(ConfigError) as caught:
        pin(workspace, STAGES["sft"], SFTConfig.model_validate(settings))
    assert [problem.key for problem in caught.value.problems] == ["model.base", "devices.use", "data.validation"]
    assert list_datasets(workspace) == []


def test_rows_are_told_when_all_else_is_right(workspace: Workspace, tmp_path: Path, tiny_model: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n')
    bad.write_text(good.read_text() + "no row\n")
    settings = {
        "model": {"base": str(tiny_model)},
        "data": {"train": str(good), "validation": str(bad)},
        "devices": {"use": ["cpu:0"]},
    }
    with pytest.raises(ConfigError) as caught:
        pin(workspace, STAGES["sft"], SFTConfig.model_validate(settings))
    assert {problem.key for problem in caught.value.problems} == {"data.validation"}
    settings["data"]["validation"] = None
    pinned = pin(workspace, STAGES["sft"], SFTConfig.model_validate(settings))
    assert pinned.model_dump()["data"]["train"] == list_datasets(workspace)[0].ref


# -- ranks and disks --------------------------------------------------------------------------------------------------
def test_memory_is_kept_on_the_cpu_only(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.jobs.supervisor.sys.platform", "linux")
    for name in CPU_ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "7")
    run = RunDir.create(workspace.runs_dir, "sft")
    on_cpu = rank_environment(run, [Device("cpu:0", "CPU", "cpu", 0, 0, False)], 0, 1, 0)
    assert {name: on_cpu[name] for name in CPU_ENVIRONMENT} == {**CPU_ENVIRONMENT, "MALLOC_TRIM_THRESHOLD_": "7"}
    on_gpu = rank_environment(run, [Device("cuda:0", "GPU", "GPU-0", 0, 0, True)], 0, 1, 0)
    assert "GLIBC_TUNABLES" not in on_gpu


def test_a_folder_is_flushed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_text("w")
    append_jsonl(tmp_path / "rows", {"step": 1})
    flushed: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(Path(os.readlink(f"/proc/self/fd/{fd}"))))
    flush_folder(tmp_path)
    assert set(flushed) == {tmp_path, tmp_path / "adapter", tmp_path / "adapter" / "weights", tmp_path / "rows"}
    assert flushed[-1] == tmp_path
