"""A clock that jumps back an hour, at random moments of runs that go through the real supervisor.

    python -m tests.attack.clock --count 20

The clock of every process of the run is moved (`tests.attack.clock_back`), and ours with it. The state must stay
true, a stop must not wait for the lost hour, nothing may take less than no time, and metrics and resumes must be whole.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path

from core.jobs import store
from core.records import Progress
from core.rundir import RunDir, State, read_jsonl, state_of
from core.workspace import Workspace
from tests.attack.clock_back import VARIABLE
from tests.attack.kills import prepare, shoot
from tests.attack.tools import Tally, command
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import eventually, expected, metrics
from webui import views

STEPS = 12
NOTHING = Progress(phase="importing", updated_at=float("inf"))
ENDS = ("left alone", "stopped", "killed and resumed")
QUICK = 10.0  # seconds: for what takes one or two


def jump(workspace: Workspace, number: int, tally: Tally) -> None:
    """One run: the clock jumps somewhere in it, and then it goes on, is stopped, or is killed and resumed."""
    rng = random.Random(number)
    end = ENDS[number % len(ENDS)]
    back = Path(os.environ[VARIABLE])
    back.unlink(missing_ok=True)
    settings = {"devices": {"use": ["cpu:0"]}, "drill": Drill(steps=STEPS, step_seconds=0.15, save_every=3)}
    run = store.submit(workspace, "drill", DrillConfig.model_validate(settings))
    about = f"run {number} ({end})"
    row = rng.randrange(STEPS - 4)
    eventually(lambda: len(read_jsonl(run.metrics_file)[0]) >= row, 60)
    back.touch()
    tally.done["jumps back by an hour"] += 1
    eventually(lambda: not state_of(run).live or (run.progress() or NOTHING).updated_at < time.time() + 60, QUICK)
    progress, state = run.progress(), state_of(run)
    if state is State.STARTING and progress is not None and not progress.starting:
        tally.find(f"{about}: it is {state} while {progress}")
    looks_sound(run, about, tally)
    if end == "stopped" and state_of(run).live:
        store.stop(run)
        if not eventually(lambda: not state_of(run).live, QUICK):
            tally.find(f"{about}: it does not stop")
    elif end == "killed and resumed":
        shoot(run, "everybody")
    if not eventually(lambda: not state_of(run).live, 60):
        tally.find(f"{about}: it does not end")
    if state_of(run) is not State.SUCCEEDED:
        tally.done["resumes after a jump"] += 1
        store.resume(workspace, run.id)
        eventually(lambda: not state_of(run).live, 60)
    looks_sound(run, about, tally)
    if state_of(run) is not State.SUCCEEDED or metrics(run) != expected(STEPS):
        tally.find(f"{about}: it is {state_of(run)} with {metrics(run)}")
    tally.done[f"runs {end}"] += 1


def looks_sound(run: RunDir, about: str, tally: Tally) -> None:
    """What the page says of times: none is below zero."""
    shot = views.snapshot(run)
    shown = views.progress(shot, "en", store.stop_deadline(run)) + views.head(shot, "en")
    if ">-" in shown or " -" in shown.replace("<!--", ""):
        tally.find(f"{about}: the page says {shown}")


def attack(count: int, seed: int) -> Tally:
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        workspace = prepare(Path(name))
        os.environ |= {"GALEN_PLUGINS": "tests.attack.clock_back", VARIABLE: str(Path(name) / "back")}
        for number in range(seed, seed + count):
            jump(workspace, number, tally)
    return tally


def main() -> int:
    return command(attack, count=20, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
