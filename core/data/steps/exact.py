"""exact: rows that say the same as another row. What the same is, `core.data.normal` says; one of them stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xxhash
from numpy.typing import NDArray

from core.configs.clean_steps import Exact, Keep
from core.data.normal import normal_text
from core.data.steps.base import Drop, Job, Positions, Rows, Selection
from core.data.steps.texts import text_at


def exact(step: Exact, rows: Rows, job: Job) -> Selection:
    """Keep one row of every set of the same ones, where it stood."""
    keys = rows.column("key") if step.by == "row" else _keys(step, rows, job)
    _, groups = np.unique(keys, return_inverse=True)
    return keep_one(rows, groups.astype(np.int64), step.keep, "step.exact")


def _keys(step: Exact, rows: Rows, job: Job) -> NDArray[np.uint64]:
    """Hashes of a part of every row. Rows without that part are each their own."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    place = 0
    for batch in rows.batches():
        for item in batch:
            normal = normal_text(text_at(rows.kind, item.row, step.by))
            keys[place] = xxhash.xxh3_64_intdigest(normal.encode("utf-8", "surrogatepass") or str(place).encode())
            place += 1
        job.progress(place, len(rows))
    return keys


def keep_one(rows: Rows, groups: Positions, keep: Keep, code: str) -> Selection:
    """Of the rows with the same number in `groups` one stays: the first, the longest, or that of the best score."""
    ranked = ranking(rows, keep)
    _, winners = np.unique(groups[ranked], return_index=True)
    winner_of = np.zeros(int(groups.max(initial=-1)) + 1, dtype=np.int64)
    winner_of[groups[ranked[winners]]] = ranked[winners]
    stays = winner_of[groups]  # for every row the one that stays for it
    order = np.flatnonzero(stays == np.arange(len(groups))).astype(np.int64)
    return Selection(order, Twins(rows, stays, code))


def ranking(rows: Rows, keep: Keep) -> Positions:
    """All positions, those that should rather stay first."""
    if keep == "first":
        return np.arange(len(rows), dtype=np.int64)
    value = rows.column("chars" if keep == "longest" else "score").astype(np.float64)
    return np.argsort(-np.nan_to_num(value, nan=-np.inf), kind="stable").astype(np.int64)


class Twins(Mapping[int, Drop]):
    """Positions that go, each with the Drop that names the row for which it goes; made only when it is asked for."""

    def __init__(self, rows: Rows, stays: Positions, code: str) -> None:
        self._code = code
        self._stays = stays
        self._going = np.flatnonzero(stays != np.arange(len(stays)))
        self._lines: NDArray[np.int64] = rows.column("line")
        self._names, self._sources = rows.sources()

    def twin(self, position: int) -> dict[str, object]:
        """The row that stays for this one, as a reason names it."""
        other = int(self._stays[position])
        return {"line": int(self._lines[other]), "source": self._names[int(self._sources[other])]}

    def __getitem__(self, position: int) -> Drop:
        return Drop(self._code, self.twin(position))

    def __iter__(self) -> Iterator[int]:
        return iter(self._going.tolist())

    def __len__(self) -> int:
        return len(self._going)
