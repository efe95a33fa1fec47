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


def needs_torch(folder: Path) -> bool:
    """Whether loading this tokenizer loads torch, which the page never does: it asks another process then."""
    config = read_json(folder / "tokenizer_config.json") or {}
    generic = str(config.get("tokenizer_class") or "") in GENERIC and "auto_map" not in config
    return not (generic and (folder / "tokenizer.json").is_file())


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in `folder`, a `transformers` tokenizer. Raises ModelError `model.no_tokenizer`."""
    try:
        if not needs_torch(folder):
            from transformers import TokenizersBackend

            return TokenizersBackend.from_pretrained(folder, local_files_only=True)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        detail = str(error).strip().split("\n")[0]
        raise ModelError("model.no_tokenizer", model=str(folder), detail=detail) from error


def stop_ids_of(folder: Path) -> list[int]:
    """The ids that end an answer by the folder's generation_config.json; [] where it names none."""
    try:
        found = orjson.loads((folder / "generation_config.json").read_bytes()).get("eos_token_id")
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return []
    if isinstance(found, int):
        return [found]
    return [one for one in found if isinstance(one, int)] if isinstance(found, list) else []
