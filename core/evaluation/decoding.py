"""Many prompts answered at once, reproducibly: one batch, token by token, each row by a draw of its own.

    said = decode(model, prompts, limits, numbers, drawing, …)         the new tokens of every prompt

    1  pad the prompts on the left and read them; positions count from a row's own first token
    2  draw a token for every row, from (seed, number, place) alone: its neighbours change nothing but rounding
    3  a row ends with a stop token or at its limit; once a quarter have ended, they leave the batch

Nothing is inherited from a model's own generation config. The same batch gives the same tokens on the same machine
with as many threads.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from core.errors import RunError
from core.models.cache import with_room

KEPT = 0.75  # share of the rows that are still at work below which the others leave


@dataclass(frozen=True)
class Drawing:
    """How a token is chosen. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave the distribution whole.

    The order is the usual one: repetition penalty, temperature, top-k, top-p.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0

    def choose(self, logits: Tensor, seen: Tensor | None, uniform: Tensor) -> Tensor:
        """A token a row [n], from logits [n, v] in fp32, the tokens `seen` so far [n, v] and a number in [0, 1) each.

        Without `seen` there is no penalty.
        """
        if seen is not None:
            logits = penalised(logits, seen, self.repetition_penalty)
        if self.temperature == 0:
            return logits.argmax(-1)
        logits = logits / self.temperature
        if 0 < self.top_k < logits.shape[1]:
            logits = logits.masked_fill(logits < logits.topk(self.top_k).values[:, -1:], -torch.inf)
        if self.top_p < 1:
            logits = nucleus(logits, self.top_p)
        return drawn(logits, uniform)


def penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Tokens in `seen` less likely (CTRL, arXiv:1909.05858): positive logits divided, negative ones multiplied."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Logits [rows, v] with −inf for all but the fewest tokens that share `top_p` (arXiv:1904.09751); one stays."""
    ordered, order = logits.softmax(-1).sort(descending=True, stable=True)
    outside = ordered.cumsum(-1) - ordered >= top_p
    return logits.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), -torch.inf)


def drawn(logits: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds `uniform` [n]; logits [n, v] → [n]."""
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    wanted = uniform * cumulative[:, -1]
    return torch.searchsorted(cumulative, wanted.unsqueeze(1), right=True).squeeze(1).clamp_max(logits.shape[1] - 1)


def uniforms(seed: int, number: int, count: int) -> Tensor:
    """`count` numbers in [0, 1) in fp64 for row `number`, whatever stands beside it; a longer draw begins alike."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    numbers: Sequence[int],
    drawing: Drawing,
    *,
    stop_ids: Sequence[int],
    seed: int,
    on_step: Callable[[int], None],
) -> list[list[int]]:
    """The new tokens of every prompt, at most `limits` of them, the stop token among them.

    on_step: is told after every token how many rows have ended. Raises what it raises, and RunError `serve.not_finite`
    where the model computes no number.
    """
    said: list[list[int]] = [[] for _ in prompts]
    for step in steps(model, prompts, limits, numbers, drawing, stop_ids=stop_ids, seed=seed):
        for row, token in step:
            said[row].append(token)
        on_step(len(prompts) - len(step))
    return said


@torch.inference_mode()
def steps(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    numbers: Sequence[int],
    drawing: Drawing,
    *,
    stop_ids: Sequence[int],
    seed: int,
) -> Iterator[list[tuple[int, int]]]:
    """The same token by token: at each step (row, token) of every row that has not ended."""
    device, takes = model.device, inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
    ids, mask = _left_padded(prompts, device)
    allowed = torch.tensor(list(limits), device=device)
    stops = torch.tensor(list(stop_ids), device=device)
    uniform = torch.stack([uniforms(seed, number, max(limits)) for number in numbers]).to(device)
    alive = list(range(len(prompts)))  # the rows that are still in the batch
    going = torch.ones(len(prompts), dtype=torch.bool, device=device)
    seen, cache = None, None
    for at in range(max(limits)):
        if "position_ids" in takes:
            options["position_ids"] = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        output = model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, **options)
        cache = output.past_key_values if at else with_room(output.past_key_values)
        logits = output.logits[:, -1].float()
        if bool(torch.isnan(logits).any()):
            raise RunError("serve.not_finite", model=model.name_or_path)
        if drawing.repetition_penalty != 1:
            seen = _noted(seen, ids, mask[:, -ids.shape[1] :], logits)
        tokens = drawing.choose(logits, seen, uniform[:, at])
        both = zip(alive, tokens.tolist(), going.tolist(), strict=True)
        yield [(row, token) for row, token, open_ in both if open_]
        going &= ~torch.isin(tokens, stops) & (allowed > at + 1)
        left = int(going.sum())
        if not left:
            return
        ids, mask = tokens.unsqueeze(1), F.pad(mask, (0, 1), value=1)
        if left <= len(alive) * KEPT:
            kept = going.nonzero().squeeze(1)
            cache.batch_select_indices(kept)
            ids, mask, uniform, allowed, going = ids[kept], mask[kept], uniform[kept], allowed[kept], going[kept]
            seen = None if seen is None else seen[kept]
            alive = [alive[row] for row in kept.tolist()]


def _left_padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask), both [n, width]. What stands under the mask's zeros is looked at by nobody."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _noted(seen: Tensor | None, ids: Tensor, real: Tensor, logits: Tensor) -> Tensor:
    """The tokens that each row holds [n, v], with those of `ids` [n, t] where `real`."""
    seen = torch.zeros_like(logits, dtype=torch.bool) if seen is None else seen
    rows = torch.arange(len(ids), device=ids.device).unsqueeze(1).expand_as(ids)
    seen[rows[real.bool()], ids[real.bool()]] = True
    return seen
