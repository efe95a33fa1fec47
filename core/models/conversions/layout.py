"""A checkpoint's layout as a table, and what follows from it for weights and for LoRA factors. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

Config = Mapping[str, Any]
Pair = tuple["Tensor", "Tensor"]  # LoRA's A [r, in] and B [out, r]


def _unsplit(config: Config, module: str) -> tuple[int, ...]:
    """Of a layout that joins nothing."""
    return ()


@dataclass(frozen=True)
class Layout:
    """What a published checkpoint calls its modules, and what the native class calls them.

    name: of the checkpoint, as its authors write it. outer: modules outside of the layers.
    layers: what the name of a layer's module begins with, up to its number, there and here. inner: modules of a layer;
    one that has several native names holds them one beneath the other. rows(config, module): how many rows each of
    those has. dropped: ends of names that are no weights. normalised(config): the head's rows have length 1.
    config: the native config.json; raises ModelError for what cannot be converted. template(folder): the named template
    of its chat models. prefix: tokens that its tokenizer puts before every text. special(folder): tokens that its
    tokenizer's code adds behind the pieces of the SentencePiece file.
    """

    name: str
    accepts: Callable[[Config], bool]
    config: Callable[[Config], dict[str, Any]]
    outer: Mapping[str, str]
    layers: tuple[str, str]
    inner: Mapping[str, tuple[str, ...]]
    template: Callable[[Path], str]
    rows: Callable[[Config, str], tuple[int, ...]] = _unsplit
    normalised: Callable[[Config], bool] = field(default=lambda config: False)
    dropped: tuple[str, ...] = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq")
    head: str = "lm_head"
    prefix: tuple[str, ...] = ()
    special: Callable[[Path], tuple[str, ...]] = field(default=lambda folder: ())

    def native(self, module: str) -> tuple[str, ...]:
        """The native names of a published module, in the order of its rows. Raises KeyError for one that is unknown."""
        if module in self.outer:
            return (self.outer[module],)
        there, here = self.layers
        if not module.startswith(there):
            raise KeyError(module)
        number, _, rest = module.removeprefix(there).partition(".")
        return tuple(f"{here}{number}.{name}" for name in self.inner[rest])

    def published(self, module: str) -> tuple[str, int]:
        """The published name of a native module, and which part of it that is. Raises KeyError as `native`."""
        for there, here in self.outer.items():
            if here == module:
                return there, 0
        there, here = self.layers
        number, _, rest = module.removeprefix(here).partition(".")
        for name, parts in self.inner.items():
            if module.startswith(here) and rest in parts:
                return f"{there}{number}.{name}", parts.index(rest)
        raise KeyError(module)


def native_tensors(layout: Layout, config: Config, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One published weight or bias as the native class keeps it; {} for what is no weight.

    Raises ModelError `convert.unknown_tensor` and `convert.wrong_shape`.
    """
    if name.endswith(layout.dropped):
        return {}
    module, _, kind = name.rpartition(".")
    try:
        if kind not in ("weight", "bias"):  # of a quantised copy
            raise KeyError(kind)
        names = layout.native(module)
    except KeyError as error:
        raise ModelError("convert.unknown_tensor", tensor=name, family=layout.name) from error
    if module == layout.head and layout.normalised(config):
        tensor = normalised_rows(tensor)
    return {f"{new}.{kind}": part for new, part in zip(names, _split(layout, config, module, tensor), strict=True)}


def normalised_rows(weight: Tensor) -> Tensor:
    """`weight` [n, h] with rows of length 1, in its own dtype: x · w/|w| is what a normalising head computes."""
    wide = weight.float()
    return (wide / wide.norm(dim=-1, keepdim=True).clamp_min(1e-12)).to(weight.dtype)


def _split(layout: Layout, config: Config, module: str, tensor: Tensor) -> Sequence[Tensor]:
    rows = layout.rows(config, module)
    if not rows:
        return (tensor,)
    if sum(rows) != tensor.shape[0]:
        raise ModelError("convert.wrong_shape", tensor=module, found=tensor.shape[0], expected=sum(rows))
    parts: Sequence[Tensor] = tensor.split(list(rows))
    return parts


# -- adapters ---------------------------------------------------------------------------------------------------------
def native_factors(layout: Layout, config: Config, factors: Mapping[str, Pair]) -> dict[str, Pair]:
    """LoRA's (A, B) by published module, as factors of the native ones.

    B A of a joined matrix, split by rows, is (rows of B) A: every part keeps A, and the adapter stays the same. Raises
    ModelError `convert.unknown_tensor`, `convert.wrong_shape`, and `convert.head_adapted` where the head is normalised.
    """
    found: dict[str, Pair] = {}
    for module, (a, b) in factors.items():
        if module == layout.head and layout.normalised(config):
            raise ModelError("convert.head_adapted", family=layout.name)
        named = native_tensors(layout, config, f"{module}.weight", b)
        found |= {name.removesuffix(".weight"): (a, part) for name, part in named.items()}
    return found


def published_factors(layout: Layout, config: Config, factors: Mapping[str, Pair]) -> dict[str, Pair]:
    """The reverse: LoRA's (A, B) by native module, as factors of the published ones.

    Parts of a joined matrix have an A each: stacked they are one A of the ranks' sum, and B is block-diagonal, with
    zero rows for a part that is not adapted. Exact, at a higher rank. Raises ModelError `convert.unknown_tensor`.
    """
    parts: dict[str, dict[int, Pair]] = {}
    for module, pair in factors.items():
        try:
            name, at = layout.published(module)
        except KeyError as error:
            raise ModelError("convert.unknown_tensor", tensor=module, family=layout.name) from error
        parts.setdefault(name, {})[at] = pair
    return {name: _joined(layout.rows(config, name), own) for name, own in parts.items()}


def _joined(rows: Sequence[int], parts: Mapping[int, Pair]) -> Pair:
    if not rows:
        return parts[0]
    rank = sum(a.shape[0] for a, _ in parts.values())
    first_a, first_b = next(iter(parts.values()))
    a = first_a.new_zeros(rank, first_a.shape[1])
    b = first_b.new_zeros(sum(rows), rank)
    at = 0
    for number in sorted(parts):
        own_a, own_b = parts[number]
        begin, end = sum(rows[:number]), at + own_a.shape[0]
        a[at:end], b[begin : begin + rows[number], at:end] = own_a, own_b
        at = end
    return a, b
