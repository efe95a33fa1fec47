"""What a recipe would do, on a part of the rows and within two seconds: nothing is written but scratch files.

    for step in preview(workspace, recipe): print(step.do, step.before, step.after, step.dropped)

The part is made of stretches of neighbouring rows from all over the inputs. Of duplicates it can show only those whose
twin lies in the part, too, so a step over all rows drops fewer there than in the whole (`sampled` says so).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.configs.data import Recipe
from core.data.kinds import Kind, Row
from core.data.recipe.mixing import mix
from core.data.recipe.plan import plan_recipe
from core.data.recipe.walk import Walk
from core.data.steps.base import Drop, Item, Job, Positions
from core.errors import Problem
from core.workspace import Workspace

STRETCHES = 10  # of neighbouring rows, spread over the inputs
LOOKED_BYTES = 5_000_000  # of rows; about two seconds for a recipe of ten steps
LEAST_ROWS = 100
KEPT_EXAMPLES = 20  # of dropped and of changed rows, a step


@dataclass(frozen=True)
class Example:
    """A row that a step drops (`problem` says why) or changes (`after`: what it becomes, one row or several)."""

    line: int
    source: str
    row: Row
    problem: Problem | None = None
    after: list[Row] = field(default_factory=list)


@dataclass
class StepPreview:
    """What one step does with the rows looked at. `kind` is that of the rows before it; `parts` counts by suffix."""

    do: str
    kind: Kind
    before: int = 0
    after: int = 0
    changed: int = 0
    sampled: bool = False
    reasons: dict[str, int] = field(default_factory=dict)  # rows dropped, by code
    dropped: list[Example] = field(default_factory=list)
    changed_rows: list[Example] = field(default_factory=list)
    parts: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The object that `data preview --json` prints a step."""
        return {
            "do": self.do,
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            "changed": self.changed,
            "sampled": self.sampled,
            "reasons": self.reasons,
            "dropped": [
                {"line": e.line, "source": e.source, "code": e.problem.code, "message": e.problem.message, "row": e.row}
                for e in self.dropped
                if e.problem is not None
            ],
            "changed_rows": [
                {"line": e.line, "source": e.source, "before": e.row, "after": e.after} for e in self.changed_rows
            ],
            "parts": self.parts,
        }


def preview(
    workspace: Workspace, recipe: Recipe, *, limit: int = 2000, check_stop: Callable[[], None] | None = None
) -> list[StepPreview]:
    """One StepPreview a step, from at most `limit` rows, fewer where rows are long.

    Raises ConfigError and DataError as `prepare` does.
    """
    plan = plan_recipe(workspace, recipe)
    steps = [StepPreview(step.do, kind) for step, kind in zip(plan.steps, plan.kinds, strict=False)]

    def dropped(step: int, item: Item, drop: Drop) -> None:
        told = steps[step]
        told.reasons[drop.code] = told.reasons.get(drop.code, 0) + 1
        if len(told.dropped) < KEPT_EXAMPLES:
            told.dropped.append(Example(item.line, item.source, item.row, Problem(drop.code, drop.params)))

    def changed(step: int, item: Item, after: list[Row]) -> None:
        if len(steps[step].changed_rows) < KEPT_EXAMPLES:
            steps[step].changed_rows.append(Example(item.line, item.source, item.row, after=after))

    with tempfile.TemporaryDirectory(prefix="galen-preview-") as scratch:
        whole = mix(plan, Path(scratch))
        size = sum(dataset.card.source_bytes for dataset in plan.inputs) / max(1, sum(map(len, plan.inputs)))
        rows = whole.chosen(stretches(len(whole), max(LEAST_ROWS, min(limit, int(LOOKED_BYTES / max(1.0, size))))))
        share = len(rows) / max(1, len(whole))
        job = Job(workspace, plan.seed, Path(scratch), check_stop=check_stop, share=share)
        walk = Walk(plan, job, dropped=dropped, changed=changed)
        walk.over(rows)
    for told, count in zip(steps, walk.counts, strict=True):
        told.before, told.after, told.changed = count.before, count.after, count.changed
        told.sampled = len(rows) < len(whole)
    if walk.parts:
        steps[-1].parts = {suffix: len(positions) for suffix, positions in walk.parts.items()}
    return steps


def stretches(rows: int, limit: int) -> Positions:
    """At most `limit` positions of `rows`, ascending: all, or ten stretches at equal distances."""
    if rows <= limit:
        return np.arange(rows, dtype=np.int64)
    length = max(1, limit // STRETCHES)
    starts = np.linspace(0, rows - length, STRETCHES).astype(np.int64)
    return np.unique((starts[:, None] + np.arange(length)[None, :]).ravel())[:limit]
