"""`python -m core STAGE` and `python -m core jobs …`: what is printed, what Ctrl-C does, and the exit status."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.__main__ import main
from core.cli.follow import Tail, plain
from core.jobs import store
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.jobs_tools import drills, eventually, finished_whole, go, in_phase, metrics, orphans, reaches, submit

__all__ = ["drills"]
ROOT = Path(__file__).parents[1]


def said(capsys: pytest.CaptureFixture[str]) -> dict:
    """The JSON object in the last line of stdout."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def start(workspace: Workspace, *words: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "core", "--workspace", str(workspace.path), *words]
    return subprocess.Popen(command, cwd=ROOT, text=True, **{"stdout": subprocess.PIPE, **options})  # type: ignore[call-overload]  # options as Popen takes them


def the_run(workspace: Workspace) -> RunDir:
    assert eventually(lambda: bool(workspace.runs()))
    return workspace.runs()[0]


def test_submit_and_follow_to_the_end(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--workspace", str(workspace.path), "drill", "run.name=a name", "devices.use=cpu"]) == 0
    output = capsys.readouterr().out
    run = workspace.runs()[0]
    assert output.splitlines()[0] == f"{run.id}  a name"
    assert f"{run.id} succeeded after" in output
    assert "\r" not in output
    finished_whole(run)


def test_a_failed_run_says_why_and_how_to_go_on(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--workspace", str(workspace.path)]
    assert main([*at, "drill", "drill.fails=crash"]) == 1
    captured = capsys.readouterr()
    assert "The run crashed: RuntimeError: the recipe has a bug" in captured.err
    assert f"jobs resume {workspace.runs()[0].id}" in captured.err
    assert main([*at, "drill", "drill.fails=bad data"]) == 2
    assert main([*at, "drill", "drill.fails=crash", "--json"]) == 1
    assert said(capsys)["why"]["code"] == "run.crashed"


def test_bad_input_starts_nothing(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--workspace", str(workspace.path)]
    assert main([*at, "drill", "drill.stepz=3", "drill.steps=abc"]) == 2
    errors = capsys.readouterr().err
    assert "drill.stepz" in errors
    assert "drill.steps" in errors
    assert main([*at, "drill", "devices.use=cuda:9", "--json"]) == 2
    assert said(capsys)["error"]["problems"][0]["key"] == "devices.use"
    assert main([*at, "jobs", "show", "drill-nothing"]) == 2
    assert workspace.runs() == []


def test_a_dry_run_prints_the_config(workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--workspace", str(workspace.path), "drill", "drill.steps=3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "  steps: 3\n" in printed
    assert workspace.runs() == []
    config = tmp_path / "config.yaml"
    config.write_text(printed)
    assert main(["--workspace", str(workspace.path), "jobs", "submit", str(config), "--follow"]) == 0
    assert len(metrics(workspace.runs()[0])) == 3


def test_the_commands_on_a_run(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = ["--workspace", str(workspace.path), "jobs"]
    assert main([*jobs, "list"]) == 0
    assert main([*jobs[:2], "drill", "--detach", "drill.pause_in=training"]) == 0
    run = workspace.runs()[0]
    assert run.id in capsys.readouterr().out
    in_phase(run, "training")
    assert main([*jobs, "list", "--state", "live", "--json"]) == 0
    assert [each["id"] for each in said(capsys)["runs"]] == [run.id]
    assert main([*jobs, "list", "--stage", "sft"]) == 0
    assert capsys.readouterr().out == "no runs\n"
    assert main([*jobs, "delete", "--yes", run.id]) == 1
    assert main([*jobs, "resume", run.id]) == 1
    assert main([*jobs, "stop", run.id]) == 0
    reaches(run)
    assert main([*jobs, "show", "last"]) == 0
    shown = capsys.readouterr().out
    assert "stopped as asked" in shown
    assert "checkpoints/step-5/COMPLETE" in shown
    assert "pause_in: training" in shown
    go(run)
    assert main([*jobs, "resume", run.id, "--follow"]) == 0
    finished_whole(run)
    capsys.readouterr()
    assert main([*jobs, "list"]) == 0
    assert all(len(line) <= 120 for line in capsys.readouterr().out.splitlines())
    assert main([*jobs, "show", run.id, "--json"]) == 0
    assert said(capsys)["config"]["drill"]["pause_in"] == "training"
    assert main([*jobs, "submit", str(run.config_yaml), "--json"]) == 0
    again = workspace.run(said(capsys)["run"])
    in_phase(again, "training")
    assert main([*jobs, "kill", again.id]) == 0
    assert main([*jobs, "stop", "--now", again.id]) == 1
    assert main([*jobs, "delete", again.id, "--yes"]) == 0
    assert [each.id for each in workspace.runs()] == [run.id]


def test_the_log(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = submit(workspace, fails="crash")
    reaches(run)
    log = ["--workspace", str(workspace.path), "jobs", "log", run.id]
    assert main(log) == 0
    assert "Traceback" in capsys.readouterr().out
    assert main([*log, "-n", "1"]) == 0
    assert capsys.readouterr().out == "and a second line\n"
    assert main([*log, "-f", "--rank", "3"]) == 0
    assert main([*log, "-f"]) == 1


def test_ctrl_c_asks_the_run_to_stop_and_waits(workspace: Workspace) -> None:
    terminal = start(workspace, "drill", "drill.pause_in=training")
    run = the_run(workspace)
    in_phase(run, "training")
    terminal.send_signal(signal.SIGINT)
    output, _ = terminal.communicate(timeout=20)
    assert terminal.returncode == 130
    assert "asked to stop" in output
    assert f"{run.id} stopped" in output
    assert state_of(run) is State.STOPPED
    assert [checkpoint.step for checkpoint in run.complete_checkpoints()][-1] == 8


def test_a_second_ctrl_c_leaves_the_run_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALEN_STOP_SECONDS", "2")
    terminal = start(workspace, "drill", "drill.pause_in=loading", "drill.deaf=true")
    run = the_run(workspace)
    in_phase(run, "loading")
    terminal.send_signal(signal.SIGINT)
    assert eventually(run.stop_file.exists)
    terminal.send_signal(signal.SIGINT)
    output, _ = terminal.communicate(timeout=20)
    assert terminal.returncode == 130
    assert f"jobs log -f {run.id}" in output
    assert state_of(run) is State.STOPPING
    store.kill(run)
    assert orphans(run) == []


def test_a_terminal_has_one_moving_line(workspace: Workspace) -> None:
    ours, theirs = pty.openpty()
    terminal = start(workspace, "drill", "drill.step_seconds=0.05", stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            output += os.read(ours, 65536)
        except OSError:  # the other side has gone
            break
    os.close(ours)
    assert terminal.wait() == 0
    assert b"\r\x1b[Ktraining" in output
    assert b"/12 (" in output


def test_a_log_cannot_move_the_cursor(tmp_path: Path) -> None:
    assert plain("\x1b[2J\x07a\tb") == "[2Ja\tb"
    log = tmp_path / "log"
    tail = Tail(log)
    assert tail.lines() == []
    log.write_bytes(b"one\n 10%\r 20%\nto")
    assert tail.lines() == ["one", " 20%"]
    with open(log, "ab") as file:
        file.write(b"rn")
    assert tail.lines() == []
    assert tail.lines(rest=True) == ["torn"]
    log.unlink()
    log.write_bytes(b"anew\n")
    assert tail.lines() == ["anew"]
