"""Several answers to one prompt, with the prompt computed once: packs of trees, and the attention within them.

A tree is a prompt and the branches that follow it, each of which sees the prompt and itself, and never another branch.
In a causal model the prompt's hidden states do not depend on what comes after them, so two answers to one prompt cost
|prompt| + |first| + |second| tokens instead of 2 |prompt| + |first| + |second|, for the very same result.

    pack = TreePack.of([(prompt, chosen, rejected), …])       hidden states at pack.ends are what is scored

Where a model computes its attention in its own way, `TreePack.unrolled` gives plain rows, each with its prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from core.data.encode.packing import pack
from core.training.attention import OURS, SHORT, alike, attend_padded, attend_whole, check_attention
from core.training.kernels import CausalAttention

ATTENTION = f"{OURS}trees"

Tree = Sequence[np.ndarray]  # ids of the prompt, then of each branch; the prompt may be empty, a branch never is
Shape = tuple[int, ...]  # their lengths


@dataclass(frozen=True)
class TreePack:
    """Trees end to end: input_ids and position_ids [1, n]; ends [branches]: where each branch's last token stands.

    `members` are the trees' places among those that were put into packs together.
    """

    input_ids: Tensor
    position_ids: Tensor
    shapes: tuple[Shape, ...]
    ends: Tensor
    members: tuple[int, ...] = ()

    @classmethod
    def of(cls, trees: Sequence[Tree], members: Sequence[int] = ()) -> TreePack:
        shapes = tuple(tuple(len(part) for part in tree) for tree in trees)
        positions = [np.arange(size) + (prompt if part else 0) for prompt, part, size in _parts(shapes)]
        ends = np.cumsum([size for _, _, size in _parts(shapes)]) - 1
        branches = [place for place, (_, part, _) in enumerate(_parts(shapes)) if part]
        return cls(
            input_ids=torch.from_numpy(np.concatenate([part for tree in trees for part in tree]).astype(np.int64))[
                None
            ],
            position_ids=torch.from_numpy(np.concatenate(positions))[None],
            shapes=shapes,
            ends=torch.from_numpy(ends[branches]),
            members=tuple(members),
        )

    def to(self, device: torch.device) -> TreePack:
        ids, positions, ends = (t.to(device, non_blocking=True) for t in (self.input_ids, self.position_ids, self.ends))
        return TreePack(ids, positions, self.shapes, ends, self.members)

    def unrolled(self) -> list[Tensor]:
        """The ids of every branch with its prompt before it, each [length]."""
        return list(_unroll(self.input_ids[0], self.shapes, 0).split(row_lengths(self.shapes)))


def _parts(shapes: Sequence[Shape]) -> list[tuple[int, int, int]]:
    """(length of the tree's prompt, number of the part within the tree, length of the part), over all parts."""
    return [(shape[0], part, size) for shape in shapes for part, size in enumerate(shape)]


def row_lengths(shapes: Sequence[Shape]) -> list[int]:
    """Tokens of every branch with its prompt."""
    return [shape[0] + size for shape in shapes for size in shape[1:]]


@dataclass(frozen=True)
class TreePacking:
    """How trees are put together: tokens to a pack. padded: the model computes plain rows, as long as the longest."""

    capacity: int
    padded: bool = False

    def packs(self, trees: Sequence[Tree]) -> list[TreePack]:
        if self.padded:
            sizes = [(len(tree) - 1) * max(row_lengths([tuple(map(len, tree))])) for tree in trees]
        else:
            sizes = [sum(map(len, tree)) for tree in trees]
        bins = pack(sizes, self.capacity, padded=self.padded)
        return [TreePack.of([trees[index] for index in indices], indices) for indices in bins]


# -- attention --------------------------------------------------------------------------------------------------------
def attend_trees(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    shapes: Sequence[Shape] = (),
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each branch to its prompt and itself: query [1, h, n, d], key, value [1, g, n, d] →
    [1, n, h, d].

    The signature is that of Transformers' AttentionInterface. Raises TypeError for what is not computed here.
    """
    check_attention(others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = alike(query, key, value)
    with torch.autocast(query.device.type, enabled=False):
        q, k, v = query[0], key[0], value[0]
        if q.device.type == "cpu":
            sizes = [sum(shape) for shape in shapes]
            each = zip(*(t.split(sizes, 1) for t in (q, k, v)), shapes, strict=True)
            out = torch.cat([part for tree in each for part in _by_branch(*tree, scale, dropout, sliding_window)], 1)
        else:
            rows = (_unroll(t, shapes, 1) for t in (q, k, v))
            padded = attend_padded(*rows, scale, dropout, sliding_window, row_lengths(shapes))
            out = _roll(padded, shapes)
    return out.transpose(0, 1).unsqueeze(0), None


def _by_branch(
    q: Tensor, k: Tensor, v: Tensor, shape: Shape, scale: float, dropout: float, window: int | None
) -> list[Tensor]:
    """One tree, branch by branch: q [h, n, d], k and v [g, n, d]. The first branch's row gives the prompt's, too."""
    prompt, first, *others = shape
    outputs = [_row(q, k, v, range(prompt + first), prompt + first, 0, scale, dropout, window)]
    at = prompt + first
    for size in others:
        outputs.append(_row(q, k, v, range(at, at + size), size, prompt, scale, dropout, window))
        at += size
    return outputs


def _row(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own: range,
    queries: int,
    prompt: int,
    scale: float,
    dropout: float,
    window: int | None,
) -> Tensor:
    """The outputs [h, queries, d] of the tokens `own`, which see the first `prompt` tokens and themselves."""
    length = prompt + queries

    def row(t: Tensor) -> Tensor:
        mine = t[:, own.start : own.stop]
        return torch.cat([t[:, :prompt], mine], 1) if prompt else mine

    if length <= SHORT and not dropout and (window is None or length <= window):
        return CausalAttention.apply(q[:, own.start : own.stop], row(k), row(v), scale)
    return attend_whole(row(q)[None], row(k)[None], row(v)[None], scale, dropout, window)[0, :, prompt:]


def _unroll(t: Tensor, shapes: Sequence[Shape], dim: int) -> Tensor:
    """`t` with every branch's prompt before it, along `dim`."""
    rows = []
    at = 0
    for shape in shapes:
        prompt = t.narrow(dim, at, shape[0])
        at += shape[0]
        for size in shape[1:]:
            rows += [prompt, t.narrow(dim, at, size)]
            at += size
    return torch.cat(rows, dim)


def _roll(t: Tensor, shapes: Sequence[Shape]) -> Tensor:
    """The reverse of `_unroll` along dimension 1: the prompt is taken from the first branch's row."""
    parts = []
    at = 0
    for shape in shapes:
        for branch, size in enumerate(shape[1:]):
            skipped = shape[0] if branch else 0
            parts.append(t[:, at + skipped : at + shape[0] + size])
            at += shape[0] + size
    return torch.cat(parts, 1)


AttentionInterface.register(ATTENTION, attend_trees)
