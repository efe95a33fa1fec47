"""What a model's `config.json` says about it: kind, context, family. Torch-free; loading is `core.models.loading`.

A family is a group of architectures whose linear layers have the same names, so a page can offer LoRA targets by name.
Anything else trains with `all-linear`, which needs no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.errors import ModelError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED_MLP = ("gate_proj", "up_proj", "down_proj")
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "n_ctx")


@dataclass(frozen=True)
class Family:
    """Architectures that name their linear layers alike. `model_types` are values of config.json's `model_type`."""

    name: str
    model_types: tuple[str, ...]
    attention: tuple[str, ...]
    mlp: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """Every linear layer of a block, in the order of the forward pass."""
        return (*self.attention, *self.mlp)


FAMILIES = (
    Family("llama", ("llama", "mistral", "smollm3", "yi", "deepseek", "minicpm"), ATTENTION, GATED_MLP),
    Family("qwen", ("qwen2", "qwen3", "qwen3_moe", "qwen2_moe"), ATTENTION, GATED_MLP),
    Family("gemma", ("gemma", "gemma2", "gemma3", "gemma3_text"), ATTENTION, GATED_MLP),
    Family("glm", ("glm", "glm4"), ATTENTION, ("gate_up_proj", "down_proj")),
    Family("phi3", ("phi3",), ("qkv_proj", "o_proj"), ("gate_up_proj", "down_proj")),
    Family("internlm2", ("internlm2",), ("wqkv", "wo"), ("w1", "w3", "w2")),
    Family("baichuan", ("baichuan",), ("W_pack", "o_proj"), GATED_MLP),
    Family("chatglm", ("chatglm",), ("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    Family("gpt-neox", ("gpt_neox",), ("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    Family("bloom", ("bloom",), ("query_key_value", "dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    Family("gpt2", ("gpt2",), ("c_attn", "c_proj"), ("c_fc", "c_proj")),
)


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


def family_of(config: dict[str, Any]) -> Family | None:
    """The family of a config; None for one that is not in the table (`all-linear` serves it)."""
    kind = str(text_config(config).get("model_type", ""))
    return next((family for family in FAMILIES if kind in family.model_types), None)
