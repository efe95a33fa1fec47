"""A key-value cache with room to grow: Transformers' own is copied whole at every token. Imports torch.

    output = model(input_ids, use_cache=True)
    cache = roomy(output.past_key_values)              for the tokens that follow

On a CPU that copying is more than half of the time of a token (docs/lab.md). Layers of another kind, such as those that
keep a window only, stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 64  # tokens that a layer makes room for at once, at least
SHARE = 8  # or this part of what it holds


class RoomyLayer(DynamicLayer):
    """Keys and values [rows, heads, tokens, width] at the beginning of longer tensors."""

    @classmethod
    def of(cls, layer: DynamicLayer) -> RoomyLayer:
        """Takes over what `layer` holds, which is left empty."""
        made = cls()
        made.lazy_initialization(layer.keys, layer.values)
        made.keys, made.values = layer.keys, layer.values
        made._long = [layer.keys, layer.values]
        layer.reset()
        return made

    _long: list[Tensor]

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        used = self.keys.shape[-2]
        end = used + key_states.shape[-2]
        if end > self._long[0].shape[-2]:
            self._grow(used, end + max(ROOM, end // SHARE))
        for long, new in zip(self._long, (key_states, value_states), strict=True):
            long[:, :, used:end] = new
        self.keys, self.values = (long[:, :, :end] for long in self._long)
        return self.keys, self.values

    def _grow(self, used: int, size: int) -> None:
        grown = []
        for part in (self.keys, self.values):
            longer = part.new_empty(*part.shape[:2], size, part.shape[-1])
            longer[:, :, :used] = part
            grown.append(longer)
        self._long = grown

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._long = [self.keys, self.values]


def roomy(cache: Any) -> Any:
    """`cache`, a Transformers cache that holds the prompt, with layers that grow cheaply."""
    for at, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized and isinstance(layer.keys, torch.Tensor):
            cache.layers[at] = RoomyLayer.of(layer)
    return cache
