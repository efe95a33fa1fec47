"""Steps about which rows there are and in which order: shuffle, sort, sample, take, select, source."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.configs import shape_steps
from core.data.steps.base import Drop, Item, Job, PerRow, Positions, Rows, Selection


def shuffle(step: shape_steps.Shuffle, rows: Rows, job: Job) -> Selection:
    return Selection(job.random().permutation(len(rows)).astype(np.int64))


def sort(step: shape_steps.Sort, rows: Rows, job: Job) -> Selection:
    """Stable, also descending: rows with the same figure keep their order, and rows without one come last."""
    values = np.asarray(rows.column(step.by), dtype=np.float64)
    keys = -values if step.descending else values
    return Selection(np.argsort(keys, kind="stable").astype(np.int64))  # NumPy puts NaN last


def sample(step: shape_steps.Sample, rows: Rows, job: Job) -> Selection:
    """A number that is larger than what there is takes all of it."""
    codes = rows.sources()[1] if step.by_source else np.zeros(len(rows), dtype=np.int32)
    random = job.random()
    kept: list[Positions] = []
    for code in np.unique(codes):
        own = np.flatnonzero(codes == code).astype(np.int64)
        wanted = scaled(step.rows, job) if step.rows is not None else max(1, round(step.share * len(own)))
        kept.append(random.choice(own, min(wanted, len(own)), replace=False))
        job.check_stop()
    return Selection(np.sort(np.concatenate(kept)) if kept else np.zeros(0, dtype=np.int64))


def take(step: shape_steps.Take, rows: Rows, job: Job) -> Selection:
    first = min(round((step.start - 1) * job.share), len(rows))
    return Selection(np.arange(first, min(first + scaled(step.rows, job), len(rows)), dtype=np.int64))


def select(step: shape_steps.Select, rows: Rows, job: Job) -> Selection:
    """Rows taken out are recorded, as somebody judged them; rows that were merely not chosen are not.

    Numbers beyond the last row name nothing. A preview of a part counts the rows of that part.
    """
    named = np.zeros(len(rows), dtype=bool)
    for part in step.rows.split(","):
        first, _, last = part.partition("-")
        named[int(first) - 1 : int(last or first)] = True
    if step.keep:
        return Selection(np.flatnonzero(named).astype(np.int64))
    dropped = {int(position): Drop("step.taken_out") for position in np.flatnonzero(named)}
    return Selection(np.flatnonzero(~named).astype(np.int64), dropped)


def source(step: shape_steps.Source, job: Job) -> PerRow:
    """Give rows another source."""

    def rename(item: Item) -> Item:
        if not step.old or item.source == step.old:
            item.source = step.new
        return item

    return rename


def scaled(count: int, job: Job) -> int:
    """A number of rows that a setting names, for a preview in proportion to the part that it sees."""
    return max(1, round(count * job.share))


def allotted(total: int, sizes: Any, job: Job) -> Any:
    """`total` rows over groups of these `sizes` in proportion, int64 [groups]; none gets more than it has.

    By largest remainders, among equal ones by chance: the parts add up to `total`, or to all there is.
    """
    sizes = np.asarray(sizes, dtype=np.int64)
    total = min(total, int(sizes.sum()))
    if not total:
        return np.zeros_like(sizes)
    ideal = total * sizes / sizes.sum()
    parts = np.floor(ideal).astype(np.int64)
    by_remainder = np.lexsort((job.random("allotted").random(len(sizes)), parts - ideal))
    parts[by_remainder[: total - int(parts.sum())]] += 1
    return parts
