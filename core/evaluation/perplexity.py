"""How well a model predicts rows: the loss of each over its labels, and what follows for all of them together.

    sums = sum_rows(fused, rows, language.token_bytes, tokens=4096)
    figures = prediction(sums)                          # loss and its error, perplexity, bits per byte

The definitions are those of training (`core.training.perplexity`): a perplexity is comparable between models of one
tokenizer only, bits per byte between all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.encode.packing import pack
from core.training.batching import Pack, Rows
from core.training.fastpath import FusedCausalLM
from core.training.perplexity import figures, label_sums, perplexity

SUMS = ("nats", "labels", "text_nats", "bytes")  # of a row: `core.training.perplexity.loss_sums`
STRETCH = 64  # rows that are put into packs at once


@dataclass(frozen=True)
class Sums:
    """each [rows, 4]: SUMS of every row."""

    each: NDArray[np.float64]

    @property
    def nats(self) -> NDArray[np.float64]:
        """−log p summed over each row's labels."""
        return self.each[:, 0]

    @property
    def text(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """([rows] −log p summed over the labels that are text, [rows] the bytes of that text)."""
        return self.each[:, 2], self.each[:, 3].astype(np.int64)

    @property
    def counts(self) -> NDArray[np.float64]:
        """The labels of each row."""
        return self.each[:, 1]

    def of(self, places: NDArray[np.int64]) -> Sums:
        """The rows at these places alone."""
        return Sums(self.each[places])

    def together(self, whose: NDArray[np.int64]) -> tuple[NDArray[np.int64], Sums]:
        """(ascending numbers, sums of each): the rows that `whose` [rows] gives one number are counted as one."""
        numbers, places = np.unique(whose, return_inverse=True)
        each = np.zeros((len(numbers), len(SUMS)), dtype=np.float64)
        np.add.at(each, places, self.each)
        return numbers, Sums(each)

    @property
    def total(self) -> torch.Tensor:
        return torch.from_numpy(self.each.sum(0))


def sum_rows(
    fused: FusedCausalLM,
    rows: Rows,
    token_bytes: NDArray[np.int64],
    *,
    tokens: int,
    check_stop: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Sums:
    """The losses of all rows, at most `tokens` tokens (or one row) at a time; token_bytes [v]: bytes of each token.

    `on_progress` gets the number of rows done; `check_stop` is called before each pack and may raise.
    """
    each = np.zeros((len(rows), 4), dtype=np.float64)
    sizes = torch.from_numpy(token_bytes)
    done = 0
    for start in range(0, len(rows), STRETCH):
        lengths = rows.lengths[start : start + STRETCH].tolist()
        for places in pack(lengths, tokens, padded=not fused.fast):
            if check_stop is not None:
                check_stop()
            chosen = [start + place for place in places]
            each[chosen] = _of_rows(fused, rows, chosen, sizes).numpy()
            done += len(chosen)
            if on_progress is not None:
                on_progress(done)
    return Sums(each)


def _of_rows(fused: FusedCausalLM, rows: Rows, chosen: list[int], sizes: torch.Tensor) -> torch.Tensor:
    """[len(chosen), 4]: the sums of each of these rows, computed as one pack."""
    packed = Pack.of([rows[index] for index in chosen]).to(fused.base.device)
    of_labels = label_sums(fused.losses(packed), packed.labels, sizes)
    whose = torch.arange(len(chosen)).repeat_interleave(torch.tensor(packed.row_lengths))
    of_rows = torch.zeros(len(chosen), 4, dtype=torch.float64)
    return of_rows.index_add_(0, whose[packed.label_positions.cpu()], of_labels)


def prediction(sums: Sums) -> dict[str, float]:
    """`loss` (nats a token), its standard error, `perplexity`, `bits_per_byte`, `tokens`.

    The error is that of a ratio of two sums over rows drawn at random (Cochran, Sampling Techniques, 6.4); a single row
    has none.
    """
    loss, bits = figures(sums.total)
    labels, rows = sums.counts.sum(), len(sums.nats)
    found = {"loss": loss, "perplexity": perplexity(loss), "bits_per_byte": bits, "tokens": float(labels)}
    if rows > 1:
        spread = float(np.square(sums.nats - loss * sums.counts).sum())
        found["loss_error"] = math.sqrt(spread * rows / (rows - 1)) / labels
    return found
