"""Which rows an epoch has, and in which order, where this is more than a permutation: mixtures and curricula.

    curriculum = Curriculum([800, 200], [1, 0.5])                                  # a mixture, shuffled
    curriculum = Curriculum([1000], [1], difficulty=measured)                      # every epoch from easy to hard
    curriculum = Curriculum([1000], [1], difficulty=measured, phases=3, epochs=2)  # Ziya's: by stages, easy ones first
    rows = curriculum(seed, epoch)

A weight says how often the rows of a set are taken in an epoch: 2 is each of them twice, 0.5 a half of them. What one
epoch left out, the next one takes first: a set is drawn from an endless series of its permutations, so that all its
rows are seen equally often. Everything is a function of (seed, epoch) alone, as a resumed run needs it. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
SERIES, SHUFFLED = 1_000_051, 1_000_081  # keep the permutations apart
KEPT_ROUNDS = 2


def series(seed: int, key: Sequence[int], count: int, start: int, stop: int) -> Numbers:
    """Places `start` … `stop` of the endless series of permutations of `count` numbers that (seed, key) draws."""
    parts = [np.empty(0, dtype=np.int64)]
    at = start
    while at < stop:
        drawn, first = divmod(at, count)
        last = min(count, first + stop - at)
        parts.append(np.random.default_rng((seed, drawn, SERIES, *key)).permutation(count)[first:last])
        at += last - first
    return np.concatenate(parts)


class Curriculum:
    """The rows of every epoch of a training. Rows are numbered through, set after set.

    sizes, weights: of each set its rows and how often an epoch takes them. difficulty [rows]: what to go from easy to
    hard by; where it is no number, the row counts as middling. phases: None goes from easy to hard in every epoch; else
    the whole training of `epochs` epochs is divided into so many stages, each shuffled over rows of like difficulty.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        *,
        difficulty: NDArray[Any] | None = None,
        phases: int | None = None,
        epochs: float = 1.0,
    ) -> None:
        borders = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        sets = [np.arange(first, last, dtype=np.int64) for first, last in pairwise(borders.tolist())]
        self.weights = list(weights)
        self.difficulty = None if difficulty is None else filled(difficulty)
        self.missing = 0 if difficulty is None else int(np.isnan(difficulty).sum())
        self.groups: list[list[Numbers]] = [sets]  # of each phase its rows, by set
        if phases is not None and self.difficulty is not None:
            self.groups = [group for group in self._divided(sets, phases) if self._drawn(group)]
        self._in_round = [self._drawn(group) for group in self.groups]
        visits = [round(epochs * drawn) for drawn in self._in_round]
        self._ends = np.cumsum(visits)
        self._round = lru_cache(KEPT_ROUNDS)(self._shuffled_round)

    def __len__(self) -> int:
        """Rows of an epoch."""
        return sum(self._in_round)

    def __call__(self, seed: int, epoch: int) -> Numbers:
        """The rows of an epoch in their order."""
        if len(self.groups) == 1:
            rows = self._shuffled_round(seed, 0, epoch)
            if self.difficulty is None:
                return rows
            return rows[np.argsort(self.difficulty[rows], kind="stable")]
        return self._visits(seed, epoch * len(self), (epoch + 1) * len(self))

    def sentence(self) -> str:
        """What the order is, for the log."""
        if self.difficulty is None:
            return f"an epoch is {len(self)} rows, drawn by weight"
        known = f"difficulty {self.difficulty.min():.3g} to {self.difficulty.max():.3g}"
        if self.missing:
            known += f" ({self.missing} rows without one count as middling)"
        if len(self.groups) == 1:
            return f"an epoch is {len(self)} rows from easy to hard, {known}"
        ends = ", ".join(f"{share:.0%} up to {top:.3g}" for share, top in self.phase_ends())
        return f"the training goes from easy to hard in {len(self.groups)} phases, {known}; their ends: {ends}"

    def phase_ends(self) -> list[tuple[float, float]]:
        """Of each phase (the share of the training at its end, the difficulty of its hardest row)."""
        assert self.difficulty is not None
        whole = max(1, int(self._ends[-1]))
        hardest = [max(float(self.difficulty[rows].max()) for rows in group if len(rows)) for group in self.groups]
        return [(int(end) / whole, top) for end, top in zip(self._ends, hardest, strict=True)]

    # -- drawing ------------------------------------------------------------------------------------------------------
    def _drawn(self, group: list[Numbers]) -> int:
        return sum(wanted(rows, weight) for rows, weight in zip(group, self.weights, strict=True))

    def _shuffled_round(self, seed: int, phase: int, number: int) -> Numbers:
        """Every row of a phase as often as its weight says, shuffled."""
        parts = []
        for place, (rows, weight) in enumerate(zip(self.groups[phase], self.weights, strict=True)):
            few = wanted(rows, weight)
            parts.append(rows[series(seed, (phase, place), len(rows), number * few, (number + 1) * few)])
        return np.random.default_rng((seed, number, SHUFFLED, phase)).permutation(np.concatenate(parts))

    def _visits(self, seed: int, start: int, stop: int) -> Numbers:
        """Places `start` … `stop` of the whole training: one phase after another, the last one without end."""
        parts, began = [], 0
        for phase, (in_round, ended) in enumerate(zip(self._in_round, self._ends.tolist(), strict=True)):
            end = stop if phase == len(self.groups) - 1 else min(stop, ended)
            at = max(start, began)
            while at < end:
                number, first = divmod(at - began, in_round)
                last = min(in_round, first + end - at)
                parts.append(self._round(seed, phase, number)[first:last])
                at += last - first
            began = ended
        return np.concatenate(parts)

    def _divided(self, sets: list[Numbers], phases: int) -> list[list[Numbers]]:
        """The rows in groups of rising difficulty that are seen about equally often."""
        assert self.difficulty is not None
        often = np.repeat(self.weights, [len(rows) for rows in sets])
        order = np.argsort(self.difficulty, kind="stable")
        seen = np.cumsum(often[order])
        phase_of = np.empty(len(order), dtype=np.int64)
        phase_of[order] = np.minimum(phases - 1, (seen - often[order] / 2) * phases // max(seen[-1], 1e-9))
        return [[rows[phase_of[rows] == phase] for rows in sets] for phase in range(phases)]


def wanted(rows: Sequence[Any] | Numbers, weight: float) -> int:
    """How many of these rows an epoch takes: at least one, if there are any."""
    return max(1, round(weight * len(rows))) if len(rows) else 0


def filled(difficulty: NDArray[Any]) -> NDArray[np.float64]:
    """Difficulties with the median where a row has none."""
    known = np.asarray(difficulty, dtype=np.float64)
    missing = np.isnan(known)
    return np.where(missing, np.median(known[~missing]) if not missing.all() else 0.0, known)
