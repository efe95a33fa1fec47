"""A key-value cache with room for the next tokens: Transformers' own layer copies all that there is for each. Imports
torch.

    output = model(input_ids, use_cache=True)
    cache = with_room(output.past_key_values)          for the tokens that follow

On a CPU that copying is more than half of the time of a token.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers.cache_utils import DynamicLayer

ROOM = 128  # tokens


class RoomyLayer(DynamicLayer):
    """`keys` and `values` [rows, heads, tokens, d] are the filled part of tensors that are longer."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self._room = 0
        if end > self._room:
            self._room = end + ROOM
            self._keys, self._values = (F.pad(each, (0, 0, 0, self._room - start)) for each in (self.keys, self.values))
        self._keys[:, :, start:end], self._values[:, :, start:end] = key_states, value_states
        self.keys, self.values = self._keys[:, :, :end], self._values[:, :, :end]
        return self.keys, self.values

    def fill(self, keys: Tensor, values: Tensor) -> RoomyLayer:
        """Take these; they get room when the next token comes."""
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._room = keys, values, 0
        return self

    def batch_select_indices(self, indices: Tensor) -> None:
        self.fill(self.keys[indices], self.values[indices])


def with_room(cache: Any) -> Any:
    """`cache`, a Transformers cache that holds a prompt; layers that keep something else than all tokens stay."""
    for at, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            cache.layers[at] = RoomyLayer().fill(layer.keys, layer.values)
    return cache
