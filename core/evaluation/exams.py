"""What the models are measured on: rows of a dataset, the same for each, encoded as each of them needs it.

    text         every token of the documents, in pieces of at most `max_length`, as pretraining predicts them
    messages     the assistant's turns, as SFT learns them
    preference   which of the two answers is preferred (`core.evaluation.pairs`)

Left out: multiple choice, and ranked answers, of which a recipe step makes pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.data.encode.blocks import pieces
from core.data.encode.documents import EncodedDocuments, encode_documents
from core.data.encode.encoding import encode_dataset
from core.data.encode.pairs import encode_pairs
from core.data.store.library import Dataset
from core.errors import DataError, ModelError
from core.evaluation.contenders import Language
from core.evaluation.pairs import Answers, Ids, preference
from core.evaluation.perplexity import Sums, prediction, sum_rows
from core.records_evaluation import EXAM_KINDS
from core.training.batching import Rows
from core.training.judges import Judge, pair_scores
from core.training.preparing import choose_rows


@dataclass(frozen=True)
class Sitting:
    """One dataset and the rows drawn of it, ascending."""

    dataset: Dataset
    rows: NDArray[np.int64]

    @property
    def kind(self) -> str:
        return self.dataset.card.kind


@dataclass(frozen=True)
class Means:
    """How an exam is held: tokens of a row, tokens at a time, where encoded rows are kept, and whom to tell."""

    max_length: int
    tokens: int
    cache: Path
    check_stop: Callable[[], None]
    on_progress: Callable[[int], None]


@dataclass(frozen=True)
class Marks:
    """Figures over `rows` rows; `left_out` of those that were drawn could not be used by this model."""

    figures: dict[str, float]
    rows: int
    left_out: int
    by: Literal["score", "likelihood"] | None = None


def draw(dataset: Dataset, limit: int | None, seed: int) -> Sitting:
    """All rows, or `limit` of them drawn by the seed. Raises DataError `evaluate.kind` for rows that give no figure."""
    if dataset.card.kind not in EXAM_KINDS:
        raise DataError("evaluate.kind", ref=dataset.ref, kind=dataset.card.kind, kinds=", ".join(EXAM_KINDS))
    return Sitting(dataset, choose_rows(len(dataset), limit, seed))


def examine(language: Language, sitting: Sitting, means: Means) -> Marks:
    """A language model's figures. Raises ModelError and DataError with the reason where there can be none."""
    if sitting.kind == "preference":
        return _prefers(language, sitting, means)
    rows, left_out = _text(language, sitting, means) if sitting.kind == "text" else _dialogues(language, sitting, means)
    sums = _sums(language, rows, means, share=len(sitting.rows) / len(rows))
    return Marks(prediction(sums, rows.label_counts), len(sitting.rows) - left_out, left_out)


def _sums(language: Language, rows: Rows, means: Means, share: float) -> Sums:
    """`sum_rows`; each of `rows` stands for `share` of the dataset's rows in the progress."""
    language.warm_up(rows)
    return sum_rows(
        language.fused, rows, language.token_bytes, tokens=means.tokens, check_stop=means.check_stop,
        on_progress=lambda done: means.on_progress(int(done * share)),
    )  # fmt: skip


def _dialogues(language: Language, sitting: Sitting, means: Means) -> tuple[Rows, int]:
    rows = encode_dataset(
        sitting.dataset, language.chat, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    return rows, len(rows.unlabelled)


def _text(language: Language, sitting: Sitting, means: Means) -> tuple[Rows, int]:
    """Every document on its own; one of a single token predicts nothing and is left out."""
    documents = encode_documents(
        sitting.dataset, language.documents, means.cache, rows=sitting.rows, check_stop=means.check_stop
    )
    return Pieces(documents, means.max_length), len(documents.unusable)


class Pieces:
    """Documents as rows of at most `max_length` tokens, each token but a document's first predicted in one of them."""

    def __init__(self, documents: EncodedDocuments, max_length: int) -> None:
        self.documents = documents
        self.starts, self.lengths = pieces(documents.lengths, max_length)
        self.label_counts = self.lengths - 1

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int) -> tuple[Ids, Ids]:
        start = int(self.starts[index])
        ids = self.documents.tokens[start : start + int(self.lengths[index])].astype(np.int32)
        return ids, ids


def _prefers(language: Language, sitting: Sitting, means: Means) -> Marks:
    """By the mean log-probability of both answers of every pair."""
    pairs = encode_pairs(
        sitting.dataset, language.chat, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    rows = Answers(pairs)
    scores = -_sums(language, rows, means, share=0.5).nats / rows.label_counts
    figures = preference(scores.reshape(-1, 2), pairs.answers)
    return Marks(figures, len(pairs), len(sitting.rows) - len(pairs), "likelihood")


def examine_judge(judge: Judge, sitting: Sitting, means: Means) -> Marks:
    """A reward model's figures, by its scores. Raises ModelError `evaluate.only_scores` for rows that are no pairs."""
    if sitting.kind != "preference":
        raise ModelError("evaluate.only_scores")
    pairs = encode_pairs(
        sitting.dataset, judge.encoder, means.cache, rows=sitting.rows.tolist(), check_stop=means.check_stop
    )
    judge.warm_up([pairs[index] for index in pairs.lengths.argsort()[:2].tolist()])
    scores = pair_scores(judge, pairs, tokens=means.tokens, check_stop=means.check_stop, on_progress=means.on_progress)
    return Marks(preference(scores, pairs.answers), len(pairs), len(sitting.rows) - len(pairs), "score")
