"""kill -9 at random moments of tiny runs of every stage that trains, then a resume that must equal no interruption.

    python -m tests.attack.kills_training --count 20

A stage is first run whole. One kill in four falls anywhere in the time that took, which is mostly importing; the others
fall shortly after a step that is drawn, so that training, evaluating, saving and delivering are hit. Compared are every
figure of every step, but for those that are times, and the manifest's final ones.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.configs.files import resolve
from core.jobs import store
from core.models.tiny import build_model
from core.rundir import RunDir, State, read_jsonl, state_of
from core.workspace import Workspace
from tests.attack.kills import TARGETS, lines_of, shoot
from tests.attack.tools import Tally, command
from tests.conftest import conversations, write_jsonl
from tests.jobs_tools import eventually, orphans
from tests.test_reward_pairs import pair_rows

TIMES = (
    "time",
    "seconds",
    "per_second",
    "mfu",
    "tflops",
)  # what of a figure's name says that it is none of the training's
COMMON = ("model.dtype=fp32", "devices.use=cpu", "saving.steps=2", "optim.learning_rate=1e-3")
STEPS = ("schedule.max_steps=9", "evaluation.prompts=[ba]", "evaluation.max_new_tokens=2", "data.validation_split=0.2")
WORDS = {
    "pretrain": (*STEPS, "data.block_size=64"),
    "sft": (*STEPS, "lora.dropout=0.1"),
    "reward": ("schedule.max_steps=9", "data.validation_split=0.2"),
    "dpo": STEPS,
    "ppo": ("rollout.prompts=8", "rollout.max_new_tokens=12", "ppo.episodes=40", "ppo.epochs=2", "evaluation.prompts=4",
            "evaluation.steps=2", "data.max_length=64", "rewards.rules=['length low=5 high=40']"),
}  # fmt: skip


class Stage:
    """Runs of one stage, on the same rows."""

    def __init__(self, workspace: Workspace, folder: Path, name: str, tally: Tally) -> None:
        self.workspace, self.name, self.tally = workspace, name, tally
        rows = {
            "pretrain": [{"text": "ba be bi bo bu " * 40} for _ in range(24)],
            "reward": pair_rows(48),
            "dpo": pair_rows(48),
            "ppo": [{"prompt": row["conversations"][0]["value"]} for row in conversations(24)],
        }
        self.data = write_jsonl(folder / f"{name}.jsonl", rows.get(name) or conversations(48))
        self.model = folder / "tiny"
        start = time.monotonic()
        whole = self.submit()
        eventually(lambda: not state_of(whole).live, 300)
        self.seconds = time.monotonic() - start
        self.wanted = figures(whole)
        if state_of(whole) is not State.SUCCEEDED:
            tally.find(f"{name}: not even the whole run succeeds: {whole.log_file(0).read_text()[-2000:]}")

    def submit(self) -> RunDir:
        words = [f"model.base={self.model}", f"data.train={self.data}", *COMMON, *WORDS[self.name]]
        return store.submit(self.workspace, self.name, resolve(self.name, overrides=words))

    def kill(self, number: int) -> None:
        rng = random.Random(number)
        run, target = self.submit(), rng.choice(TARGETS)
        at, rows = rng.uniform(0.1, 1) * self.seconds, rng.randrange(len(self.wanted)) if rng.random() < 0.75 else None
        about = f"{self.name}, kill {number} ({target}, " + (f"{at:.1f} s)" if rows is None else f"after row {rows})")
        if rows is None:
            eventually(lambda: not state_of(run).live, at)
        else:
            eventually(lambda: not state_of(run).live or len(read_jsonl(run.metrics_file)[0]) >= rows, 300)
            time.sleep(rng.random() * 0.3)
        progress, before, hit = run.progress(), lines_of(run), shoot(run, target)
        phase = progress.phase if progress is not None else "nothing yet"
        self.tally.done[f"kill -9 while {phase}" if hit else "shots that came too late"] += 1
        if target == "supervisor":
            eventually(lambda: not state_of(run).live, 120)
        if not eventually(lambda: not state_of(run).live):
            self.tally.find(f"{about}: still {state_of(run)} after five seconds")
        if state_of(run) is not State.SUCCEEDED:
            store.resume(self.workspace, run.id)
            self.tally.done["resumes"] += 1
            eventually(lambda: not state_of(run).live, 300)
        if state_of(run) is not State.SUCCEEDED:
            self.tally.find(f"{about}: ends {state_of(run)}: {run.log_file(0).read_text()[-2000:]}")
        elif figures(run) != self.wanted:
            self.tally.find(f"{about}: {differences(figures(run), self.wanted)}")
        if before - lines_of(run):
            self.tally.find(f"{about}: {len(before - lines_of(run))} lines of metrics are gone")
        if not eventually(lambda: not orphans(run)):
            self.tally.find(f"{about}: processes are left: {orphans(run)}")


def figures(run: RunDir) -> list[dict[str, Any]]:
    """Every figure of every step, and the final ones."""
    manifest = run.manifest()
    rows = [*read_jsonl(run.metrics_file)[0], manifest.final_metrics if manifest is not None else {}]
    return [{key: value for key, value in row.items() if not any(part in key for part in TIMES)} for row in rows]


def differences(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> str:
    if len(found) != len(wanted):
        return f"{len(found)} rows of figures, {len(wanted)} without interruption"
    pairs = zip(found, wanted, strict=True)
    return "; ".join(f"{a} for {b}" for a, b in pairs if a != b)[:800]


def attack(count: int, seed: int) -> Tally:
    """`count` kills, shared out among the stages."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GALEN_LOCK_DIR"] = str(folder / "locks")
        build_model(folder / "tiny")
        workspace = Workspace(folder / "workspace")
        for at, stage in enumerate(WORDS):
            numbers = range(seed + at, seed + count, len(WORDS))
            if not numbers:
                continue
            runs = Stage(workspace, folder, stage, tally)
            for number in numbers:
                runs.kill(number)
    return tally


def main() -> int:
    return command(attack, count=20, doc=__doc__)


if __name__ == "__main__":
    sys.exit(main())
