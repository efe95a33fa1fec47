"""How the next token is chosen: every knob explicit, nothing inherited from a model's generation config. Imports torch.

The order is the usual one: repetition penalty, temperature, top-k, top-p, then one draw from the request's own
generator. Logits are brought to the CPU in fp32 first, so the same seed draws alike wherever the model computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest token; `top_k` 0 and `top_p` 1 leave the distribution whole."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_tokens: int = 1024
    seed: int = 0
    stop: tuple[str, ...] = ()


def choose(logits: Tensor, seen: Sequence[int], sampling: Sampling, generator: torch.Generator) -> int:
    """The next token id, from `logits` [vocabulary] (fp32, CPU) and the ids of prompt and answer so far."""
    if sampling.repetition_penalty != 1.0:
        logits = penalise(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.numel():
        logits = logits.masked_fill(logits < logits.topk(sampling.top_k).values[-1], -torch.inf)
    probabilities = logits.softmax(-1)
    if sampling.top_p < 1:
        probabilities = nucleus(probabilities, sampling.top_p)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def penalise(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Make every token in `seen` less likely (CTRL, arXiv:1909.05858): positive logits divided, negative multiplied."""
    ids = torch.tensor(sorted(set(seen)), dtype=torch.long)
    scores = logits[ids]
    return logits.index_copy(0, ids, torch.where(scores > 0, scores / penalty, scores * penalty))


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The fewest tokens whose probabilities sum to `top_p`, the others at 0 (arXiv:1904.09751); at least one stays."""
    ordered, order = probabilities.sort(descending=True, stable=True)
    # A token stays while those before it have not reached top_p.
    ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= max(top_p, 1e-9), 0.0)
    return torch.zeros_like(probabilities).scatter(0, order, ordered)
