"""prepare: clean and shape datasets by a recipe. Run it with `python -m core prepare` or `python -m core data clean`.

    1. run the recipe (`core.data.recipe.prepare`), telling every step as it begins
    2. note which datasets came out, so that whoever follows the run can open them

Torch-free. A stop leaves the workspace as it was.
"""

from __future__ import annotations

from core.configs.stages import PrepareConfig
from core.data.recipe.prepare import prepare
from core.records import Produced
from core.report import Report, RunContext
from core.rundir import write_record


def main(context: RunContext) -> None:
    """Make `recipe`. Raises what `core.data.recipe.prepare.prepare` raises."""
    config, report = context.config, context.report
    assert isinstance(config, PrepareConfig)
    made = prepare(context.workspace, config.recipe, on_progress=_Follow(report), check_stop=report.check_stop)  # 1
    context.run.output.mkdir(parents=True, exist_ok=True)
    write_record(context.run.produced_file, Produced(datasets=[dataset.ref for dataset in made]))  # 2
    for dataset in made:
        card = dataset.card
        for number, step in enumerate(card.steps, 1):
            print(f"{number}. {step.do}: {step.before} -> {step.after} rows, {step.changed} changed")
        print(f"{dataset.ref}: {card.rows} rows, {card.dropped} dropped with their reasons")


class _Follow:
    """Rows done, step by step, into progress.json; a line in the log where a step begins."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._step = 0

    def __call__(self, step: int, name: str, done: int, total: int) -> None:
        if step != self._step:
            self._step = step
            print(f"step {step}: {name}, {total} rows", flush=True)
            self._report.phase("preparing", total=total, unit="row")
        self._report.progress(done, total=total)
