"""Weights that were published as a difference to a base which its licence kept back: the two are added. Imports torch.

    add_difference(difference, base, target)

There are two kinds, which nobody marks. Vicuna's holds θ − base of every weight. Ziya's (Fengshenbang-LM,
apply_delta.py) holds embeddings and head as they are, with more rows than the base's, and θ − base of all others. Which
one it is, is measured: a weight as it is points the way of the base's, a difference does not. Shard by shard: of the
base, one tensor at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor

from core.data.encode.tokenizer import load_tokenizer
from core.errors import ModelError
from core.models.rewriting import OnFile, rewrite
from core.models.weights import weight_files

VOCABULARY = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "lm_head.weight", "embed_out.weight")
BUFFERS = ("rotary_emb.inv_freq",)
ALIKE = 0.5  # cosine from which on a weight is the base's own, further trained, and no difference
MEASURED = 2000  # rows that are compared


class Base:
    """The tensors of a model folder by name, read when they are asked for."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._places: dict[str, Any] = {}
        for path in weight_files(folder):
            file = stack.enter_context(safe_open(path, framework="pt"))
            self._places.update(dict.fromkeys(file.keys(), file))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._places[name].get_tensor(name)
        return tensor

    @property
    def names(self) -> set[str]:
        return {name for name in self._places if not name.endswith(BUFFERS)}


def add_difference(difference: Path, base: Path, target: Path, on_file: OnFile = lambda done, total: None) -> None:
    """Write `base` + `difference` into `target`, in the number format of the difference.

    Raises ModelError `difference.other_base` (names or shapes that do not fit), `difference.vocabulary`,
    `difference.tokens`, `difference.incomplete`, `difference.is_whole`, and as `rewriting.rewrite`.
    """
    _check_vocabulary(difference, base)
    with ExitStack() as stack:
        held = Base(base, stack)
        seen: set[str] = set()

        def add(name: str, tensor: Tensor) -> Mapping[str, Tensor]:
            if name.endswith(BUFFERS):
                return {}
            seen.add(name)
            return {name: added(name, tensor, held)}

        rewrite(difference, target, add, on_file)
        missing = sorted(held.names - seen)
        if missing:
            raise ModelError("difference.incomplete", tensor=missing[0], count=len(missing))


def added(name: str, tensor: Tensor, base: Base) -> Tensor:
    """What the published model has for `name`; in fp32, then cast as `tensor` is. Raises as `add_difference`."""
    if name not in base:
        raise ModelError("difference.other_base", tensor=name, found=list(tensor.shape), expected="absent")
    own = base[name]
    if name.endswith(VOCABULARY) and tensor.shape[0] > own.shape[0] and tensor.shape[1:] == own.shape[1:]:
        if alike(tensor, own) < ALIKE:
            raise ModelError("difference.vocabulary", rows=own.shape[0], found=tensor.shape[0])
        return tensor  # as it is, with rows of its own
    if tensor.shape != own.shape:
        raise ModelError("difference.other_base", tensor=name, found=list(tensor.shape), expected=list(own.shape))
    if tensor.ndim > 1 and not name.endswith(VOCABULARY) and alike(tensor, own) >= ALIKE:
        raise ModelError("difference.is_whole", tensor=name)
    return (own.float() + tensor.float()).to(tensor.dtype)


def alike(tensor: Tensor, base: Tensor) -> float:
    """The mean cosine of the first rows of the two, in -1 … 1."""
    rows = min(len(tensor), len(base), MEASURED)
    return float(F.cosine_similarity(tensor[:rows].float(), base[:rows].float(), dim=-1).mean())


def _check_vocabulary(difference: Path, base: Path) -> None:
    """Raise ModelError `difference.tokens` where the base's tokens are not the first ones of the difference's."""
    mine, theirs = load_tokenizer(difference), load_tokenizer(base)
    for number in range(0, min(len(mine), len(theirs)), max(1, len(theirs) // 997)):
        one, other = (each.convert_ids_to_tokens(number) for each in (mine, theirs))
        if one != other:
            raise ModelError("difference.tokens", id=number, token=one, expected=other)
