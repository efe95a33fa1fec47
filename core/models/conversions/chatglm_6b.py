"""ChatGLM-6B, and what was tuned from it, is this project's own class (`core.models.architectures.chatglm`).

After modeling_chatglm.py and config.json in THUDM/chatglm-6b. The weights keep their names, the config loses its
authors' code, and the tokenizer is made from `ice_text.model` by `core.models.ice_text`. ChatGLM2 and 3 are other
models with the same model type.
"""

from __future__ import annotations

from typing import Any

from core.errors import ModelError
from core.models.conversions.layout import Config, Layout

KEPT = (
    "vocab_size", "hidden_size", "inner_hidden_size", "num_layers", "num_attention_heads", "max_sequence_length",
    "layernorm_epsilon", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
)  # fmt: skip
MASK, GMASK = -4, -3  # both stand so far before <sop> in every published vocabulary
OUTER = ("transformer.word_embeddings", "transformer.final_layernorm", "lm_head")
INNER = (
    "input_layernorm", "post_attention_layernorm", "attention.query_key_value", "attention.dense",
    "mlp.dense_h_to_4h", "mlp.dense_4h_to_h",
)  # fmt: skip


def _accepts(config: Config) -> bool:
    """Whether this is config.json of a ChatGLM-6B. ChatGLM2 and 3 name their sizes otherwise."""
    return (
        config.get("model_type") == "chatglm"
        and config.get("position_encoding_2d") is True
        and {"inner_hidden_size", "num_layers", "bos_token_id"} <= config.keys()
    )


def _native(config: Config) -> dict[str, Any]:
    """config.json for the new folder. Raises ModelError `model.already_quantised` where the weights are integers."""
    if bits := config.get("quantization_bit"):
        raise ModelError("model.already_quantised", bits=bits)
    sop = int(config["bos_token_id"])
    return {
        "model_type": "chatglm_6b",
        "architectures": ["ChatGLMForCausalLM"],
        **{key: config[key] for key in KEPT if key in config},
        "mask_token_id": config.get("mask_token_id", sop + MASK),
        "gmask_token_id": config.get("gmask_token_id", sop + GMASK),
        "tie_word_embeddings": False,  # the files hold a head of its own
        "dtype": config.get("torch_dtype", "float16"),
    }


LAYOUT = Layout(
    name="ChatGLM-6B",
    accepts=_accepts,
    config=_native,
    outer={name: name for name in OUTER},
    layers=("transformer.layers.", "transformer.layers."),
    inner={name: (name,) for name in INNER},
    template=lambda folder: "chatglm-6b",
)
