"""Writing and reading what a run trains: adapters as PEFT writes them, whole models as Transformers does.

A checkpoint is loadable by plain PEFT or Transformers, too, so that it can be chosen wherever a run can.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, set_peft_model_state_dict
from peft.utils import load_peft_weights
from safetensors.torch import load_file
from transformers import PreTrainedModel

from core.models.weights import weight_files
from core.training.tuning import trains_embeddings


def save_trained(model: PreTrainedModel | PeftModel, tokenizer: Any, folder: Path) -> None:
    """The adapter, with embeddings and head where these learn, or the whole model in the dtypes it is trained in (fp32
    wherever it learns) with its tokenizer.
    """
    if isinstance(model, PeftModel):
        learning = ["default"]  # another one beside it is a reference
        model.save_pretrained(str(folder), selected_adapters=learning, save_embedding_layers=trains_embeddings(model))
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; the manifest says what this is
    else:
        # Under the names that its parameters have here: published mixtures of experts name each expert apart.
        model.save_pretrained(str(folder), save_original_format=False)
        tokenizer.save_pretrained(str(folder))


def load_trained(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """The reverse of `save_trained`. Raises KeyError where the checkpoint lacks a weight that learns."""
    if isinstance(model, PeftModel):
        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
        return
    tensors = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[name])


def save_model(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """The whole model in `dtype`, for those who use it."""
    model.to(dtype).save_pretrained(str(folder))
