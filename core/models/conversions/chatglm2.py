"""ChatGLM2-6B and ChatGLM3-6B are Glm: q, k and v joined in one matrix, rotary positions on half of each head.

After modeling_chatglm.py in THUDM/chatglm2-6b and chatglm3-6b. The gate and the up projection are one matrix in both.
The models for long contexts stretch their positions, each generation in another way, which their config.json does not
tell apart: they are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import ModelError
from core.models.conversions.layout import Config, Layout

# Switches of the published code, with the only values that the published models have.
FIXED: dict[str, Any] = {
    "rmsnorm": True, "post_layer_norm": True, "add_bias_linear": False, "multi_query_attention": True,
    "apply_residual_connection_post_layernorm": False, "quantization_bit": 0, "pre_seq_len": None, "rope_ratio": 1,
}  # fmt: skip

# ChatGLM's code calls the last two `sop` and `eop`; so written they may be pieces of words, which a token cannot be.
MASKS = ("[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>")
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")


def _accepts(config: Config) -> bool:
    return config.get("model_type") == "chatglm" and "multi_query_group_num" in config


def _rows(config: Config, module: str) -> tuple[int, ...]:
    if not module.endswith("query_key_value"):
        return ()
    width = int(config["kv_channels"])
    groups = int(config["multi_query_group_num"]) * width
    return int(config["num_attention_heads"]) * width, groups, groups


def _glm(config: Config) -> dict[str, Any]:
    for key, value in FIXED.items():
        if key in config and config[key] != value:
            raise ModelError("convert.setting", family=LAYOUT.name, key=key, value=config[key], expected=value)
    return {
        "architectures": ["GlmForCausalLM"],
        "model_type": "glm",
        "attention_bias": bool(config.get("add_qkv_bias", True)),
        "head_dim": config["kv_channels"],
        "hidden_act": "silu",
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["ffn_hidden_size"],
        "max_position_embeddings": config.get("seq_length", 8192),
        "num_attention_heads": config["num_attention_heads"],
        "num_hidden_layers": config["num_layers"],
        "num_key_value_heads": config["multi_query_group_num"],
        "partial_rotary_factor": 0.5,
        "rms_norm_eps": config.get("layernorm_epsilon", 1e-5),
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "vocab_size": config["padded_vocab_size"],
        "bos_token_id": config.get("bos_token_id"),
        "eos_token_id": config.get("eos_token_id", 2),
        "pad_token_id": config.get("pad_token_id", 0),
        "torch_dtype": config.get("torch_dtype", "float16"),
    }


def _knows_roles(folder: Path) -> bool:
    """Whether this is a ChatGLM3: its tokenizer's code, which is only searched, adds tokens for roles."""
    files = [*folder.glob("*.py"), folder / "tokenizer_config.json", folder / "config.json"]
    text = "".join(file.read_text("utf-8", "replace") for file in files if file.is_file())
    return "<|user|>" in text or "chatglm3" in text.lower()


def _template(folder: Path) -> str:
    return "chatglm3" if _knows_roles(folder) else "chatglm2"


def _special(folder: Path) -> tuple[str, ...]:
    """In the order of their ids, which follow those of the pieces."""
    return (*MASKS, *ROLES) if _knows_roles(folder) else MASKS


LAYOUT = Layout(
    name="ChatGLM2-6B or ChatGLM3-6B",
    accepts=_accepts,
    config=_glm,
    outer={
        "transformer.embedding.word_embeddings": "model.embed_tokens",
        "transformer.encoder.final_layernorm": "model.norm",
        "transformer.output_layer": "lm_head",
    },
    layers=("transformer.encoder.layers.", "model.layers."),
    inner={
        "self_attention.query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attention.dense": ("self_attn.o_proj",),
        "mlp.dense_h_to_4h": ("mlp.gate_up_proj",),
        "mlp.dense_4h_to_h": ("mlp.down_proj",),
        "input_layernorm": ("input_layernorm",),
        "post_attention_layernorm": ("post_attention_layernorm",),
    },
    template=_template,
    rows=_rows,
    head="transformer.output_layer",
    prefix=("[gMASK]", "<sop>"),
    special=_special,
)
