"""What a model's `config.json` says about it, and one table of the families that are known by name.

Any causal model of Transformers can be trained; the table holds what its config does not say: which layers get an
adapter, which chat template suits a base without one, which tokens end an answer. Torch-free; loading is
`core.models.loading`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core.errors import ModelError
from core.models.weights import PUBLISHED
from core.rundir import read_json

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = (*ATTENTION, "gate_proj", "up_proj", "down_proj")
FUSED_GATE = (*ATTENTION, "gate_up_proj", "down_proj")
GPT = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
LATENT = (
    "q_proj",
    "q_a_proj",
    "q_b_proj",
    "kv_a_proj_with_mqa",
    "kv_b_proj",
    "o_proj",
)  # of multi-head latent attention


@dataclass(frozen=True)
class Family:
    """`targets`: the layers that LoRA adapts, by the last part of their names. `template`: the named chat template for
    a base without one. `stops`: tokens that end an answer, as far as a vocabulary has them.

    Of a mixture of experts only the attention is adapted: its experts are no linear layers (all of a layer's are one
    tensor), and a router that learns from few rows forgets how to share out the work.
    """

    name: str
    model_types: tuple[str, ...]
    targets: tuple[str, ...]
    template: str = "chatml"
    stops: tuple[str, ...] = ()


FAMILIES = (
    Family("Llama", ("llama",), GATED, "medicalgpt", ("</s>", "<|eot_id|>", "<|end_of_text|>", "<|im_end|>")),
    Family("Bloom", ("bloom",), GPT, "bloomz", ("</s>",)),
    Family("ChatGLM", ("chatglm",), GPT, "chatglm3", ("</s>", "<eop>", "<|user|>", "<|observation|>")),
    Family("ChatGLM-6B", ("chatglm_6b",), GPT, "chatglm-6b", ("<eop>",)),
    Family("GLM", ("glm", "glm4"), FUSED_GATE, "chatglm3", ("<|endoftext|>", "<|user|>", "<|observation|>")),
    Family("Baichuan", ("baichuan",), ("W_pack", "o_proj", "gate_proj", "up_proj", "down_proj"), "baichuan2",
           ("</s>", "<reserved_106>")),
    Family("Baichuan-13B", ("baichuan_alibi",), GATED, "baichuan2", ("</s>", "<reserved_102>", "<reserved_106>")),
    Family("Qwen", ("qwen2", "qwen3"), GATED, "chatml", ("<|im_end|>", "<|endoftext|>")),
    Family("Qwen MoE", ("qwen2_moe", "qwen3_moe"), ATTENTION, "chatml", ("<|im_end|>", "<|endoftext|>")),
    Family("Mistral", ("mistral", "ministral"), GATED, "llama2", ("</s>",)),
    Family("Mixtral", ("mixtral",), ATTENTION, "llama2", ("</s>",)),
    Family("Gemma", ("gemma", "gemma2", "gemma3", "gemma3_text"), GATED, "chatml", ("<eos>", "<end_of_turn>")),
    Family("Phi-3", ("phi3",), ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), "chatml",
           ("<|end|>", "<|endoftext|>")),
    Family("DeepSeek", ("deepseek_v2", "deepseek_v3"), LATENT, "chatml", ("<｜end▁of▁sentence｜>", "<|im_end|>")),
    Family("GPT-NeoX", ("gpt_neox",), GPT, "alpaca", ("<|endoftext|>",)),
    Family("SmolLM3", ("smollm3",), GATED, "chatml", ("<|im_end|>",)),
    Family("OLMo", ("olmo2", "olmo3"), GATED, "chatml", ("<|endoftext|>",)),
)  # fmt: skip
OWN_CLASSES = ("chatglm_6b", "baichuan_alibi")  # those of `core.models.architectures`: no other program loads them
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")

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


def check_type(folder: Path, asked: str) -> None:
    """Raise ModelError `model.type_differs` unless the model in `folder` is of the type `asked`, as its config.json or
    that of the checkpoint that it was converted from says. Empty: whatever it is."""
    if not asked:
        return
    published = read_json(folder / PUBLISHED)
    configs = [read_config(folder), *([published] if isinstance(published, dict) else [])]
    kinds = [str(each.get("model_type", "")) for config in configs for each in (config, text_config(config))]
    if asked.lower() not in kinds:
        raise ModelError("model.type_differs", path=str(folder), asked=asked, kind=kinds[-1])


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part that describes the language model: models with eyes or ears keep it one level down."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def architecture(config: dict[str, Any]) -> str:
    """The class name, such as `LlamaForCausalLM`; the model type where no class is named."""
    names = _named(config)
    return names[0] if names else str(config.get("model_type", ""))


def _named(config: dict[str, Any]) -> list[str]:
    """The classes that a config names."""
    names = config.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def writes_text(config: dict[str, Any]) -> bool:
    """False only where the config names a class that clearly does not generate text (classifiers, encoders)."""
    names = _named(config)
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


# -- families ---------------------------------------------------------------------------------------------------------
def family_of(config: dict[str, Any]) -> Family | None:
    """The family of a config's model type; None for one that the table does not know."""
    kinds = (config.get("model_type"), text_config(config).get("model_type"))
    return next((family for kind in kinds for family in FAMILIES if kind in family.model_types), None)


def lora_targets(config: dict[str, Any]) -> tuple[str, ...] | None:
    """What `lora.targets=all-linear` means for this model; None: every linear layer but the head."""
    family = family_of(config)
    if family is not None:
        return family.targets
    return ATTENTION if any(text_config(config).get(key) for key in EXPERTS) else None


def stop_tokens(config: dict[str, Any]) -> tuple[str, ...]:
    """Tokens that end an answer in this family's vocabularies; () for a family that is not known."""
    family = family_of(config)
    return () if family is None else family.stops


def template_for(config: dict[str, Any]) -> str:
    """The named chat template that suits a base of this family which brings none."""
    family = family_of(config)
    return "chatml" if family is None else family.template
