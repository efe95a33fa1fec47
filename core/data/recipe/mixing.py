"""The inputs of a recipe as one sequence of rows, each as often as its weight says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.data.recipe.plan import Plan
from core.data.recipe.rows import Store, StoredRows
from core.data.steps.base import Positions


def mix(plan: Plan, scratch: Path) -> StoredRows:
    """Input after input, rows in their order. Weight 2 takes all rows twice, 0.5 a half of them chosen by the seed."""
    stores = [Store(dataset.folder, plan.kinds[0], dataset.name) for dataset in plan.inputs]
    parts = []
    start = 0
    for number, (store, weight) in enumerate(zip(stores, plan.weights, strict=True)):
        parts.append(start + taken(len(store), weight, np.random.default_rng([plan.seed, number])))
        start += len(store)
    return StoredRows(plan.kinds[0], stores, np.concatenate(parts), scratch)


def taken(rows: int, weight: float, random: np.random.Generator) -> Positions:
    """Which of `rows` rows a weight takes: every whole one of it all rows, the rest a random share in their order."""
    whole, rest = int(weight), round((weight - int(weight)) * rows)
    parts = [np.arange(rows, dtype=np.int64)] * whole
    if rest:
        parts.append(np.sort(random.choice(rows, rest, replace=False)).astype(np.int64))
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
