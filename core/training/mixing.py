"""Rows of two kinds in one training: those it is for, and general ones against forgetting.

Every row of the first set is seen once an epoch; of the second, as many as make up their share of the tokens, going on
in the next epoch where this one ended (`core.data.encode.curriculum`).
"""

from __future__ import annotations

import numpy as np

from core.data.encode.curriculum import Curriculum
from core.training.batching import Order, Row, Rows, squares_of


class Mixture:
    """`share`: of an epoch's tokens, those from `general`. Row numbers of `general` follow those of `own`.

    `order(seed, epoch)`: the rows of an epoch, shuffled.
    """

    def __init__(self, own: Rows, general: Rows, share: float) -> None:
        self.own, self.general = own, general
        self.lengths = np.concatenate([own.lengths, general.lengths])
        self.label_counts = np.concatenate([own.label_counts, general.label_counts])
        self.squares = np.concatenate([squares_of(own), squares_of(general)])
        wanted = own.lengths.sum() * share / (1 - share)
        drawn = max(1, round(wanted / general.lengths.mean()))  # rows of `general` in an epoch
        self.order: Order = Curriculum([len(own), len(general)], [1.0, drawn / len(general)])

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Row:
        few = len(self.own)
        return self.own[index] if index < few else self.general[index - few]
