"""What learns: LoRA adapters, every weight, or the last layers. Returns the model with the right parts trainable.

Frozen weights stay in the run's dtype; whatever learns has fp32 master weights. Under LoRA the fused layers cast the
small weights, so no autocast is needed; with full or freeze the products run in the run's dtype under autocast.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from core.configs import sections
from core.errors import ModelError

ALL_LINEAR = "all-linear"


def loading_dtype(method: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype to load weights in: fp32 where all of them learn, the run's own where most are frozen."""
    return torch.float32 if method == "full" else dtype


def make_trainable(
    model: PreTrainedModel, tuning: sections.Tuning, lora: sections.Lora, dtype: torch.dtype
) -> tuple[PreTrainedModel | PeftModel, torch.dtype | None]:
    """(model, autocast dtype or None). Raises ModelError where targets or layers do not exist.

    New adapter weights are drawn from torch's global generator: seed it first.
    """
    model.requires_grad_(False)
    if tuning.gradient_checkpointing:
        model.activation_checkpointing_enable()
    autocast = None if dtype == torch.float32 else dtype
    if tuning.method == "lora":
        return _add_lora(model, lora), None
    if tuning.method == "full":
        return model.requires_grad_(True), autocast
    layers = getattr(model.get_decoder(), "layers", None)
    if layers is None:
        raise ModelError("model.no_layers", architecture=type(model).__name__)
    if tuning.trainable_layers > len(layers):
        raise ModelError("model.too_few_layers", asked=tuning.trainable_layers, layers=len(layers))
    for layer in layers[-tuning.trainable_layers :]:
        layer.float().requires_grad_(True)
    return model, autocast


def _add_lora(model: PreTrainedModel, lora: sections.Lora) -> PeftModel:
    targets = ALL_LINEAR if lora.targets == [ALL_LINEAR] else lora.targets
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    leaves = sorted(
        {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    )
    unknown = [] if targets == ALL_LINEAR else [name for name in targets if name.rsplit(".", 1)[-1] not in leaves]
    if unknown:
        raise ModelError("model.no_lora_target", targets=", ".join(unknown), known=", ".join(leaves))
    return get_peft_model(model, config)  # adapters in fp32, whatever the frozen weights are


def trainable_count(model: torch.nn.Module) -> tuple[int, int]:
    """(parameters that learn, all parameters)."""
    sizes = [(p.requires_grad, p.numel()) for p in model.parameters()]
    return sum(n for learns, n in sizes if learns), sum(n for _, n in sizes)
