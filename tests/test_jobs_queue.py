"""Devices are claimed in order, by one run at a time, and freed by death: the queue without a daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigError, DeviceError, RunError
from core.hardware import Device, expand
from core.jobs import processes, store
from core.jobs.failures import explain
from core.jobs.queue import Claim, Holder, acquire, holders, lock_dir
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.jobs_tools import (
    drills,
    eventually,
    finished_whole,
    go,
    in_phase,
    kill9,
    orphans,
    rank_pids,
    reaches,
    submit,
    supervisor_pid,
)

__all__ = ["drills"]

CPU = Device("cpu:0", "CPU", "cpu", 0, 0, False)
GPUS = [Device(f"cuda:{index}", "GPU", f"GPU-{index}", 0, 0, True) for index in range(3)]


@pytest.fixture(autouse=True)
def one_slot(monkeypatch: pytest.MonkeyPatch, drills: None) -> None:
    monkeypatch.setenv("GALEN_CPU_SLOTS", "1")


def holder(name: str, workspace: str = "/w") -> Holder:
    return Holder(run=name, workspace=workspace)


# -- claims -----------------------------------------------------------------------------------------------------------
def test_first_come_first_served() -> None:
    first, second, third = (Claim([CPU], holder(name)) for name in ("first", "second", "third"))
    assert second.try_take() == ["first"], "a later claim takes nothing from an earlier one that waits"
    assert first.try_take() == []
    assert third.try_take() == ["first", "second"]
    first.release()
    assert third.try_take() == ["second"]
    assert second.try_take() == []
    second.release()
    assert third.try_take() == []
    assert holders([CPU], "/w") == {"cpu:0": "third"}
    third.release()
    assert holders([CPU], "/w") == {}
    assert [path.name for path in lock_dir().iterdir()] == ["mutex"]


def test_all_devices_or_none_and_others_pass() -> None:
    one = acquire(GPUS[:1], holder("one"))
    both = Claim(GPUS[:2], holder("both"))
    assert both.try_take() == ["one"]
    assert Claim(GPUS[1:2], holder("later")).try_take() == ["both"], "it would starve the run that needs two"
    other = Claim(GPUS[2:], holder("other"))
    assert other.try_take() == [], "a device that nobody ahead wants"
    assert holders(GPUS, "/w") == {"cuda:0": "one", "cuda:2": "other"}
    one.release()
    assert both.try_take() == []


def test_shared_claims_keep_exclusive_ones_out() -> None:
    chats = [acquire(GPUS[:1], holder(name), shared=True) for name in ("chat one", "chat two")]
    with pytest.raises(DeviceError, match="chat one, chat two"):
        acquire(GPUS[:1], holder("training"))
    for chat in chats:
        chat.release()
    training = acquire(GPUS[:1], holder("training"))
    with pytest.raises(DeviceError, match="training"):
        acquire(GPUS[:1], holder("chat"), shared=True)
    training.release()


def test_strangers_are_told_with_their_folder() -> None:
    claim = acquire([CPU], holder("run\x1b[2J", "/home/a"))
    assert holders([CPU], "/home/a") == {"cpu:0": "run[2J"}
    assert holders([CPU], "/home/b") == {"cpu:0": "run[2J (/home/a)"}
    claim.release()


def test_cpu_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALEN_CPU_SLOTS", "2")
    two_ranks = [CPU, Device("cpu:1", "CPU", "cpu", 0, 0, False)]
    first, second = acquire(two_ranks, holder("first")), acquire([CPU], holder("second"))
    third = Claim([CPU], holder("third"))
    assert third.try_take() == ["first", "second"]
    first.release()
    assert third.try_take() == []
    second.release()
    third.release()


def test_dead_claims_and_foreign_files_are_passed_over() -> None:
    folder = lock_dir()
    script = (
        "from core.jobs.queue import *; from core.hardware import Device; import os, sys;"
        "c = acquire([Device('cpu:0','','cpu',0,0,False)], Holder(run='dead', workspace='/w'));"
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert child.stdout is not None
    child.stdout.readline()
    (folder / "claim-000900-h").write_text("{}")
    (folder / "claim-000901-h").symlink_to("/etc/passwd")
    os.mkfifo(folder / "claim-000902-h")
    (folder / "notes").write_text("mine")
    claim = Claim([CPU], holder("next"))
    assert claim.try_take() == ["dead"]
    child.kill()
    child.wait()
    assert claim.try_take() == []
    claim.release()
    child.stdout.close()
    assert {path.name for path in folder.iterdir()} == {"mutex", "notes"}


def test_a_folder_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"GALEN_LOCK_DIR"):
        acquire([CPU], holder("run"))


# -- runs -------------------------------------------------------------------------------------------------------------
def test_runs_queue_for_a_device_and_say_for_whom(workspace: Workspace, tmp_path: Path) -> None:
    elsewhere = Workspace(tmp_path / "other")
    first = submit(workspace, pause_in="loading", use="cpu,cpu")
    in_phase(first, "loading")
    second = submit(workspace)
    third = submit(elsewhere)

    def waits(run: RunDir, names: list[str]) -> bool:
        status = run.status()
        return status is not None and status.waiting_for == names

    assert eventually(lambda: waits(second, [first.id]))
    assert eventually(lambda: waits(third, [f"{run.id} ({workspace.path})" for run in (first, second)]))
    assert (state_of(second), state_of(third)) == (State.QUEUED, State.QUEUED)
    assert holders([CPU], str(workspace.path)) == {"cpu:0": first.id}
    assert [summary.waiting_for for summary in store.summaries(workspace, states=[State.QUEUED])] == [[first.id]]
    go(first)
    for run in (first, second, third):
        finished_whole(run)
    ended, started = second.status(), third.status()
    assert ended is not None
    assert started is not None
    assert ended.ended_at is not None
    assert started.started_at is not None
    assert started.started_at >= ended.ended_at - 0.5


def test_a_waiting_run_is_stopped_killed_and_resumed(workspace: Workspace) -> None:
    first = submit(workspace, pause_in="loading")
    in_phase(first, "loading")
    stopped, killed, ended = (submit(workspace) for _ in range(3))
    store.kill(ended)
    assert state_of(ended) is State.STOPPED
    store.stop(stopped)
    assert reaches(stopped) is State.STOPPED
    why = explain(stopped)
    assert why is not None
    assert why.code == "run.stopped_waiting"
    kill9(supervisor_pid(killed))
    assert reaches(killed) is State.INTERRUPTED
    go(first)
    finished_whole(first)
    for run in (stopped, killed):
        store.resume(workspace, run.id)
        finished_whole(run)


def test_a_killed_supervisor_leaves_the_device_with_its_ranks(workspace: Workspace) -> None:
    """The claim lives as long as the last process of the run, and not longer."""
    first = submit(workspace, pause_in="loading")
    in_phase(first, "loading")
    kill9(supervisor_pid(first))
    second = submit(workspace)
    assert eventually(lambda: processes.supervisor(first) is None)
    assert state_of(second) is State.QUEUED
    kill9(*rank_pids(first))
    finished_whole(second)
    assert orphans(first) == []


def test_a_device_that_does_not_exist(workspace: Workspace) -> None:
    with pytest.raises(ConfigError) as caught:
        submit(workspace, use="cuda:7")
    problem = caught.value.problems[0]
    assert (problem.key, problem.code) == ("devices.use", "device.unknown")
    assert "cpu:0" in problem.remedy
    assert workspace.runs() == []


@pytest.mark.parametrize(
    ("use", "code"),
    [(["tpu"], "device.unknown"), (["cpu:0", "cpu:900"], "device.unknown"), (["cpu", "cpu:0"], "device.twice")],
)
def test_devices_that_cannot_be_used(use: list[str], code: str) -> None:
    with pytest.raises(DeviceError) as caught:
        expand(use)
    assert caught.value.code == code


def test_auto_is_a_device_that_exists() -> None:
    assert expand(["auto"])[0] in ("cuda:0", "cpu:0")
