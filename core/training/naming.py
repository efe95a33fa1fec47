"""Which rows a message speaks of: their dataset, line and beginning.

A trainer that is given `names` tells where a loss came from that is no number; without, it tells row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.data.normal import row_text
from core.data.store.dataset import Dataset
from core.errors import Problem

SHOWN_CHARS = 120


@dataclass(frozen=True)
class RowName:
    """`line` is that of the file which the dataset was made of; None where it has none."""

    dataset: str
    line: int | None = None
    excerpt: str = ""


Names = Callable[[Sequence[int]], list[RowName]]  # of training rows; one of several documents may have several names


def numbers(indices: Sequence[int]) -> list[RowName]:
    """Names of rows of which only the number is known."""
    return [RowName(f"#{index}") for index in indices]


def row_names(dataset: Dataset, rows: Sequence[int]) -> list[RowName]:
    """Names of rows by their indices in their dataset."""
    taken = zip(dataset.lines(rows), dataset.take(rows), strict=True)
    return [RowName(dataset.ref, line, row_text(dataset.card.kind, row, " ⏎ ")[:SHOWN_CHARS]) for line, row in taken]


def problems_of(code: str, names: Sequence[RowName]) -> list[Problem]:
    """A problem for each row. The sentence of `code` has the place {dataset}."""
    return [Problem(code, {"dataset": name.dataset}, line=name.line, excerpt=name.excerpt or None) for name in names]
