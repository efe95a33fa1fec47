"""What the adapters of a chain change, weight by weight: W + Σ sᵢ Bᵢ Aᵢ, or what was trained in the place of W.

    changes = changes_of(model, folders, whole=True)        nothing large is read; `model` may be without weights
    changed(changes.of["lm_head.weight"])(rows, 0, 64)      those rows as the chain leaves them, in fp32
    merge_into(model, folders)                              all of it, on a model in memory

PEFT's LoRA on linear layers, Conv1D and embeddings, with scalings and ranks of any layer's own, the bias of a LoRA, and
beside it biases, embeddings and modules that were trained whole. Refused: DoRA, and whatever else is no such sum. The
factors are read when their weight's turn has come. Imports torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.errors import ModelError
from core.models.chain import FROZEN, HEAD_MODULES, PREFIX, check_plain, own_scaling, read_config
from core.models.tensors import TensorFile
from core.models.weights import ADAPTER

FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?A(?P<end>\.weight)?")
OTHER_FACTOR = re.compile(r".+\.lora_(embedding_)?B(\.weight)?")
LORA_BIAS = ".lora_B.bias"
WRAPPED = ".base_layer."  # PEFT puts a layer that has an adapter one level down

Rows = Callable[[Tensor, int, int], Tensor]  # rows start … stop of a weight, in fp32 → what becomes of them


@dataclass(frozen=True)
class Product:
    """scaling · B A is added to a matrix. turned: it is kept as [in, out], as GPT-2 and embeddings have it."""

    file: TensorFile
    a: str
    b: str
    scaling: float
    turned: bool

    def load(self) -> Rows:
        a, b = self.file.read(self.a).float(), self.file.read(self.b).float()
        left, right = (a.t(), b.t()) if self.turned else (b, a)
        return lambda rows, start, stop: rows + (self.scaling * (left[start:stop] @ right)).to(rows.device)


@dataclass(frozen=True)
class Shift:
    """scaling times a vector is added to a bias: what `lora_bias` trains."""

    file: TensorFile
    name: str
    scaling: float

    def load(self) -> Rows:
        vector = self.scaling * self.file.read(self.name).float()
        return lambda rows, start, stop: rows + vector[start:stop].to(rows.device)


@dataclass(frozen=True)
class Instead:
    """A weight that was trained whole takes the place of what lies beneath."""

    file: TensorFile
    name: str

    def load(self) -> Rows:
        return lambda rows, start, stop: self.file.rows(self.name, start, stop).view(rows.shape).float().to(rows.device)


Change = Product | Shift | Instead


@dataclass
class Changes:
    """`of`: what is done to each parameter, in order. parted: a head that shared its weights with the embeddings has
    some of its own now; it begins as these were, also where it is not in `of`."""

    of: dict[str, list[Change]] = field(default_factory=dict)
    parted: bool = False


def changed(changes: Sequence[Change]) -> Rows:
    """All of `changes`, one after another."""
    steps = [change.load() for change in changes]

    def rows(found: Tensor, start: int, stop: int) -> Tensor:
        for step in steps:
            found = step(found, start, stop)
        return found

    return rows


# -- one adapter ------------------------------------------------------------------------------------------------------
class _Link:
    """The adapter in `folder`, as the changes that it makes to `model`."""

    def __init__(self, folder: Path, model: PreTrainedModel, whole: bool) -> None:
        self.folder, self.model = folder, model
        self.config = read_config(folder)
        check_plain(folder, self.config, whole=whole)
        self.file = TensorFile(folder / ADAPTER)
        self.whole = whole

    def changes(self) -> Iterator[tuple[str, Change]]:
        """(parameter, what is done to it). Raises ModelError as `changes_of`."""
        for key in self.file.names:
            name = key.removeprefix(PREFIX)
            factor = FACTOR.fullmatch(name)
            if factor:
                yield f"{factor['module']}.weight", self._product(key, factor)
            elif name.endswith(LORA_BIAS):
                yield f"{name.removesuffix(LORA_BIAS)}.bias", self._shift(key, name.removesuffix(LORA_BIAS))
            elif not (OTHER_FACTOR.fullmatch(name) or name.endswith(FROZEN) or name.split(".")[0] in HEAD_MODULES):
                yield name.replace(WRAPPED, "."), self._instead(key, name.replace(WRAPPED, "."))

    def _product(self, key: str, factor: re.Match[str]) -> Product:
        module, other = factor["module"], key.replace(".lora_A", ".lora_B").replace("embedding_A", "embedding_B")
        if other not in self.file:
            raise ModelError("chain.unreadable", path=str(self.folder), detail=f"{module} has no second factor")
        layer = self._layer(module)
        a, b = self.file.spec(key).shape, self.file.spec(other).shape
        turned = isinstance(layer, (Conv1D, nn.Embedding))
        if not self.whole and isinstance(layer, nn.Embedding):
            raise ModelError("chain.not_plain", path=str(self.folder), detail=f"it holds {key}")
        if tuple(layer.weight.shape) != ((a[1], b[0]) if turned else (b[0], a[1])):
            raise ModelError("chain.other_model", path=str(self.folder), layer=module)
        return Product(self.file, key, other, own_scaling(self.config, module, a[0]), turned)

    def _shift(self, key: str, module: str) -> Shift:
        if getattr(self._layer(module), "bias", None) is None:
            raise ModelError("chain.other_model", path=str(self.folder), layer=f"{module}.bias")
        rank = self.file.spec(f"{PREFIX}{module}.lora_A.weight").shape[0]
        return Shift(self.file, key, own_scaling(self.config, module, rank))

    def _instead(self, key: str, name: str) -> Instead:
        if not self.whole:
            raise ModelError("chain.not_plain", path=str(self.folder), detail=f"it holds {key}")
        module, _, leaf = name.rpartition(".")
        weight = getattr(self._layer(module), leaf, None)
        if weight is None or tuple(weight.shape) != self.file.spec(key).shape:
            raise ModelError("chain.other_model", path=str(self.folder), layer=name)
        return Instead(self.file, key)

    def _layer(self, module: str) -> Any:
        try:
            return self.model.get_submodule(module)
        except AttributeError as error:
            raise ModelError("chain.other_model", path=str(self.folder), layer=module) from error

    def reaches(self, name: str, change: Change, embeddings: str, head: str) -> tuple[str, ...]:
        """Which of two weights that are one, those of embeddings and head, `change` of one of them is for.

        Both: where PEFT was asked to keep them one, and where they themselves, not a copy, have been trained.
        """
        if self.config.get("ensure_weight_tying"):  # the head's factors are those of the embeddings once more
            return () if name == head and isinstance(change, Product) else (embeddings, head)
        module = name.rpartition(".")[0]
        copies = self.config.get("modules_to_save") or []
        copied = any(re.fullmatch(rf"(.*\.)?{re.escape(copy)}", module) for copy in copies)
        return (embeddings, head) if isinstance(change, Instead) and not copied else (name,)


# -- a chain ----------------------------------------------------------------------------------------------------------
def changes_of(model: PreTrainedModel, folders: Sequence[Path], *, whole: bool = False) -> Changes:
    """What the adapters of `folders`, laid on each other in this order, do to the parameters of `model`.

    whole: they may hold more than factors of matrices. Raises ModelError `chain.not_plain`, `chain.unreadable`, and
    `chain.other_model` where a layer is missing or of another shape.
    """
    changes = Changes()
    embeddings, head = ends_of(model)
    tied = head is not None and model.get_parameter(head) is model.get_parameter(embeddings)
    for folder in folders:
        link = _Link(folder, model, whole)
        # What takes a weight's place comes before what is added to it.
        for name, change in sorted(link.changes(), key=lambda each: not isinstance(each[1], Instead)):
            one = head is not None and tied and name in (embeddings, head)
            for each in link.reaches(name, change, embeddings, str(head)) if one else (name,):
                changes.of.setdefault(each, []).append(change)
    if tied and head is not None:
        changes.parted = changes.of.get(head) != changes.of.get(embeddings)
        if not changes.parted:
            changes.of.pop(head, None)
    return changes


def ends_of(model: PreTrainedModel) -> tuple[str, str | None]:
    """The names of the weights of embeddings and head; None where there is no head."""
    modules = {id(module): name for name, module in model.named_modules()}
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    return f"{modules[id(embeddings)]}.weight", None if head is None else f"{modules[id(head)]}.weight"


def part(config: Any) -> None:
    """Say in a model's config that its head has weights of its own."""
    for each in (config, config.get_text_config()):
        if hasattr(each, "tie_word_embeddings"):
            each.tie_word_embeddings = False


@torch.no_grad()
def merge_into(
    model: PreTrainedModel, folders: Sequence[Path], dtype: torch.dtype | None = None, *, whole: bool = False
) -> None:
    """Put the adapters of `folders` into `model`'s weights, each weight in fp32 and then cast once to `dtype`.

    `model` has the root's weights as they are in its files, or wider, and is not quantised; dtype None keeps that of
    each. A head that shares its weights with the embeddings gets weights of its own where an adapter parts the two.
    Raises ModelError as `changes_of`.
    """
    changes = changes_of(model, folders, whole=whole)
    embeddings, head = ends_of(model)
    tied = head is not None and model.get_parameter(head) is model.get_parameter(embeddings)
    for name, steps in changes.of.items():
        weight = model.get_parameter(name)
        merged = changed(steps)(weight.float(), 0, len(weight)).to(dtype or weight.dtype).contiguous()
        _set(model, name, nn.Parameter(merged, requires_grad=weight.requires_grad))
    if changes.parted:
        part(model.config)
    elif tied and head is not None:
        _set(model, head, model.get_parameter(embeddings))


def _set(model: PreTrainedModel, name: str, weight: nn.Parameter) -> None:
    module, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(module), leaf, weight)
