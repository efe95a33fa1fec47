"""How well a model in training predicts held-out documents: loss, perplexity and bits per byte.

    loss            mean −log p of a token, in nats; end marks are tokens, too
    perplexity      exp(loss)
    bits per byte   Σ −log₂ p of the tokens that are text / bytes of that text in UTF-8

Bits per byte do not depend on how a tokenizer cuts the text, so models may be compared by them; a loss is comparable
between models of one tokenizer only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from core.training.batching import Rows
from core.training.evaluating import Walk

MOST_NATS = 700.0  # exp of more is infinite


class DocumentLoss:
    """An evaluator (`core.training.evaluating`) over `sets`, rows by source.

    Gives `eval_loss`, `eval_perplexity`, `eval_bits_per_byte` over everything; where there are several sources, also
    `eval_loss.<source>` and `eval_bits_per_byte.<source>`. `token_bytes` [vocabulary]: see `DocumentEncoder`.
    """

    def __init__(self, sets: Mapping[str, Rows], token_bytes: NDArray[Any]) -> None:
        self.sets = dict(sets)
        self.token_bytes = torch.from_numpy(token_bytes)

    @property
    def rows(self) -> int:
        return sum(map(len, self.sets.values()))

    def __call__(self, objective: Any, walk: Walk) -> dict[str, float]:
        packing = objective.packing(walk.granted)
        sums = torch.zeros(len(self.sets), 4, dtype=torch.float64)
        for place, rows in enumerate(self.sets.values()):
            for _, pack, losses in walk.packs(rows, packing, objective.losses):
                sums[place] += loss_sums(losses, pack.labels, self.token_bytes)
        sums = walk.total(sums).view(-1, 4)
        loss, bits = figures(sums.sum(0))
        found = {"eval_loss": loss, "eval_perplexity": perplexity(loss), "eval_bits_per_byte": bits}
        if len(self.sets) > 1:
            for name, part in zip(self.sets, sums, strict=True):
                found[f"eval_loss.{name}"], found[f"eval_bits_per_byte.{name}"] = figures(part)
        return found


def loss_sums(losses: Tensor, labels: Tensor, token_bytes: Tensor) -> Tensor:
    """[4] in fp64: nats and number of all labels [m], nats and bytes of those that are text."""
    return label_sums(losses, labels, token_bytes).sum(0)


def label_sums(losses: Tensor, labels: Tensor, token_bytes: Tensor) -> Tensor:
    """[m, 4]: the same of each label."""
    losses, sizes = losses.double().cpu(), token_bytes[labels.cpu()].double()
    return torch.stack([losses, torch.ones_like(losses), losses * (sizes > 0), sizes], 1)


def figures(sums: Tensor) -> tuple[float, float]:
    """(loss, bits per byte) of what `loss_sums` gave, added up."""
    nats, labels, text_nats, text_bytes = sums.tolist()
    return nats / labels, text_nats / math.log(2) / max(text_bytes, 1.0)


def perplexity(loss: float) -> float:
    """exp(loss), with a finite answer for a model that knows nothing."""
    return math.exp(min(loss, MOST_NATS))
