"""Log-likelihoods of continuations of texts that begin alike: what they share is computed once.

The beginning that all texts have in common (an exam's examples) goes through the model once, and every layer's keys and
values are kept. A text goes on behind it as a fork: its own stem, then its continuations, each of which sees the
beginning, the stem and itself, and never another one. n stems of s tokens behind a beginning of p, each with k
continuations of c tokens, cost p + n (s + k (c - 1)) tokens instead of n k (p + s + c - 1), for the very same result:
the last token of a continuation is predicted and never read. Single tokens need nothing beyond the stem.

    likelihoods = Likelihoods(fused)
    reason = likelihoods.differ(beginning, fork)        whether the model's own forward says the same
    with likelihoods.ready():
        prefix = likelihoods.prefix(beginning)
        scores = likelihoods.scores(prefix, forks)      Σ log p of every continuation, a list for each fork
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from core.data.encode.encoding import IGNORED
from core.training.attention import OURS, alike, attend_whole, check_attention, set_attention
from core.training.batching import Pack
from core.training.fastpath import FusedCausalLM
from core.training.losses import CHUNK

ATTENTION = f"{OURS}shared"
CHECKED = 256  # tokens of a beginning that are compared with the model's own forward

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Fork:
    """Ids behind the shared beginning, at least one, and of each continuation, at least one."""

    stem: Ints
    continuations: tuple[Ints, ...]

    def __len__(self) -> int:
        """Tokens that are read."""
        return len(self.stem) + sum(len(one) - 1 for one in self.continuations)

    def rows(self, beginning: Ints) -> list[tuple[Ints, Ints]]:
        """The same as plain rows: (ids, labels) of each continuation behind everything before it."""
        before = np.concatenate([beginning, self.stem])
        ignored = np.full(len(before), IGNORED, dtype=before.dtype)
        return [(np.concatenate([before, one]), np.concatenate([ignored, one])) for one in self.continuations]


class Prefix:
    """The rotated keys and the values of `length` tokens, by layer: [1, g, length, d]."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}


class Layout:
    """Forks end to end: input_ids, position_ids [1, n]. For the attention they are rows [t, m], one a fork.

    `asked` [u] are the positions whose logits are wanted; label l is predicted at asked[of[l]] and belongs to
    continuation whose[l], counted over all forks.
    """

    def __init__(self, forks: Sequence[Fork], before: int, device: torch.device) -> None:
        self.before = before
        self.counts = [len(fork.continuations) for fork in forks]
        self.lengths = [len(fork) for fork in forks]
        ids, parts, places = zip(*map(_laid_out, forks), strict=True)

        def flat(arrays: Sequence[NDArray[Any]]) -> Tensor:
            return torch.from_numpy(np.concatenate(arrays).astype(np.int64)).to(device)

        self.input_ids, self.position_ids = flat(ids)[None], flat(places)[None] + before
        starts = np.concatenate([[0], np.cumsum(self.lengths)])
        labels = [_labels(fork, int(start)) for fork, start in zip(forks, starts, strict=False)]
        asked, of = np.unique(np.concatenate([at for at, _, _ in labels]), return_inverse=True)
        firsts = np.cumsum([0, *self.counts])
        self.asked, self.of = torch.from_numpy(asked).to(device), torch.from_numpy(of).to(device)
        self.labels = flat([ids for _, ids, _ in labels])
        self.whose = flat([own + first for (_, _, own), first in zip(labels, firsts, strict=False)])
        width = max(self.lengths)
        column = torch.arange(width)
        size = torch.tensor(self.lengths)[:, None]
        self._own = (column < size).to(device)  # [t, m]: no filler
        self._from = torch.where(column < size, torch.from_numpy(starts[:-1])[:, None] + column, 0).to(device)
        self._part, self._place = (_padded(each, width).to(device) for each in (parts, places))
        self._seen: dict[int | None, Tensor] = {}

    def rows(self, t: Tensor) -> Tensor:
        """[h, n, d] → [t, h, m, d]."""
        return t[:, self._from].transpose(0, 1)

    def packed(self, t: Tensor) -> Tensor:
        """[t, h, m, d] → [1, n, h, d]."""
        return t.transpose(1, 2)[self._own].unsqueeze(0)

    def seen(self, window: int | None) -> Tensor:
        """[t, 1, m, before + m]: which tokens each of them sees, itself included; filler sees itself alone."""
        if window not in self._seen:
            part, place = self._part, self._place
            steps = torch.arange(part.shape[1], device=part.device)
            own = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
            own = own & (steps[:, None] >= steps[None]) & self._own[:, None, :]
            far = torch.ones(*part.shape, self.before, dtype=torch.bool, device=part.device)
            if window is not None:
                own = own & (place[:, :, None] - place[:, None, :] < window)
                before = torch.arange(self.before, device=part.device)
                far = self.before + place[:, :, None] - before < window
            own = own | torch.eye(part.shape[1], dtype=torch.bool, device=part.device)
            self._seen[window] = torch.cat([far, own], 2)[:, None]
        return self._seen[window]


def _laid_out(fork: Fork) -> tuple[Ints, Ints, Ints]:
    """(ids that are read, the part of each: 0 the stem, then the continuations; how far behind the beginning)."""
    read = [one[:-1] for one in fork.continuations]
    ids = np.concatenate([fork.stem, *read])
    parts = np.repeat(np.arange(len(read) + 1), [len(fork.stem), *map(len, read)])
    stem = len(fork.stem)
    places = np.concatenate([np.arange(stem), *(np.arange(stem, stem + len(one)) for one in read)])
    return ids, parts.astype(np.int32), places.astype(np.int32)


