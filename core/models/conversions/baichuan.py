"""Baichuan-7B and Baichuan2-7B are Llama; the 13B models are this project's own class (`architectures.baichuan`).

Both generations join q, k and v in `W_pack`, and the second one normalises its head's rows at every step. After
modeling_baichuan.py in baichuan-inc/Baichuan-7B, Baichuan2-7B-Base, Baichuan-13B-Base and Baichuan2-13B-Base. The 13B
models have ALiBi in place of rotary positions, and no `max_position_embeddings` in their config.json.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.models import families
from core.models.conversions.layout import Config, Layout

KEPT = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps", "vocab_size",
    "initializer_range", "bos_token_id", "eos_token_id", "pad_token_id", "torch_dtype", "use_cache",
)  # fmt: skip
SECOND_VOCABULARY = 100_000  # more than that is Baichuan2's (125 696); Baichuan has 64 000
OUTER = {"model.embed_tokens": "model.embed_tokens", "model.norm": "model.norm", "lm_head": "lm_head"}
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
SAME = (
    "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip
INNER = {"self_attn.W_pack": QKV, **{name: (name,) for name in SAME}}


def is_second(config: Config) -> bool:
    """Whether this is a Baichuan2: its head is normalised, its chat template another one."""
    return "z_loss_weight" in config or int(config.get("vocab_size") or 0) > SECOND_VOCABULARY


def rows(config: Config, module: str) -> tuple[int, ...]:
    return (int(config["hidden_size"]),) * 3 if module.endswith("W_pack") else ()


def template(folder: Path) -> str:
    """The named template of the chat models of its generation."""
    return "baichuan2" if is_second(families.read_config(folder)) else "baichuan"


def _is_baichuan(config: Config) -> bool:
    return config.get("model_type") == "baichuan" and "quantization_config" not in config


def _is_rotary(config: Config) -> bool:
    return _is_baichuan(config) and "max_position_embeddings" in config


def _is_alibi(config: Config) -> bool:
    named = "BaichuanForCausalLM" in (config.get("architectures") or ())  # Baichuan-7B's is BaiChuanForCausalLM
    return _is_baichuan(config) and named and "model_max_length" in config and "max_position_embeddings" not in config


def _native(config: Config) -> dict[str, Any]:
    """What both classes call by one name."""
    return {
        "hidden_act": config.get("hidden_act", "silu"),
        "tie_word_embeddings": False,
        **{key: config[key] for key in KEPT if key in config},
    }


def _llama(config: Config) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "num_key_value_heads": config["num_attention_heads"],
        "max_position_embeddings": config["max_position_embeddings"],
        "rope_theta": 10000.0,
        **_native(config),
    }


def _alibi(config: Config) -> dict[str, Any]:
    return {
        "architectures": ["BaichuanForCausalLM"],
        "model_type": "baichuan_alibi",
        "max_position_embeddings": config["model_max_length"],
        **_native(config),
    }


def _layout(name: str, accepts: Callable[[Config], bool], native: Callable[[Config], dict[str, Any]]) -> Layout:
    return Layout(
        name=name,
        accepts=accepts,
        config=native,
        outer=OUTER,
        layers=("model.layers.", "model.layers."),
        inner=INNER,
        template=template,
        rows=rows,
        normalised=is_second,
        dropped=("rotary_emb.inv_freq", "model.future_mask"),
    )


ROTARY = _layout("Baichuan-7B", _is_rotary, _llama)
ALIBI = _layout("Baichuan-13B", _is_alibi, _alibi)
