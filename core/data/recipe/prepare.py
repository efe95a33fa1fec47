"""Run a recipe: datasets in, a new version of one out (or several, where the recipe ends by parting the rows).

    made = prepare(workspace, recipe, on_progress=…, check_stop=…)

    1. plan: open the inputs, check every step against the kind of rows it will get, name the version
    2. find: a recipe that ran before is not run again
    3. mix the inputs by weight
    4. steps: neighbouring per-row steps in one pass, the others over all rows; what a step drops is written at once,
       with the reason, the step's number and the row itself
    5. write the rows that are left; a pass at the end of the recipe writes them as it goes
    6. cards, then rename each folder into place

Everything is built in a hidden folder that goes when the recipe ends, however it ends. Memory holds one batch of rows
and a few numbers for each row (`core.data.recipe.rows`). `core.data.recipe.preview` shows what a recipe would do.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.configs.data import Recipe
from core.data.files.containers import excerpt
from core.data.recipe.mixing import mix
from core.data.recipe.passes import Count
from core.data.recipe.plan import Plan, pinned, plan_recipe
from core.data.recipe.rows import StoredRows
from core.data.recipe.walk import Walk
from core.data.steps.base import Drop, Item, Job
from core.data.store.building import hidden_folder
from core.data.store.dataset import Dataset, DatasetCard, StepCount
from core.data.store.library import list_datasets
from core.data.store.writer import VersionWriter, Written
from core.errors import DataError
from core.rundir import write_record
from core.workspace import Workspace

Progress = Callable[[int, str, int, int], None]  # step (from 1), its name, rows done, rows in all
INLINE_ROWS = 50_000  # of all inputs: a recipe over more rows is a run of the stage `prepare`, not done while one waits
WRITING = "write"  # what comes after the last step, told as a step of this name


def prepare(
    workspace: Workspace,
    recipe: Recipe,
    *,
    on_progress: Progress | None = None,
    check_stop: Callable[[], None] | None = None,
) -> list[Dataset]:
    """The dataset that `recipe` makes, or the datasets; found where it ran before.

    Raises ConfigError with everything that is wrong with the recipe; DataError `step.nothing_left` where the steps drop
    every row, or what a step complains about; StopRequested by way of `check_stop`. Nothing is left then.
    """
    recipe = pinned(workspace, recipe)
    plan = plan_recipe(workspace, recipe)  # 1
    made = _made_before(workspace, plan)  # 2
    if made:
        return made
    size = sum(dataset.card.source_bytes for dataset in plan.inputs)
    with hidden_folder(workspace, 2 * size) as folder:
        return _Making(workspace, plan, recipe, folder, on_progress, check_stop).make()


def _made_before(workspace: Workspace, plan: Plan) -> list[Dataset]:
    """What the same recipe made, if all of it is still there."""
    found = {
        dataset.name: dataset
        for dataset in list_datasets(workspace)
        if dataset.version == plan.version and (dataset.card.recipe or {}).get("output") == plan.output
    }
    parts = next(iter(found.values())).card.parts if found else []
    return [found[name] for name in parts] if set(parts) <= set(found) else []


class _Making:
    """One recipe at work in `folder`."""

    def __init__(
        self,
        workspace: Workspace,
        plan: Plan,
        recipe: Recipe,
        folder: Path,
        on_progress: Progress | None,
        check_stop: Callable[[], None] | None,
    ) -> None:
        self.workspace, self.plan, self.recipe, self.folder = workspace, plan, recipe, folder
        self.on_progress = on_progress
        self.step = 0
        scratch = folder / "scratch"
        scratch.mkdir()
        self.job = Job(workspace, plan.seed, scratch, check_stop=check_stop, progress=self._tell)
        self.writers: list[VersionWriter] = []
        self.open: list[VersionWriter] = []

    def make(self) -> list[Dataset]:
        rows = mix(self.plan, self.job.scratch)  # 3
        first = self._writer()
        try:
            walk = Walk(self.plan, self.job, dropped=self._drop, entered=self._enter)
            left = walk.over(rows, write=None if self.plan.parts else self._write)  # 4, 5
            if left is not None and self.plan.parts:
                written = self._part(left, walk.parts)
            else:
                if left is not None:
                    self._write_all(left, first)
                written = {self.plan.output: self._close(first)}
        except BaseException:
            for writer in self.open:
                with contextlib.suppress(Exception):  # what went wrong first is what is told
                    writer.release()
            raise
        return self._place(written, walk.counts)  # 6

    # -- what the walk calls ------------------------------------------------------------------------------------------
    def _enter(self, step: int) -> None:
        self.step = step

    def _tell(self, done: int, total: int) -> None:
        if self.on_progress is not None:
            steps = self.plan.steps
            self.on_progress(self.step + 1, steps[self.step].do if self.step < len(steps) else WRITING, done, total)

    def _drop(self, step: int, item: Item, drop: Drop) -> None:
        writer = self.writers[0]
        row = item.row
        shown = excerpt(next(iter(row.values())) if len(row) == 1 else row)
        writer.drop(item.line, drop.code, drop.params, shown, step=step + 1, row=row)

    def _write(self, item: Item, writer: VersionWriter | None = None) -> None:
        own = None if item.source == self.plan.output else item.source
        (writer or self.writers[0]).add(
            item.row,
            line=item.line,
            source=own,
            difficulty=item.difficulty,
            score=item.score,
            category=item.category,
        )

    # -- the end ------------------------------------------------------------------------------------------------------
    def _writer(self) -> VersionWriter:
        place = self.folder / str(len(self.writers))
        place.mkdir()
        writer = VersionWriter(place, self.plan.kind)
        self.writers.append(writer)
        self.open.append(writer)
        return writer

    def _close(self, writer: VersionWriter) -> Written:
        self.open.remove(writer)
        return writer.close()

    def _write_all(self, rows: StoredRows, writer: VersionWriter) -> None:
        self._enter(len(self.plan.steps))
        done = 0
        for batch in rows.batches():
            for item in batch:
                self._write(item, writer)
            done += len(batch)
            self.job.progress(done, len(rows))

    def _part(self, rows: StoredRows, parts: dict[str, Any]) -> dict[str, Written]:
        written = {}
        for number, (suffix, positions) in enumerate(parts.items()):
            writer = self.writers[0] if number == 0 else self._writer()
            self._write_all(rows.chosen(np.asarray(positions, dtype=np.int64)), writer)
            written[f"{self.plan.output}-{suffix}"] = self._close(writer)
        return written

    def _place(self, written: dict[str, Written], counts: list[Count]) -> list[Dataset]:
        """Write every card, then let every folder appear."""
        for name, figures in written.items():
            if figures.rows == 0:
                told = ", ".join(f"{s.do} {c.before} → {c.after}" for s, c in zip(self.plan.steps, counts, strict=True))
                raise DataError("step.nothing_left", name=name, steps=told or "–")
        self.job.check_stop()
        made = []
        for number, (name, figures) in enumerate(written.items()):
            card = self._card(name, figures, counts, list(written))
            write_record(self.folder / str(number) / "card.json", card)
            made.append((self.folder / str(number), Dataset(self.workspace.datasets_dir / name / card.version, card)))
        for building, dataset in made:
            dataset.folder.parent.mkdir(exist_ok=True)
            try:
                os.rename(building, dataset.folder)
            except OSError:  # somebody else was faster, with the same recipe
                if not (dataset.folder / "card.json").exists():
                    raise
        return [dataset for _, dataset in made]

    def _card(self, name: str, figures: Written, counts: list[Count], parts: list[str]) -> DatasetCard:
        plan = self.plan
        parents = plan.inputs
        return DatasetCard(
            name=name,
            version=plan.version,
            kind=plan.kind,
            format="recipe",
            container="recipe",
            rows=figures.rows,
            dropped=figures.dropped,
            dropped_counts=figures.dropped_counts,
            sha256=figures.sha256,
            source_name=", ".join(parent.ref for parent in parents),
            source_bytes=sum(parent.card.source_bytes for parent in parents),
            created=time.time(),
            parents=[parent.ref for parent in parents],
            recipe={**self.recipe.model_dump(mode="json"), "output": plan.output},
            parts=parts,
            steps=[
                StepCount(do=step.do, before=count.before, after=count.after, changed=count.changed)
                for step, count in zip(plan.steps, counts, strict=True)
            ],
            duplicates=figures.duplicates,
            languages=figures.languages,
            sources={source or name: count for source, count in figures.sources.items()},
            licence=" / ".join(dict.fromkeys(parent.card.licence for parent in parents if parent.card.licence)),
            origin=" / ".join(dict.fromkeys(parent.card.origin for parent in parents if parent.card.origin)),
        )
