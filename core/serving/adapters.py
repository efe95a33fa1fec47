"""Many adapters over one set of weights: every row of a batch has its own, or none. Imports torch.

    adapters = Adapters(model)                    nothing changes yet
    adapters.add("sft-a", read_factors([folder, …]))
    with adapters.for_rows([None, "sft-a", "sft-b"]):
        model(…)                                  the first row is the base's, to the last bit

The factors of all adapters in a batch stand side by side, A to one matrix [R, in] and B, with the scaling in it, to one
[out, R]; R is the sum of their ranks. A row keeps the columns that are its adapter's:

    y = W x + B (m ⊙ A x)      m [rows, 1, R]

which is two products a layer for however many adapters, where PEFT makes two for each. Layers add it in a forward hook:
the model's own modules and tensors stay what they are.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.models.chain import Factors, read_adapter

KEPT = 16  # stacks that a layer keeps: sets of adapters that have met in a batch
Rows = tuple[str | None, ...]  # the adapter of each row, None for the base


class Stack(NamedTuple):
    """Factors side by side: a [R, in], b [out, R], and whose each of the R columns is."""

    a: Tensor
    b: Tensor
    owners: tuple[str, ...]


def read_factors(folders: Sequence[Path]) -> dict[str, Factors]:
    """Layer → the factors of a chain of adapter folders as those of one, scaling 1. Raises as `chain.read_adapter`."""
    chain = [read_adapter(folder) for folder in folders]
    found = {}
    for name in sorted({name for adapter in chain for name in adapter}):
        links = [adapter[name] for adapter in chain if name in adapter]
        a = torch.cat([link.a for link in links], 0)
        found[name] = Factors(a, torch.cat([link.scaling * link.b for link in links], 1), 1.0)
    return found


class Adapters:
    """The adapters of `model`, whose layers get a hook when the first adapter for them comes.

    Adapters may be added while another thread computes; they wait for the forward under way.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._lock = threading.Lock()
        self._layers: dict[str, Layer] = {}
        self._rows: Rows = ()
        self._present: tuple[str, ...] = ()
        self._masks: dict[tuple[tuple[str, ...], torch.device], Tensor | None] = {}

    def add(self, name: str, factors: Mapping[str, Factors]) -> None:
        """Add (or replace) an adapter. Raises ValueError, and changes nothing, where a layer is missing or unlike."""
        modules = {layer: self._module(layer, each) for layer, each in factors.items()}
        with self._lock:
            for layer, module in modules.items():
                if layer not in self._layers:
                    self._layers[layer] = made = Layer(module)
                    module.register_forward_hook(partial(self._add_product, made))
                self._layers[layer].put(name, factors[layer])

    @contextlib.contextmanager
    def for_rows(self, rows: Sequence[str | None]) -> Iterator[None]:
        """Within: the batch's rows have these adapters."""
        with self._lock:
            self._rows, self._masks = tuple(rows), {}
            self._present = tuple(sorted({name for name in rows if name is not None}))
            try:
                yield
            finally:
                self._rows, self._present = (), ()

    def _module(self, name: str, factors: Factors) -> nn.Module:
        try:
            module = self.model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f"there is no layer {name}") from error
        if not isinstance(module, (nn.Linear, Conv1D)):
            raise ValueError(f"{name} is no linear layer")
        shape = tuple(module.weight.shape)
        wanted = (factors.b.shape[0], factors.a.shape[1])
        if (shape[::-1] if isinstance(module, Conv1D) else shape) != wanted:  # GPT-2 keeps its matrices as [in, out]
            raise ValueError(f"{name} is {shape}, the adapter's {wanted}")
        return module

    def _add_product(self, layer: Layer, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """The hook. inputs[0] [rows, t, in], output [rows, t, out]."""
        if not self._present:
            return None
        stack = layer.stack(self._present)
        if stack is None:
            return None
        inner = F.linear(inputs[0].to(stack.a.dtype), stack.a)
        mask = self._mask(stack.owners, inner)
        if mask is not None:
            inner = inner * mask
        summed = torch.addmm(output.flatten(0, -2).to(stack.b.dtype), inner.flatten(0, -2), stack.b.t())
        return summed.to(output.dtype).view_as(output)

    def _mask(self, owners: tuple[str, ...], like: Tensor) -> Tensor | None:
        """[rows, 1, R]; None where every row owns every column."""
        key = (owners, like.device)
        if key not in self._masks:
            if like.shape[0] != len(self._rows):
                raise ValueError("a layer does not get its rows one by one")
            mine = torch.tensor([[owner == row for owner in owners] for row in self._rows])
            whole = bool(mine.all())
            self._masks[key] = None if whole else mine.unsqueeze(1).to(like.device, like.dtype)
        return self._masks[key]


class Layer:
    """The factors that lie on one layer, on its device.

    In its number format, but on a CPU in fp32: products as small as these take four times as long there in bf16.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._factors: dict[str, tuple[Tensor, ...]] = {}
        self._stacks: dict[tuple[str, ...], Stack | None] = {}

    def put(self, name: str, factors: Factors) -> None:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        dtype = torch.float32 if weight.device.type == "cpu" else weight.dtype
        self._factors[name] = tuple(each.to(weight.device, dtype) for each in (factors.a, factors.scaling * factors.b))
        self._stacks.clear()

    def stack(self, names: tuple[str, ...]) -> Stack | None:
        """Of those `names` that lie on this layer; None where none does."""
        if names not in self._stacks:
            if len(self._stacks) >= KEPT:
                self._stacks.pop(next(iter(self._stacks)))
            self._stacks[names] = self._stacked([name for name in names if name in self._factors])
        return self._stacks[names]

    def _stacked(self, here: list[str]) -> Stack | None:
        if not here:
            return None
        pairs = [self._factors[name] for name in here]
        owners = tuple(name for name, (a, _) in zip(here, pairs, strict=True) for _ in range(len(a)))
        return Stack(torch.cat([a for a, _ in pairs], 0), torch.cat([b for _, b in pairs], 1), owners)
