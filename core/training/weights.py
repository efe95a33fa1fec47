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
from core.training.sharding import Tensors, spread
from core.training.tuning import trains_embeddings


def save_trained(
    model: PreTrainedModel | PeftModel, tokenizer: Any, folder: Path, tensors: Tensors | None = None
) -> None:
    """The adapter, with embeddings and head where these learn, or the whole model in the dtypes it is trained in (fp32
    wherever it learns) with its tokenizer. tensors: whole ones by name, where the model holds a share of each.
    """
    given = {} if tensors is None else {"state_dict": tensors}
    if isinstance(model, PeftModel):
        learning = ["default"]  # another one beside it is a reference
        embeddings = trains_embeddings(model)
        model.save_pretrained(str(folder), selected_adapters=learning, save_embedding_layers=embeddings, **given)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; the manifest says what this is
    else:
        # Under the names that its parameters have here: published mixtures of experts name each expert apart.
        model.save_pretrained(str(folder), save_original_format=False, **given)
        tokenizer.save_pretrained(str(folder))


def load_trained(model: PreTrainedModel | PeftModel, folder: Path) -> None:
    """The reverse of `save_trained`. Raises KeyError where the checkpoint lacks a weight that learns."""
    if isinstance(model, PeftModel):
        held = {name.replace(".default.", "."): parameter for name, parameter in model.named_parameters()}
        found = load_peft_weights(str(folder), device="cpu")
        set_peft_model_state_dict(model, {n: spread(held[n], t) if n in held else t for n, t in found.items()})
        return
    tensors = {name: tensor for file in weight_files(folder) for name, tensor in load_file(file).items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(spread(parameter, tensors[name]))


def save_model(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """The whole model in `dtype`, for those who use it."""
    model.to(dtype).save_pretrained(str(folder))
