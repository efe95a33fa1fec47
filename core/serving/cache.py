"""Keys and values of a batch: with room at their end, padded at their front, rows coming and going. Imports torch.

    cache = roomy(model)              None for a model that keeps more than keys and values of every token
    both = joined(first, second)      rows of both; the shorter one's are padded on the left
    select(cache, places, skip)       some rows, without their first `skip` columns

Transformers' own layer copies all that there is for every token that is added; this one has room for the next ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
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


def roomy(model: PreTrainedModel) -> Cache | None:
    """An empty cache for `model`, if plain keys and values of all tokens are what it keeps."""
    cache = DynamicCache(config=model.config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache


def joined(first: Cache, second: Cache) -> Cache:
    """The rows of `first`, then those of `second`, their ends one under the other."""
    width = max(first.get_seq_length(), second.get_seq_length())
    cache = DynamicCache()
    cache.layers = [
        RoomyLayer().fill(_below(one.keys, other.keys, width), _below(one.values, other.values, width))
        for one, other in zip(first.layers, second.layers, strict=True)
    ]
    return cache


def _below(first: Tensor, second: Tensor, width: int) -> Tensor:
    return torch.cat([F.pad(each, (0, 0, width - each.shape[2], 0)) for each in (first, second)])


def select(cache: Cache, places: Sequence[int], skip: int) -> None:
    """Keep these rows, and of their columns all but the first `skip`."""
    for layer in cache.layers:
        rows = torch.tensor(list(places), device=layer.keys.device)
        layer.fill(layer.keys[rows, :, skip:], layer.values[rows, :, skip:])
