"""What a batch is: which rows make an optimizer step, in which order, and how they are laid out for the model.

    1  The rows of a step (batch size × accumulation × ranks) come from a permutation that depends on (seed, epoch)
       alone, so a resumed run sees the order an uninterrupted one would have seen.
    2  Each rank takes its share of them, of even length in tokens.
    3  A rank lays its share end to end, without padding, in packs of at most so many tokens as the memory allows that
       the user granted with batch size × max_length.

The loss of a step is normalised by the labels of all its rows, so neither the packs nor the number of ranks changes it.
Labels are shifted here: `label_positions` are the positions whose hidden state predicts `labels`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from core.data.encode.encoding import IGNORED
from core.data.encode.packing import deal, order_of, pack

Order = Callable[[int, int], np.ndarray]  # (seed, epoch) → row numbers
Row = Sequence[np.ndarray]


class Rows(Protocol):
    """Encoded rows: `rows[i]` is (input_ids, labels), two integer arrays of one length.

    A row of several documents, none of which sees another, has their lengths as a third array. `lengths` [rows] are
    the rows' numbers of tokens, `label_counts` [rows] of tokens to be predicted.
    """

    @property
    def lengths(self) -> np.ndarray: ...
    @property
    def label_counts(self) -> np.ndarray: ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Row: ...


def squares_of(rows: Rows) -> np.ndarray:
    """What a row's attention comes to, twice the pairs of tokens of which one sees the other, [rows].

    length², unless the rows say it themselves (`squares`): pieces and answers that do not see each other are less.
    """
    found = getattr(rows, "squares", None)
    return np.square(np.asarray(rows.lengths, dtype=np.int64)) if found is None else np.asarray(found)


@dataclass(frozen=True)
class Pack:
    """Rows laid end to end: input_ids and position_ids [1, n]; row_lengths sum to n; label_positions, labels [m].

    A row of several documents lies in it as so many rows. `members` are the rows' places among those that were put
    into packs together.
    """

    input_ids: Tensor
    position_ids: Tensor
    row_lengths: tuple[int, ...]
    label_positions: Tensor
    labels: Tensor
    members: tuple[int, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], members: Sequence[int] = ()) -> Pack:
        parts = [part for row in rows for part in _documents(row)]
        ids = np.concatenate([ids for ids, _ in parts]).astype(np.int64)
        # A row's first token is predicted by nothing, and nothing is predicted across a border.
        following = np.concatenate([np.append(labels[1:], IGNORED) for _, labels in parts]).astype(np.int64)
        positions = np.concatenate([np.arange(len(ids)) for ids, _ in parts])
        labelled = np.flatnonzero(following != IGNORED)
        return cls(
            input_ids=torch.from_numpy(ids)[None],
            position_ids=torch.from_numpy(positions)[None],
            row_lengths=tuple(len(ids) for ids, _ in parts),
            label_positions=torch.from_numpy(labelled),
            labels=torch.from_numpy(following[labelled]),
            members=tuple(members),
        )

    def to(self, device: torch.device) -> Pack:
        tensors = (self.input_ids, self.position_ids, self.label_positions, self.labels)
        ids, positions, label_positions, labels = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Pack(ids, positions, self.row_lengths, label_positions, labels, self.members)


def _documents(row: Row) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    ids, labels, *lengths = row
    if not lengths:
        yield ids, labels
        return
    borders = np.cumsum(lengths[0])[:-1]
    yield from zip(np.split(ids, borders), np.split(labels, borders), strict=True)


@dataclass(frozen=True)
class Step:
    """One optimizer step of one rank: its rows; the labels and tokens of the step over all ranks; a spare row."""

    rows: list[int]
    labels: int
    tokens: int
    any_row: int


class StepSampler(Sampler[list[Step]]):
    """Yields every optimizer step of an epoch, as a batch of one Step.

    All ranks draw the same order, a function of (seed, epoch) alone; `order(seed, epoch)` gives another one than the
    plain permutation: row numbers, each as often as it is to be seen. The rows of a step are dealt out longest first,
    each to the rank with the fewest tokens so far. The last step of an epoch may have fewer rows.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        label_counts: np.ndarray,
        *,
        rows_per_step: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        order: Order | None = None,
    ) -> None:
        self.lengths, self.label_counts = lengths, label_counts
        self.order: Order = order or partial(order_of, len(lengths))
        self.rows_in_epoch = len(self.order(seed, 0))
        self.rows_per_step, self.seed = rows_per_step, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(self.rows_in_epoch / self.rows_per_step)

    @cached_property
    def tokens_in_epoch(self) -> int:
        return int(self.lengths[self.order(self.seed, 0)].sum())

    @property
    def batch_sampler(self) -> StepSampler:
        """The Trainer looks for `set_epoch` one level down, where Accelerate would have put the sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[Step]]:
        order = self.order(self.seed, self.epoch)
        for rows in (order[at : at + self.rows_per_step] for at in range(0, len(order), self.rows_per_step)):
            hand = deal(rows, self.lengths, self.world_size)[self.rank]
            yield [Step(hand, int(self.label_counts[rows].sum()), int(self.lengths[rows].sum()), int(rows[0]))]


@dataclass(frozen=True)
class Packing:
    """How rows are put together: tokens to a pack, and whether something in the model pads them."""

    capacity: int
    padded: bool = False

    def packs(self, rows: Sequence[Row]) -> list[Pack]:
        bins = pack([len(row[0]) for row in rows], self.capacity, padded=self.padded)
        return [Pack.of([rows[index] for index in indices], indices) for indices in bins]
