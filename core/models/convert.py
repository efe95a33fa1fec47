"""Whatever a model comes as, rewritten as a plain safetensors folder of a native class. Imports torch.

    python -m core.models.convert gguf FILE FOLDER              a GGUF file, unpacked
    python -m core.models.convert native FOLDER FOLDER          `.bin` weights, published layouts, old tokenizers
    python -m core.models.convert difference FOLDER FOLDER BASE weights published as a difference to BASE
    python -m core.models.convert adapter FOLDER FOLDER BASE    a LoRA that another program trained on BASE
    python -m core.models.convert publish FOLDER FOLDER BASE    an adapter of BASE for what that was converted from
    python -m core.models.convert check FOLDER                  can Transformers make a model of it?
    python -m core.models.convert kind FOLDER                   does it know a model of that kind?

`core.recipes.fetch` runs it so, as a child that can be killed at any moment: the target is a temporary folder. Lines
of stdout are JSON: `{"progress": [files done, files in all]}`, and at last `{"facts": …}` or `{"error": {"code",
"params"}}`.

Weights unpacked from GGUF are stored in bf16: blocks of four or five bits carry less than its eight significant bits,
the file is half as long, and it is mapped into memory instead of converted at every load.
"""

from __future__ import annotations

import errno
import json
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from core.data.encode.named import template_text
from core.data.encode.tokenizer import load_tokenizer
from core.errors import GalenError, ModelError
from core.models.anatomy import anatomy
from core.models.backbone import save_merged
from core.models.checking import check_kind, check_model
from core.models.conversions import find_layout, native_tensors
from core.models.differences import add_difference
from core.models.families import context_length, read_config
from core.models.foreign import convert_adapter, publish_adapter
from core.models.loading import TORCH_DTYPES
from core.models.old_tokenizers import convert_tokenizer
from core.models.parents import Parent
from core.models.rewriting import rewrite
from core.models.weights import PUBLISHED, inspect
from core.records import RootBase
from core.rundir import read_json, write_json

# How a disk, a quota or the largest file that a file system takes is told, by Python and by safetensors.
FULL = re.compile(rf"(^|os error )({errno.ENOSPC}|{errno.EFBIG}|{errno.EDQUOT})\b")
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


# -- whole folders ----------------------------------------------------------------------------------------------------
def make_native(source: Path, target: Path) -> None:
    """Write the weights of folder `source`, safetensors or `.bin`, as safetensors into `target`, in native form.

    `target` holds the other files already. A published layout (`conversions`) is converted, with config.json and
    tokenizer; otherwise only the tokenizer is, where it is a SentencePiece file. Raises ModelError as `rewrite`,
    `native_tensors`, `convert_tokenizer` and `check_model`.
    """
    published = read_config(source)
    layout = find_layout(published)
    if layout is None:
        rewrite(source, target, on_file=_tell)
        convert_tokenizer(source, target)
        check_model(target)
        return
    native = layout.config(published)  # it may refuse, before anything is written
    rewrite(source, target, partial(native_tensors, layout, published), _tell)
    write_json(target / PUBLISHED, published)
    write_json(target / "config.json", native)
    convert_tokenizer(source, target, layout)
    _name_template(target, layout.template(source))
    check_model(target)


def _name_template(folder: Path, name: str) -> None:
    """Give the tokenizer in `folder` the named chat template, unless it has one."""
    tokenizer = load_tokenizer(folder)
    if not tokenizer.chat_template:
        (folder / "chat_template.jinja").write_text(template_text(name, tokenizer), encoding="utf-8")


def add_up(source: Path, target: Path, base: Path) -> None:
    """`source`, a difference, and `base` as a whole model in `target`.

    Raises ModelError as `add_difference` and `check_model`.
    """
    convert_tokenizer(source, target)
    add_difference(source, base, target, _tell)
    check_model(target)


def take_adapter(source: Path, target: Path, base: Path) -> dict[str, Any]:
    """The adapter in `source` as `target`/adapter, with its tokenizer; one with embeddings of its own is merged into
    `target`/model.

    Returns as `convert_adapter`, and "place": the folder that counts. Raises ModelError `adapter.tokens` where the
    tokenizer that came with it has more tokens than the base has rows.
    """
    facts = convert_adapter(source, target / "adapter", base)
    tokenizer = _tokenizer_of(source, base)
    if facts["whole"]:
        facts_of_base = inspect(base)
        parent = Parent(RootBase(source=base.name, path=str(base)))
        dtype = TORCH_DTYPES.get(facts_of_base.dtype, torch.float32)
        save_merged(parent, target / "adapter", target / "model", dtype)
    place = target / ("model" if facts["whole"] else "adapter")
    tokenizer.save_pretrained(str(place))
    return {**facts, "place": place.name}


def _tokenizer_of(source: Path, base: Path) -> Any:
    """What came with an adapter, made readable where it is an old one; the base's where nothing did."""
    published = read_json(base / PUBLISHED)
    layout = find_layout(published) if isinstance(published, dict) else None
    with tempfile.TemporaryDirectory() as place:
        if (source / "tokenizer.json").is_file():
            found = load_tokenizer(source)
        elif convert_tokenizer(source, Path(place), layout):
            found = load_tokenizer(Path(place))
        else:
            return load_tokenizer(base)
    rows = anatomy(base).vocabulary
    if len(found) > rows:
        raise ModelError("adapter.tokens", path=str(source), base=base.name, tokens=len(found), rows=rows)
    return found


def _tell(done: int, total: int) -> None:
    print(json.dumps({"progress": [done, total]}), flush=True)


def main(argv: list[str]) -> int:
    kind, *paths = argv[0], *map(Path, argv[1:])
    works: dict[str, Callable[..., dict[str, Any] | None]] = {
        "gguf": unpack_gguf, "native": make_native, "difference": add_up, "adapter": take_adapter, "check": check_model,
        "publish": publish_adapter, "kind": check_kind,
    }  # fmt: skip
    transformers_logging.disable_progress_bar()
    try:
        facts = works[kind](*paths)
    except GalenError as error:
        print(json.dumps({"error": {"code": error.code, "params": error.params}}, default=str), flush=True)
        return error.exit_status
    except (OSError, SafetensorError) as error:
        if not FULL.search(f"{getattr(error, 'errno', '')} {error}"):
            raise
        told = {"code": "disk.filled", "params": {"folder": str(paths[1])}}
        print(json.dumps({"error": told}), flush=True)
        return 2
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        traceback.print_exc()  # whatever a folder of unknown origin holds where something else was expected
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        print(json.dumps({"error": {"code": "model.malformed", "params": {"path": str(paths[0]), "detail": detail}}}))
        return 2
    print(json.dumps({"facts": facts or {}}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
