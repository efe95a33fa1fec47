"""Which rows make an optimizer step, and which of them share a pack: numbers only, so that trainer and page agree.

    for rows in steps_of(len(lengths), rows_per_step=8, seed=42, epoch=0):
        hands = deal(rows, lengths, ranks)
        bins = pack([lengths[row] for row in hands[rank]], capacity)

The order of an epoch depends on (seed, epoch) alone, so a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def order_of(count: int, seed: int, epoch: int) -> Numbers:
    """The rows of an epoch in the order in which they are trained on: a permutation [count]."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def steps_of(count: int, rows_per_step: int, seed: int, epoch: int) -> Iterator[Numbers]:
    """The rows of every optimizer step of an epoch, over all ranks; the last step may have fewer."""
    order = order_of(count, seed, epoch)
    for start in range(0, count, rows_per_step):
        yield order[start : start + rows_per_step]


def step_with(row: int, count: int, rows_per_step: int, seed: int, epoch: int) -> tuple[int, Numbers]:
    """(the number of the step, from 0, in which `row` comes up, the rows of that step)."""
    order = order_of(count, seed, epoch)
    step = int(np.flatnonzero(order == row)[0]) // rows_per_step
    return step, order[step * rows_per_step : (step + 1) * rows_per_step]


def deal(rows: NDArray[Any], lengths: NDArray[Any], hands: int) -> list[list[int]]:
    """`rows` in `hands` lists of about equal numbers of tokens. With fewer rows than hands, some lists stay empty."""
    dealt: list[list[int]] = [[] for _ in range(hands)]
    tokens = [0] * hands
    for row in sorted(rows.tolist(), key=lambda row: (-int(lengths[row]), row)):
        hand = min(range(hands), key=lambda hand: (tokens[hand], hand))
        dealt[hand].append(row)
        tokens[hand] += int(lengths[row])
    return dealt


def pack(lengths: Sequence[int], capacity: int, *, padded: bool = False) -> list[list[int]]:
    """Indices of `lengths` in bins of at most `capacity` tokens, first fit by falling length; longer rows go alone.

    With `padded` a row counts as long as the longest of its bin, which is the bin's first.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        for number, left in enumerate(room):
            cost = lengths[bins[number][0]] if padded else lengths[index]
            if cost <= left:
                bins[number].append(index)
                room[number] -= cost
                break
        else:
            bins.append([index])
            room.append(capacity - lengths[index])
    return bins


def roomier(granted: int, *, layers: int, width: int, inner: int, vocabulary: int, itemsize: int) -> int:
    """Tokens that fit, without logits, into the memory of `granted` tokens with them.

    That memory includes the logits, in the model's dtype (`itemsize` bytes) and twice in fp32. A path that has none
    takes as many more tokens as their activations fit in there. Sizes are the model's; `inner` is its MLP's.
    """
    activations = layers * (16 * width + 6 * inner) * itemsize
    logits = vocabulary * (itemsize + 8)
    return int(granted * (1 + logits / activations))
