"""What a resume does to the files of the earlier attempt. The caller holds the run's lock.

    1. find the step to go on from: that of the last whole checkpoint, or 0
    2. cut metrics.jsonl and samples.jsonl after it; the cut rows are kept under attempts/n/. The rollouts after it move
       there whole, one file each
    3. throw away torn checkpoints, and files that were only being written: they hold nothing that can be used
    4. move what described the earlier attempt (result, status, progress, log, a torn output) to attempts/n/

Nothing is lost when this is interrupted at any point: rows are kept before they are cut, and doing it twice is doing
it once. The new files replace the old by rename, so a reader that holds an offset sees a file that became shorter.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import orjson

from core.rundir import RunDir

ROLLOUT = re.compile(r"(step|held-out)-(?P<step>\d+)\.jsonl", re.ASCII)
DESCRIPTIONS = ("result.json", "status.json", "progress.json", "stop_requested", "heartbeat.json", "log")


def set_aside(run: RunDir, *, keep: Sequence[str] = ()) -> int:
    """Make `run` ready for its next attempt; the files named in `keep` stay. Returns the step that it goes on from."""
    checkpoints = run.complete_checkpoints()
    step = checkpoints[-1].step if checkpoints else 0
    folder = _next_attempt(run)
    kept = step if checkpoints else -1  # without any, what was measured before the first step is measured again
    for file in (run.metrics_file, run.samples_file):
        cut_after(file, kept, folder / file.name)
    _move_rollouts(run, kept, folder / run.rollouts.name)
    whole = {checkpoint.path.name for checkpoint in checkpoints}
    for entry in run.checkpoints.iterdir() if run.checkpoints.is_dir() else ():
        if entry.name not in whole:
            _remove(entry)
    for temporary in run.path.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)
    for name in DESCRIPTIONS:
        if name not in keep and (run.path / name).exists():
            os.rename(run.path / name, folder / name)
    if run.output.exists():
        os.rename(run.output, folder / "output")
    run.checkpoints.mkdir(exist_ok=True)
    run.log_dir.mkdir(exist_ok=True)
    return step


def keep_config(run: RunDir) -> None:
    """Copy the config to the newest attempt set aside: a changed one is going to take its place."""
    folder = max((entry for entry in run.attempts.glob("*") if entry.name.isdigit()), key=lambda entry: int(entry.name))
    for path in (run.config_json, run.config_yaml):
        shutil.copyfile(path, folder / path.name)


def _next_attempt(run: RunDir) -> Path:
    numbers = [int(entry.name) for entry in run.attempts.glob("*") if entry.name.isdigit()]
    folder = run.attempts / str(1 + max(numbers, default=0))
    folder.mkdir(parents=True)
    return folder


def cut_after(file: Path, step: int, kept: Path) -> None:
    """Leave in `file` its whole rows up to `step`; write the other rows, and a torn line, to `kept`."""
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return
    stay = [line for line in lines if _step_of(line) <= step]
    gone = [line for line in lines if _step_of(line) > step]
    if not gone:
        return
    _replace(kept, gone)
    _replace(file, stay)


def _move_rollouts(run: RunDir, step: int, kept: Path) -> None:
    """The answers that were sampled after `step`, and those that were sampled to be looked at."""
    for path in run.rollouts.glob("*.jsonl"):
        named = ROLLOUT.fullmatch(path.name)
        if named is not None and int(named["step"]) > step:
            kept.mkdir(exist_ok=True)
            os.rename(path, kept / path.name)


def _step_of(line: bytes) -> float:
    """The row's step; infinite for a line that is torn or no row, so that it is cut."""
    try:
        row = orjson.loads(line)
        return float(row["step"]) if line.endswith(b"\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _replace(path: Path, lines: list[bytes]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
