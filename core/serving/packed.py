"""Linear layers that keep their weights in oneDNN's layout: for a few rows on a CPU, half the time or less.

PyTorch's own product lays a weight out anew at every call, which costs more than a few rows' arithmetic: 4 rows of fp32
take 338 µs where a weight that lies ready takes 134 (docs/lab.md). The copies need as much memory as the weights, so
they are made only where there is plenty. Imports torch.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from core.hardware import memory

SHARE = 0.4  # of the free memory that the copies may take
DTYPES = (torch.float32, torch.bfloat16)


def pack_weights(model: nn.Module) -> bool:
    """Let the linear layers of `model` compute with packed copies; its parameters stay. Whether it was done.

    The copies do not follow their weights: only for a model that changes no more.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear and _can(module.weight)]
    needed = sum(layer.weight.nbytes for layer in layers)
    if not layers or needed > SHARE * memory()[1]:
        return False
    for layer in layers:
        layer.forward = partial(_product, _packed(layer.weight), layer.bias)  # type: ignore[method-assign]
    return True


def _can(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in DTYPES and torch.backends.mkldnn.is_available()


def _packed(weight: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
    return found


def _product(packed: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """x Wᵀ + b: [..., in] → [..., out]."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return found
