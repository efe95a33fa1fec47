"""Leads rows through the steps of a recipe: the part that a recipe and its preview have in common.

Neighbouring per-row steps become one pass. A pass keeps the numbers of rows it left alone and writes only those that it
rewrote (`StoreWriter`), so ten rules over two million rows write nothing but what they drop.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.kinds import Row
from core.data.recipe.passes import Chain, Count, touches
from core.data.recipe.plan import Plan
from core.data.recipe.rows import StoredRows, StoreWriter
from core.data.steps import OVERALL, PARTING, PER_ROW
from core.data.steps.base import Drop, Item, Job, Positions, Selection

BATCH = 2000

Dropped = Callable[[int, Item, Drop], None]  # step, the row as it came to the step, why
Changed = Callable[[int, Item, list[Row]], None]  # step, the row before, the rows after


class Walk:
    """`over` does the work; `counts` and, for a step that parts the rows, `parts` are known after it.

    `dropped` and `changed` are called for every such row, `entered` when a step (or a pass) begins.
    """

    def __init__(
        self,
        plan: Plan,
        job: Job,
        *,
        dropped: Dropped,
        changed: Changed | None = None,
        entered: Callable[[int], None] | None = None,
    ) -> None:
        self.plan, self.job = plan, job
        self.counts = [Count() for _ in plan.steps]
        self.parts: dict[str, Positions] = {}
        self._dropped, self._changed, self._entered = dropped, changed, entered

    def over(self, rows: StoredRows, write: Callable[[Item], None] | None = None) -> StoredRows | None:
        """The rows that are left. With `write`, a pass that ends the recipe gives its rows there; None comes back."""
        numbered = list(enumerate(self.plan.steps))
        runs = [(per_row, list(steps)) for per_row, steps in groupby(numbered, key=lambda s: s[1].do in PER_ROW)]
        for number, (per_row, steps) in enumerate(runs):
            if per_row:
                last = number == len(runs) - 1
                left = self._pass(rows, steps, write if last else None)
                if left is None:
                    return None
                rows = left
                continue
            for index, step in steps:
                self._enter(index, rows)
                rows = self._whole(rows, index, step)
        return rows

    def _enter(self, index: int, rows: StoredRows) -> None:
        self.job.enter(index, self.plan.kinds[index])
        if self._entered is not None:
            self._entered(index)
        self.job.progress(0, len(rows))

    # -- per-row steps ------------------------------------------------------------------------------------------------
    def _pass(
        self, rows: StoredRows, steps: list[tuple[int, Any]], write: Callable[[Item], None] | None
    ) -> StoredRows | None:
        chain = Chain(steps, self.plan.kinds, self.job, keep_changed=self._changed is not None)
        first, last = steps[0][0], steps[-1][0]
        self._enter(first, rows)
        collector = None if write is not None else _Collector(rows, self.plan.kinds[last + 1], self.job, first)
        done = 0
        for batch in rows.batches(BATCH):
            passed = chain.run(batch)
            for index, item, drop in passed.dropped:
                self._dropped(index, item, drop)
            if self._changed is not None:
                for index, item, after in passed.changed:
                    self._changed(index, item, after)
            for index, count in passed.counts.items():
                self.counts[index].add(count)
            for place, item, rewritten in passed.kept:
                if write is not None:
                    write(item)
                elif collector is not None:
                    collector.keep(done + place, item, rewritten)
            done += len(batch)
            self.job.progress(done, len(rows))
        return None if collector is None else collector.rows()

    # -- steps over all rows ------------------------------------------------------------------------------------------
    def _whole(self, rows: StoredRows, index: int, step: Any) -> StoredRows:
        count = self.counts[index]
        count.before = len(rows)
        if step.do in PARTING:
            self.parts = PARTING[step.do](step, rows, self.job)
            count.after = sum(len(positions) for positions in self.parts.values())
            return rows
        may_touch = touches(step)
        selection = OVERALL[step.do](step, rows, self.job) if may_touch is None else self._some(rows, step, may_touch)
        self._tell(index, rows, selection)
        left = rows.chosen(selection.order, selection.columns)
        count.after = len(left)
        return left

    def _some(self, rows: StoredRows, step: Any, may_touch: Callable[[str], bool]) -> Selection:
        """What `step` decides of the rows that it may touch, told in the positions of all rows.

        Rows that it leaves alone keep their places; those it reorders share the places that they had.
        """
        names, codes = rows.sources()
        mask = np.array([may_touch(name) for name in names], dtype=bool)[codes]
        own = np.flatnonzero(mask).astype(np.int64)
        if not len(own):
            return Selection(np.arange(len(rows), dtype=np.int64))
        chosen = OVERALL[step.do](step, rows.chosen(own), self.job)
        order = own[chosen.order]
        ascending = bool((np.diff(order) >= 0).all())
        places = order if ascending else np.resize(own, len(order))
        whole = np.concatenate([np.flatnonzero(~mask), order])
        at = np.concatenate([np.flatnonzero(~mask), places])
        columns = {}
        for name, values in chosen.columns.items():
            columns[name] = rows.column(name).copy()
            columns[name][own] = values
        dropped = {int(own[position]): drop for position, drop in chosen.dropped.items()}
        return Selection(whole[np.argsort(at, kind="stable")].astype(np.int64), dropped, columns)

    def _tell(self, index: int, rows: StoredRows, selection: Selection) -> None:
        """Pass on what a step over all rows dropped, in the order of the rows."""
        going = sorted(selection.dropped)
        for start in range(0, len(going), BATCH):
            positions = going[start : start + BATCH]
            for position, item in zip(positions, rows.take(positions), strict=True):
                self._dropped(index, item, selection.dropped[position])
            self.job.check_stop()


class _Collector:
    """What a pass keeps: numbers of rows left alone, and a store of those rewritten."""

    def __init__(self, rows: StoredRows, kind: Any, job: Job, step: int) -> None:
        self._before, self._kind = rows, kind
        self._same_kind = kind == rows.kind
        self._first_new = int(rows.starts[-1]) if self._same_kind else 0
        self._numbers = array("q")
        self._said = {"difficulty": array("d"), "score": array("d")}
        self._writer = StoreWriter(job.scratch / f"step-{step}", kind)

    def keep(self, position: int, item: Item, rewritten: bool) -> None:
        if rewritten or not self._same_kind:
            number = self._first_new + self._writer.add(item)
        else:
            number = int(self._before.numbers[position])
        self._numbers.append(number)
        self._said["difficulty"].append(_number(item.difficulty))
        self._said["score"].append(_number(item.score))

    def rows(self) -> StoredRows:
        added = self._writer.close()
        stores = [*(self._before.stores if self._same_kind else ()), *([added] if added is not None else ())]
        said: dict[str, NDArray[np.float64]] = {name: np.array(values) for name, values in self._said.items()}
        numbers = np.array(self._numbers, dtype=np.int64)
        return StoredRows(self._kind, stores, numbers, self._before.scratch, said)


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
