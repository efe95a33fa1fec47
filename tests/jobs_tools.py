"""What the tests of the run engine share: submitting drills, waiting, killing, and looking for orphans in /proc."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.configs.stages import STAGES
from core.jobs import processes, store
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests import drill
from tests.drill import Drill, DrillConfig, next_value

TRUTH_SECONDS = 5.0  # DESIGN: the state shown is true within 5 s
SEED = 42


@pytest.fixture(autouse=True)
def drills(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The drill is a stage, here and in every process started from here; each test has device locks of its own."""
    monkeypatch.setitem(STAGES, "drill", drill.STAGES[0])
    monkeypatch.setenv("GALEN_PLUGINS", "tests.drill")
    monkeypatch.setenv("GALEN_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("GALEN_CPU_SLOTS", "4")


def submit(workspace: Workspace, use: str = "cpu:0", **settings: Any) -> RunDir:
    config = DrillConfig.model_validate({"devices": {"use": use}, "drill": Drill(**settings)})
    return store.submit(workspace, "drill", config)


def eventually(condition: Callable[[], bool], seconds: float = TRUTH_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def reaches(run: RunDir, *states: State, seconds: float = 60.0) -> State:
    """Wait until the run is in one of `states` (any end of it, when none is named)."""
    wanted = states or tuple(state for state in State if not state.live)
    assert eventually(lambda: state_of(run) in wanted, seconds), f"{run} is {state_of(run)}, not {wanted}:\n{logs(run)}"
    return state_of(run)


def in_phase(run: RunDir, phase: str, seconds: float = 60.0) -> None:
    """Wait until the drill has paused in `phase`; in training that is before step 8."""
    paused = (run.path / f"paused-{phase}").exists
    assert eventually(paused, seconds), f"{run} is in {run.progress()}:\n{logs(run)}"
    progress = run.progress()
    assert progress is not None
    assert progress.phase == phase


def logs(run: RunDir) -> str:
    return "".join(f"--- {path.name}\n{path.read_text()}" for path in sorted(run.path.glob("log/*")))


def go(run: RunDir) -> None:
    (run.path / "go").touch()


def rank_pids(run: RunDir) -> list[int]:
    def started() -> bool:
        status = run.status()
        return status is not None and len(status.rank_pids) == max(1, len(status.devices))

    assert eventually(started), logs(run)
    status = run.status()
    assert status is not None
    return status.rank_pids


def supervisor_pid(run: RunDir) -> int:
    status = run.status()
    assert status is not None
    return status.supervisor_pid


def kill9(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def orphans(run: RunDir) -> list[str]:
    """Every living process that carries the run's id, by another way than the engine's own."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            carried = environ.read_bytes().split(b"\0")
        except OSError:
            continue
        if f"{processes.RUN_ID}={run.id}".encode() in carried:
            found.append(environ.parent.name)
    return found


def drill_helpers() -> list[str]:
    """The helpers of any drill that were started with an environment of their own."""
    return [path.parent.name for path in Path("/proc").glob("[0-9]*/environ") if _says(path, b"DRILL_HELPER=1")]


def _says(path: Path, mark: bytes) -> bool:
    try:
        return mark in path.read_bytes().split(b"\0")
    except OSError:
        return False


def expected(steps: int = 12) -> list[tuple[int, float]]:
    """The metrics of a drill that nothing interrupts."""
    value, rows = 0.0, []
    for step in range(1, steps + 1):
        value = next_value(value, SEED, step)
        rows.append((step, value))
    return rows


def metrics(run: RunDir) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def finished_whole(run: RunDir) -> None:
    """The run has succeeded with the figures of an uninterrupted one, every line once, and left nobody behind."""
    assert reaches(run) is State.SUCCEEDED, logs(run)
    assert metrics(run) == expected()
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.final_metrics["loss"] == expected()[-1][1]
    assert orphans(run) == []
