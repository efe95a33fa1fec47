"""Linear layers in 4 or 8 bits (bitsandbytes), as QLoRA (arXiv 2305.14314) trains on them.

The head and whatever is no plain linear layer keep their precision. A model is quantised in main memory, matrix by
matrix, from weights that are complete: that works for merged chains, and on the CPU. Imports torch; bitsandbytes only
when something is quantised.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from core import late
from core.configs import sections


def quantize(
    model: PreTrainedModel, quantization: sections.Quantization, dtype: torch.dtype, device: str
) -> PreTrainedModel:
    """Replace `model`'s linear layers, move it to `device`, and return it; products are computed in `dtype`.

    The weights must not have been quantised before.
    """
    place = torch.device("cpu" if device.startswith("cpu") else device)
    head = model.get_output_embeddings()
    precise = tuple(model._keep_in_fp32_modules or ())
    for name, layer in list(model.named_modules()):
        if type(layer) is nn.Linear and layer is not head and not any(part in precise for part in name.split(".")):
            model.set_submodule(name, _quantised(layer, quantization, dtype, place))
    # What PEFT asks for, to lay its own kind of adapter on them.
    model.is_loaded_in_8bit = quantization.kind == "int8"
    model.is_loaded_in_4bit = not model.is_loaded_in_8bit
    return model.to(place)


def is_quantised(model: nn.Module) -> bool:
    """Whether `quantize` has gone over this model."""
    return bool(getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False))


def _quantised(layer: nn.Linear, quantization: sections.Quantization, dtype: torch.dtype, place: torch.device) -> Any:
    bnb = late.bitsandbytes()
    shape: dict[str, Any] = {
        "input_features": layer.in_features,
        "output_features": layer.out_features,
        "bias": layer.bias is not None,
        "device": "meta",
    }
    if quantization.kind == "int8":
        new = bnb.nn.Linear8bitLt(**shape, has_fp16_weights=False, threshold=6.0)
        new.weight = bnb.nn.Int8Params(layer.weight.data, requires_grad=False, has_fp16_weights=False)
    else:
        new = bnb.nn.Linear4bit(
            **shape, compute_dtype=dtype, compress_statistics=quantization.double, quant_type=quantization.kind
        )
        new.weight = bnb.nn.Params4bit(
            layer.weight.data,
            requires_grad=False,
            compress_statistics=quantization.double,
            quant_type=quantization.kind,
            module=new,
        )
        # On a CPU with AVX512-BF16, bitsandbytes would lay the weights out anew at the first evaluation, for a kernel
        # that has no gradient: from then on nothing before this layer would learn, and nothing would say so.
        new.support_avx512bf16_for_cpu = False
    new.bias = layer.bias
    return new.to(place)  # this is what quantises
