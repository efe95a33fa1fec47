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


class FusedLinearLogProbs(Function):
    """log softmax((hᵢ Wᵀ + b) / T)[yᵢ] for every position, with the head W [v, h], b frozen; and the entropies there.

    hidden [n, h] has the dtype of W, labels [n] int64, all valid. Returns two fp32 tensors, (logprobs [n], entropies
    [n] in nats, or [0] unless they are asked for); only the first has a gradient. The softmax is computed in fp32.
    Each logprob depends on its own position alone, so its gradient is computed here, while the logits are at hand, and
    is only scaled in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: FrozenMatrix, labels: Tensor, temperature: float = 1.0, entropy: bool = False
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        entropies = torch.empty(len(labels) if entropy else 0, dtype=torch.float32, device=hidden.device)
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # fp16 would flush the small ones of these gradients to zero before the loss scale can protect them.
        scale = FP16_SCALE if hidden.dtype == torch.float16 else 1.0
        rows = CACHED if hidden.device.type == "cpu" else CHUNK
        wide = torch.empty(rows, head.weight.shape[0], dtype=torch.float32, device=hidden.device)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            logits = head.times(hidden[part])
            for begin in range(0, len(logits), rows):
                few = logits[begin : begin + rows]
                here = slice(start + begin, start + begin + len(few))
                found = _log_softmax(few, temperature, wide[: len(few)])
                at = labels[here].unsqueeze(1)
                logprobs[here] = found.gather(1, at).squeeze(1)
                if entropy:
                    entropies[here] = -(found * found.exp()).sum(-1)
                if grad is not None:  # of −log p: p − 1 at the label, p elsewhere
                    found.exp_().scatter_add_(1, at, torch.full_like(at, -1, dtype=torch.float32))
                    few.copy_(found if scale == temperature else found.mul_(scale / temperature))
            if grad is not None:
                grad[part] = head.times_transposed(logits)
        ctx.save_for_backward(grad)
        ctx.scale = scale
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logprobs: Tensor, _: Tensor) -> tuple[Tensor, None, None, None, None]:
        (grad,) = ctx.saved_tensors
        each = -grad_logprobs.unsqueeze(1)
        if ctx.scale != 1.0:
            return (grad.float() * (each / ctx.scale)).to(grad.dtype), None, None, None, None
        return grad * each.to(grad.dtype), None, None, None, None


def _log_softmax(logits: Tensor, temperature: float, wide: Tensor) -> Tensor:
    """log softmax(logits / temperature) [n, v], computed in `wide` [n, v].

    `wide` is fp32 memory to work in, one for all calls: fresh memory of this size costs more in page faults than the
    softmax itself.
    """
    wide.copy_(logits)
    if temperature != 1.0:
        wide.div_(temperature)
    torch.ops.aten._log_softmax.out(wide, -1, False, out=wide)
    return wide
