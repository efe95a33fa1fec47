"""A stage for the tests of the run engine: a torch-free recipe that behaves, or misbehaves, as its config says.

It is a plugin (`GALEN_PLUGINS=tests.drill`) and its own recipe. It goes through the phases of a real stage, computes
one number per step from the seed alone, logs it, saves it in checkpoints, and delivers a manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from core.configs.distributed import Distributed
from core.configs.sections import Section, setting
from core.configs.stages import Stage, StageConfig
from core.errors import DataError, RunError, StopRequested
from core.records import Manifest, RootBase
from core.report import RunContext
from core.rundir import write_record, write_text

PHASES = ("tokenising", "loading", "training", "saving")


class Drill(Section):
    steps: int = setting(12, "Steps.", ge=1)
    step_seconds: float = setting(0.0, "Length of a step.", ge=0)
    save_every: int = setting(5, "Steps between checkpoints.", ge=1)
    pause_in: Literal["", "tokenising", "loading", "training", "saving"] = setting("", "Wait there for the file `go`.")
    pause_step: int = setting(8, "The step before which the training pauses.", ge=1)
    fails: str = setting("", "How to fail, in training: a key of FAILURES.")
    failing_rank: int = setting(0, "The rank that fails.")
    deaf: bool = setting(False, "Neither a stop request nor SIGTERM ends it.")
    children: bool = setting(False, "Start helpers, one of them with an empty environment.")


class DrillConfig(StageConfig):
    drill: Drill = Drill()
    distributed: Distributed = Distributed()


STAGES = [Stage("drill", DrillConfig, "tests.drill")]


def main(context: RunContext) -> None:
    config = context.config.drill
    if config.children:
        start_helpers()
    if config.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for phase in ("tokenising", "loading"):
        context.report.phase(phase)
        pause(context, phase)
    train(context)
    context.report.phase("saving")
    context.run.output.mkdir(exist_ok=True)
    pause(context, "saving")
    if context.rank == 0:
        deliver(context)


def train(context: RunContext) -> None:
    config, run, report = context.config.drill, context.run, context.report
    done = run.complete_checkpoints()
    step = done[-1].step if done else 0
    value = json.loads((done[-1].path / "state.json").read_text())["value"] if done else 0.0
    report.phase("training", total=config.steps, step=step)
    while step < config.steps:
        if step + 1 == config.pause_step:
            pause(context, "training")
        if step + 1 >= config.pause_step:  # or later: a rank that comes late finds a checkpoint of the others
            fail(context)
        step += 1
        value = next_value(value, context.config.run.seed, step)
        time.sleep(config.step_seconds)
        report.metrics(step, step / config.steps, loss=value)
        report.progress(step, step_seconds=config.step_seconds)
        stopping = report.stop_requested() and not config.deaf
        if context.rank == 0 and (step % config.save_every == 0 or stopping):
            save(run.checkpoints, step, value)
        if stopping:
            raise StopRequested


def next_value(value: float, seed: int, step: int) -> float:
    noise = hashlib.sha256(f"{seed}:{step}".encode()).digest()[0] / 255
    return 0.9 * value + noise


def save(checkpoints: Path, step: int, value: float) -> None:
    folder = checkpoints / f"tmp-step-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "state.json").write_text(json.dumps({"value": value}))
    write_text(folder / "COMPLETE", json.dumps({"step": step, "saved_at": time.time()}))
    if not (checkpoints / f"step-{step}").exists():
        os.rename(folder, checkpoints / f"step-{step}")


def deliver(context: RunContext) -> None:
    run = context.run
    rows = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    manifest = Manifest(
        run=run.id,
        name=context.config.run.name,
        stage="drill",
        kind="evaluation",
        root_base=RootBase(source="none", path=""),
        backbone_id="none",
        method="drill",
        dtype="none",
        device=context.device,
        final_metrics={"loss": rows[-1]["loss"]},
    )
    write_record(run.manifest_file, manifest)


def pause(context: RunContext, phase: str) -> None:
    """Wait for the file `go` in the run's folder, if the config says so; a stop request ends the wait."""
    config = context.config.drill
    if config.pause_in == phase and context.rank == 0:
        (context.run.path / f"paused-{phase}").touch()
    while config.pause_in == phase and not (context.run.path / "go").exists():
        if not config.deaf and phase != "saving":
            if phase == "training" and context.report.stop_requested():
                return
            context.report.check_stop()
        time.sleep(0.02)


def start_helpers() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    subprocess.Popen(sleeper)
    subprocess.Popen(sleeper, env={"DRILL_HELPER": "1"}, start_new_session=True)


def fail(context: RunContext) -> None:
    """As the config says, unless somebody has repaired it meanwhile."""
    config = context.config.drill
    if config.fails and context.rank == config.failing_rank and not (context.run.path / "repaired").exists():
        FAILURES[config.fails](context)


# -- ways to fail -----------------------------------------------------------------------------------------------------
def _memory(context: RunContext) -> None:
    raise MemoryError("cannot have 12 TB")


def _crash(context: RunContext) -> None:
    raise RuntimeError("the recipe has a bug\nand a second line")


def _bad_data(context: RunContext) -> None:
    raise DataError("data.no_file", file="rows.jsonl")


def _nan(context: RunContext) -> None:
    raise RunError("run.nan_loss", step=8, count=1, rows=4, checkpoint="step-4")


def _missing(context: RunContext) -> None:
    (context.run.path / "not-there.json").read_text()


def _exit(context: RunContext) -> None:
    os._exit(7)


def _killed(context: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segfault(context: RunContext) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _fill_disk(context: RunContext) -> None:
    with open(context.run.path / "huge", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


FAILURES = {
    "memory": _memory,
    "crash": _crash,
    "bad data": _bad_data,
    "nan": _nan,
    "missing": _missing,
    "exit": _exit,
    "killed": _killed,
    "segfault": _segfault,
    "disk": _fill_disk,
}
