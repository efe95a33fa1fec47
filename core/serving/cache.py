"""Keys and values of a batch: with room at their end, padded at their front, rows coming and going. Imports torch.

    cache = roomy(model)              None for a model that keeps more than keys and values of every token
    both = joined(first, second)      rows of both; the shorter one's are padded on the left
    select(cache, places, skip)       some rows, without their first `skip` columns

Its layers are those of `core.models.cache`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from core.models.cache import RoomyLayer


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
