"""Loss spikes: steps whose loss stands far above what the steps before it were like. Torch-free.

A step is judged by the median of the `WINDOW` losses before it and by their spread (the median of their distances from
it, which a few earlier spikes do not move). A rise that stays is marked where it begins, once: the median follows it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

WINDOW = 48  # losses before a step that it is compared with
FEWEST = 12  # with fewer before it, nothing is called a spike: the loss of the first steps falls steeply
SIGMAS = 6.0
LEAST_RISE = 0.15  # of the median: a smooth curve has next to no spread, and small ripples are no spikes
MAD_TO_SIGMA = 1.4826  # of a normal distribution
APART = 4  # steps; nearer ones are one spike, marked at its highest
AT_ONCE = 4096


def spikes(losses: Sequence[float], since: int = 0) -> list[int]:
    """Indices of the spikes in `losses`, ascending, each at its peak. Figures that are no numbers are skipped.

    `since`: only those at this index or behind it, at the cost of these alone: for a list that grows.
    """
    start = max(0, since - 2 * WINDOW)  # some of them may be no numbers
    given = np.asarray(losses[start:], dtype=np.float64)
    places = np.flatnonzero(np.isfinite(given))
    values = given[places]
    high = np.flatnonzero(values > _limits(values))
    return [start + int(places[index]) for index in _peaks(high, values) if start + places[index] >= since]


def _limits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the height above which it is a spike, [n]; infinite for the first `FEWEST`."""
    limits = np.full(len(values), np.inf)
    for index in range(FEWEST, min(WINDOW, len(values))):
        limits[index] = _limit(values[:index][None])[0]
    if len(values) <= WINDOW:
        return limits
    before = sliding_window_view(values[:-1], WINDOW)  # [n - WINDOW, WINDOW]: row i stands before value i + WINDOW
    for begin in range(0, len(before), AT_ONCE):
        limits[WINDOW + begin : WINDOW + begin + AT_ONCE] = _limit(before[begin : begin + AT_ONCE])
    return limits


def _limit(before: NDArray[np.float64]) -> NDArray[np.float64]:
    """The limits of values that have the rows of `before` [m, w] before them, [m]."""
    middle = np.median(before, axis=1)
    spread = np.median(np.abs(before - middle[:, None]), axis=1)
    limit: NDArray[np.float64] = middle + np.maximum(SIGMAS * MAD_TO_SIGMA * spread, LEAST_RISE * np.abs(middle))
    return limit


def _peaks(high: NDArray[np.int64], values: NDArray[np.float64]) -> list[int]:
    if not len(high):
        return []
    groups = np.split(high, np.flatnonzero(np.diff(high) > APART) + 1)
    return [int(group[values[group].argmax()]) for group in groups]
