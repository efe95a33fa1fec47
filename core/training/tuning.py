"""What learns: LoRA adapters, every weight, or the last layers. Returns the model with the right parts trainable.

Frozen weights stay in the run's dtype; whatever learns has fp32 master weights. Under LoRA the fused layers cast the
small weights, so no autocast is needed; with full or freeze, or on quantised weights, the products run in the run's
dtype under autocast.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils import load_peft_weights
from transformers import PreTrainedModel

from core.configs import sections
from core.errors import ModelError
from core.models import families
from core.models.parents import Parent
from core.models.quantizing import is_quantised

ALL_LINEAR = "all-linear"


def loading_dtype(method: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype to load weights in: fp32 where all of them learn, the run's own where most are frozen."""
    return torch.float32 if method == "full" else dtype


def make_trainable(
    model: PreTrainedModel,
    tuning: sections.Tuning,
    lora: sections.Lora,
    dtype: torch.dtype,
    *,
    parent: Parent | None = None,
) -> tuple[PreTrainedModel | PeftModel, torch.dtype | None]:
    """(model, autocast dtype or None). Raises ModelError where targets or layers do not exist.

    `parent` says what the backbone is made of: an adapter to continue, a vocabulary that has grown. New adapter weights
    are drawn from torch's global generator: seed it first.
    """
    model.requires_grad_(False)
    if tuning.gradient_checkpointing:
        model.activation_checkpointing_enable()
    autocast = None if dtype == torch.float32 else dtype
    if tuning.method == "lora":
        start = None if parent is None else parent.start
        trainable = (
            new_lora(model, lora, dropout=lora.dropout) if start is None else _continued_lora(model, lora, start)
        )
        whole = lora.embeddings == "yes" or (lora.embeddings == "auto" and parent is not None and parent.grown)
        if whole:
            _train_embeddings(model)
        return trainable, autocast if whole or is_quantised(model) else None
    if tuning.method == "full":
        return model.requires_grad_(True), autocast
    decoder = model.get_decoder()
    layers = getattr(decoder, "layers", None) or getattr(decoder, "h", None)  # Bloom and GPT-2 call them h
    if layers is None:
        raise ModelError("model.no_layers", architecture=type(model).__name__)
    if tuning.trainable_layers > len(layers):
        raise ModelError("model.too_few_layers", asked=tuning.trainable_layers, layers=len(layers))
    for layer in layers[-tuning.trainable_layers :]:
        layer.float().requires_grad_(True)
    return model, autocast


class Shape(Protocol):
    """What a new adapter is made by: the section `lora` of any stage."""

    rank: int
    alpha: float
    targets: list[str]


def new_lora(model: PreTrainedModel, lora: Shape, *, name: str = "default", dropout: float = 0.0) -> PeftModel:
    """`model` with a new adapter called `name`, its weights in fp32. Raises ModelError `model.no_lora_target`."""
    all_linear = families.lora_targets(model.config.to_dict()) or ALL_LINEAR
    targets = all_linear if lora.targets == [ALL_LINEAR] else lora.targets
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    leaves = sorted(
        {name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    )
    unknown = [] if targets == all_linear else [name for name in targets if name.rsplit(".", 1)[-1] not in leaves]
    if unknown:
        raise ModelError("model.no_lora_target", targets=", ".join(unknown), known=", ".join(leaves))
    return get_peft_model(model, config, adapter_name=name)  # in fp32, whatever the frozen weights are


def _continued_lora(model: PreTrainedModel, lora: sections.Lora, start: Path) -> PeftModel:
    """The adapter in `start`, to be trained on: its rank, scale and targets are its own, dropout is the new run's."""
    config = LoraConfig.from_pretrained(str(start))
    config.lora_dropout, config.inference_mode = lora.dropout, False
    config.task_type, config.modules_to_save = "CAUSAL_LM", None
    trainable = get_peft_model(model, config)
    result = set_peft_model_state_dict(trainable, load_peft_weights(str(start), device="cpu"))
    missing = [name for name in result.missing_keys if "lora_" in name]
    if missing:
        raise ModelError("chain.other_model", path=str(start), layer=missing[0])
    return trainable


def _train_embeddings(model: PreTrainedModel) -> None:
    """Embeddings and head learn whole, in fp32, as master weights do; a tied head stays tied."""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        layer.float().requires_grad_(True)


def trains_embeddings(model: torch.nn.Module) -> bool:
    """Whether the embeddings of a model with adapters learn whole beside them."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    return bool(base.get_input_embeddings().weight.requires_grad)


def trainable_count(model: torch.nn.Module) -> tuple[int, int]:
    """(parameters that learn, all parameters)."""
    sizes = [(p.requires_grad, _count(p)) for p in model.parameters()]
    return sum(n for learns, n in sizes if learns), sum(n for _, n in sizes)


def _count(parameter: torch.nn.Parameter) -> int:
    """Numbers in a parameter; a 4-bit one holds two to a byte, and knows what it was made of."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else math.prod(state.shape)
