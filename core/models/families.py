"""What a model's `config.json` says about it: class, context. Torch-free; loading is `core.models.loading`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from core.errors import ModelError

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")


def read_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises ModelError `model.not_a_model` or `model.bad_config`."""
    path = folder / "config.json"
    try:
        config = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError("model.not_a_model", path=str(folder)) from error
    except (OSError, orjson.JSONDecodeError) as error:
        raise ModelError("model.bad_config", path=str(path), detail=str(error)) from error
    if not isinstance(config, dict):
        raise ModelError("model.bad_config", path=str(path), detail="it holds no settings")
    return config


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part that describes the language model: models with eyes or ears keep it one level down."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def architecture(config: dict[str, Any]) -> str:
    """The class name, such as `LlamaForCausalLM`; the model type where no class is named."""
    names = config.get("architectures") or []
    return str(names[0]) if names else str(config.get("model_type", ""))


def writes_text(config: dict[str, Any]) -> bool:
    """False only where the config names a class that clearly does not generate text (classifiers, encoders)."""
    names = [str(name) for name in config.get("architectures") or []]
    return not names or any(
        name.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) or "Chat" in name for name in names
    )


def context_length(config: dict[str, Any]) -> int | None:
    """Tokens that fit into one sequence; None where the config does not say."""
    inner = text_config(config)
    for key in CONTEXT_KEYS:
        if isinstance(inner.get(key), int):
            return int(inner[key])
    return None
