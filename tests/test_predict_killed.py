"""Predictions through the real supervisor: killed, stopped, on a full disk, on two devices; the text is the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.jobs import store
from core.records_predict import windows_folder
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests.conftest import conversations
from tests.predict_tools import answer, lines, submit, summary, wait

WORDS = ("generation.temperature=1", "generation.max_new_tokens=24", "data.window=16", "data.tokens=300")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """120 lines, of which every tenth cannot be asked."""
    asked = [row["conversations"][0]["value"] for row in conversations(120)]
    asked[::10] = [""] * 12
    path = tmp_path / "asked.txt"
    path.write_text("\n".join(asked) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def whole(workspace: Workspace, tiny_model: Path, file: Path) -> list[dict]:
    """What nothing interrupts."""
    return lines(answer(workspace, tiny_model, file, *WORDS))


def batches(run: RunDir) -> int:
    """How many batches are written down."""
    return sum(path.read_bytes().count(b"\n") for path in windows_folder(run.path).glob("window-*.jsonl"))


def ends(run: RunDir) -> State:
    wait(run, lambda: not state_of(run).live)
    return state_of(run)


def kill_at(run: RunDir, reached: Callable[[], bool]) -> None:
    wait(run, reached)
    status = run.status()
    assert status is not None
    os.kill(status.rank_pids[0], signal.SIGKILL)
    assert ends(run) in (State.INTERRUPTED, State.FAILED)


@pytest.mark.long
@pytest.mark.slow
def test_killed_again_and_again_every_line_is_there_once(
    workspace: Workspace, tiny_model: Path, file: Path, whole: list[dict]
) -> None:
    run = submit(workspace, tiny_model, file, *WORDS)
    rng, seen = random.Random(1), []
    for _ in range(3):
        more = batches(run) + rng.randint(1, 5)
        kill_at(run, lambda more=more: batches(run) >= more)
        seen.append(batches(run))
        assert not (run.output / "predictions.jsonl").exists()
        store.resume(workspace, run.id)
    assert ends(run) is State.SUCCEEDED, run.log_file(0).read_text()
    assert seen == sorted(set(seen))
    assert lines(run) == whole
    assert [row["line"] for row in whole] == list(range(1, 121))
    assert "lines are answered already" in run.log_file(0).read_text()
    assert summary(run).failed == {"predict.blank_line": 12}


@pytest.mark.long
def test_stopped_and_resumed_on_two_processes(
    workspace: Workspace, tiny_model: Path, file: Path, whole: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALEN_CPU_SLOTS", "2")
    run = submit(workspace, tiny_model, file, *WORDS)
    wait(run, lambda: batches(run) >= 2)
    store.stop(run)
    assert ends(run) is State.STOPPED
    assert 2 <= batches(run) < 60
    with pytest.raises(ConfigError) as caught:
        store.resume(workspace, run.id, ["generation.temperature=0.5"])
    assert [problem.code for problem in caught.value.problems] == ["resume.answers"]
    store.resume(workspace, run.id, ["devices.use=[cpu,cpu]"])
    assert ends(run) is State.SUCCEEDED, [path.read_text() for path in run.log_dir.iterdir()]
    assert lines(run) == whole
    assert summary(run).device.startswith("2 × ")
    assert "are done" in run.log_file(1).read_text()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own. Only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_keeps_what_there_is(disk: Path, tiny_model: Path, file: Path, whole: list[dict]) -> None:
    workspace = Workspace(disk / "workspace")
    run = submit(workspace, tiny_model, file, *WORDS)
    wait(run, lambda: batches(run) >= 3)
    with open(disk / "fill", "wb", buffering=0) as fill:
        while os.statvfs(disk).f_bavail:
            try:
                fill.write(b"x" * (1 << 20))
            except OSError:
                break
    assert ends(run) is State.FAILED
    result = run.result()
    assert result is not None
    assert result.code == "run.disk_full"
    kept = batches(run)
    assert kept >= 3
    (disk / "fill").unlink()
    store.resume(workspace, run.id)
    assert ends(run) is State.SUCCEEDED, run.log_file(0).read_text()
    assert lines(run) == whole
