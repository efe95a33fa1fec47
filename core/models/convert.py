"""GGUF files and PyTorch `.bin` weights, rewritten as a plain safetensors folder. Imports torch.

    python -m core.models.convert gguf FILE FOLDER        python -m core.models.convert bin FOLDER FOLDER

`core.recipes.fetch` runs it so, as a child that can be killed at any moment: the target is a temporary folder. The
last line of stdout is JSON: `{}` or `{"error": {"code", "params"}}`.

Weights unpacked from GGUF are stored in bf16: blocks of four or five bits carry less than its eight significant bits,
the file is half as long, and it is mapped into memory instead of converted at every load.
"""

from __future__ import annotations

import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.errors import GalenError, ModelError
from core.models.families import context_length, read_config
from core.models.weights import BIN_INDEX, INDEX, SINGLE, bin_files
from core.rundir import read_json, write_text

# Tokens that may pad, best first: padding with the end-of-turn token breaks every mask made from `ids != pad`.
PAD_CANDIDATES = ("<|endoftext|>", "<|finetune_right_pad_id|>", "<pad>", "[PAD]", "<|pad|>", "<unk>")
END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|eot|>", "<turn|>")


# -- GGUF -------------------------------------------------------------------------------------------------------------
def unpack_gguf(source: Path, target: Path) -> None:
    """Write model, tokenizer, template and generation config of `source` into `target`, weights in bf16.

    Raises ModelError `model.gguf_architecture` or `model.gguf_unreadable`.
    """
    with open(source, "rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError("model.gguf_unreadable", path=str(source), detail="it does not begin like one")
    place: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **place
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **place)
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise _gguf_error(source, error) from error
    _name_special_tokens(model, tokenizer)
    # transformers notes where a model came from; that path means nothing in its new place.
    model.config._name_or_path = ""
    vars(model.config).pop("_model_name_or_path", None)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _gguf_error(source: Path, error: Exception) -> ModelError:
    unsupported = re.search(r"architecture (\S+) is not supported", str(error))
    if unsupported is None:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        return ModelError("model.gguf_unreadable", path=str(source), detail=detail)
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    known = ", ".join(sorted(GGUF_SUPPORTED_ARCHITECTURES))
    return ModelError("model.gguf_architecture", path=str(source), kind=unsupported[1], known=known)


def _name_special_tokens(model: PreTrainedModel, tokenizer: Any) -> None:
    """A pad token that is not the end of a turn, and every token that ends an answer among the stop tokens."""
    vocabulary = tokenizer.get_vocab()
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        fitting = [token for token in PAD_CANDIDATES if token in vocabulary and token != tokenizer.eos_token]
        if fitting:
            tokenizer.pad_token = fitting[0]
    context = context_length(model.config.to_dict())
    if context is not None:
        tokenizer.model_max_length = context
    template = tokenizer.chat_template or ""
    stops = [tokenizer.eos_token_id, *(vocabulary[t] for t in END_OF_TURN if t in vocabulary and str(t) in template)]
    stops = sorted({stop for stop in stops if stop is not None})
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=stops[0] if len(stops) == 1 else stops,
        pad_token_id=tokenizer.pad_token_id,
    )


# -- .bin -------------------------------------------------------------------------------------------------------------
def rewrite_bin(source: Path, target: Path) -> None:
    """Rewrite the `.bin` weights of folder `source` as safetensors in folder `target`. No code in them is run.

    Raises ModelError `model.bin_refused` (naming what the file asked for) or `model.bin_unreadable`.
    """
    files = bin_files(source)
    tied = bool(read_config(source).get("tie_word_embeddings", False))
    names = [_new_name(path.name, len(files)) for path in files]
    where: dict[str, str] = {}
    total = 0
    for path, name in zip(files, names, strict=True):
        tensors = _plain(_read_bin(path), tied)
        temporary = target / f".{name}.tmp"
        save_file(tensors, temporary, metadata={"format": "pt"})
        temporary.replace(target / name)
        where.update(dict.fromkeys(tensors, name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if read_json(source / BIN_INDEX) is not None and len(files) > 1:
        write_text(target / INDEX, json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=1))


def _new_name(name: str, count: int) -> str:
    return SINGLE if count == 1 else name.replace("pytorch_model", "model").replace(".bin", ".safetensors")


def _read_bin(path: Path) -> dict[str, torch.Tensor]:
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written before PyTorch 1.6, which cannot be mapped
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"(?:GLOBAL|class|function) ([\w.]+)", str(error))
        if asked:
            raise ModelError("model.bin_refused", path=str(path), object=asked[1]) from error
        raise ModelError("model.bin_unreadable", path=str(path), detail="it is damaged") from error
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ModelError("model.bin_unreadable", path=str(path), detail="it is damaged or of another kind") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ModelError("model.bin_unreadable", path=str(path), detail="it holds more than named tensors")
    return content


def _plain(tensors: dict[str, torch.Tensor], tied: bool) -> dict[str, torch.Tensor]:
    """Contiguous tensors of their own: safetensors stores no sharing. A tied head is left out, as Transformers does."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        shared = tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        if shared and tied and name.endswith("lm_head.weight"):
            continue
        result[name] = tensor.clone().contiguous() if shared else tensor.contiguous()
    return result


def main(argv: list[str]) -> int:
    kind, source, target = argv[0], Path(argv[1]), Path(argv[2])
    transformers_logging.disable_progress_bar()
    try:
        (unpack_gguf if kind == "gguf" else rewrite_bin)(source, target)
    except GalenError as error:
        print(json.dumps({"error": {"code": error.code, "params": error.params}}), flush=True)
        return error.exit_status
    print("{}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
