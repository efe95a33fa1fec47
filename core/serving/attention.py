"""Attention of one new token a row on a CPU: grouped heads without repeating keys, two products and a softmax.

PyTorch's kernel for it takes four to six times as long in bf16 once there are a few rows (docs/lab.md), and the keys of
grouped heads are copied for it wherever a mask is needed. Longer inputs go to Transformers' own. Imports torch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "decode_rows"
USUAL = {"position_ids", "cache_position", "use_cache", "is_causal", "position_embeddings", "sliding_window"}


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query [n, h, t, d], key and value [n, g, T, d] → [n, t, h, d]; attention_mask [n, 1, t, T] of bool, or None.

    The signature is that of Transformers' AttentionInterface.
    """
    rows, heads, length, width = query.shape
    odd = any(given not in (None, False) for name, given in others.items() if name not in USUAL)
    if length > 1 or odd or dropout or (attention_mask is not None and attention_mask.dtype != torch.bool):
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
        return out, None
    groups = key.shape[1]
    folded = query.reshape(rows, groups, heads // groups, width)
    scores = torch.matmul(folded, key.transpose(2, 3)).mul_(width**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, -math.inf)
    return torch.matmul(scores.softmax(-1), value).view(rows, 1, heads, width), None


def take_over(model: PreTrainedModel) -> None:
    """Let `model`, if it is on the CPU and fetches PyTorch's attention by name, use this one."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
