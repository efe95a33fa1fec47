"""Whether Transformers can make a model of a folder, found out without loading a weight. Imports torch.

    check_kind(folder)         does it know models of that kind?
    check_model(folder)        raises the ModelError that says what is wrong

Names and shapes of the files are compared with those of the class, so that a shard that was left out, a layer of
another width or an unknown architecture is told when a model is brought in, and not when a run starts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models import families
from core.models.loading import explained
from core.models.weights import inspect

# A weight of a numbered layer of the text's own decoder; buffers of older versions are none.
OF_A_LAYER = re.compile(r"^(model|transformer|gpt_neox)\.(layers|h)\.\d+\.(?!.*(inv_freq|masked_bias|attn\.bias)$)")
INTEGERS = ("int8", "uint8", "i16", "i32", "i64")


def check_kind(folder: Path) -> None:
    """Raise ModelError as `skeleton` unless Transformers has a class for the config in `folder`; nothing is loaded."""
    try:
        AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise explained(error, folder, families.read_config(folder)) from error


def skeleton(folder: Path, *, trust_remote_code: bool = False) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model of `folder` without weights (on the device "meta"), and what Transformers says of its files.

    Raises ModelError `model.unknown_architecture` or `_kind`, `model.needs_code`, `model.load_failed`.
    """
    config = families.read_config(folder)
    auto: Any = AutoModelForCausalLM if families.writes_text(config) else AutoModelForSequenceClassification
    transformers_logging.disable_progress_bar()
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its table of what is missing; told in one sentence below
    try:
        model, info = auto.from_pretrained(
            folder, device_map="meta", dtype="auto", local_files_only=True, use_safetensors=True,
            output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=trust_remote_code,
        )  # fmt: skip
    except Exception as error:
        raise explained(error, folder, config) from error
    finally:
        transformers_logging.set_verbosity(before)
    return model, info


def whole_skeleton(folder: Path, *, trust_remote_code: bool = False) -> tuple[PreTrainedModel, dict[str, Any]]:
    """`skeleton`, of files that hold every weight. Raises `model.missing_weights` and `model.wrong_shape`, too."""
    model, info = skeleton(folder, trust_remote_code=trust_remote_code)
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError("model.missing_weights", path=str(folder), count=len(missing), example=missing[0])
    wrong = sorted(info["mismatched_keys"])
    if wrong:
        name, found, expected = wrong[0]
        raise ModelError("model.wrong_shape", path=str(folder), tensor=name, found=list(found), expected=list(expected))
    return model, info


def check_model(folder: Path) -> None:
    """Raise the ModelError that says why `folder` cannot be used: as `whole_skeleton`, `model.unused_weights`,
    `model.integers`, `model.few_rows`."""
    if inspect(folder).dtype in INTEGERS and "quantization_config" not in families.read_config(folder):
        raise ModelError("model.integers", path=str(folder), dtype=inspect(folder).dtype)
    model, info = whole_skeleton(folder)
    unused = sorted(name for name in info["unexpected_keys"] if OF_A_LAYER.search(name))
    if unused:
        raise ModelError("model.unused_weights", path=str(folder), count=len(unused), example=unused[0])
    rows, tokens = model.get_input_embeddings().weight.shape[0], len(load_tokenizer(folder))
    if tokens > rows:
        raise ModelError("model.few_rows", path=str(folder), tokens=tokens, rows=rows)
