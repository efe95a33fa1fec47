"""The differentiable operations of the fast path, as small autograd functions on tensors.

What they share: weights that do not learn get no gradient and nothing is kept for one, and whatever the backward pass
can rebuild cheaply is not stored. Each has a plain twin in PyTorch that the tests compare it with. No Triton, no C++:
they run wherever PyTorch runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class FrozenMatrix:
    """A weight W [out, in] that does not learn, for the products x Wᵀ + b and g W.

    `repack` keeps two copies in the layout that oneDNN's matrix product wants, which it would otherwise make at every
    call: 15 to 40 % faster in bf16 on a CPU, for three times the memory of W (docs/lab.md).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, repack: bool = False) -> None:
        self._weight: Tensor | None = weight.detach()
        self._bias = None if bias is None else bias.detach()
        self._layer: nn.Linear | None = None
        self._packed = self._packed_t = None
        if repack:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
            self._packed_t = torch.ops.mkldnn._reorder_linear_weight(weight.detach().t().contiguous())

    @classmethod
    def of(cls, layer: nn.Linear, *, repack: bool = False) -> FrozenMatrix:
        """That of `layer`, looked up at every call: FSDP gathers it and lets it go. Repacked copies stay."""
        found = cls(layer.weight, layer.bias, repack=repack)
        found._layer, found._weight, found._bias = layer, None, None
        return found

    @property
    def weight(self) -> Tensor:
        if self._layer is not None:
            return self._layer.weight.detach()
        assert self._weight is not None
        return self._weight

    @property
    def bias(self) -> Tensor | None:
        if self._layer is None:
            return self._bias
        return None if self._layer.bias is None else self._layer.bias.detach()

    def times(self, x: Tensor) -> Tensor:
        """x Wᵀ + b: [n, in] → [n, out]."""
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return x @ self.weight.t() if self.bias is None else torch.addmm(self.bias, x, self.weight.t())

    def times_transposed(self, grad: Tensor) -> Tensor:
        """g W: [n, out] → [n, in]."""
        if self._packed_t is not None:
            return torch.ops.mkldnn._linear_pointwise(grad, self._packed_t, None, "none", [], "")
        return grad @ self.weight


def can_repack(weight: Tensor) -> bool:
    """Whether `FrozenMatrix` may keep `weight` in oneDNN's layout here."""
    return weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()


class LoraLinear(Function):
    """y = x Wᵀ + b + s (x Aᵀ) Bᵀ with W and b frozen (LoRA, arXiv 2106.09685, equation 3).

    x [..., in] has the dtype of W; A [r, in] and B [out, r] may be fp32 master weights: they are cast here, per step,
    because they are small and x is not. Gradients of A and B come back in their own dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, frozen: FrozenMatrix, a: Tensor, b: Tensor, scale: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        a_cast, b_cast = a.to(x.dtype), b.to(x.dtype)
        low = rows @ a_cast.t()  # [n, r]
        out = frozen.times(rows).addmm_(low, b_cast.t(), alpha=scale)
        ctx.save_for_backward(rows, low, a_cast, b_cast)
        ctx.frozen, ctx.scale, ctx.shape, ctx.dtypes = frozen, scale, x.shape, (a.dtype, b.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None, Tensor | None, None]:
        rows, low, a, b = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        grad_low = (grad @ b).mul_(ctx.scale)  # [n, r]
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.frozen.times_transposed(grad).addmm_(grad_low, a).view(ctx.shape)
        grad_a = (grad_low.t() @ rows).to(ctx.dtypes[0]) if ctx.needs_input_grad[2] else None
        grad_b = (grad.t() @ low).mul_(ctx.scale).to(ctx.dtypes[1]) if ctx.needs_input_grad[3] else None
        return grad_x, None, grad_a, grad_b, None


class CausalAttention(Function):
    """Causal softmax attention of one row, with grouped key/value heads and without repeating them.

    q [h, m, d], k and v [g, n, d] with h a multiple of g; the m ≤ n queries are those of the row's last m tokens.
    PyTorch's CPU flash kernel takes 2 to 6 times as long for rows up to 512 tokens in bf16 (docs/lab.md). The
    probabilities are kept for the backward pass: for short rows only.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        heads, length, width = q.shape
        groups = k.shape[0]
        folded = q.reshape(groups, -1, width)  # [g, (h/g)·m, d]: the query heads of one group, below each other
        mask = causal_mask(length, k.shape[1], heads // groups, q.dtype, q.device)
        scores = torch.baddbmm(mask.expand(groups, -1, -1), folded, k.transpose(1, 2), alpha=scale)
        probs = torch.softmax(scores, -1)
        ctx.save_for_backward(folded, k, v, probs)
        ctx.scale, ctx.shape = scale, q.shape
        return torch.bmm(probs, v).view(heads, length, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        folded, k, v, probs = ctx.saved_tensors
        grad = grad.reshape(folded.shape)
        grad_v = torch.bmm(probs.transpose(1, 2), grad)
        grad_probs = torch.bmm(grad, v.transpose(1, 2))
        grad_scores = torch._softmax_backward_data(grad_probs, probs, -1, probs.dtype).mul_(ctx.scale)
        grad_q = torch.bmm(grad_scores, k).view(ctx.shape)
        grad_k = torch.bmm(grad_scores.transpose(1, 2), folded)
        return grad_q, grad_k, grad_v, None


MASK_BYTES = 64_000_000  # of masks that are kept: a pack of short documents has one for each of its lengths
_masks: dict[tuple[int, int, int, torch.dtype, torch.device], Tensor] = {}


def causal_mask(queries: int, keys: int, repeats: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[1, repeats·queries, keys] of 0 and -inf for the last `queries` of `keys` tokens; the last few masks are kept,
    because layers share them."""
    key = (queries, keys, repeats, dtype, device)
    if key not in _masks:
        while sum(mask.nbytes for mask in _masks.values()) > MASK_BYTES:
            _masks.pop(next(iter(_masks)))
        mask = torch.full((queries, keys), float("-inf"), dtype=dtype, device=device).triu_(1 + keys - queries)
        _masks[key] = mask.repeat(1, repeats, 1)
    return _masks[key]
