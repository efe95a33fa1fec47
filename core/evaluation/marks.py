"""What an exam says of a model: figures of all rows, of each row, and of the rows of each category.

A figure of a category is computed as that of all rows is, from its rows alone: the mean of the categories is therefore
not the figure of the whole unless they are equally large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Figures = dict[str, float]


@dataclass(frozen=True)
class Mark:
    """One row (its number in the dataset). `said` and `right`: what the model chose, and what it should have."""

    row: int
    figures: Figures
    said: str = ""
    right: str = ""


@dataclass(frozen=True)
class Marks:
    """Figures over `rows` rows; `left_out` of those that were drawn could not be used by this model.

    `each` has the rows that were used, `groups` the figures of each category where rows have one.
    """

    figures: Figures
    rows: int
    left_out: int
    by: Literal["score", "likelihood"] | None = None
    groups: dict[str, Figures] = field(default_factory=dict)
    each: list[Mark] = field(default_factory=list)


def share_error(share: float, count: int) -> float:
    """The standard error of a share of `count` rows, at least two, as of any mean: √(p (1 − p) / (n − 1))."""
    return math.sqrt(share * (1 - share) / (count - 1))


def grouped(categories: Sequence[str | None], figures: Callable[[Numbers], Figures]) -> dict[str, Figures]:
    """`figures(places)` and `rows` of every category, by name; a row without one is in none. `categories`: a row's."""
    names = sorted({name for name in categories if name is not None})
    own = np.array([names.index(name) if name is not None else -1 for name in categories], dtype=np.int64)
    places = [np.flatnonzero(own == number) for number in range(len(names))]
    return {name: {"rows": float(len(its)), **figures(its)} for name, its in zip(names, places, strict=True)}
