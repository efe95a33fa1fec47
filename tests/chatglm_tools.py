"""A tiny ChatGLM-6B: its SentencePiece file, trained here, its published forward pass in plain words, its folder.

The published ice_text.model is not at hand, and neither are the weights: what stands here is of the same kind, by
tokenization_chatglm.py and modeling_chatglm.py of THUDM/chatglm-6b.
"""

from __future__ import annotations

import io
import math
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from core.models import ice_text
from core.models.architectures.chatglm import ChatGLMConfig, ChatGLMForCausalLM

PAD, MASK, GMASK, SOP, EOP = 3, 52, 53, 56, 57
TINY = {
    "vocab_size": 60, "hidden_size": 32, "inner_hidden_size": 48, "num_layers": 3, "num_attention_heads": 2,
    "max_sequence_length": 64,
}  # fmt: skip
IDS = {"bos_token_id": SOP, "eos_token_id": EOP, "pad_token_id": PAD, "mask_token_id": MASK, "gmask_token_id": GMASK}
BLANKS = [f"<|blank_{count}|>" for count in range(2, 81)]
LINES = [
    "患者发热三天，咳嗽，请问该怎么办？", "头痛多久了？两周。", "你好！我是人工智能助手。", "Blood pressure is 120/80.",
    "The patient has had a fever for three days, and coughs.", "def add(a, b): return a + b", "print(i)  # 注释",
]  # fmt: skip


def tiny_model(seed: int = 0, **changes: Any) -> ChatGLMForCausalLM:
    """Random weights, large enough that positions and masks show in the logits."""
    torch.manual_seed(seed)
    model = ChatGLMForCausalLM(ChatGLMConfig(**{**TINY, **IDS, **changes})).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if "layernorm.weight" in name else 0.0, 0.3)
    return model


# -- the published forward pass ---------------------------------------------------------------------------------------
def turned(x: Tensor, positions: list[int]) -> Tensor:
    """Rotary embedding of one half of a head, x [t, w], from frequencies in fp16."""
    width = x.shape[1]
    frequencies = (1.0 / (10000 ** (torch.arange(0, width, 2).float() / width))).half().float()
    angles = torch.outer(torch.tensor(positions).float(), frequencies)
    angles = torch.cat([angles, angles], 1)
    partner = torch.cat([-x[:, width // 2 :], x[:, : width // 2]], 1)
    return x * angles.cos() + partner * angles.sin()


def published_logits(model: ChatGLMForCausalLM, row: list[int]) -> Tensor:
    """Logits [t, v] of one row without padding, head by head; the choice for a row without <sop> is ours."""
    weights, config = model.state_dict(), model.config
    start = row.index(SOP) if SOP in row else None
    places = list(range(len(row)))
    blocks = [0] * len(row)
    hidden_from = torch.ones(len(row), len(row)).tril() < 0.5
    if start is not None:
        mask_place = row.index(GMASK if GMASK in row else MASK)
        places[start:] = [mask_place] * (len(row) - start)
        blocks[start:] = range(1, len(row) - start + 1)
        hidden_from[:, :start] = False
    x = weights["transformer.word_embeddings.weight"][row]
    size = config.hidden_size // config.num_attention_heads
    alpha = (2 * config.num_layers) ** 0.5

    def apply(module: str, y: Tensor) -> Tensor:
        return F.linear(y, weights[f"{module}.weight"], weights[f"{module}.bias"])

    def norm(module: str, y: Tensor) -> Tensor:
        shape = (config.hidden_size,)
        return F.layer_norm(y, shape, weights[f"{module}.weight"], weights[f"{module}.bias"], config.layernorm_epsilon)

    for number in range(config.num_layers):
        layer = f"transformer.layers.{number}"
        x = norm(f"{layer}.input_layernorm", x)
        mixed = apply(f"{layer}.attention.query_key_value", x)
        heads = []
        for head in range(config.num_attention_heads):
            q, k, v = mixed[:, 3 * size * head : 3 * size * (head + 1)].split(size, 1)
            q, k = (
                torch.cat([turned(y[:, : size // 2], places), turned(y[:, size // 2 :], blocks)], 1) for y in (q, k)
            )
            scores = (q / (math.sqrt(size) * (number + 1))) @ k.T
            scores = scores.masked_fill(hidden_from, -10000.0) * (number + 1)
            heads.append(scores.softmax(1) @ v)
        x = x * alpha + apply(f"{layer}.attention.dense", torch.cat(heads, 1))
        x = norm(f"{layer}.post_attention_layernorm", x)
        y = apply(f"{layer}.mlp.dense_h_to_4h", x)
        y = 0.5 * y * (1.0 + torch.tanh(0.7978845608028654 * y * (1.0 + 0.044715 * y * y)))
        x = x * alpha + apply(f"{layer}.mlp.dense_4h_to_h", y)
    return norm("transformer.final_layernorm", x) @ weights["lm_head.weight"].T


# -- the tokenizer ----------------------------------------------------------------------------------------------------
@cache
def ice_model(special: str = "control", kind: str = "unigram") -> bytes:
    """A SentencePiece file with the pieces that the published one has besides its words."""
    import sentencepiece

    special_pieces = list(ice_text.SPECIAL)
    own = ["<n>", "<|tab|>", *BLANKS]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20), model_writer=written, model_type=kind, vocab_size=560,
        hard_vocab_limit=kind != "unigram", byte_fallback=True, pad_id=3, minloglevel=2, split_digits=True,
        control_symbols=special_pieces if special == "control" else [],
        user_defined_symbols=own if special == "control" else [*own, *special_pieces],
    )  # fmt: skip
    return written.getvalue()


def tokenizer_folder(folder: Path, special: str = "control") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ice_text.model").write_bytes(ice_model(special))
    ice_text.convert(folder / "ice_text.model", folder)
    return folder


def model_folder(folder: Path) -> Path:
    """A tiny model with a tokenizer of its own kind, special tokens and all."""
    from core.data.encode.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder(folder))
    names = {"bos": "<sop>", "eos": "<eop>", "pad": "<pad>", "mask": "[MASK]", "gmask": "[gMASK]"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(piece) for name, piece in names.items()}
    model = tiny_model(**ids, vocab_size=len(tokenizer) + 4, max_sequence_length=256)
    model.save_pretrained(folder)
    return folder
