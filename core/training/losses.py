"""Losses on hidden states: the vocabulary's logits exist only for labelled positions, and only a chunk at a time.

A 49 000-word vocabulary costs 192 KB a token in fp32, twice that with the gradient. Here neither outlives its chunk:
the gradient with respect to the hidden states is computed in the forward pass, while the logits are at hand. That
needs a head that does not learn; for one that does, `fastpath` recomputes the logits of a chunk in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

CHUNK = 256  # positions whose logits exist at once


class FusedLinearCrossEntropy(Function):
    """Σᵢ −log softmax(hᵢ Wᵀ + b)[yᵢ] with the head W, b frozen.

    hidden [n, h], weight [v, h] of the same dtype, labels [n] int64, all valid. Returns an fp32 scalar sum.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            target = labels[part].unsqueeze(1)
            logits = hidden[part] @ weight.t() if bias is None else torch.addmm(bias, hidden[part], weight.t())
            logprobs = torch.log_softmax(logits, -1, dtype=torch.float32)
            total -= logprobs.gather(1, target).sum()
            if grad is not None:
                probs = logprobs.exp_()
                probs.scatter_add_(1, target, torch.full_like(target, -1, dtype=torch.float32))
                torch.mm(probs.to(hidden.dtype), weight, out=grad[part])
        ctx.save_for_backward(grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (grad,) = ctx.saved_tensors
        return grad.mul_(grad_output.to(grad.dtype)), None, None, None
