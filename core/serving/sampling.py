"""How the next token is chosen: every knob explicit, nothing inherited from a model's generation config. Imports torch.

The order is the usual one: repetition penalty, temperature, top-k, top-p, then one draw from the request's own
generator. Logits are brought to the CPU in fp32 first, so the same seed draws alike wherever the model computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FEW = 256  # tokens


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
    ids, probabilities = candidates(logits / sampling.temperature, sampling.top_k, sampling.top_p)
    summed = probabilities.cumsum(-1, dtype=torch.float64)
    wanted = torch.rand(1, generator=generator, dtype=torch.float64) * summed[-1]
    place = min(int(torch.searchsorted(summed, wanted, right=True)), len(summed) - 1)
    return place if ids is None else int(ids[place])


def penalise(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Make every token in `seen` less likely (CTRL, arXiv:1909.05858): positive logits divided, negative multiplied."""
    ids = torch.tensor(sorted(set(seen)), dtype=torch.long)
    scores = logits[ids]
    return logits.index_copy(0, ids, torch.where(scores > 0, scores / penalty, scores * penalty))


def candidates(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor | None, Tensor]:
    """(ids, probabilities) of the tokens that may be drawn, likeliest first; ids None: all, by their ids.

    Of the `top_k` likeliest (0: of all), the fewest that share `top_p` (arXiv:1904.09751), at least one. A vocabulary
    is sorted only where its FEW likeliest do not reach that share: that takes a tenth of a small model's forward.
    """
    size = logits.numel()
    if 0 < top_k < size:
        values, ids = logits.topk(top_k)
        return _nucleus(ids, values.softmax(-1), top_p)
    if top_p >= 1:
        return None, logits.softmax(-1)
    values, ids = logits.topk(min(FEW, size))
    probabilities = (values - logits.logsumexp(-1)).exp()
    if float(probabilities.sum()) < top_p and len(ids) < size:
        probabilities, ids = logits.softmax(-1).sort(descending=True, stable=True)
    return _nucleus(ids, probabilities, top_p)


def _nucleus(ids: Tensor, probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    before = probabilities.cumsum(-1) - probabilities
    kept = max(1, int((before < top_p).sum()))  # a token stays while those before it have not reached top_p
    return ids[:kept], probabilities[:kept]
