"""A run on several hosts: torchrun starts it, its state is true by its heartbeat, and a rank that dies is named."""

from __future__ import annotations

import html
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.__main__ import main
from core.configs.files import resolve
from core.configs.stages import DPOConfig, PPOConfig, SFTConfig
from core.errors import ConfigError, RunError
from core.hardware import find
from core.jobs import hosts, store
from core.jobs.failures import explain
from core.jobs.locks import take_run
from core.jobs.queue import CPU_SLOTS, Claim, Holder
from core.records import Heartbeat, Status
from core.rundir import RunDir, State, state_of, write_record
from core.workspace import Workspace
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import drills, eventually, finished_whole, go, in_phase, logs, orphans, reaches
from webui.views import snapshot
from webui.views_hosts import waiting

__all__ = ["drills"]


def submit(workspace: Workspace, **settings: object) -> RunDir:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"hosts": 2, "rendezvous": f"127.0.0.1:{port}"}
    run = {"webhook": "http://127.0.0.1:1/nobody"}
    config = DrillConfig.model_validate({"distributed": shared, "run": run, "drill": Drill(**settings)})
    return store.submit(workspace, "drill", config)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """The torchruns of a test; none outlives it."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for process in found:
        process.kill()
        process.wait()


def start(run: RunDir) -> list[subprocess.Popen[bytes]]:
    """What the run says is typed on each host, all of them here."""
    found = []
    for number, words in enumerate(hosts.commands(run)):
        program, *arguments = shlex.split(words)
        assert program == "torchrun"
        with open(run.path / f"torchrun-{number}.txt", "wb") as log:
            command = [sys.executable, "-m", "torch.distributed.run", *arguments]
            found.append(subprocess.Popen(command, stdout=log, stderr=log))
    return found


@pytest.mark.slow
def test_a_run_waits_for_its_hosts_and_is_whole(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], started: list[subprocess.Popen[bytes]]
) -> None:
    run = submit(workspace, pause_in="training")
    assert state_of(run) is State.QUEUED
    assert main(["--workspace", str(workspace.path), "jobs", "hosts", run.id]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "--node-rank=0" in first
    assert "--node-rank=1" in second
    shown = waiting(snapshot(run), "en")
    assert all(f"<code>{html.escape(words)}</code>" in shown for words in (first, second))
    assert second.endswith(str(run.path))
    started += start(run)
    in_phase(run, "training")
    assert state_of(run) is State.RUNNING
    assert waiting(snapshot(run), "en") == ""
    with pytest.raises(RunError, match="still"):
        store.delete(workspace, run)
    beat = run.heartbeat()
    assert beat is not None
    assert beat.host == socket.gethostname()
    run.lock_file.rename(run.path / "lock-of-another-machine")  # as it looks where the lock cannot be seen
    assert state_of(run) is State.RUNNING
    (run.path / "lock-of-another-machine").rename(run.lock_file)
    assert eventually(lambda: (run.heartbeat() or beat).at != beat.at, 15.0), "it is renewed"
    go(run)
    finished_whole(run)
    assert [process.wait(20) for process in started] == [0, 0]
    assert run.log_file(1).exists()
    assert "the webhook was not told: ConnectError" in (run.path / "torchrun-0.txt").read_text()


@pytest.mark.slow
def test_a_rank_that_is_killed_on_one_host_ends_the_others_and_is_named(
    workspace: Workspace, started: list[subprocess.Popen[bytes]]
) -> None:
    run = submit(workspace, steps=12000, step_seconds=0.01, fails="killed", failing_rank=1)
    began = time.monotonic()
    started += start(run)
    assert reaches(run) is State.FAILED
    why = explain(run)
    assert why is not None
    assert (why.code, why.params["rank"]) == ("run.rank_killed", 1), logs(run)
    assert all(process.wait(20) for process in started)
    assert time.monotonic() - began < 45  # most of it is torchrun's own start
    assert eventually(lambda: orphans(run) == [])
    (run.path / "repaired").touch()
    with pytest.raises(RunError, match="ended already"):
        hosts.Keeper(run, torchrun_sets(rank=0, of=2))._check()
    store.resume(workspace, run.id)
    assert state_of(run) is State.QUEUED


def torchrun_sets(rank: int, of: int, on_host: int = 1) -> dict[str, str]:
    values = (rank, rank % on_host, of, on_host)
    return dict(zip(("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"), map(str, values), strict=True))


def test_what_a_heartbeat_says(workspace: Workspace) -> None:
    run = submit(workspace)
    write_record(run.status_file, Status(supervisor_pid=1, supervisor_started=0, submitted_at=0, started_at=1.0))
    for age, expected in ((5.0, State.STARTING), (-3600.0, State.STARTING), (31.0, State.INTERRUPTED)):
        write_record(run.heartbeat_file, Heartbeat(host="far", pid=1, at=time.time() - age))
        assert state_of(run) is expected
    write_record(run.heartbeat_file, Heartbeat(host="far", pid=1, at=time.time()))
    with pytest.raises(RunError, match="far"):
        store.kill(run)
    assert state_of(run) is State.STOPPING
    assert store.stop_deadline(run) is not None


def test_a_host_that_is_done_is_not_silent(workspace: Workspace) -> None:
    """Rank 0 may deliver for minutes after the others have ended."""
    run = submit(workspace)
    first, other = (hosts.Keeper(run, torchrun_sets(rank=rank, of=2)) for rank in (0, 1))
    sign = run.log_dir / "host-1.json"

    def silent_for(seconds: float) -> object:
        first.others = {
            path: (path.stat().st_mtime_ns, time.monotonic() - seconds) for path in (run.heartbeat_file, sign)
        }
        return first._silent()

    other._beat()
    assert first._silent() is None
    assert silent_for(29) is None
    assert silent_for(31) == {"host": socket.gethostname(), "ranks": "1 to 1", "seconds": 30}
    other._close(0)
    assert silent_for(31) is None
    assert state_of(run) is State.QUEUED


def test_what_keeps_a_rank_from_starting_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CPU_SLOTS, "1")
    claim = Claim(find(["cpu:0"]), Holder(run="somebody", workspace="/w"))
    assert claim.try_take() == []
    run = submit(workspace)
    run.stop_file.touch()
    keeper = hosts.Keeper(run, torchrun_sets(rank=0, of=2))
    assert keeper.keep() == 1  # it waits for the device, and is stopped
    claim.release()
    ended(keeper)
    assert (state_of(run), explained(run)) == (State.STOPPED, "run.stopped_waiting")

    run = submit(workspace)
    run.log_file(0).mkdir()
    keeper = hosts.Keeper(run, torchrun_sets(rank=0, of=2))
    assert keeper.keep() == 1
    assert keeper.child is None
    ended(keeper)
    assert (state_of(run), explained(run)) == (State.FAILED, "run.crashed")


def test_a_second_start_leaves_a_living_run_alone(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = submit(workspace)
    lock = take_run(run)
    assert lock is not None
    living = Heartbeat(host="here", pid=1, at=time.time())
    write_record(run.heartbeat_file, living)
    before = sorted(path.name for path in run.path.rglob("*"))
    assert hosts.Keeper(run, torchrun_sets(rank=0, of=2)).keep() == 1
    assert run.id in capsys.readouterr().err
    assert run.heartbeat() == living
    assert sorted(path.name for path in run.path.rglob("*")) == before
    os.close(lock)


def ended(keeper: hosts.Keeper) -> None:
    """As `hosts.main` does it; nothing that a rank held is left."""
    assert keeper.lock is not None
    os.close(keeper.lock)
    assert not (keeper.run.path / ".reserve").exists()
    beat, status = keeper.run.heartbeat(), keeper.run.status()
    assert beat is not None
    assert beat.at == 0.0
    assert status is not None
    assert status.ended_at is not None


def explained(run: RunDir) -> str:
    why = explain(run)
    assert why is not None
    return why.code


def test_hosts_that_do_not_fit_the_settings_are_told(workspace: Workspace) -> None:
    with pytest.raises(RunError, match="4 processes"):
        hosts.Keeper(submit(workspace), torchrun_sets(rank=1, of=4, on_host=2))._check()
    with pytest.raises(ValidationError, match="no_rendezvous"):
        SFTConfig.model_validate({"model": {"base": "m"}, "data": {"train": "d"}, "distributed": {"hosts": 2}})


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"distributed": {"offload": "all"}}, "offload_needs_shards"),
        ({"distributed": {"strategy": "fsdp"}, "devices": {"use": "cuda:0"}}, "one_process"),
        ({"distributed": {"strategy": "fsdp", "offload": "optimizer"}}, "offload_fsdp"),
        ({"distributed": {"strategy": "zero2", "offload": "all"}}, "offload_zero2"),
        ({"distributed": {"strategy": "zero3", "offload": "all"}, "devices": {"use": "cpu,cpu"}}, "offload_on_cpu"),
        ({"distributed": {"strategy": "zero3"}, "quantization": {"kind": "nf4"}}, "quantised"),
        ({"distributed": {"strategy": "fsdp"}, "model": {"base": "m", "dtype": "fp16"}}, "no_fp16"),
        ({"distributed": {"strategy": "fsdp"}, "optim": {"optimizer": "adamw_8bit"}}, "distributed.optimizer"),
        ({"distributed": {"rendezvous": "10.0.0.1:29500"}}, "one_host"),
    ],
)
def test_what_cannot_work_is_refused(given: dict, code: str) -> None:
    usual = {"model": {"base": "m"}, "data": {"train": "d"}, "devices": {"use": "cuda:0,cuda:1"}}
    with pytest.raises(ValidationError, match=code):
        SFTConfig.model_validate({**usual, **given})


@pytest.mark.parametrize("config", [PPOConfig, DPOConfig])
@pytest.mark.parametrize("strategy", ["fsdp", "zero2", "zero3"])
def test_stages_with_a_reference_are_not_split(config: type, strategy: str) -> None:
    given = {"model": {"base": "m"}, "data": {"train": "d"}, "devices": {"use": "cuda:0,cuda:1"}}
    more = {"rewards": {"models": ["r"]}} if config is PPOConfig else {}
    with pytest.raises(ValidationError, match="stage_not_sharded"):
        config.model_validate({**given, **more, "distributed": {"strategy": strategy}})
    config.model_validate({**given, **more, "distributed": {"hosts": 2, "rendezvous": "[::1]:29500"}})


def test_deepspeed_that_is_missing_is_told_with_its_pip_line(
    workspace: Workspace, tiny_model: Path, chat_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "find_spec", lambda name: None)
    words = [
        f"model.base={tiny_model}",
        f"data.train={chat_file}",
        "devices.use=[cpu,cpu]",
        "distributed.strategy=zero3",
    ]
    with pytest.raises(ConfigError, match="pip install deepspeed") as caught:
        store.submit(workspace, "sft", resolve("sft", overrides=words))
    assert [problem.key for problem in caught.value.problems] == ["distributed.strategy"]
    assert workspace.runs() == []
