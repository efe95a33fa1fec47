"""One pass over the rows for as many per-row steps as follow one another.

A row goes through the whole chain before the next one is looked at, so ten rules cost one reading and no writing. What
a step must not touch (`only_sources`, `except_sources`) is led past it here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.configs.step_base import Step
from core.data.kinds import Kind, Row
from core.data.steps import PER_ROW
from core.data.steps.base import Drop, Item, Job, PerRow


@dataclass
class Count:
    """What a step did so far: rows that came to it, rows that left it, and how many rows it rewrote."""

    before: int = 0
    after: int = 0
    changed: int = 0

    def add(self, other: Count) -> None:
        self.before += other.before
        self.after += other.after
        self.changed += other.changed


@dataclass
class Passed:
    """What came of a batch. `kept`: the row's place in the batch, the item, and whether its row or source is a new one.

    `dropped`: step, the item as it was when it came to that step, and why. `changed`: step, the row before, the rows
    after; filled only for a chain that is asked to keep them.
    """

    kept: list[tuple[int, Item, bool]] = field(default_factory=list)
    dropped: list[tuple[int, Item, Drop]] = field(default_factory=list)
    changed: list[tuple[int, Item, list[Row]]] = field(default_factory=list)
    counts: dict[int, Count] = field(default_factory=dict)


def touches(step: Step) -> Callable[[str], bool] | None:
    """Whether a step may touch rows of a source; None where it may touch all."""
    only, excepted = frozenset(step.only_sources), frozenset(step.except_sources)
    if not only and not excepted:
        return None
    return lambda source: (not only or source in only) and source not in excepted


class Chain:
    """Per-row steps, each with its number in the recipe (from 0); `kinds[n]` is the kind of rows that step n gets."""

    def __init__(
        self, steps: Sequence[tuple[int, Any]], kinds: Sequence[Kind], job: Job, *, keep_changed: bool = False
    ) -> None:
        self.numbers = [number for number, _ in steps]
        self._keep_changed = keep_changed
        self._links: list[tuple[int, PerRow, Callable[[str], bool] | None]] = []
        for number, step in steps:
            job.enter(number, kinds[number])
            self._links.append((number, PER_ROW[step.do](step, job), touches(step)))

    def run(self, items: Iterable[Item]) -> Passed:
        """Send every item through. An item whose row is the very object it came with counts as unchanged."""
        passed = Passed(counts={number: Count() for number in self.numbers})
        for place, item in enumerate(items):
            row, source = item.row, item.source
            waiting = [item]
            for number, work, may_touch in self._links:
                waiting = self._step(waiting, number, work, may_touch, passed)
                if not waiting:
                    break
            passed.kept += [(place, one, one.row is not row or one.source != source) for one in waiting]
        return passed

    def _step(
        self,
        items: list[Item],
        number: int,
        work: PerRow,
        may_touch: Callable[[str], bool] | None,
        passed: Passed,
    ) -> list[Item]:
        count = passed.counts[number]
        after: list[Item] = []
        for item in items:
            count.before += 1
            if may_touch is not None and not may_touch(item.source):
                after.append(item)
                continue
            row = item.row
            outcome = work(item)
            if isinstance(outcome, Drop):
                passed.dropped.append((number, item, outcome))
                continue
            came = outcome if isinstance(outcome, list) else [outcome]
            if len(came) != 1 or came[0].row is not row:
                count.changed += 1
                if self._keep_changed:
                    was = replace(item, row=row)
                    passed.changed.append((number, was, [one.row for one in came]))
            after += came
        count.after += len(after)
        return after
