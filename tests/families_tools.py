"""Tiny random models of the families that must work, and a tokenizer of the SentencePiece kind, built in code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.data.encode.tokenizer import load_tokenizer
from tests.conftest import build_tokenizer

SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
OWN_KEYS = {name: value for name, value in SMALL.items() if name != "num_key_value_heads"}  # every head has its own
EXPERTS = {"moe_intermediate_size": 32, "num_experts_per_tok": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16}
KINDS: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "baichuan_alibi": {**OWN_KEYS, "hidden_size": 60, "num_attention_heads": 6},
    "glm": {**SMALL, "head_dim": 16},
    "qwen3": {**SMALL, "head_dim": 16},
    "qwen3_moe": {**SMALL, **EXPERTS, "head_dim": 16, "num_experts": 4},
    "qwen2": SMALL,
    "mistral": {**SMALL, "sliding_window": 16},
    "mixtral": {**SMALL, "num_local_experts": 4},
    "gemma3_text": {**SMALL, "head_dim": 16, "sliding_window": 16,
                    "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": SMALL,
    "deepseek_v2": {
        **SMALL, **EXPERTS, **LATENT, "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1,
        "first_k_dense_replace": 1, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
    },
    # Only some token that never occurs is its <sop> here: rows without one are plainly causal.
    "chatglm_6b": {
        "hidden_size": 64, "inner_hidden_size": 96, "num_layers": 2, "num_attention_heads": 4,
        "max_sequence_length": 512, "mask_token_id": -100, "gmask_token_id": -100,
    },
    "gpt_neox": OWN_KEYS,
}  # fmt: skip


def build_model(kind: str, folder: Path) -> Path:
    """A folder with a random model of this type, two layers of width 64, and the tests' tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from core.models import architectures

    architectures.register()
    tokenizer = build_tokenizer(folder)
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **KINDS[kind], **ids)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def build_hrm(folder: Path) -> Path:
    """The only family that writes text, and whose matrices are cut when they are loaded, in this Transformers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = build_tokenizer(folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "hrm_text", vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def spm_tokenizer(folder: Path):
    """BPE of the SentencePiece kind: `▁` for blanks, bytes for what the vocabulary lacks, as Llama 2 has it."""
    from transformers import LlamaTokenizer

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    merges = []
    for piece in [*"▁abcdefghijklmnopqrstuvwxyzT.,患者", "▁t", "he", "▁the", "患者"]:
        vocabulary.setdefault(piece, len(vocabulary))
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("患", "者")]
    tokenizer = LlamaTokenizer(vocab=vocabulary, merges=merges, add_bos_token=True)
    tokenizer.save_pretrained(folder)
    return load_tokenizer(folder)
