"""Making what a recipe says, from the terminal: a short one here, a long one as a run of `prepare`, which is followed.

The run goes on when this terminal is closed, as any other.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from core.cli.follow import follow
from core.cli.output import Teller, print_json
from core.configs.files import resolve
from core.configs.stages import PrepareConfig
from core.data.recipe.prepare import INLINE_ROWS, prepare
from core.data.store.dataset import Dataset
from core.data.store.library import open_dataset
from core.jobs import store
from core.jobs.summaries import summary
from core.records import Produced
from core.rundir import read_record
from core.workspace import Workspace

STAGE = "prepare"


def carry_out(args: argparse.Namespace, recipe: Mapping[str, Any]) -> int:
    """Make `recipe`, the settings of `core.configs.data.Recipe`. Raises ConfigError with all that is wrong with it."""
    workspace = Workspace(args.workspace)
    config = resolve(STAGE, values={f"recipe.{name}": value for name, value in recipe.items()}, workspace=workspace)
    assert isinstance(config, PrepareConfig)
    inputs = config.recipe.inputs
    if sum(len(open_dataset(workspace, each.dataset)) * each.weight for each in inputs) <= INLINE_ROWS:
        made = prepare(workspace, config.recipe, on_progress=Teller(_step_line))
        tell_made(made, json=args.json)
        return 0
    run = store.submit(workspace, STAGE, config)
    print(f"{run.id}  {run.config()['run']['name']}", flush=True)
    status = follow(run)
    produced = read_record(run.produced_file, Produced)
    if status == 0 and produced is not None:
        tell_made([open_dataset(workspace, ref) for ref in produced.datasets], json=args.json)
    elif args.json:
        print_json(summary(run).as_dict())
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


def _step_line(step: int, name: str, done: int, total: int) -> str:
    return f"{step}. {name}: {done} of {total} rows"
