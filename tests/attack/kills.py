"""kill -9 at random moments, in a torch-free recipe (`tests.drill`) through the real supervisor, then a resume.

    python -m tests.attack.kills --count 200

Each run is killed up to three times, anywhere between its submission and its end: a rank, the supervisor, both at
once, or whoever of the run is found. After every kill the state must be true within five seconds, no process may be
left, and every line of the metrics that was whole must still be somewhere; the last resume must end with the figures of
an uninterrupted run, every line once.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from core.configs.stages import STAGES
from core.errors import GalenError
from core.jobs import processes, store
from core.rundir import RunDir, State, state_of
from core.workspace import Workspace
from tests import drill
from tests.attack.tools import Tally, command
from tests.drill import Drill, DrillConfig
from tests.jobs_tools import TRUTH_SECONDS, eventually, expected, metrics, orphans

STEPS = 12
KILL = "kill -9: "
TARGETS = ("rank", "supervisor", "both", "rank, then supervisor", "everybody")
AT_ONCE = 3  # runs side by side, so that the machine is busy as machines are


def prepare(folder: Path) -> Workspace:
    """The drill is a stage here and in what is started here; locks of its own."""
    STAGES["drill"] = drill.STAGES[0]
    os.environ |= {"GALEN_PLUGINS": "tests.drill", "GALEN_LOCK_DIR": str(folder / "locks"), "GALEN_CPU_SLOTS": "4"}
    return Workspace(folder / "workspace")


def shoot(run: RunDir, target: str) -> int:
    """SIGKILL to whoever `target` names and lives. Returns how many were hit."""
    supervisor = processes.supervisor(run)
    ranks = [process.pid for process in processes.carriers(run)]
    head = [supervisor.pid] if supervisor is not None else []
    pids = {"rank": ranks[:1], "supervisor": head, "both": ranks[:1] + head}.get(target, ranks + head)
    hit = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            hit += 1
        except ProcessLookupError:
            continue
    return hit


def lines_of(run: RunDir) -> set[bytes]:
    """Every whole line of metrics that is anywhere in the run."""
    files = [run.metrics_file, *run.attempts.glob("*/metrics.jsonl")]
    return {
        line for file in files if file.exists() for line in file.read_bytes().splitlines(True) if line[-1:] == b"\n"
    }


class Victim:
    """One run, from its submission to its end."""

    def __init__(self, workspace: Workspace, tally: Tally, number: int) -> None:
        self.workspace, self.tally, self.rng = workspace, tally, random.Random(number)
        config = DrillConfig.model_validate(
            {
                "devices": {"use": ["cpu:0"]},
                "drill": Drill(steps=STEPS, step_seconds=0.02, save_every=self.rng.choice([2, 5])),
            }
        )
        self.run = store.submit(workspace, "drill", config)
        self.about = f"run {number}"

    def find(self, what: str) -> None:
        log = b"".join(path.read_bytes() for path in sorted(self.run.log_dir.glob("*")))
        self.tally.find(f"{self.about}: {what}\n{log.decode(errors='replace')[-1500:]}")

    def live_through_it(self) -> None:
        for _ in range(self.rng.randint(1, 3)):
            self.killed(self.rng.choice(TARGETS))
            if state_of(self.run) is State.SUCCEEDED:
                break
            if not self.resumed():
                return
        self.ended()

    def killed(self, target: str) -> None:
        time.sleep(self.rng.random() * 1.4)
        before = lines_of(self.run)
        if not shoot(self.run, target):
            self.tally.done["shots that came too late"] += 1
        else:
            self.tally.done[KILL + target] += 1
        if target == "supervisor":
            eventually(lambda: not state_of(self.run).live, 30)  # its rank goes on by itself, and may even get there
        if not eventually(lambda: not state_of(self.run).live, TRUTH_SECONDS):
            self.find(f"still {state_of(self.run)} after kill -9 of {target}")
        self.consistent(target)
        lost = before - lines_of(self.run)
        if lost:
            self.find(f"{len(lost)} lines of metrics are gone after kill -9 of {target}")

    def consistent(self, target: str) -> None:
        """The state agrees with what is there."""
        state, manifest = state_of(self.run), self.run.manifest_file
        if (state is State.SUCCEEDED) != (manifest.exists() and self.run.manifest() is not None):
            self.find(f"{state} after kill -9 of {target}, but the manifest says otherwise")
        if state is State.STOPPED:
            self.find(f"nobody asked it to stop, and it is {state}")
        for checkpoint in self.run.complete_checkpoints():
            orjson.loads((checkpoint.path / "state.json").read_bytes())

    def resumed(self) -> bool:
        before = lines_of(self.run)
        try:
            store.resume(self.workspace, self.run.id)
        except GalenError as error:
            self.find(f"it cannot be resumed: {error}")
            return False
        self.tally.done["resumes"] += 1
        lost = before - lines_of(self.run)
        if lost:
            self.find(f"{len(lost)} lines of metrics are gone after the resume")
        return True

    def ended(self) -> None:
        if not eventually(lambda: not state_of(self.run).live, 60) or state_of(self.run) is not State.SUCCEEDED:
            self.find(f"it ends {state_of(self.run)}")
        elif metrics(self.run) != expected(STEPS):
            self.find(f"its metrics are {metrics(self.run)}")
        elif not eventually(lambda: not orphans(self.run)):
            self.find(f"processes are left: {orphans(self.run)}")
        self.tally.done["runs that ended as uninterrupted ones"] += 1


def attack(count: int, seed: int) -> Tally:
    """As many runs as it takes for `count` shots that hit, AT_ONCE side by side."""
    tally = Tally()
    numbers = itertools.count(seed)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        workspace = prepare(Path(folder))

        def shooting(_: int) -> None:
            while sum(times for what, times in tally.done.items() if what.startswith(KILL)) < count:
                Victim(workspace, tally, next(numbers)).live_through_it()

        list(pool.map(shooting, range(AT_ONCE)))
        left = [*workspace.runs_dir.glob("*/.*.tmp"), *workspace.runs_dir.glob("*/checkpoints/tmp-*")]
        tally.figures["half-written files that the last attempt of a run left"] = str(len(left))
    return tally


def main() -> int:
    return command(attack, count=200, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
