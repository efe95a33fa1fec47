"""Real SFT runs through the real supervisor, killed: what a resume reaches is what an uninterrupted run reaches."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.configs.files import resolve
from core.jobs import store
from core.rundir import RunDir, State, read_jsonl, state_of
from core.workspace import Workspace
from tests.conftest import conversations, write_jsonl

EPOCH = 6  # steps


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "chat.jsonl", conversations(48))


def submit(workspace: Workspace, model: Path, data: Path) -> RunDir:
    words = ["schedule.epochs=12", "lora.dropout=0.1", "saving.steps=4", "model.dtype=fp32", "evaluation.prompts=[ba]",
             "evaluation.max_new_tokens=2", "data.validation_split=0.1", "devices.use=cpu"]  # fmt: skip
    config = resolve("sft", overrides=[f"model.base={model}", f"data.train={data}", *words])
    return store.submit(workspace, "sft", config)


def wait(run: RunDir, reached: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, (state_of(run), run.progress(), run.result(), run.log_file(0).read_text())
        time.sleep(0.02)


def figures(run: RunDir) -> list[tuple[int, float]]:
    rows, _ = read_jsonl(run.metrics_file)
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def test_a_killed_rank_in_a_later_epoch_and_a_killed_supervisor_while_loading(
    workspace: Workspace, tiny_model: Path, data: Path
) -> None:
    whole = submit(workspace, tiny_model, data)
    wait(whole, lambda: not state_of(whole).live)
    assert state_of(whole) is State.SUCCEEDED

    run = submit(workspace, tiny_model, data)
    wait(run, lambda: any(step > EPOCH + 2 for step, _ in figures(run)))
    status = run.status()
    assert status is not None
    os.kill(status.rank_pids[0], signal.SIGKILL)
    wait(run, lambda: not state_of(run).live, 5.0)
    assert state_of(run) in (State.INTERRUPTED, State.FAILED)
    reached = run.complete_checkpoints()[-1].step
    assert reached >= EPOCH

    store.resume(workspace, run.id)
    wait(run, lambda: (progress := run.progress()) is not None and progress.phase in ("loading", "training"))
    status = run.status()
    assert status is not None
    os.killpg(os.getpgid(status.rank_pids[0]), signal.SIGKILL)
    os.kill(status.supervisor_pid, signal.SIGKILL)
    wait(run, lambda: not state_of(run).live, 5.0)
    assert state_of(run) in (State.INTERRUPTED, State.FAILED)

    store.resume(workspace, run.id)
    wait(run, lambda: not state_of(run).live)
    assert state_of(run) is State.SUCCEEDED
    assert figures(run) == figures(whole)
    assert run.manifest().final_metrics == whole.manifest().final_metrics
