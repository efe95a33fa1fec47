"""The conversations that SFT trains on: datasets read, rows held out, encoded, and named by where they come from.

    data = read_conversations(context, config, encoder)
    data.train        rows of all datasets (core.training.batching.Rows), numbered through
    data.held_out     rows by source, for an evaluation loss each
    order = curriculum_of(config, data, difficulty)

A source is what the rows themselves say (a merged dataset knows where each row is from), else the dataset's name.
Left out: which model reads them, and anything that computes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from core.configs import sections
from core.configs.schedule import total_steps
from core.configs.stages import SFTConfig
from core.data.encode.curriculum import Curriculum
from core.data.encode.encoding import EncodedRows, Encoder, encode_dataset
from core.data.store.library import Dataset, open_dataset
from core.errors import DataError, Problem
from core.records import DataUsed
from core.report import RunContext
from core.training.batching import Row, Rows
from core.training.delivery import data_used
from core.training.naming import SHOWN_CHARS, RowName, row_names
from core.training.preparing import choose_rows, split_rows

SHOWN_LINES = 100  # unusable rows listed in an error
MOST_SOURCES = 12  # with a loss of their own; the smaller ones share one
OTHER = "other"


class Several:
    """The rows of several datasets as one (`core.training.batching.Rows`), set after set."""

    def __init__(self, sets: Sequence[tuple[Dataset, EncodedRows]]) -> None:
        self.sets = list(sets)
        self.sizes = [len(rows) for _, rows in self.sets]
        self.lengths = np.concatenate([rows.lengths for _, rows in self.sets])
        self.label_counts = np.concatenate([rows.label_counts for _, rows in self.sets])
        self._ends = np.cumsum(self.sizes)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Row:
        place, inside = self._at(index)
        return self.sets[place][1][inside]

    def names(self, indices: Sequence[int]) -> list[RowName]:
        """Where these rows come from, for a message that speaks of them."""
        found = [self._at(index) for index in indices]
        return [name for place, inside in found for name in self._name(place, inside)]

    def difficulties(self) -> np.ndarray:
        """What the datasets say of each row [rows], NaN where one says nothing."""
        return np.concatenate([dataset.difficulties(rows.rows.tolist()) for dataset, rows in self.sets])

    def _at(self, index: int) -> tuple[int, int]:
        place = int(np.searchsorted(self._ends, index, side="right"))
        return place, index - int(self._ends[place]) + self.sizes[place]

    def _name(self, place: int, inside: int) -> list[RowName]:
        dataset, rows = self.sets[place]
        return row_names(dataset, [int(rows.rows[inside])])


class Some:
    """Some rows of others (`core.training.batching.Rows`)."""

    def __init__(self, rows: Rows, chosen: np.ndarray) -> None:
        self.whole, self.chosen = rows, chosen
        self.lengths, self.label_counts = rows.lengths[chosen], rows.label_counts[chosen]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> Row:
        return self.whole[int(self.chosen[index])]


@dataclass(frozen=True)
class Part:
    """What became of one dataset: the facts for the manifest, and how many rows were shortened."""

    facts: DataUsed
    truncated: int
    weight: float = 1.0

    def sentence(self, max_length: int) -> str:
        taken = "" if self.weight == 1 else f", taken {self.weight:g} times an epoch"
        return (
            f"{self.facts.dataset}: {self.facts.rows_used} rows, {self.truncated} of them shortened to {max_length} "
            f"tokens, {self.facts.rows_dropped} left out{taken}"
        )


@dataclass(frozen=True)
class Conversations:
    """`weights`: how often an epoch takes the rows of each set of `train`. `held_out` is empty where nothing is."""

    train: Several
    weights: list[float]
    held_out: dict[str, Rows]
    parts: list[Part]

    @property
    def mixed(self) -> bool:
        return self.weights != [1.0]

    @property
    def rows_in_epoch(self) -> float:
        return sum(weight * size for weight, size in zip(self.weights, self.train.sizes, strict=True))

    @property
    def tokens_in_epoch(self) -> float:
        """Expected, where rows are drawn."""
        sums = [float(rows.lengths.sum()) for _, rows in self.train.sets]
        return sum(weight * tokens for weight, tokens in zip(self.weights, sums, strict=True))


# -- reading ----------------------------------------------------------------------------------------------------------
def read_conversations(context: RunContext, config: SFTConfig, encoder: Encoder) -> Conversations:
    """Encode training and held-out rows. Raises DataError with the rows that cannot be used, unless told to drop them,
    and `sft.no_difficulty` where a curriculum goes by what the datasets do not say."""
    named = [(config.data.train, 1.0), *map(sections.weighted, config.data.mix)]
    datasets = [(open_dataset(context.workspace, name), weight) for name, weight in named]
    chosen = [choose_rows(len(dataset), config.data.max_rows, config.run.seed) for dataset, _ in datasets]
    if config.data.order != "shuffled" and config.data.difficulty == "column":
        for (dataset, _), rows in zip(datasets, chosen, strict=True):
            if np.isnan(dataset.difficulties(rows.tolist())).all():
                raise DataError("sft.no_difficulty", ref=dataset.ref)
    share = config.data.validation_split if config.data.validation is None else 0.0
    encode = partial(_encode, context, config, encoder)
    train: list[tuple[Dataset, EncodedRows]] = []
    held_out: list[tuple[Dataset, EncodedRows]] = []
    weights, parts = [], []
    for (dataset, weight), rows in zip(datasets, chosen, strict=True):
        kept, out = split_rows(len(rows), share, config.run.seed)
        needed = choose_rows(len(kept), _most_taken(config, weight, len(kept)), config.run.seed)
        train.append((dataset, encode(dataset, rows[kept[needed]])))
        weights.append(weight * len(kept) / len(needed))
        if len(out):
            held_out.append((dataset, encode(dataset, rows[out])))
        parts.append(_part(weight, dataset, train[-1][1], *(held_out[-1][1] for _ in out[:1])))
    if config.data.validation is not None:
        other = open_dataset(context.workspace, config.data.validation)
        held_out.append((other, encode(other, np.arange(len(other)))))
        parts.append(_part(1.0, *held_out[-1]))
    return Conversations(Several(train), weights, by_source(held_out), parts)


def _most_taken(config: SFTConfig, weight: float, rows: int) -> int | None:
    """How many of `rows` rows of a set the training can come to at most: the others need not even be encoded."""
    if config.schedule.max_steps is not None or config.schedule.max_tokens is not None:
        return None
    return max(1, math.ceil(weight * rows * config.schedule.epochs))


def by_source(sets: Sequence[tuple[Dataset, EncodedRows]]) -> dict[str, Rows]:
    """Rows by their source, the largest first; the smallest of many together."""
    if not sets:
        return {}
    rows = Several(sets)
    names = np.array([name for dataset, encoded in sets for name in dataset.sources(encoded.rows.tolist())])
    counted = [name for name, _ in Counter(names.tolist()).most_common()]
    if len(counted) > MOST_SOURCES:
        kept = counted[: MOST_SOURCES - 1]
        names = np.where(np.isin(names, kept), names, OTHER)
        counted = [*kept, OTHER]
    return {name: Some(rows, np.flatnonzero(names == name)) for name in counted}


def curriculum_of(
    config: SFTConfig, data: Conversations, difficulty: np.ndarray | None, world_size: int = 1
) -> Curriculum | None:
    """The order of the whole training; None where it is a plain permutation of one dataset."""
    if difficulty is None and not data.mixed:
        return None
    schedule, rows = config.schedule, data.rows_in_epoch
    steps_in_epoch = math.ceil(rows / (schedule.batch_size * schedule.gradient_accumulation * world_size))
    epochs = total_steps(schedule, steps_in_epoch, max(1, round(data.tokens_in_epoch))) / steps_in_epoch
    phases = config.data.phases if config.data.order == "phases" else None
    return Curriculum(data.train.sizes, data.weights, difficulty=difficulty, phases=phases, epochs=epochs)


def _part(weight: float, dataset: Dataset, *encoded: EncodedRows) -> Part:
    left_out = sorted(index for rows in encoded for index in rows.unlabelled)
    facts = data_used(dataset, sum(map(len, encoded)), left_out)
    return Part(facts, sum(rows.truncated for rows in encoded), weight)


def _encode(
    context: RunContext, config: SFTConfig, encoder: Encoder, dataset: Dataset, rows: np.ndarray
) -> EncodedRows:
    report = context.report
    report.phase("tokenising", total=len(rows), unit="row")
    encoded = encode_dataset(
        dataset,
        encoder,
        context.workspace.encoded_dir,
        rows=rows.tolist(),
        on_progress=lambda done, total: report.progress(done),
        check_stop=report.check_stop,
    )
    if encoded.unlabelled and config.data.bad_rows == "stop":
        raise _left_without_label(dataset, encoded, config.data.max_length)
    return encoded


def _left_without_label(dataset: Dataset, encoded: EncodedRows, max_length: int) -> DataError:
    shown = encoded.unlabelled[:SHOWN_LINES]
    problems = []
    for index, line, row in zip(shown, dataset.lines(shown), dataset.take(shown), strict=True):
        reason: dict[str, Any] = {"max_length": max_length, "detail": encoded.refused.get(index, "")}
        code = "data.template_refuses_row" if index in encoded.refused else "data.no_label_left"
        problems.append(Problem(code, reason, line=line, excerpt=_excerpt(row)))
    return DataError("data.rows_without_label", ref=dataset.ref, count=len(encoded.unlabelled), problems=problems)


def _excerpt(row: dict[str, Any]) -> str:
    """The beginning of what the user asked first."""
    return next((turn["content"] for turn in row["messages"] if turn["role"] == "user"), "")[:SHOWN_CHARS]
