"""Making what a recipe says, from the terminal: a short one here, a long one as a run of `prepare`, which is followed.

The run goes on when this terminal is closed, as any other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from core.cli.follow import follow
from core.cli.output import print_json
from core.configs.files import resolve
from core.configs.stages import PrepareConfig
from core.data.dataset import Dataset
from core.data.library import open_dataset
from core.data.prepare import INLINE_ROWS, prepare
from core.jobs import store
from core.records import Produced
from core.rundir import read_record
from core.workspace import Workspace

STAGE = "prepare"
TELL_SECONDS = 1.0  # between two lines of progress


def carry_out(args: argparse.Namespace, recipe: Mapping[str, Any]) -> int:
    """Make `recipe`, the settings of `core.configs.data.Recipe`. Raises ConfigError with all that is wrong with it."""
    workspace = Workspace(args.workspace)
    config = resolve(STAGE, values={f"recipe.{name}": value for name, value in recipe.items()}, workspace=workspace)
    assert isinstance(config, PrepareConfig)
    inputs = config.recipe.inputs
    if sum(len(open_dataset(workspace, each.dataset)) * each.weight for each in inputs) <= INLINE_ROWS:
        made = prepare(workspace, config.recipe, on_progress=_Tell())
        tell_made(made, json=args.json)
        return 0
    run = store.submit(workspace, STAGE, config)
    print(f"{run.id}  {run.config()['run']['name']}", flush=True)
    status = follow(run)
    produced = read_record(run.produced_file, Produced)
    if status == 0 and produced is not None:
        tell_made([open_dataset(workspace, ref) for ref in produced.datasets], json=args.json)
    return status


def tell_made(datasets: Iterable[Dataset], *, json: bool) -> None:
    """Say what came out, and where rows were lost."""
    datasets = list(datasets)
    for step in datasets[0].card.steps:
        changed = f", {step.changed} changed" if step.changed else ""
        print(f"  {step.do}: {step.before} rows before, {step.after} after{changed}")
    for dataset in datasets:
        stages = ", ".join(dataset.card.stages) or "no stage yet"
        print(f"{dataset.ref}: {len(dataset)} rows for {stages}; {dataset.card.dropped} dropped")
    if json:
        print_json({"datasets": [{"ref": dataset.ref, **dataset.card.model_dump()} for dataset in datasets]})


class _Tell:
    """A line on stderr every second."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, step: int, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._last >= TELL_SECONDS:
            self._last = time.monotonic()
            print(f"{step}. {name}: {done} of {total} rows", file=sys.stderr, flush=True)
