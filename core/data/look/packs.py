"""Which rows a row is trained together with: the optimizer step it comes up in, and the pack it shares.

    pack_with(dataset, index, encoder, cache_dir, batch_size=2, accumulation=4, seed=42) -> Shared

It follows the trainer step by step with the functions that the trainer uses (`encode.packing`), for one process and
the memory that batch size × max_length grants. Where the dataset was tokenised before, rows that left nothing to learn
are known and left out; otherwise every row is taken for usable, and the answer says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.encode import packing
from core.data.encode.encoded import Refusal, cached_rows
from core.data.encode.encoding import Encoder
from core.data.store.dataset import Dataset


@dataclass(frozen=True)
class Shared:
    """`step` counts from 1. `rows` of the pack in their order, (index in the dataset, tokens); `packs` of the step.

    `known`: which rows can be used was known, not assumed.
    """

    step: int
    steps: int
    rows: list[tuple[int, int]]
    packs: int
    capacity: int
    known: bool


def pack_with(
    dataset: Dataset,
    index: int,
    encoder: Encoder,
    cache_dir: Path,
    *,
    batch_size: int,
    accumulation: int,
    seed: int,
    epoch: int = 0,
) -> Shared | None:
    """The pack of a row of a `messages` dataset; None where the row leaves nothing to learn. Needs `max_length`."""
    assert encoder.max_length is not None
    encoded = cached_rows(dataset, encoder, cache_dir)
    used: NDArray[Any] = np.arange(len(dataset)) if encoded is None else encoded.rows
    place = np.flatnonzero(used == index)
    if not len(place):
        return None
    per_step = batch_size * accumulation
    step, members = packing.step_with(int(place[0]), len(used), per_step, seed, epoch)
    members = np.sort(members)  # dealing breaks ties by row number: the numbers may change, their order not
    lengths = _lengths(dataset, encoder, used[members]) if encoded is None else encoded.lengths[members]
    hand = packing.deal(np.arange(len(members)), lengths, 1)[0]
    capacity = batch_size * encoder.max_length
    bins = packing.pack([int(lengths[row]) for row in hand], capacity)
    packs = [[(int(used[members[hand[at]]]), int(lengths[hand[at]])) for at in each] for each in bins]
    mine = next(pack for pack in packs if any(row == index for row, _ in pack))
    return Shared(step + 1, -(-len(used) // per_step), mine, len(packs), capacity, encoded is not None)


def _lengths(dataset: Dataset, encoder: Encoder, rows: NDArray[Any]) -> NDArray[np.int64]:
    results = encoder.encode_batch(row["messages"] for row in dataset.take(rows.tolist()))
    sizes = [0 if isinstance(result, Refusal) else len(result[0]) for result, _ in results]
    return np.array(sizes, dtype=np.int64)
