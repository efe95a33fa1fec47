"""How documents become blocks: numbers only, so that training, page and estimate agree.

    plan = blocks_of([900, 40, 70], block_size=512, packing="isolated")
    len(plan), plan.block_lengths, plan.block(0)

A document of n tokens is cut into pieces of at most `block_size`. A piece begins with the last token of the one before
it, so that every token but a document's first is predicted exactly once. Isolated: pieces are put together in blocks,
the longest first, each where it fits most tightly, and never see each other. Joined: the documents are one stream, cut
the same way.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Packing = Literal["isolated", "joined"]
Numbers = NDArray[np.int64]
WINDOW = 1 << 16  # pieces that are put together at once: more would fill the blocks no better


@dataclass(frozen=True)
class Plan:
    """Pieces of a stream of tokens, in the order of the blocks: `starts` and `lengths` [pieces].

    Block b holds the pieces `borders[b]` … `borders[b + 1]`.
    """

    starts: Numbers
    lengths: Numbers
    borders: Numbers

    def __len__(self) -> int:
        return len(self.borders) - 1

    @property
    def block_lengths(self) -> Numbers:
        """Tokens of each block."""
        return np.add.reduceat(self.lengths, self.borders[:-1]) if len(self) else np.zeros(0, dtype=np.int64)

    @property
    def label_counts(self) -> Numbers:
        """Tokens of each block that are predicted: all but the first of each piece."""
        return self.block_lengths - np.diff(self.borders)

    @property
    def squares(self) -> Numbers:
        """Σ length² over the pieces of each block, which do not see each other: what its attention comes to."""
        return np.add.reduceat(self.lengths**2, self.borders[:-1]) if len(self) else np.zeros(0, dtype=np.int64)

    def block(self, index: int) -> tuple[Numbers, Numbers]:
        """(starts, lengths) of the pieces of one block."""
        part = slice(int(self.borders[index]), int(self.borders[index + 1]))
        return self.starts[part], self.lengths[part]


def blocks_of(document_lengths: Sequence[int] | NDArray[Any], block_size: int, packing: Packing) -> Plan:
    """The blocks of documents that lie end to end, each of so many tokens. Documents of one token give nothing."""
    lengths = np.asarray(document_lengths, dtype=np.int64)
    if packing == "joined":
        starts, sizes = pieces(np.array([lengths.sum()]), block_size)
        return Plan(starts, sizes, np.arange(len(starts) + 1))
    starts, sizes = pieces(lengths, block_size)
    order: list[Numbers] = []
    counts: list[Numbers] = []
    for at in range(0, len(sizes), WINDOW):
        found, filled = fill(sizes[at : at + WINDOW], block_size)
        order.append(found + at)
        counts.append(filled)
    if not order:
        return Plan(starts, sizes, np.zeros(1, dtype=np.int64))
    chosen = np.concatenate(order)
    return Plan(starts[chosen], sizes[chosen], np.concatenate([[0], np.cumsum(np.concatenate(counts))]))


def pieces(document_lengths: Numbers, block_size: int) -> tuple[Numbers, Numbers]:
    """(first token in the stream, number of tokens) of every piece of documents that lie end to end."""
    step = block_size - 1  # new tokens of a piece: its first was the last one's last
    counts = np.maximum(0, -(-(document_lengths - 1) // step))
    firsts = np.cumsum(document_lengths) - document_lengths
    place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)  # of a piece in its document
    starts = np.repeat(firsts, counts) + place * step
    return starts, np.minimum(block_size, np.repeat(document_lengths, counts) - place * step)


def fill(lengths: Numbers, capacity: int) -> tuple[Numbers, Numbers]:
    """Best fit by falling length: (indices of `lengths`, block after block; how many each block holds)."""
    order = np.argsort(-lengths, kind="stable")
    whole = int(np.searchsorted(-lengths[order], -capacity, side="right"))  # these need no looking for room
    bins: list[list[int]] = [[index] for index in order[:whole].tolist()]
    with_room: dict[int, list[int]] = {}  # room left: numbers of the bins
    rooms: list[int] = []  # the keys, ascending
    for index in order[whole:].tolist():
        length = int(lengths[index])
        at = bisect_left(rooms, length)
        if at == len(rooms):
            number, room = len(bins), capacity
            bins.append([])
        else:
            room = rooms[at]
            number = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[at]
        bins[number].append(index)
        left = room - length
        if left > 1:  # a piece of one token predicts nothing, so there is none
            if left not in with_room:
                insort(rooms, left)
            with_room.setdefault(left, []).append(number)
    counts = np.array([len(one) for one in bins], dtype=np.int64)
    return np.array([index for one in bins for index in one], dtype=np.int64), counts
