"""From a parent to the backbone that a stage trains on: root weights, the chain merged in fp32, cast or quantised once.

Nothing is ever merged into quantised weights (PEFT's merge into NF4 on a CPU ruins the model without a word), and
nothing is rounded twice: a root is loaded as its files are, or in fp32, and every matrix that the chain changes is
summed in fp32 before it is cast. Imports torch.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from core.configs import sections
from core.models.changes import merge_into
from core.models.checking import whole_skeleton
from core.models.loading import TORCH_DTYPES, load_model
from core.models.parents import Parent
from core.models.quantizing import quantize
from core.models.streaming import NotStreamableError, plan_merge, write
from core.models.weights import inspect

SHARD_SIZE = 4_000_000_000  # bytes of a weight file at most
PAPER = re.compile(r"LICEN[SC]E|NOTICE|COPYING|USE_POLICY", re.IGNORECASE)


def load_backbone(
    parent: Parent,
    *,
    dtype: torch.dtype,
    device: str,
    attention: str = "auto",
    quantization: sections.Quantization | None = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """The causal language model that `parent` describes, in eval mode on `device`. Raises ModelError with the reason.

    `dtype` is that of the weights, or with `quantization` that of the products. Where there is a chain, or something to
    quantise, the weights are put together in main memory first.
    """
    print(parent.sentence())
    quantised = quantization is not None and quantization.kind != "none"
    prepared = bool(parent.adapters) or quantised
    model = load_model(
        parent.folder,
        dtype=file_dtype(parent.folder, dtype) if parent.adapters else dtype,
        device="cpu" if prepared else device,
        attention=attention,
        trust_remote_code=trust_remote_code,
    )
    if parent.adapters:
        merge_into(model, parent.adapters, dtype)
        model.to(dtype)
        # PEFT writes this name into an adapter's config: on the root alone the adapter would be wrong, silently.
        model.name_or_path = f"backbone-{parent.backbone_id[:16]}"
    if quantised and quantization is not None:
        return quantize(model, quantization, dtype, device).eval()
    return model.to("cpu" if device.startswith("cpu") else device).eval()


def file_dtype(folder: Path, dtype: torch.dtype) -> torch.dtype:
    """In what to load a root so that weights which end in `dtype` are rounded once: as its files are, else fp32."""
    return dtype if TORCH_DTYPES.get(inspect(folder).dtype) == dtype else torch.float32


def save_merged(
    parent: Parent, adapter: Path, folder: Path, dtype: torch.dtype, *, trust_remote_code: bool = False
) -> None:
    """Write the backbone with `adapter` merged into it, and whatever else that holds, as a model folder.

    Always from the full-precision files, whatever the weights were quantised to in training; file by file wherever it
    can be. Raises as `load_backbone`.
    """
    chain = [*parent.adapters, adapter]
    skeleton, _ = whole_skeleton(parent.folder, trust_remote_code=trust_remote_code)
    try:
        plan = plan_merge(parent.folder, skeleton, chain, dtype)
    except NotStreamableError as why:
        print(why)
        model = load_model(
            parent.folder, dtype=file_dtype(parent.folder, dtype), device="cpu", trust_remote_code=trust_remote_code
        )
        merge_into(model, chain, dtype, whole=True)
        model.to(dtype).save_pretrained(str(folder))
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write(plan, folder, shard_size=SHARD_SIZE)
        save_settings(skeleton, folder, dtype)
    copy_beside(parent.folder, folder)


def save_settings(model: PreTrainedModel, folder: Path, dtype: torch.dtype, stops: Iterable[int] = ()) -> None:
    """config.json and generation_config.json as `save_pretrained` writes them; `model` may be a skeleton.

    stops: tokens that end an answer, beside those that the generation config names already.
    """
    model.name_or_path = ""  # a path of this machine, which means nothing to whoever gets the folder
    model.config.dtype = str(dtype).removeprefix("torch.")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(str(folder))
    if model.can_generate() and model.generation_config is not None:
        named = model.generation_config.eos_token_id
        ends = [*([named] if isinstance(named, int) else named or []), *stops]
        model.generation_config.eos_token_id = [*dict.fromkeys(ends)] if len(set(ends)) > 1 else next(iter(ends), None)
        model.generation_config.save_pretrained(str(folder))


def copy_beside(source: Path, target: Path) -> None:
    """The Python files that a model came with, which its config.json names, and the licence that it stands under."""
    papers = [file for file in source.iterdir() if file.is_file() and PAPER.search(file.name)]
    for file in [*source.glob("*.py"), *papers]:
        shutil.copyfile(file, target / file.name)
