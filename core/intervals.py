"""How sure a figure is: intervals of 95 % by resampling rows, and of shares by formula. numpy only.

    draws = Draws(rows=500, seed=42)                   which rows each resample takes; the same for whoever asks
    base, tuned = draws.mean(a), draws.mean(b)         a, b [rows]: the same rows, measured of two models
    tuned.interval, tuned.minus(base).interval         (low, high)
    draws.ratio(nats, tokens).map(np.exp)              a perplexity: sums over sums, not a mean of rows
    of_wins(draws.mean(outcomes), 500)                 (low, high) of a win rate

The bootstrap draws whole rows with replacement and takes the middle 95 % of what comes out (Efron & Tibshirani, An
Introduction to the Bootstrap, 1993, chapters 13 and 16). A difference between two models is paired: each resample takes
the same rows of both, so what makes a row hard for both drops out (Koehn, EMNLP 2004). A share at 0 or 1 has no spread
to resample; `wilson` knows better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEAST = 10  # rows; with fewer, resampling gives an interval that is too narrow, and of one row none at all
CHUNK = 1 << 20  # row numbers drawn at a time: 8 MB
SURE = 1.96  # standard errors: 95 %
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sampled:
    """A figure of all rows, and of every resample [resamples]."""

    value: float
    samples: Floats

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the resamples. Some of them may have no value (a share of nothing): they are left out."""
        kept = self.samples[np.isfinite(self.samples)]
        if not len(kept):
            return self.value, self.value
        low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def minus(self, other: Sampled) -> Sampled:
        """The difference; both must come from the same `Draws`."""
        return Sampled(self.value - other.value, self.samples - other.samples)

    def map(self, function: Callable[[Floats], Floats]) -> Sampled:
        """A monotone function of the figure, such as exp."""
        return Sampled(float(function(np.array(self.value))), function(self.samples))


@dataclass(frozen=True)
class Draws:
    """The rows of every resample, by their number, the seed and the number of resamples alone."""

    rows: int
    seed: int
    resamples: int = RESAMPLES

    @cached_property
    def weights(self) -> NDArray[np.uint8]:
        """[resamples, rows]: how often each resample takes each row; hardly ever more than ten times."""
        rng = np.random.default_rng(self.seed)
        weights = np.empty((self.resamples, self.rows), dtype=np.uint8)
        for chunk in self._chunks():
            count = chunk.stop - chunk.start
            places = rng.integers(0, self.rows, (count, self.rows)) + np.arange(count)[:, None] * self.rows
            taken = np.bincount(places.ravel(), minlength=count * self.rows)
            weights[chunk] = taken.reshape(count, self.rows)
        return weights

    def _chunks(self) -> list[slice]:
        step = max(1, CHUNK // self.rows)
        return [slice(start, min(start + step, self.resamples)) for start in range(0, self.resamples, step)]

    def mean(self, values: Floats) -> Sampled:
        """values [rows]. One row gives an interval of no width."""
        return Sampled(float(values.mean()), self.sums(values) / self.rows)

    def ratio(self, above: Floats, below: Floats) -> Sampled:
        """Σ above / Σ below; above, below [rows]. Raises ZeroDivisionError where Σ below is 0."""
        total = float(below.sum())
        if total == 0:
            raise ZeroDivisionError("there is nothing to divide by")
        with np.errstate(divide="ignore", invalid="ignore"):
            return Sampled(float(above.sum()) / total, self.sums(above) / self.sums(below))

    def sums(self, values: Floats) -> Floats:
        """values [rows] or [rows, k] → their sums over each resample [resamples] or [resamples, k]."""
        return np.concatenate([self.weights[chunk].astype(np.float64) @ values for chunk in self._chunks()])


def wilson(share: float, count: int) -> tuple[float, float]:
    """Where the true share lies with 95 % probability, `share` of `count` having been seen (Wilson 1927)."""
    if not count:
        return 0.0, 1.0
    square = SURE * SURE / count
    centre = share + square / 2
    reach = SURE * math.sqrt((share * (1 - share) + square / 4) / count)
    return max(0.0, (centre - reach) / (1 + square)), min(1.0, (centre + reach) / (1 + square))


def of_wins(drawn: Sampled, count: int) -> tuple[float, float]:
    """Of the mean of `count` outcomes, each 1, 0.5 or 0. Where all are alike no resample differs: then Wilson's, which
    for ties is wider than need be."""
    return drawn.interval if np.ptp(drawn.samples) else wilson(drawn.value, count)
