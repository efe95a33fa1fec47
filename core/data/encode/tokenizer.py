"""Loads a tokenizer from a model folder, without torch wherever that gives the same tokenizer.

`transformers.AutoTokenizer` decides which class a folder needs, and loads torch to do so. A folder that names no class
of its own is read by `TokenizersBackend` straight from its tokenizer.json; every other one goes the long way.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from core.errors import ModelError
from core.rundir import read_json

GENERIC = {"", "TokenizersBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast"}

# What the two are called in published vocabularies, the likelier first.
ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>",
        "<｜end▁of▁sentence｜>", "[EOS]")  # fmt: skip
PADS = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>", "[UNK]")


def needs_torch(folder: Path) -> bool:
    """Whether loading this tokenizer loads torch, which the page never does: it asks another process then."""
    config = read_json(folder / "tokenizer_config.json") or {}
    generic = str(config.get("tokenizer_class") or "") in GENERIC and "auto_map" not in config
    return not (generic and (folder / "tokenizer.json").is_file())


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in `folder`, a `transformers` tokenizer. Raises ModelError `model.no_tokenizer`.

    One whose files name no token for the end of a text, or for padding, is given those of its vocabulary, if any.
    """
    try:
        if not needs_torch(folder):
            from transformers import TokenizersBackend

            return _completed(TokenizersBackend.from_pretrained(folder, local_files_only=True), folder)
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        return _completed(loaded, folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        detail = str(error).strip().split("\n")[0]
        raise ModelError("model.no_tokenizer", model=str(folder), detail=detail) from error


def _completed(tokenizer: Any, folder: Path) -> Any:
    """`tokenizer` with an end and a padding token, where its vocabulary has them. The two are never the same one: masks
    and classifiers that look for padding would take the end of an answer for it."""
    if tokenizer.eos_token is None or tokenizer.pad_token is None:
        added = {number: token.content for number, token in tokenizer.added_tokens_decoder.items()}
        contents = set(added.values())
        if tokenizer.eos_token is None:
            configured = (added[number] for number in _ends_of(folder) if number in added)
            tokenizer.eos_token = next(configured, None) or next((end for end in ENDS if end in contents), None)
        if tokenizer.pad_token is None:
            free = contents - {tokenizer.eos_token}
            tokenizer.pad_token = next((pad for pad in PADS if pad in free), None)
    return tokenizer


def _ends_of(folder: Path) -> list[int]:
    """The ids that end a text by generation_config.json, else by config.json."""
    config = read_json(folder / "config.json")
    return stop_ids_of(folder) or _as_ids(config.get("eos_token_id") if isinstance(config, dict) else None)


def stop_ids_of(folder: Path) -> list[int]:
    """The ids that end an answer by the folder's generation_config.json; [] where it names none."""
    try:
        found = orjson.loads((folder / "generation_config.json").read_bytes()).get("eos_token_id")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return []
    return _as_ids(found)


def _as_ids(found: Any) -> list[int]:
    if isinstance(found, int):
        return [found]
    return [one for one in found if isinstance(one, int)] if isinstance(found, list) else []
