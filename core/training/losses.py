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

from core.training.kernels import FrozenMatrix

CHUNK = 256  # positions whose logits exist at once
CACHED = 32  # positions whose fp32 softmax is worked on at once on a CPU: 6 MB for a 49k vocabulary, within its cache
FP16_SCALE = 1024.0


class FusedLinearCrossEntropy(Function):
    """Σᵢ −log softmax(hᵢ Wᵀ + b)[yᵢ] with the head W [v, h], b frozen.

    hidden [n, h] has the dtype of W, labels [n] int64, all valid. Returns an fp32 scalar sum; the
    softmax is computed in fp32.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: FrozenMatrix, labels: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # fp16 would flush the small ones of these gradients to zero before the loss scale can protect them.
        scale = FP16_SCALE if hidden.dtype == torch.float16 else 1.0
        rows = CACHED if hidden.device.type == "cpu" else CHUNK
        wide = torch.empty(rows, head.weight.shape[0], dtype=torch.float32, device=hidden.device)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            logits = head.times(hidden[part])
            for few, target in zip(logits.split(rows), labels[part].split(rows), strict=True):
                total += _loss_to_grad(few, target, wide[: len(target)], scale)
            if grad is not None:
                grad[part] = head.times_transposed(logits)
        ctx.save_for_backward(grad)
        ctx.scale = scale
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        if ctx.scale != 1.0:
            return (grad.float() * (grad_output / ctx.scale)).to(grad.dtype), None, None
        return grad.mul_(grad_output.to(grad.dtype)), None, None


def _loss_to_grad(logits: Tensor, target: Tensor, wide: Tensor, scale: float) -> Tensor:
    """Turn `logits` [n, v] into their gradient × `scale`, in place, and return the summed loss.

    `wide` [n, v] is fp32 memory to work in, one for all calls: fresh memory of this size costs more in page faults than
    the softmax itself.
    """
    at = target.unsqueeze(1)
    wide.copy_(logits)
    torch.ops.aten._log_softmax.out(wide, -1, False, out=wide)
    loss = -wide.gather(1, at).sum()
    wide.exp_().scatter_add_(1, at, torch.full_like(at, -1, dtype=torch.float32))
    logits.copy_(wide if scale == 1.0 else wide.mul_(scale))
    return loss