def _labels(fork: Fork, start: int) -> tuple[Ints, Ints, Ints]:
    """(positions in the pack, labels predicted there, number of the continuation) of a fork that begins at `start`."""
    last, at = start + len(fork.stem) - 1, start + len(fork.stem)
    positions, own = [], []
    for number, one in enumerate(fork.continuations):
        positions.append(np.concatenate([[last], np.arange(at, at + len(one) - 1)]))
        own.append(np.full(len(one), number))
        at += len(one) - 1
    return np.concatenate(positions), np.concatenate(fork.continuations), np.concatenate(own)


def _padded(arrays: Sequence[Ints], width: int) -> Tensor:
    rows = np.zeros((len(arrays), width), dtype=np.int64)
    for row, array in zip(rows, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(rows)


class Likelihoods:
    """Computes with `fused.base`, whose weights it leaves alone. Within `ready` the model does nothing else."""

    def __init__(self, fused: FusedCausalLM) -> None:
        self.fused = fused

    @property
    def base(self) -> Any:
        return self.fused.base

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Within: the attention of this module. Raises ValueError where the model's own cannot be switched."""
        own = self.base.config._attn_implementation
        set_attention(self.base, ATTENTION)
        try:
            yield
        finally:
            set_attention(self.base, own)

    @torch.no_grad()
    def prefix(self, beginning: Ints) -> Prefix:
        """The keys and values of the shared ids [p], which may be none."""
        prefix = Prefix(len(beginning))
        if prefix.length:
            ids = torch.from_numpy(beginning.astype(np.int64))[None].to(self.base.device)
            self._body(ids, torch.arange(prefix.length, device=ids.device)[None], prefix, None)
        return prefix

    @torch.no_grad()
    def scores(self, prefix: Prefix, forks: Sequence[Fork]) -> list[NDArray[np.float64]]:
        """Σ log p over each continuation, computed as one pack: an array [continuations] for each fork."""
        layout = Layout(forks, prefix.length, self.base.device)
        hidden = self._body(layout.input_ids, layout.position_ids, prefix, layout)[layout.asked]
        head = self.base.get_output_embeddings()
        total = torch.zeros(sum(layout.counts), dtype=torch.float64)
        for start in range(0, len(hidden), CHUNK):
            logits = head(hidden[start : start + CHUNK]).float()
            mine = (layout.of >= start) & (layout.of < start + CHUNK)
            found = logits[layout.of[mine] - start, layout.labels[mine]] - logits.logsumexp(-1)[layout.of[mine] - start]
            total.index_add_(0, layout.whose[mine].cpu(), found.double().cpu())
        return [each.numpy() for each in total.split(layout.counts)]

    def _body(self, ids: Tensor, places: Tensor, prefix: Prefix, layout: Layout | None) -> Tensor:
        """Hidden states [n, h]."""
        output = self.base.get_decoder()(
            input_ids=ids, position_ids=places, use_cache=False, prefix=prefix, layout=layout
        )
        hidden: Tensor = output.last_hidden_state[0]
        return hidden

    def differ(self, beginning: Ints, fork: Fork) -> str | None:
        """Why this way is no way for the model: what its own forward says of two continuations otherwise (of one, where
        there are no branches), or why it refuses. None where both agree. Of a long beginning the end is looked at."""
        branches = any(len(one) > 1 for one in fork.continuations)
        beginning, fork = beginning[-CHECKED:], Fork(fork.stem, fork.continuations[: 2 if branches else 1])
        pack = Pack.of(fork.rows(beginning)).to(self.base.device)
        plain = -self.fused.losses(pack).double().cpu()
        counts = [len(one) for one in fork.continuations]
        own = torch.stack([each.sum() for each in plain.split(counts)]).numpy()
        try:
            with self.ready():
                [ours] = self.scores(self.prefix(beginning), [fork])
        except Exception as error:  # a model of any make may refuse such a forward in any way
            return f"{type(error).__name__}: {error}"
        exact = self.base.dtype == torch.float32
        limit = np.array(counts) * 1e-3 if exact else 0.1 + 0.2 * np.sqrt(counts)  # as `FusedCausalLM._tolerance`
        gap = np.abs(ours - own)
        return None if bool((gap <= limit).all()) else f"its log-likelihoods differ by {gap.max():.3g} from its own"


# -- attention --------------------------------------------------------------------------------------------------------
def attend_shared(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    prefix: Prefix | None = None,
    layout: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """query [1, h, n, d], key, value [1, g, n, d] → [1, n, h, d]. Without `layout` these are the prefix's own tokens.

    The signature is that of Transformers' AttentionInterface. Raises TypeError for what is not computed here.
    """
    check_attention(others)
    if prefix is None:
        raise TypeError("its layers do not hand on what the attention needs")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key, value = alike(query, key, value)
    layer: int = module.layer_idx  # type: ignore[assignment]
    if layout is None:
        prefix.layers[layer] = (key, value)
        return attend_whole(query, key, value, scale, dropout, sliding_window).transpose(1, 2), None
    q, k, v = (layout.rows(t[0]) for t in (query, key, value))
    if prefix.length:
        k, v = (
            torch.cat([kept.expand(len(own), -1, -1, -1), own], 2)
            for kept, own in zip(prefix.layers[layer], (k, v), strict=True)
        )
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=layout.seen(sliding_window), dropout_p=dropout, scale=scale, enable_gqa=True
    )
    return layout.packed(out), None


AttentionInterface.register(ATTENTION, attend_shared)
