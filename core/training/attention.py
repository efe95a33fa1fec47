"""Attention within the rows of a pack, under the name by which a model of Transformers fetches it.

A model is switched to a kernel of ours by name (`set_attention`) and back for what needs masks (`plain_attention`). The
kernels take the packs' row lengths as an argument of the model's forward, and refuse what they do not compute, such as
soft-capping or sinks. Short rows on a CPU keep their probabilities (`kernels`); a GPU gets padded calls.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, PreTrainedModel

from core.training.kernels import CausalAttention

OURS = "galen_"  # kernels of this project: they take packs, not masks
ATTENTION = f"{OURS}rows"
HARMLESS = {"position_ids", "cache_position", "use_cache", "is_causal", "position_embeddings"}
SHORT = 512  # rows up to this length keep their attention probabilities (docs/lab.md)


def set_attention(model: PreTrainedModel, name: str) -> None:
    """Switch the attention kernel. Raises ValueError where the model has one of its own that cannot be switched."""
    model.set_attn_implementation(name)
    if model.config._attn_implementation != name:
        raise ValueError("the model does not fetch its attention by name")


@contextlib.contextmanager
def plain_attention(model: PreTrainedModel, stock: str = "sdpa") -> Iterator[None]:
    """Within: the stock kernel with its masks, as generation and padded batches need it."""
    own: str = model.config._attn_implementation
    if not own.startswith(OURS):
        yield
        return
    set_attention(model, stock)
    try:
        yield
    finally:
        set_attention(model, own)


def attend_rows(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    row_lengths: Sequence[int] = (),
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row of a pack: query [1, h, n, d], key and value [1, g, n, d] → [1, n, h, d].

    The signature is that of Transformers' AttentionInterface. Raises TypeError for what is not computed here, such as
    soft-capping or sinks: such a model keeps its own path.
    """
    check_attention(others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = alike(query, key, value)
    with torch.autocast(query.device.type, enabled=False):
        if query.device.type == "cpu":
            out = _by_row(query[0], key[0], value[0], scale, dropout, sliding_window, row_lengths)
        else:
            out = attend_padded(query[0], key[0], value[0], scale, dropout, sliding_window, row_lengths)
    return out.transpose(0, 1).unsqueeze(0), None


def check_attention(asked: dict[str, Any]) -> None:
    """Raise TypeError where a model asks its attention for something else than causal softmax."""
    unknown = {name for name, value in asked.items() if value is not None and value is not False} - HARMLESS
    if unknown or asked.get("is_causal") is False:
        raise TypeError(f"its attention takes {', '.join(sorted(unknown)) or 'no causal mask'}")


def alike(*tensors: Tensor) -> Iterator[Tensor]:
    """The tensors in autocast's dtype, where it is on: rotary embeddings may have left fp32 behind."""
    device = tensors[0].device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return (tensor if dtype is None else tensor.to(dtype) for tensor in tensors)


def _by_row(
    q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None, lengths: Sequence[int]
) -> Tensor:
    outputs = []
    for q_row, k_row, v_row in zip(*(t.split(list(lengths), 1) for t in (q, k, v)), strict=True):
        length = q_row.shape[1]
        if length <= SHORT and not dropout and (window is None or length <= window):
            outputs.append(CausalAttention.apply(q_row, k_row, v_row, scale))
        else:
            outputs.append(attend_whole(q_row[None], k_row[None], v_row[None], scale, dropout, window)[0])
    return torch.cat(outputs, 1)


def attend_padded(
    q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None, lengths: Sequence[int]
) -> Tensor:
    """On a GPU one padded call beats many small ones: one for the rows at least half as long as the longest, and so on.

    The padding stays inside the attention. A pack of one long document and many short ones would be mostly padding.
    """
    rows = [t.transpose(0, 1).split(list(lengths)) for t in (q, k, v)]
    outputs: dict[int, Tensor] = {}
    for members in alike_in_length(lengths):
        padded = [pad_sequence([each[row] for row in members], batch_first=True).transpose(1, 2) for each in rows]
        out = attend_whole(*padded, scale, dropout, window).transpose(1, 2)  # [rows, longest, h, d]
        outputs |= {row: one[: lengths[row]] for row, one in zip(members, out, strict=True)}
    return torch.cat([outputs[row] for row in range(len(lengths))]).transpose(0, 1)


def alike_in_length(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in groups, the longest first: of each group none is shorter than half its longest."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if groups and 2 * lengths[row] >= lengths[groups[-1][0]]:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def attend_whole(q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float, window: int | None) -> Tensor:
    """Causal; right padding needs no mask, because nothing before it looks at it. q [b, h, n, d]."""
    length = q.shape[2]
    mask = None
    if window is not None and window < length:
        distance = torch.arange(length, device=q.device)[:, None] - torch.arange(length, device=q.device)[None]
        mask = (distance >= 0) & (distance < window)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scale, enable_gqa=True
    )


AttentionInterface.register(ATTENTION, attend_rows)
