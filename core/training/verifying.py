"""Whether a merged model still says what its adapters said: a few probes, asked before and after.

That the numbers in its files are the right ones is `core.models.streaming.compare`, which needs no room for the model.
Compared here are the logits of every token of every probe, or for a reward model the scores. In fp32 merging moves them
by rounding only; weights written in 16 bits are rounded, too, and there the divergence of the predictions is what
counts (an adapter merged into 4-bit weights is off by nats, an ordinary rounding by a thousandth of one).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.hardware import memory
from core.models.weights import inspect
from core.records_merge import Probe, Verification

PROMPTS = (
    "一岁宝宝发烧能吃啥药？",
    "糖尿病的早期症状包括多饮、多尿和",
    "What are the early signs of diabetes?",
    "The patient was given 500 mg of",
    "def area(width, height):\n    return",
)
EXACT = 1e-3  # of the largest output, in fp32
ROUNDED = 0.1  # nats a token, or of the largest score, where weights are written in 16 bits
ROOM = 0.7  # of the free memory that the weights may take


def computing_dtype(folder: Path, device: str, kept: torch.dtype) -> torch.dtype | None:
    """In what there is room to compute with the whole model: fp32, in which a merge can be checked exactly, else what
    its weights are `kept` in; None where there is room for neither."""
    free = memory()[1]  # on its way to a GPU a model passes through main memory
    if not device.startswith("cpu"):
        free = min(free, torch.cuda.mem_get_info(device)[0])
    count = inspect(folder).parameters
    return next((dtype for dtype in (torch.float32, kept) if dtype.itemsize * count < ROOM * free), None)


@dataclass(frozen=True)
class Probes:
    """`ids` are the prompts as tokens. head: [1, h] where scores are compared, None where logits are."""

    ids: list[Tensor]
    head: Tensor | None

    @classmethod
    def of(cls, tokenizer: Any, head: Tensor | None, device: str) -> Probes:
        place = "cpu" if device.startswith("cpu") else device
        ids = [torch.tensor([tokenizer(prompt)["input_ids"]], device=place) for prompt in PROMPTS]
        return cls(ids, None if head is None else head.to(place))

    @torch.no_grad()
    def outputs(self, model: Any) -> list[Tensor]:
        """What `model` gives for each prompt: logits [tokens, v], or scores [tokens, 1], in fp32 in main memory."""
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        return [self._one(inner.eval(), ids).float().cpu() for ids in self.ids]

    def _one(self, model: Any, ids: Tensor) -> Tensor:
        if self.head is None:
            logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
            return logits
        hidden: Tensor = model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        return hidden.float() @ self.head.t()


def verify(
    probes: Probes,
    before: Sequence[Tensor],
    written: Sequence[Tensor],
    tokenizer: Any,
    *,
    computed_in: torch.dtype,
    dtype: torch.dtype,
    merged: Sequence[Tensor] | None = None,
) -> Verification:
    """Compare the outputs of the adapters beside their root, of the files as written, and, where the merge was made on
    the whole model, of the `merged` weights before they were cast."""
    scores = probes.head is not None
    largest = max(1.0, max(float(each.abs().max()) for each in before))
    rows = [
        Probe(
            prompt=prompt,
            before=_said(a, tokenizer, scores),
            after=_said(b, tokenizer, scores),
            difference=float((a - b).abs().max()),
            kl=None if scores else float(divergence(a, b).mean()),
        )
        for prompt, a, b in zip(PROMPTS, before, written, strict=True)
    ]
    merging = None if merged is None else max(float((a - b).abs().max()) for a, b in zip(before, merged, strict=True))
    all_before, all_written = torch.cat(list(before)), torch.cat(list(written))
    difference = max(row.difference for row in rows)
    kl = None if scores else float(divergence(all_before, all_written).mean())
    same = None if scores else float((all_before.argmax(-1) == all_written.argmax(-1)).float().mean())
    exact = computed_in == torch.float32
    whole = exact and dtype == torch.float32
    allowed = EXACT * largest if whole else ROUNDED * (largest if scores else 1.0)
    measured = difference if whole or kl is None else kl
    finite = all(bool(torch.isfinite(each).all()) for each in (*before, *(merged or ()), *written))
    close = merging is None or not exact or merging <= EXACT * largest
    agrees = finite and close and measured <= allowed
    return Verification(
        computed_in=name_of(computed_in),
        dtype=name_of(dtype),
        positions=len(all_before),
        merging=merging,
        difference=difference,
        kl=kl,
        same=same,
        allowed=allowed,
        agrees=agrees,
        passed=agrees,
        probes=rows,
    )


def name_of(dtype: torch.dtype) -> str:
    """`bfloat16`, `float32`, …"""
    return str(dtype).removeprefix("torch.")


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """KL(before ‖ after) of each position's prediction, in nats: logits [n, v] → [n]."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _said(outputs: Tensor, tokenizer: Any, scores: bool) -> str:
    """The score at the prompt's end, or the token that would come next."""
    if scores:
        return f"{float(outputs[-1, 0]):.3f}"
    text: str = tokenizer.decode([int(outputs[-1].argmax())])
    return text
